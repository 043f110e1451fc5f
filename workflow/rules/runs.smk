# One job per masked autoencoder and dataset, and one training and one evaluation job per run. The checkpoint is not a
# declared output, because Snakemake deletes those before every attempt. `exec` replaces the shell, so that signals reach
# the command.


rule pretrain:
    input:
        audit_first(),
        data=prepared,
    output:
        model="<pretraining>/model.pt",
        run="<pretraining>/run.json",
        history="<pretraining>/history.jsonl",
        quality="<pretraining>/map_quality.csv",
        picture="<pretraining>/residual_maps.png",
    log:
        "<pretraining>/pretrain.log",
    benchmark:
        "<pretraining>/pretrain.benchmark.jsonl"
    conda:
        ENVIRONMENT
    threads: run_threads
    resources:
        gpu=1,
        mem_mb=gigabytes(12),
        runtime=minutes(240),
    params:
        config=RESOLVED,
        data=subpath(input.data, parent=True),
        out=subpath(output.model, parent=True),
        settings=pretraining_settings,
        content=pretrained_on,
    shell:
        "exec spectralseg pretrain --config {params.config:q} --data {params.data:q} --threads {threads}"
        " --name {wildcards.pretraining:q} --out {params.out:q} > {log:q} 2>&1"


rule train:
    input:
        audit_first(),
        data=prepared,
        weights=encoder_weights,
        pretrained=pretrained_models,
    output:
        model="<run>/model.pt",
        run="<run>/run.json",
        history="<run>/history.jsonl",
    log:
        "<run>/train.log",
    benchmark:
        "<run>/train.benchmark.jsonl"
    conda:
        ENVIRONMENT
    threads: run_threads
    resources:
        gpu=1,
        mem_mb=gigabytes(12),
        runtime=minutes(240),
    params:
        config=RESOLVED,
        data=subpath(input.data, parent=True),
        out=subpath(output.model, parent=True),
        pretrained=pretrained_option,
        settings=train_settings,
        content=learned_from,
    shell:
        "exec spectralseg train --config {params.config:q} --data {params.data:q} --threads {threads}"
        " --architecture {wildcards.architecture:q} --objective {wildcards.objective:q} --lambda {wildcards.lam:q}"
        " --seed {wildcards.seed:q} {params.pretrained:q} --out {params.out:q} > {log:q} 2>&1"


rule evaluate:
    input:
        audit_first(),
        model=ancient("<run>/model.pt"),  # run.json is written with it and tracks changes
        run="<run>/run.json",
        data=prepared,
        partners=partners,
        pretrained=pretrained_models,
    output:
        records="<run>/records.parquet",
        reliability="<run>/reliability.parquet",
        examples="<run>/examples.npz",
    log:
        "<run>/evaluate.log",
    benchmark:
        "<run>/evaluate.benchmark.jsonl"
    conda:
        ENVIRONMENT
    threads: run_threads
    resources:
        gpu=1,
        mem_mb=gigabytes(12),
        runtime=minutes(120),
    params:
        config=RESOLVED,
        run=subpath(input.model, parent=True),
        data=subpath(input.data, parent=True),
        partners=partner_folders,
        settings=evaluation_settings,
        content=tested_on,
    shell:
        "exec spectralseg evaluate --config {params.config:q} --run {params.run:q}"
        " --data {params.data:q} --ood {params.partners:q} --threads {threads} > {log:q} 2>&1"


rule collect:
    input:
        records(),
    output:
        "<results>/records.parquet",
    log:
        "<results>/logs/collect.log",
    benchmark:
        "<results>/logs/collect.benchmark.jsonl"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        runs=runs_folder,
        config=RESOLVED,
    shell:
        "spectralseg collect {params.runs:q} --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule compare:
    input:
        "<results>/records.parquet",
    output:
        "<results>/comparisons.parquet",
    log:
        "<results>/logs/compare.log",
    benchmark:
        "<results>/logs/compare.benchmark.jsonl"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        config=RESOLVED,
        settings=comparison(),
    shell:
        "spectralseg compare {input:q} --config {params.config:q} --out {output:q} > {log:q} 2>&1"
