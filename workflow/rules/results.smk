# Records -> tables and figures, each by a notebook of its own. Notebooks hold no logic; the package does.
NOTEBOOK = (
    "papermill {input.notebook} {output.notebook} -k python3 --log-output --no-progress-bar --cwd ."
    " -p results {RESULTS} -p out $(dirname {output[0]})"
)


rule table:
    input:
        notebook=repository("notebooks/{table}.ipynb"),
        records=RESULTS + "/records.parquet",
        published=published_numbers,
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
    log:
        RESULTS + "/logs/tables/{table}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        published=published_option,
    shell:
        NOTEBOOK + " {params.published} > {log} 2>&1"


rule figure:
    input:
        notebook=repository("notebooks/{figure}.ipynb"),
        records=RESULTS + "/records.parquet",
        examples=examples(),
    output:
        pdf=RESULTS + "/figures/{figure}.pdf",
        png=report(
            RESULTS + "/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        notebook=RESULTS + "/notebooks/{figure}.ipynb",
    log:
        RESULTS + "/logs/figures/{figure}.log",
    localrule: True
    conda:
        ENVIRONMENT
    shell:
        NOTEBOOK + " > {log} 2>&1"
