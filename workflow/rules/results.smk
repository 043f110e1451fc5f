# Records -> tables and figures, each by a notebook of its own. Notebooks hold no logic; the package does.
NOTEBOOK = (
    "papermill {input.notebook} {output.notebook} -k python3 --log-output --no-progress-bar --cwd ."
    " -p results {RESULTS} -p out $(dirname {output[0]})"
)


rule table:
    output:
        csv=report(
            RESULTS + "/tables/{table}.csv",
            caption="../report/{table}.rst",
            category="Tables",
            labels={"table": "{table}", "format": "csv"},
        ),
        md=RESULTS + "/tables/{table}.md",
        tex=RESULTS + "/tables/{table}.tex",
        notebook=RESULTS + "/notebooks/{table}.ipynb",
    input:
        notebook=repository("notebooks/{table}.ipynb"),
        records=RESULTS + "/records.parquet",
        published=repository("config/published/{table}.csv"),
    log:
        RESULTS + "/logs/tables/{table}.log",
    conda:
        ENVIRONMENT
    localrule: True
    shell:
        NOTEBOOK + " -p published $(dirname {input.published}) > {log} 2>&1"


rule figure:
    output:
        pdf=RESULTS + "/figures/{figure}.pdf",
        png=report(
            RESULTS + "/figures/{figure}.png",
            caption="../report/{figure}.rst",
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
