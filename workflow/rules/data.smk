# Raw archives -> prepared datasets. A dataset file in datasets/ may bring a rule of its own for any of these outputs.


rule fetch:
    input:
        specification=specification_file,
    output:
        "<downloads>/{dataset}/{file}",
    log:
        "<downloads>/logs/{dataset}/{file}.log",
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    shell:
        'spectralseg fetch {input.specification} --file {wildcards.file:q} --out "$(dirname {output:q})" > {log:q} 2>&1'


rule phantom:
    output:
        directory("<results>/raw/{dataset}"),
    log:
        "<results>/logs/phantom/{dataset}.log",
    conda:
        ENVIRONMENT
    params:
        settings=phantom_settings,
    shell:
        "spectralseg phantom {wildcards.dataset} --out {output} {params.settings} > {log} 2>&1"


rule prepare:
    input:
        specification=specification_file,
        raw=raw_files,
        split=split_file,
    output:
        info="<prepared>/dataset.json",
        arrays=multiext("<prepared>/", *PREPARED_FILES[1:]),
    log:
        "<results>/logs/prepare/{dataset}.log",
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=gigabytes(8),
        runtime=minutes(120),
    params:
        raw=raw_folder,
        settings=prepare_settings,
    shell:
        "spectralseg prepare {input.specification} --raw {params.raw:q} --out $(dirname {output.info}) {params.settings}"
        " --threads {threads} > {log} 2>&1"
