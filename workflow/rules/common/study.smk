# The study: its configuration, its runs and its results folder.
import atexit
import functools
import gc
import json
import os
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from spectralseg import outputs
from spectralseg.config import EXTERNAL, QUOTED_NUMBER, validate_config
from spectralseg.data.specification import read_specifications
from spectralseg.errors import InputError
from spectralseg.files import replacing
from spectralseg.grid import runs as runs_of
from spectralseg.operations.exclusive import StudyLock
from spectralseg.parsing import read_yaml
from spectralseg.repository import repository_root
from spectralseg.study_folder import StudyFolder
from spectralseg.study_outputs import with_outputs

# The plan of a large study consists of millions of objects that live until the end. Garbage collection would take a
# third of the planning time; it is enabled again when jobs start.
gc.disable()
atexit.register(gc.freeze)

os.environ.update(PYTHONUTF8="1")  # for all commands, whatever the locale

ROOT = Path(str(workflow.current_basedir)).resolve().parent.parent.parent
if not (ROOT / "workflow/rules/datasets").is_dir():  # a module from a remote repository: files of the installed package
    ROOT = repository_root()


def repository(path):
    """A file of the repository, relative to the working directory."""
    return os.path.relpath(ROOT / path)


# Snakemake merges --configfile into a configfile that the workflow names; two studies must not mix.
if not workflow.overwrite_configfiles:

    configfile: repository("config/config.yaml")


CONFIG_FILES = ", ".join(map(str, workflow.configfiles))

try:
    for file in workflow.configfiles:
        read_yaml(Path(file))  # refuses duplicate keys, of which Snakemake takes the last
    SPECIFICATIONS = read_specifications(ROOT / "workflow/rules/datasets")
    CONFIG = validate_config(config, CONFIG_FILES, SPECIFICATIONS, outputs.own_names(ROOT))
    CONFIG = with_outputs(CONFIG, SPECIFICATIONS, ROOT / "config/published")
    RESULTS = f"results/{CONFIG.name}"
    if workflow.is_main_process:
        StudyFolder(Path(RESULTS), CONFIG).refuse_missing_files(CONFIG_FILES)
except InputError as error:
    raise WorkflowError(str(error)) from None

if set("{}") & set(str(ROOT)):  # validation refuses braces in the configuration
    raise WorkflowError(f"{ROOT}: Snakemake reads braces as wildcards; rename the folder")

LOCK = StudyLock(Path(RESULTS)) if workflow.is_main_process else None
RUNS = runs_of(CONFIG)
ENVIRONMENTS = f"{CONFIG.downloads}/environments"
RESOLVED = f"{RESULTS}/config.yaml"
ENVIRONMENT = str(ROOT / "envs/environment.yaml")
# Computed once: thousands of jobs use parts of them as parameters.
DUMPED = CONFIG.model_dump(mode="json")
LEARNED = {name: CONFIG.training_of(name).learned() for name in CONFIG.datasets}


pathvars:
    results=RESULTS,
    downloads=CONFIG.downloads,
    prepared=f"{RESULTS}/prepared/{{dataset}}",
    pretraining=f"{RESULTS}/pretraining/{{dataset}}/{{pretraining}}",
    external_run=f"{RESULTS}/runs/{{dataset}}/{{method}}/{EXTERNAL}/lambda0/seed{{seed}}",
    run=f"{RESULTS}/runs/{{dataset}}/{{architecture}}/{{objective}}/lambda{{lam}}/seed{{seed}}",


def dataset_files():
    return sorted(str(path) for path in (ROOT / "workflow/rules/datasets").glob("*.smk"))


def canonical(value):
    """Plain values as text that is the same for the same content, whatever the order of keys."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def if_missing(file):
    """A file of the user's if it is missing, which Snakemake then reports before it starts anything. As an input it
    would count by its date: a date in the future fails the job, any later one repeats it."""
    return [] if os.path.exists(file) else file


def write_resolved_config():
    """Write the validated configuration with all defaults and overrides, which the commands read."""
    with replacing(Path(RESOLVED)) as partial:
        partial.write_text(yaml.safe_dump(DUMPED, sort_keys=False, allow_unicode=True), encoding="utf-8")
