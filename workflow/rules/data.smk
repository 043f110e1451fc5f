# Raw archives -> prepared datasets. A dataset file in datasets/ may define its own rule for any of these outputs.


rule fetch:
    output:
        f"<downloads>/{{dataset}}/{RECEIPTS}",
    log:
        "<downloads>/logs/{dataset}.log",
    benchmark:
        "<downloads>/logs/{dataset}.benchmark.jsonl"
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    params:
        specification=specification_file,
        content=official_content,
        out=subpath(output[0], parent=True),
        settings=fetch_settings,
        terms=dataset_terms,
    message:
        "Fetching {params.terms} Progress: {log}"
    shell:
        "spectralseg fetch {params.specification:q} --out {params.out:q} {params.settings:q} > {log:q} 2>&1"


rule weights:
    output:
        touch("<results>/weights/{encoder}/{weights}"),
    log:
        "<results>/logs/weights/{encoder}-{weights}.log",
    retries: 2
    localrule: True
    conda:
        ENVIRONMENT
    params:
        models=models_of_weights,
    shell:
        "spectralseg weights {wildcards.encoder:q} {wildcards.weights:q} --model {params.models:q} > {log:q} 2>&1"


rule phantom:
    output:
        directory("<results>/raw/{dataset}"),
    log:
        "<results>/logs/phantom/{dataset}.log",
    benchmark:
        "<results>/logs/phantom/{dataset}.benchmark.jsonl"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=gigabytes(4),
        runtime=minutes(30),
    params:
        settings=phantom_settings,
    shell:
        "spectralseg phantom {wildcards.dataset:q} --out {output:q} {params.settings:q} > {log:q} 2>&1"


# A checkpoint: once a dataset is prepared, Snakemake plans only the runs whose data have changed.
checkpoint prepare:
    input:
        raw=raw_files,
        split=split_file,
    output:
        info="<prepared>/dataset.json",
        arrays=multiext("<prepared>/", *PREPARED_FILES[1:]),
    log:
        "<results>/logs/prepare/{dataset}.log",
    benchmark:
        "<results>/logs/prepare/{dataset}.benchmark.jsonl"
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=gigabytes(8),
        runtime=minutes(120),
    params:
        specification=specification_file,
        raw=raw_folder,
        out=subpath(output.info, parent=True),
        content=prepared_from,
        settings=prepare_settings,
        split=split_option,
    shell:
        "spectralseg prepare {params.specification:q} --raw {params.raw:q} --out {params.out:q} {params.settings:q}"
        " {params.split:q} --threads {threads} > {log:q} 2>&1"


checkpoint leakage:
    input:
        dataset_descriptions(),
    output:
        leaks="<results>/leakage.parquet",
        pairs="<results>/leakage.csv",
        repeats="<results>/leakage_development.parquet",
        development="<results>/leakage_development.csv",
    log:
        "<results>/logs/leakage.log",
    benchmark:
        "<results>/logs/leakage.benchmark.jsonl"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=gigabytes(4),
        runtime=minutes(30),
    params:
        folders=dataset_folders,
        settings=audit_settings,
    shell:
        "spectralseg leakage {params.folders:q} {params.settings:q} --out {output.leaks:q} > {log:q} 2>&1"
