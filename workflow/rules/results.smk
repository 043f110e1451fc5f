# Records -> tables and figures, each by a notebook of its own. Notebooks hold no logic; the package does.
NOTEBOOK = (
    "papermill {input.notebook} {output.notebook} -k python3 --log-output --no-progress-bar --cwd ."
    " -p results {RESULTS} -p out $(dirname {output[0]})"
)


rule table:
    output:
        csv=RESULTS + "/tables/{table}.csv",
        md=RESULTS + "/tables/{table}.md",
        tex=RESULTS + "/tables/{table}.tex",
        html=report(
            RESULTS + "/tables/{table}.html",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        notebook=RESULTS + "/notebooks/{table}.ipynb",
    input:
        notebook=repository("notebooks/{table}.ipynb"),
        records=RESULTS + "/records.parquet",
        published=published_numbers,
    log:
        RESULTS + "/logs/tables/{table}.log",
    conda:
        ENVIRONMENT
    localrule: True
    params:
        published=published_option,
    shell:
        NOTEBOOK + " {params.published} > {log} 2>&1"


rule figure:
    output:
        pdf=RESULTS + "/figures/{figure}.pdf",
        png=report(
            RESULTS + "/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        notebook=RESULTS + "/notebooks/{figure}.ipynb",
    input:
        notebook=repository("notebooks/{figure}.ipynb"),
        records=RESULTS + "/records.parquet",
        examples=examples(),
    log:
        RESULTS + "/logs/figures/{figure}.log",
    conda:
        ENVIRONMENT
    localrule: True
    shell:
        NOTEBOOK + " > {log} 2>&1"
