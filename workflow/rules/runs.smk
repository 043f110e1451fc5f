# One training and one evaluation job per run. The run folder keeps its resumable state outside the declared outputs,
# which Snakemake deletes before every attempt. Their commands replace the shell, which would die of a signal before them.


rule train:
    input:
        permission(),
        data="<prepared>/dataset.json",
        weights=encoder_weights,
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
        settings=train_settings,
    shell:
        "exec spectralseg train --config {params.config} --data $(dirname {input.data}) --threads {threads}"
        " --architecture {wildcards.architecture} --objective {wildcards.objective} --lambda {wildcards.lam}"
        " --seed {wildcards.seed} --out $(dirname {output.model}) > {log} 2>&1"


rule evaluate:
    input:
        model="<run>/model.pt",
        run="<run>/run.json",
        data="<prepared>/dataset.json",
        partners=partners,
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
        settings=DUMPED["evaluation"],
        partners=partner_folders,
    shell:
        "exec spectralseg evaluate --config {params.config} --run $(dirname {input.model})"
        " --data $(dirname {input.data}) --ood {params.partners} --threads {threads} > {log} 2>&1"


rule collect:
    input:
        records(),
    output:
        "<results>/records.parquet",
    log:
        "<results>/logs/collect.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        runs=runs_folder,
        config=RESOLVED,
    shell:
        "spectralseg collect {params.runs} --config {params.config} --out {output} > {log} 2>&1"


rule compare:
    input:
        "<results>/records.parquet",
    output:
        "<results>/comparisons.parquet",
    log:
        "<results>/logs/compare.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        config=RESOLVED,
        settings=comparison(),
    shell:
        "spectralseg compare {input} --config {params.config} --out {output} > {log} 2>&1"
