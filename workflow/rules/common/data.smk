# Inputs and settings of dataset preparation.
#
# A change of a parameter whose function takes ``input`` does not make Snakemake rerun a job, e.g. the repository path.
from spectralseg.data.fetch import RECEIPTS, terms
from spectralseg.data.fingerprint import fingerprint
from spectralseg.data.prepared import FILES as PREPARED_FILES
from spectralseg.data.prepared import FORMAT
from spectralseg.registry import library_of, weights_file


def specification_file(wildcards, input):
    return repository(f"workflow/rules/datasets/{wildcards.dataset}.smk")


def raw_files(wildcards):
    """Inputs of a dataset: a path of the user's, downloaded archives or phantom archives."""
    choice = CONFIG.datasets[wildcards.dataset]
    if choice.source == "path":
        return if_missing(choice.path)
    if choice.source == "phantom":
        return f"{RESULTS}/raw/{wildcards.dataset}"
    return f"{CONFIG.downloads}/{wildcards.dataset}/{RECEIPTS}"


def raw_folder(wildcards, input):
    """The path of the raw files. Of official files, only the receipts are an input: before every attempt to fetch them,
    Snakemake would delete archives that the user provided or that took a day to download."""
    choice = CONFIG.datasets[wildcards.dataset]
    if choice.source == "path":
        return choice.path
    return f"{CONFIG.downloads}/{wildcards.dataset}" if choice.source == "official" else input.raw


@functools.cache
def content(file):
    """Checksum of a user's file or folder."""
    try:
        return fingerprint(Path(file))
    except InputError as error:
        raise WorkflowError(str(error)) from None


def official_content(wildcards):
    """Checksums of the official files of a dataset, independent of their source."""
    sources = SPECIFICATIONS[wildcards.dataset].sources
    return canonical([(source.file, source.sha256, source.md5) for source in sources])


def split_list(wildcards):
    """The user's own split list, or None; published lists are part of the package."""
    split = CONFIG.datasets[wildcards.dataset].split
    return split if split and split.endswith(".csv") else None


def split_file(wildcards):
    return if_missing(split_list(wildcards) or os.curdir)


def prepared_from(wildcards):
    """Everything that a prepared dataset depends on. Changed content prepares it again, a changed date does not."""
    name = wildcards.dataset
    choice, specification = CONFIG.datasets[name], SPECIFICATIONS[name]
    if choice.source == "path":
        raw = content(choice.path)
    elif choice.source == "phantom":
        raw = DUMPED["datasets"][name]["phantom"]
    else:
        raw = official_content(wildcards)
    if own := split_list(wildcards):
        split = content(own)
    else:
        split = specification.alternative_splits.get(choice.split, specification.split).model_dump()
    return canonical({"format": FORMAT, "specification": specification.shaping(), "raw": raw, "split": split})


def fetch_settings(wildcards, input):
    return [word for mirror in CONFIG.datasets[wildcards.dataset].mirrors for word in ("--mirror", mirror)]


def dataset_terms(wildcards, input):
    return terms(SPECIFICATIONS[wildcards.dataset])


def prepare_settings(wildcards):
    choice = CONFIG.datasets[wildcards.dataset]
    options = ["--image-size", CONFIG.size_of(wildcards.dataset), "--validation", CONFIG.validation]
    options += ["--source", choice.source]
    options += ["--allow-partial"] if choice.allow_partial or choice.source == "phantom" else []
    return options + ([] if CONFIG.reduced_decoding else ["--full-decoding"])


def split_option(wildcards, input):
    split = CONFIG.datasets[wildcards.dataset].split
    return ["--split", split] if split else []


def phantom_settings(wildcards):
    phantom = CONFIG.datasets[wildcards.dataset].phantom
    return ["--cases", phantom.cases, "--side", phantom.side, "--seed", phantom.seed]


def dataset_descriptions():
    return expand(f"{RESULTS}/prepared/{{dataset}}/dataset.json", dataset=CONFIG.datasets)


def dataset_folders(wildcards, input):
    return [os.path.dirname(file) for file in input]


def audit_settings(wildcards):
    return ["--fail-on-leakage"] if CONFIG.fail_on_leakage else []
