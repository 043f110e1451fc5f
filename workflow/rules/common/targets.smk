# Targets of the workflow: all outputs, because Snakemake does not notice a missing file that only finished jobs need.
# Downloaded and generated archives are no targets, so that they may be deleted once the datasets are prepared.
EXTERNAL_FILES = ["run.json", "records.parquet", "reliability.parquet", "examples.npz"]
RUN_FILES = ["model.pt", "history.jsonl", *EXTERNAL_FILES]


def prepared_files():
    return expand(f"{RESULTS}/prepared/{{dataset}}/{{file}}", dataset=CONFIG.datasets, file=PREPARED_FILES)


def audit_files():
    return [
        f"{RESULTS}/{name}.{ending}" for name in ("leakage", "leakage_development") for ending in ("parquet", "csv")
    ]


def missing_run_files():
    """Missing outputs of partly complete run folders. All outputs as targets would have the same effect, but planning
    thousands of runs would take twice as long."""
    missing = []
    for run in RUNS:
        folder = f"{RESULTS}/runs/{run.folder}"
        present = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        files = EXTERNAL_FILES if run.external else RUN_FILES
        if not present.isdisjoint(files):
            missing += [f"{folder}/{file}" for file in files if file not in present]
    return missing


def pretraining_files():
    return [
        f"{RESULTS}/pretraining/{dataset}/{name}/{file}"
        for dataset, name in CONFIG.pretrainings
        for file in ("model.pt", "run.json", "history.jsonl", "map_quality.csv", "residual_maps.png")
    ]


def notebooks():
    return expand(f"{RESULTS}/notebooks/{{name}}.ipynb", name=[*CONFIG.tables, *CONFIG.figures, *CONFIG.studies])


def cards():
    return expand(f"{RESULTS}/cards/{{dataset}}.html", dataset=CONFIG.datasets)


def claim_verdicts():
    names = ("claims.csv", "claims_cells.csv", "claims_papers.csv", "claims.md", "claims.html")
    return [f"{RESULTS}/{name}" for name in names]


def tables():
    return expand(
        f"{RESULTS}/tables/{{table}}.{{format}}", table=CONFIG.tables, format=["csv", "json", "md", "tex", "html"]
    )


def figures():
    return expand(f"{RESULTS}/figures/{{figure}}.{{format}}", figure=CONFIG.figures, format=["pdf", "png"])


def studies():
    return expand(
        f"{RESULTS}/studies/{{study}}.{{format}}",
        study=CONFIG.studies,
        format=["csv", "json", "md", "html", "pdf", "png"],
    )
