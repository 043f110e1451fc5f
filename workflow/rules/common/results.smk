# Inputs and parameters of tables, figures, studies and claims.
import csv

from spectralseg.papers import find_table, read_papers

PUBLISHED = ROOT / "config/published"


@functools.cache
def describe(kind, name):
    """Texts and inputs of a table, figure or study; see spectralseg.outputs."""
    return outputs.describe(kind, name, PUBLISHED)


def notebook_of(kind):
    """The user's own notebook of this name, or the template of its kind."""

    def notebook(wildcards):
        own = repository(f"notebooks/{wildcards[kind]}.ipynb")
        return own if os.path.exists(own) else repository(f"notebooks/{kind}.ipynb")

    return notebook


def needs_of(kinds, kind):
    """Inputs of a table, figure or study besides the records, the audit and the run folders. Files of runs are not
    listed: the same jobs write the records, and thousands of files in dozens of rules would slow down planning."""

    def needs(wildcards):
        files = describe(kinds, wildcards[kind]).needs
        return [published_table(file) if file.startswith(outputs.PUBLISHED) else f"{RESULTS}/{file}" for file in files]

    return needs


def published_table(need):
    """The file of ``published/<table>.csv``, which lies in the folder of a paper."""
    paper, file = find_table(PUBLISHED, Path(need).stem)
    return repository(file)


def notebook_parameters(kinds, kind):
    """Parameters of a notebook for papermill."""

    def parameters(wildcards, input):
        values = {"name": wildcards[kind], "results": RESULTS, "published": repository(PUBLISHED)}
        values["out"] = f"{RESULTS}/{kinds}"
        return [word for key, value in values.items() for word in ("-p", key, value)]

    return parameters


def caption_of(kinds, kind):
    """Caption in Snakemake's report."""
    return lambda wildcards, input: describe(kinds, wildcards[kind]).caption


def labels_of(kinds, kind):
    """Columns that name a table, figure or study in Snakemake's report."""

    def labels(wildcards):
        output = describe(kinds, wildcards[kind])
        return {kind: output.label, "shows": output.title}

    return labels


def subcategory_of(kind):
    """Heading of a table or figure in Snakemake's report."""
    return lambda wildcards: "As in a paper" if outputs.is_numbered(wildcards[kind]) else "Beyond papers"


def comparison():
    """The baseline and the margins: a change reruns the outputs that show them."""
    return canonical({**CONFIG.comparison.model_dump(mode="json"), "baseline": CONFIG.baseline})


def published_folder(wildcards, input):
    return repository(PUBLISHED)


def claims_files():
    return [repository(file) for paper in read_papers(PUBLISHED) for file in paper.files]


def leakage_findings():
    """Findings of the last leakage audit, for the front page of Snakemake's report; empty before the audit."""
    files = [Path(f"{RESULTS}/leakage.csv"), Path(f"{RESULTS}/leakage_development.csv")]
    rows = [row for file in files if file.exists() for row in csv.DictReader(file.read_text("utf-8").splitlines())]
    keys = ("train_dataset", "test_dataset", "dataset")
    of_the_study = [row for row in rows if all(row[key] in CONFIG.datasets for key in keys if key in row)]
    return [row["finding"] for row in of_the_study if row["finding"]]


config["leaks"] = leakage_findings()  # the template of the front page can read the configuration only
