# Raw archives -> prepared datasets. A dataset file in datasets/ may bring a rule of its own for any of these outputs.


rule fetch:
    output:
        CONFIG.downloads + "/{dataset}/{file}",
    input:
        specification=specification_file,
    log:
        CONFIG.downloads + "/logs/{dataset}/{file}.log",
    conda:
        ENVIRONMENT
    localrule: True
    retries: 2
    shell:
        "spectralseg fetch {input.specification} --file {wildcards.file:q} --out $(dirname {output:q}) > {log:q} 2>&1"


rule phantom:
    output:
        directory(RESULTS + "/raw/{dataset}"),
    log:
        RESULTS + "/logs/phantom/{dataset}.log",
    params:
        settings=phantom_settings,
    conda:
        ENVIRONMENT
    shell:
        "spectralseg phantom {wildcards.dataset} --out {output} {params.settings} > {log} 2>&1"


rule prepare:
    output:
        multiext(
            RESULTS + "/prepared/{dataset}/",
            "dataset.json",
            "cases.csv",
            "images.npy",
            "masks.npy",
            "native_labels.bin",
        ),
    input:
        specification=specification_file,
        raw=raw_files,
    log:
        RESULTS + "/logs/prepare/{dataset}.log",
    params:
        raw=raw_folder,
        settings=prepare_settings,
    conda:
        ENVIRONMENT
    resources:
        mem_mb=gigabytes(8),
        runtime=minutes(120),
    shell:
        "spectralseg prepare {input.specification} --raw {params.raw:q} --out $(dirname {output[0]}) {params.settings}"
        " > {log} 2>&1"
