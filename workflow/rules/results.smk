# Prepared datasets -> cards. Records -> claims, tables, figures and studies. All outputs -> report. The notebook of a
# table, figure or study is the template of its kind, which runs a module of the package, or the user's own.
NOTEBOOK = (
    "python -m spectralseg.papermill {input.notebook:q} {output.notebook:q} --log-output --no-progress-bar --cwd ."
    " {params.parameters:q} > {log:q} 2>&1"
)


rule card:
    input:
        info="<prepared>/dataset.json",
        arrays=multiext("<prepared>/", *PREPARED_FILES[1:]),
    output:
        report(
            "<results>/cards/{dataset}.html",
            caption="../report/card.rst",
            category="Datasets",
            labels={"dataset": "{dataset}"},
        ),
    log:
        "<results>/logs/cards/{dataset}.log",
    benchmark:
        "<results>/logs/cards/{dataset}.benchmark.jsonl"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        prepared=subpath(input.info, parent=True),
    shell:
        "spectralseg card {params.prepared:q} --out {output:q} > {log:q} 2>&1"


rule claims:
    input:
        records="<results>/records.parquet",
        leaks="<results>/leakage.parquet",
        prepared=dataset_descriptions(),
        claims=claims_files(),
    output:
        csv=multiext("<results>/claims", ".csv", ".md", "_cells.csv", "_papers.csv"),
        html=report(
            "<results>/claims.html",
            caption="../report/claims.rst",
            category="Claims",
            labels={"page": "claims of papers"},
        ),
    log:
        "<results>/logs/claims.log",
    benchmark:
        "<results>/logs/claims.benchmark.jsonl"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        results=subpath(input.records, parent=True),
        published=published_folder,
        comparison=comparison(),
    shell:
        "spectralseg claims {params.results:q} --published {params.published:q} > {log:q} 2>&1"


rule table:
    input:
        notebook=notebook_of("table"),
        records="<results>/records.parquet",
        leaks="<results>/leakage.parquet",
        needs=needs_of("tables", "table"),
    output:
        csv="<results>/tables/{table}.csv",
        json="<results>/tables/{table}.json",
        md="<results>/tables/{table}.md",
        tex="<results>/tables/{table}.tex",
        html=report(
            "<results>/tables/{table}.html",
            caption="../report/table.rst",
            category="Tables",
            subcategory=subcategory_of("table"),
            labels=labels_of("tables", "table"),
        ),
        notebook="<results>/notebooks/{table}.ipynb",
    log:
        "<results>/logs/tables/{table}.log",
    benchmark:
        "<results>/logs/tables/{table}.benchmark.jsonl"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        parameters=notebook_parameters("tables", "table"),
        comparison=comparison(),
        caption=caption_of("tables", "table"),
    shell:
        NOTEBOOK


rule figure:
    input:
        notebook=notebook_of("figure"),
        records="<results>/records.parquet",
        leaks="<results>/leakage.parquet",
        needs=needs_of("figures", "figure"),
    output:
        pdf="<results>/figures/{figure}.pdf",
        png=report(
            "<results>/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            subcategory=subcategory_of("figure"),
            labels=labels_of("figures", "figure"),
        ),
        notebook="<results>/notebooks/{figure}.ipynb",
    log:
        "<results>/logs/figures/{figure}.log",
    benchmark:
        "<results>/logs/figures/{figure}.benchmark.jsonl"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        parameters=notebook_parameters("figures", "figure"),
        comparison=comparison(),
        caption=caption_of("figures", "figure"),
    shell:
        NOTEBOOK


rule study:
    input:
        notebook=notebook_of("study"),
        records="<results>/records.parquet",
        leaks="<results>/leakage.parquet",
        needs=needs_of("studies", "study"),
    output:
        csv="<results>/studies/{study}.csv",
        json="<results>/studies/{study}.json",
        md="<results>/studies/{study}.md",
        html=report(
            "<results>/studies/{study}.html",
            caption="../report/study.rst",
            category="Studies",
            labels=labels_of("studies", "study"),
        ),
        figure=multiext("<results>/studies/{study}", ".pdf", ".png"),
        notebook="<results>/notebooks/{study}.ipynb",
    log:
        "<results>/logs/studies/{study}.log",
    benchmark:
        "<results>/logs/studies/{study}.benchmark.jsonl"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        parameters=notebook_parameters("studies", "study"),
        comparison=comparison(),
        caption=caption_of("studies", "study"),
    shell:
        NOTEBOOK


rule report_page:
    input:
        records="<results>/records.parquet",
        leaks="<results>/leakage.parquet",
        claims=claim_verdicts(),
        cards=cards(),
        tables=tables(),
        figures=figures(),
        studies=studies(),
    output:
        "<results>/report/index.html",
    log:
        "<results>/logs/report.log",
    benchmark:
        "<results>/logs/report.benchmark.jsonl"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        results=subpath(input.records, parent=True),
        out=subpath(output[0], parent=True),
    shell:
        "spectralseg report {params.results:q} --out {params.out:q} > {log:q} 2>&1"
