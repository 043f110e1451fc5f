# Prepared datasets -> cards. Records -> claims; and tables, figures and studies, each by a notebook of its own. Notebooks
# hold no logic; the package does. All of it -> one page.
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
        prepared=audited(),
        claims=claims_files(),
    output:
        csv=multiext("<results>/claims", ".csv", ".md", "_cells.csv"),
        html=report(
            "<results>/claims.html",
            caption="../report/claims.rst",
            category="Claims",
            labels={"page": "claims of the paper"},
        ),
    log:
        "<results>/logs/claims.log",
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
        notebook=repository("notebooks/{table}.ipynb"),
        records="<results>/records.parquet",
        leaks="<results>/leakage.parquet",
        published=published_numbers,
    output:
        csv="<results>/tables/{table}.csv",
        md="<results>/tables/{table}.md",
        tex="<results>/tables/{table}.tex",
        html=report(
            "<results>/tables/{table}.html",
            caption="../report/table.rst",
            category="Tables",
            subcategory=origin("table"),
            labels=shown("table"),
        ),
        notebook="<results>/notebooks/{table}.ipynb",
    log:
        "<results>/logs/tables/{table}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        parameters=table_parameters,
        comparison=comparison(),
    shell:
        NOTEBOOK


rule figure:
    input:
        notebook=repository("notebooks/{figure}.ipynb"),
        records="<results>/records.parquet",
        leaks="<results>/leakage.parquet",
        others=read_by_figure,
    output:
        pdf="<results>/figures/{figure}.pdf",
        png=report(
            "<results>/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            subcategory=origin("figure"),
            labels=shown("figure"),
        ),
        notebook="<results>/notebooks/{figure}.ipynb",
    log:
        "<results>/logs/figures/{figure}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        parameters=figure_parameters,
        comparison=comparison(),
    shell:
        NOTEBOOK


rule study:
    input:
        notebook=repository("notebooks/{study}.ipynb"),
        records="<results>/records.parquet",
        leaks="<results>/leakage.parquet",
        published=published_tables(),
    output:
        csv="<results>/studies/{study}.csv",
        md="<results>/studies/{study}.md",
        html=report(
            "<results>/studies/{study}.html",
            caption="../report/study.rst",
            category="Studies",
            labels=shown("study"),
        ),
        figure=multiext("<results>/studies/{study}", ".pdf", ".png"),
        notebook="<results>/notebooks/{study}.ipynb",
    log:
        "<results>/logs/studies/{study}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        parameters=study_parameters,
        comparison=comparison(),
    shell:
        NOTEBOOK


rule report_page:
    input:
        records="<results>/records.parquet",
        comparisons="<results>/comparisons.parquet",
        leaks="<results>/leakage.parquet",
        claims=claims_ledger(),
        cards=cards(),
        tables=tables(),
        figures=figures(),
        studies=studies(),
    output:
        "<results>/report/index.html",
    log:
        "<results>/logs/report.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        results=subpath(input.records, parent=True),
        out=subpath(output[0], parent=True),
    shell:
        "spectralseg report {params.results:q} --out {params.out:q} > {log:q} 2>&1"
