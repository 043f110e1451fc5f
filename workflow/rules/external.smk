# Methods that this suite does not train: the dataset in the raw layout of nnU-Net, a virtual environment, and per run one
# job that trains and one that predicts and scores. What a method writes is no declared output, so that it can resume.


rule external_environment:
    input:
        requirements,
    output:
        f"{ENVIRONMENTS}/{{method}}.txt",
    log:
        "<results>/logs/environments/{method}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        requirements=requirements_file,
        content=requirements_content,
        folder=f"{ENVIRONMENTS}/{{method}}",
    message:
        "Installing {params.requirements}. Progress: {log}"
    shell:
        "(python -m venv --clear {params.folder:q}"
        " && {params.folder:q}/bin/python -m pip install --requirement {params.requirements:q}"
        " && {params.folder:q}/bin/python -m pip freeze > {output:q}) > {log:q} 2>&1"


rule export_nnunet:
    input:
        raw=raw_files,
        data=prepared,
    output:
        directory("<results>/exported/{dataset}/Dataset001_{dataset}"),
    log:
        "<results>/logs/export/{dataset}.log",
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=gigabytes(8),
        runtime=minutes(120),
    params:
        specification=specification_file,
        raw=raw_folder,
        data=subpath(input.data, parent=True),
        content=prepared_content,
    shell:
        "spectralseg export-nnunet {params.specification:q} --raw {params.raw:q} --data {params.data:q} --out {output:q}"
        " --threads {threads} > {log:q} 2>&1"


rule prepare_external:
    input:
        environment=environment_of,
        exported=exported_training,
    output:
        "<results>/external/{dataset}/{method}/prepared.json",
    log:
        "<results>/external/{dataset}/{method}/prepare.log",
    benchmark:
        "<results>/external/{dataset}/{method}/prepare.benchmark.jsonl"
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=gigabytes(16),
        runtime=minutes(240),
    params:
        config=RESOLVED,
        shared=subpath(output[0], parent=True),
        environment=environment_option,
        settings=external_settings,
        content=prepared_content,
    shell:
        "exec spectralseg prepare-external --config {params.config:q} --method {wildcards.method:q}"
        " --exported {input.exported:q} --shared {params.shared:q} {params.environment:q} --threads {threads}"
        " > {log:q} 2>&1"


rule train_external:
    input:
        audit_first(),
        environment=environment_of,
        data=prepared,
        exported=exported_training,
        preparation=preparation,
    output:
        "<external_run>/run.json",
    log:
        "<external_run>/train.log",
    benchmark:
        "<external_run>/train.benchmark.jsonl"
    conda:
        ENVIRONMENT
    threads: run_threads
    resources:
        gpu=1,
        mem_mb=gigabytes(16),
        runtime=minutes(1440),
    params:
        config=RESOLVED,
        data=subpath(input.data, parent=True),
        shared=shared_folder,
        environment=environment_option,
        out=subpath(output[0], parent=True),
        settings=external_settings,
        content=prepared_content,
    shell:
        "exec spectralseg train-external --config {params.config:q} --data {params.data:q} --method {wildcards.method:q}"
        " --exported {input.exported:q} --shared {params.shared:q} {params.environment:q} --threads {threads}"
        " --seed {wildcards.seed:q} --out {params.out:q} > {log:q} 2>&1"


rule evaluate_external:
    input:
        audit_first(),
        environment=environment_of,
        run="<external_run>/run.json",
        data=prepared,
        partners=partners,
        exported=exported_tests,
    output:
        records="<external_run>/records.parquet",
        reliability="<external_run>/reliability.parquet",
        examples="<external_run>/examples.npz",
    log:
        "<external_run>/evaluate.log",
    benchmark:
        "<external_run>/evaluate.benchmark.jsonl"
    conda:
        ENVIRONMENT
    threads: run_threads
    resources:
        gpu=1,
        mem_mb=gigabytes(16),
        runtime=minutes(240),
    params:
        config=RESOLVED,
        run=subpath(input.run, parent=True),
        data=subpath(input.data, parent=True),
        partners=partner_folders,
        shared=shared_folder,
        environment=environment_option,
        settings=evaluation_settings,
        content=tested_on,
    shell:
        "exec spectralseg evaluate-external --config {params.config:q} --run {params.run:q} --data {params.data:q}"
        " --ood {params.partners:q} --exported {input.exported:q} --shared {params.shared:q} {params.environment:q}"
        " --threads {threads} > {log:q} 2>&1"
