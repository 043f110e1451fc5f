# Prepared datasets -> cards. Records -> tables and figures, each by a notebook of its own. Notebooks hold no logic; the
# package does.
NOTEBOOK = (
    "papermill {input.notebook} {output.notebook} -k python3 --log-output --no-progress-bar --cwd ."
    " {params.parameters} > {log} 2>&1"
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
    shell:
        "spectralseg card $(dirname {input.info}) --out {output} > {log} 2>&1"


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
            labels={"table": "{table}"},
        ),
        notebook="<results>/notebooks/{table}.ipynb",
    log:
        "<results>/logs/tables/{table}.log",
    retries: 2  # kernels that start together now and then choose the same port
    localrule: True
    conda:
        ENVIRONMENT
    params:
        parameters=table_parameters,
    shell:
        NOTEBOOK


rule figure:
    input:
        notebook=repository("notebooks/{figure}.ipynb"),
        records="<results>/records.parquet",
        leaks="<results>/leakage.parquet",
        examples=examples(),
        others=read_by_figure,
    output:
        pdf="<results>/figures/{figure}.pdf",
        png=report(
            "<results>/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        notebook="<results>/notebooks/{figure}.ipynb",
    log:
        "<results>/logs/figures/{figure}.log",
    retries: 2  # kernels that start together now and then choose the same port
    localrule: True
    conda:
        ENVIRONMENT
    params:
        parameters=figure_parameters,
    shell:
        NOTEBOOK
