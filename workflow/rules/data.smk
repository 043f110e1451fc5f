# Raw archives -> prepared datasets. A dataset file in datasets/ may bring a rule of its own for any of these outputs.


rule fetch:
    input:
        specification=specification_file,
    output:
        f"<downloads>/{{dataset}}/{RECEIPTS}",
    log:
        "<downloads>/logs/{dataset}.log",
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=fetch_settings,
        terms=dataset_terms,
    message:
        "Fetching {params.terms} Progress: {log}"
    shell:
        'spectralseg fetch {input.specification} --out "$(dirname {output:q})" {params.settings} > {log:q} 2>&1'


rule weights:
    output:
        touch("<downloads>/weights/{encoder}/{weights}"),
    log:
        "<downloads>/logs/weights-{encoder}-{weights}.log",
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    params:
        model=model_of_weights,
    shell:
        "spectralseg weights {wildcards.encoder} {wildcards.weights} --model {params.model} > {log:q} 2>&1"


rule phantom:
    output:
        directory("<results>/raw/{dataset}"),
    log:
        "<results>/logs/phantom/{dataset}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=gigabytes(4),
        runtime=minutes(30),
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
        format=FORMAT,  # a version that writes another one prepares again
        settings=prepare_settings,
    shell:
        "spectralseg prepare {input.specification} --raw {params.raw:q} --out $(dirname {output.info}) {params.settings}"
        " --threads {threads} > {log} 2>&1"


checkpoint leakage:
    input:
        audited(),
    output:
        leaks="<results>/leakage.parquet",
        pairs="<results>/leakage.csv",
        repeats="<results>/leakage_development.parquet",
        development="<results>/leakage_development.csv",
    log:
        "<results>/logs/leakage.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=gigabytes(4),
        runtime=minutes(30),
    params:
        folders=audited_folders,
        settings=audit_settings,
    shell:
        "spectralseg leakage {params.folders} {params.settings} --out {output.leaks} > {log} 2>&1"
