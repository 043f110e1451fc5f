# One training and one evaluation job per run. The run folder keeps its resumable state outside the declared outputs,
# which Snakemake deletes before every attempt.


rule train:
    input:
        data=RESULTS + "/prepared/{dataset}/dataset.json",
    output:
        model=RUN + "/model.pt",
        run=RUN + "/run.json",
        history=RUN + "/history.jsonl",
    log:
        RUN + "/train.log",
    benchmark:
        RUN + "/train.benchmark.jsonl"
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        gpu=1,
        mem_mb=gigabytes(12),
        runtime=minutes(240),
    params:
        settings=train_settings,
    shell:
        "spectralseg train --config {RESULTS}/config.yaml --data $(dirname {input.data}) --threads {threads}"
        " --architecture {wildcards.architecture} --objective {wildcards.objective} --lambda {wildcards.lam}"
        " --seed {wildcards.seed} --out $(dirname {output.model}) > {log} 2>&1"


rule evaluate:
    input:
        model=RUN + "/model.pt",
        run=RUN + "/run.json",
        data=RESULTS + "/prepared/{dataset}/dataset.json",
        partners=partners,
    output:
        records=RUN + "/records.parquet",
        examples=RUN + "/examples.npz",
    log:
        RUN + "/evaluate.log",
    benchmark:
        RUN + "/evaluate.benchmark.jsonl"
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        gpu=1,
        mem_mb=gigabytes(12),
        runtime=minutes(120),
    params:
        settings=evaluation_settings,
        partners=partner_folders,
    shell:
        "spectralseg evaluate --config {RESULTS}/config.yaml --run $(dirname {input.model})"
        " --data $(dirname {input.data}) --ood {params.partners} --threads {threads} > {log} 2>&1"


rule collect:
    input:
        records(),
    output:
        RESULTS + "/records.parquet",
    log:
        RESULTS + "/logs/collect.log",
    localrule: True
    conda:
        ENVIRONMENT
    shell:
        "spectralseg collect {RESULTS}/runs --config {RESULTS}/config.yaml --out {output} > {log} 2>&1"


rule compare:
    input:
        RESULTS + "/records.parquet",
    output:
        RESULTS + "/comparisons.parquet",
    log:
        RESULTS + "/logs/compare.log",
    localrule: True
    conda:
        ENVIRONMENT
    shell:
        "spectralseg compare {input} --out {output} > {log} 2>&1"
