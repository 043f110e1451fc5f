# Inputs and settings of external methods.
from spectralseg.training.settings import external_of


def method_of(wildcards):
    return CONFIG.external[wildcards.method]


def exported(dataset):
    """Folder of a dataset in the raw layout of nnU-Net, which prescribes the form of its name."""
    return f"{RESULTS}/exported/{dataset}/Dataset001_{dataset}"


def exported_training(wildcards):
    return exported(wildcards.dataset)


def exported_tests(wildcards):
    """The training dataset, and then its out-of-distribution datasets in the order of ``partners``."""
    return [exported(name) for name in (wildcards.dataset, *partner_names(wildcards))]


def environment_of(wildcards):
    """The packages in the virtual environment of a method."""
    return f"{ENVIRONMENTS}/{wildcards.method}.txt" if method_of(wildcards).environment else []


def environment_option(wildcards):
    return ["--environment", f"{ENVIRONMENTS}/{wildcards.method}"] if method_of(wildcards).environment else []


def requirements(wildcards):
    return if_missing(method_of(wildcards).environment)


def requirements_file(wildcards, input):
    return method_of(wildcards).environment


def requirements_content(wildcards):
    return content(method_of(wildcards).environment)


def preparation(wildcards):
    """What says that the command for preparation has finished, if there is one.

    It is not ``ancient``: when a job runs again, Snakemake 9 examines no job downstream of it, not even for missing
    files, and then starts none that depends on it through ancient files only.
    """
    return f"{shared_folder(wildcards, None)}/prepared.json" if method_of(wildcards).prepare else []


def shared_folder(wildcards, input):
    return f"{RESULTS}/external/{wildcards.dataset}/{wildcards.method}"


def external_settings(wildcards):
    """Commands and content of the files that a model depends on: a change trains the method again."""
    return canonical(external_of(method_of(wildcards)))


def prepared_content(wildcards):
    """Checksum of the prepared dataset, which changes with the exported one."""
    return checksum(Path(f"{RESULTS}/prepared/{wildcards.dataset}"))
