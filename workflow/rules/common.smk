# Configuration, names and input functions. Everything that a rule needs to know of the grid is here.
import atexit
import csv
import functools
import gc
import json
import math
import os
import re
import shutil
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from spectralseg.config import notebook_names, validate_config
from spectralseg.data.fetch import RECEIPTS, terms
from spectralseg.data.fingerprint import fingerprint
from spectralseg.data.prepared import FILES as PREPARED_FILES
from spectralseg.data.prepared import FORMAT, checksum
from spectralseg.data.specification import read_specifications
from spectralseg.errors import InputError
from spectralseg.files import replacing, sha256_of
from spectralseg.grid import runs as runs_of
from spectralseg.operations.exclusive import StudyLock, end_orphans
from spectralseg.operations.leases import gpu_slots
from spectralseg.operations.throughput import THREADS
from spectralseg.parsing import read_yaml
from spectralseg.registry import weights_file
from spectralseg.reporting.captions import caption, label
from spectralseg.signals import pass_on
from spectralseg.slurm import cancel_jobs_named, partition_limit
from spectralseg.study_folder import StudyFolder

# The plan of a large study is millions of objects that stay until its end. Looking for garbage among them, also at the
# end, would take a third of the time. Once jobs start, it is looked for among later objects.
gc.disable()
atexit.register(gc.freeze)

os.environ.update(PYTHONUTF8="1")  # for all commands, whatever the locale

ROOT = Path(str(workflow.current_basedir)).resolve().parent.parent


def repository(path):
    """A file of the repository, relative to the working directory."""
    return os.path.relpath(ROOT / path)


# Snakemake merges --configfile into a configfile that the workflow names; two studies must not mix.
if not workflow.overwrite_configfiles:

    configfile: repository("config/config.yaml")


CONFIG_FILES = ", ".join(map(str, workflow.configfiles))

try:
    for file in workflow.configfiles:
        read_yaml(Path(file))  # refuses keys that are given twice, of which Snakemake takes the last
    SPECIFICATIONS = read_specifications(ROOT / "workflow/rules/datasets")
    CONFIG = validate_config(config, CONFIG_FILES, SPECIFICATIONS, notebook_names(ROOT / "notebooks"))
    RESULTS = f"results/{CONFIG.name}"
    if workflow.is_main_process:
        StudyFolder(Path(RESULTS), CONFIG).refuse_missing_files(CONFIG_FILES)
except InputError as error:
    raise WorkflowError(str(error)) from None

if set("{}") & set(str(ROOT)):  # those of the configuration are refused with it
    raise WorkflowError(f"{ROOT}: Snakemake takes what is in braces for a wildcard; rename the folder")

LOCK = StudyLock(Path(RESULTS)) if workflow.is_main_process else None
RUNS = runs_of(CONFIG)
RESOLVED = f"{RESULTS}/config.yaml"
ENVIRONMENT = str(ROOT / "envs/environment.yaml")


def is_local():
    """Whether jobs run on this machine: for a cluster, and inside its jobs, the number of submitted jobs is given."""
    return workflow.is_main_process and workflow.resource_settings.nodes is None


# Snakemake counts GPUs only if it is told how many there are; without, all jobs would start at once.
GPU_SLOTS = gpu_slots(CONFIG.runs_per_gpu) if is_local() else 0
if "gpu" in workflow.global_resources:  # the user says how many may be used
    GPU_SLOTS = min(GPU_SLOTS, workflow.global_resources["gpu"].value)
elif GPU_SLOTS:
    workflow.register_resource("gpu", GPU_SLOTS)


def run_threads(wildcards):
    """Fewer than usual where jobs on this machine's GPUs would wait for cores instead of for a GPU."""
    return max(1, min(THREADS, workflow.cores // GPU_SLOTS)) if GPU_SLOTS else THREADS


pathvars:
    results=RESULTS,
    downloads=CONFIG.downloads,
    prepared=f"{RESULTS}/prepared/{{dataset}}",
    run=f"{RESULTS}/runs/{{dataset}}/{{architecture}}/{{objective}}/lambda{{lam}}/seed{{seed}}",


wildcard_constraints:
    dataset="|".join(SPECIFICATIONS),
    architecture="|".join(CONFIG.architectures),
    objective="|".join(CONFIG.objectives),
    lam=r"\d+(\.\d+)?",
    seed=r"\d+",
    encoder="[^/]+",
    weights="[^/]+",
    table="|".join(CONFIG.tables) or "none",
    figure="|".join(CONFIG.figures) or "none",
    study="|".join(CONFIG.studies) or "none",


def dataset_files():
    return sorted(str(path) for path in (ROOT / "workflow/rules/datasets").glob("*.smk"))


# Parameters whose functions ask for ``input`` are no reason to run a job again: where the repository is, for example.
def specification_file(wildcards, input):
    return repository(f"workflow/rules/datasets/{wildcards.dataset}.smk")


def canonical(value):
    """Plain values as text that is the same for the same content, in whatever order it was written down."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def write_resolved_config():
    """The validated configuration with all defaults and overrides: what the commands read and the results keep."""
    with replacing(Path(RESOLVED)) as partial:
        partial.write_text(yaml.safe_dump(DUMPED, sort_keys=False, allow_unicode=True), encoding="utf-8")


def absent(file):
    """A file of the user's if it is missing, which Snakemake then says before it starts anything. As an input, it would
    count by its date: a date in the future fails the job, any later one repeats it."""
    return [] if os.path.exists(file) else file


def raw_files(wildcards):
    """What a dataset is prepared from, as far as the workflow makes it: downloaded archives or phantom archives."""
    choice = CONFIG.datasets[wildcards.dataset]
    if choice.source == "path":
        return absent(choice.path)
    if choice.source == "phantom":
        return f"{RESULTS}/raw/{wildcards.dataset}"
    return f"{CONFIG.downloads}/{wildcards.dataset}/{RECEIPTS}"


def raw_folder(wildcards, input):
    """The one path that stands for the raw files. Of official ones, Snakemake sees only the receipts: it would delete
    an archive that a user put in place, or that took a day to download, before every attempt to fetch it."""
    choice = CONFIG.datasets[wildcards.dataset]
    if choice.source == "path":
        return choice.path
    return f"{CONFIG.downloads}/{wildcards.dataset}" if choice.source == "official" else input.raw


@functools.cache
def content(file):
    """Checksum of a file or folder of the user's."""
    try:
        return fingerprint(Path(file))
    except InputError as error:
        raise WorkflowError(str(error)) from None


def official_content(wildcards):
    """What the official files of a dataset hold, wherever they come from."""
    return canonical([(one.file, one.sha256, one.md5) for one in SPECIFICATIONS[wildcards.dataset].sources])


def split_list(wildcards):
    """A split list of the user's own; published ones belong to the package."""
    chosen = CONFIG.datasets[wildcards.dataset].split
    return chosen if chosen and chosen.endswith(".csv") else None


def split_file(wildcards):
    return absent(split_list(wildcards) or os.curdir)


def prepared_from(wildcards):
    """All that a prepared dataset depends on: another content prepares it again, another date does not."""
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
    options = [
        "--image-size",
        CONFIG.size_of(wildcards.dataset),
        "--validation",
        CONFIG.validation,
        "--source",
        choice.source,
    ]
    options += ["--allow-partial"] if choice.allow_partial else []
    return options + ([] if CONFIG.reduced_decoding else ["--full-decoding"])


def split_option(wildcards, input):
    chosen = CONFIG.datasets[wildcards.dataset].split
    return ["--split", chosen] if chosen else []


def phantom_settings(wildcards):
    phantom = CONFIG.datasets[wildcards.dataset].phantom
    return ["--cases", phantom.cases, "--side", phantom.side, "--seed", phantom.seed]


# Once: thousands of jobs have parts of it as parameters.
DUMPED = CONFIG.model_dump(mode="json")
LEARNED = {name: CONFIG.training_of(name).learned() for name in CONFIG.datasets}


def prepared(wildcards):
    """The dataset of a run. Its date does not count, as its content does, see ``learned_from``. While it has yet to be
    prepared, Snakemake plans what depends on it; once it is, only what depends on other content than before is run.
    """
    return ancient(checkpoints.prepare.get(dataset=wildcards.dataset).output.info)


def partners(wildcards):
    """Prepared out-of-distribution datasets of a training dataset, as far as the study has them; as ``prepared``."""
    names = [name for name in SPECIFICATIONS[wildcards.dataset].ood if name in CONFIG.datasets]
    return [ancient(checkpoints.prepare.get(dataset=name).output.info) for name in names]


def train_settings(wildcards):
    """All of the configuration that the weights of a run depend on: a change retrains exactly the runs it touches."""
    return canonical(
        {
            "architecture": DUMPED["architectures"][wildcards.architecture],
            "objective": DUMPED["objectives"][wildcards.objective],
            "training": LEARNED[wildcards.dataset],
        }
    )


def learned_from(wildcards):
    """Checksums of the data and of the file of encoder weights that the weights of a run depend on."""
    file = weights_file(CONFIG.architectures[wildcards.architecture].encoder_weights)
    return [
        checksum(Path(f"{RESULTS}/prepared/{wildcards.dataset}")),
        content_of_weights(file) if file and file.is_file() else None,
    ]


@functools.cache
def content_of_weights(file):
    return sha256_of(file)


def encoder_weights(wildcards):
    """Pretrained weights, which are downloaded where there is a network, before training."""
    architecture = CONFIG.architectures[wildcards.architecture]
    if architecture.encoder_weights is None:
        return []
    if weights_file(architecture.encoder_weights):
        return absent(architecture.encoder_weights)
    return ancient(f"{RESULTS}/weights/{architecture.encoder}/{architecture.encoder_weights}")


def model_of_weights(wildcards, input):
    """A model of the study that has this encoder and these weights: it knows where to get them."""
    wanted = (wildcards.encoder, wildcards.weights)
    return next(a.model for a in CONFIG.architectures.values() if (a.encoder, a.encoder_weights) == wanted)


def evaluation_settings(wildcards):
    """All of the configuration that the records of a run depend on: corruptions only where its dataset has them."""
    noise = DUMPED["evaluation"]["noise"]
    applied = {
        "corruptions": noise["corruptions"] if wildcards.dataset in noise["datasets"] else {},
        "sweep": wildcards.dataset in noise["sweep"],
    }
    return canonical({**DUMPED["evaluation"], "noise": applied})


def tested_on(wildcards):
    """Checksums of the data that the records of a run depend on, beside its weights."""
    names = [wildcards.dataset, *SPECIFICATIONS[wildcards.dataset].ood]
    return [checksum(Path(f"{RESULTS}/prepared/{name}"), "modality") for name in names if name in CONFIG.datasets]


def partner_folders(wildcards, input):
    return [os.path.dirname(file) for file in input.partners]


def audited():
    return expand(f"{RESULTS}/prepared/{{dataset}}/dataset.json", dataset=CONFIG.datasets)


def audited_folders(wildcards, input):
    return [os.path.dirname(file) for file in input]


def audit_settings(wildcards):
    return ["--fail-on-leakage"] if CONFIG.fail_on_leakage else []


def after_the_audit(wildcards):
    """Nothing, once the audit has passed. The audit is a checkpoint, which orders jobs without becoming an input: neither
    switching the key nor a new audit trains anything again."""
    checkpoints.leakage.get()
    return []


def permission():
    """Makes training wait for the leakage audit where ``fail_on_leakage`` is set; and evaluation, which would be repeated
    after the audit if it did not ask for it itself."""
    return after_the_audit if CONFIG.fail_on_leakage else []


def leaks():
    """What the last audit found, in sentences; nothing where there was none yet."""
    files = [Path(f"{RESULTS}/leakage.csv"), Path(f"{RESULTS}/leakage_development.csv")]
    rows = [row for file in files if file.exists() for row in csv.DictReader(file.read_text("utf-8").splitlines())]
    named = ("train_dataset", "test_dataset", "dataset")
    ours = [row for row in rows if all(row[name] in CONFIG.datasets for name in named if name in row)]
    return [row["finding"] for row in ours if row["finding"]]


config["leaks"] = leaks()  # for the front page of the report, which sees the configuration only


config["captions"] = {
    name: caption(name).text for name in [*CONFIG.tables, *CONFIG.figures, *CONFIG.studies]
}  # likewise, for its results


def shown(kind):
    """What the report calls a table or figure: two columns that name it."""
    return lambda wildcards: {kind: label(wildcards[kind]), "shows": caption(wildcards[kind]).title}


def origin(kind):
    """Under which heading the report lists a table or figure."""
    return lambda wildcards: "As in the paper" if caption(wildcards[kind]).paper else "Beyond the paper"


def records():
    return [f"{RESULTS}/runs/{run.folder}/records.parquet" for run in RUNS]


def published_numbers(wildcards):
    """The paper's numbers for a table, if it has a counterpart there."""
    file = repository(f"config/published/{wildcards.table}.csv")
    return [file] if os.path.exists(file) else []


def published_tables():
    return [repository(f"config/published/table_{number}.csv") for number in range(1, 7)]


def comparison():
    """What results are compared with, and how much matters: a change makes again what shows it."""
    return canonical({**CONFIG.comparison.model_dump(mode="json"), "baseline": CONFIG.baseline})


def published_folder(wildcards, input):
    return repository("config/published")


def claims_files():
    return [repository(f"config/published/{name}.csv") for name in ("claims", "claims_cells")] + published_tables()


def notebook_parameters(out, published=()):
    """Parameters of a notebook as papermill takes them: the results, where to write, and the paper's numbers."""
    folders = {"results": RESULTS, "out": f"{RESULTS}/{out}"}
    folders |= {"published": os.path.dirname(file) for file in published}
    return [word for name, folder in folders.items() for word in ("-p", name, folder)]


def table_parameters(wildcards, input):
    return notebook_parameters("tables", input.published)


def read_by_figure(wildcards):
    """What some figures read beyond the records, the audit and the folders of the runs. Those are not listed: records
    come from the same jobs, and thousands of files in dozens of rules would make every plan wait."""
    files = {
        "forest": [f"{RESULTS}/comparisons.parquet"],
        "lambda_curves": [repository("config/published/table_6.csv")],
    }
    return files.get(wildcards.figure, [])


def figure_parameters(wildcards, input):
    return notebook_parameters("figures", [file for file in input.others if file.endswith(".csv")])


def study_parameters(wildcards, input):
    return notebook_parameters("studies", input.published)


# Outputs are targets: Snakemake would not notice a missing file that only finished jobs need. Archives, downloaded or
# drawn, are left out, so that they may be deleted once the datasets are prepared.
def runs_folder(wildcards):
    return f"{RESULTS}/runs"


def prepared_files():
    return expand(
        f"{RESULTS}/prepared/{{dataset}}/{{file}}",
        dataset=CONFIG.datasets,
        file=PREPARED_FILES,
    )


def audit_files():
    return [
        f"{RESULTS}/{name}.{ending}" for name in ("leakage", "leakage_development") for ending in ("parquet", "csv")
    ]


def missing_run_files():
    """Files that are gone from folders of runs where others of theirs are: what only finished jobs need, Snakemake would
    not miss. All of them as targets would say the same, but thousands of runs would take twice as long to plan."""
    files = ["model.pt", "run.json", "history.jsonl", "records.parquet", "reliability.parquet", "examples.npz"]
    missing = []
    for run in RUNS:
        folder = f"{RESULTS}/runs/{run.folder}"
        present = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if not present.isdisjoint(files):
            missing += [f"{folder}/{file}" for file in files if file not in present]
    return missing


def notebooks():
    return expand(f"{RESULTS}/notebooks/{{name}}.ipynb", name=[*CONFIG.tables, *CONFIG.figures, *CONFIG.studies])


def cards():
    return expand(f"{RESULTS}/cards/{{dataset}}.html", dataset=CONFIG.datasets)


def claims_ledger():
    return [f"{RESULTS}/{name}" for name in ("claims.csv", "claims_cells.csv", "claims.md", "claims.html")]


def tables():
    return expand(
        f"{RESULTS}/tables/{{table}}.{{format}}",
        table=CONFIG.tables,
        format=["csv", "md", "tex", "html"],
    )


def figures():
    return expand(
        f"{RESULTS}/figures/{{figure}}.{{format}}",
        figure=CONFIG.figures,
        format=["pdf", "png"],
    )


def studies():
    return expand(
        f"{RESULTS}/studies/{{study}}.{{format}}",
        study=CONFIG.studies,
        format=["csv", "md", "html", "pdf", "png"],
    )


def grown(amount, attempt):
    """Half as much again with every attempt, up to twice: beyond that, no node has it and no partition allows it."""
    return round(amount * (1 + min(attempt - 1, 2) / 2))


def gigabytes(amount):
    """Memory in MB that grows with every attempt."""

    def mem_mb(wildcards, attempt):
        return grown(1000 * amount, attempt)

    return mem_mb


def minutes(amount):
    """Run time in minutes that grows with every attempt, as far as the partition allows."""

    def runtime(wildcards, attempt):
        return min(grown(amount, attempt), longest())

    return runtime


@functools.cache
def longest():
    """Minutes that the site's partition allows: a job that asks for more would wait for ever."""
    if not workflow.is_main_process or is_local():
        return math.inf
    defaults = workflow.resource_settings.default_resources
    chosen = dict(text.split("=", maxsplit=1) for text in defaults.args) if defaults else {}
    partition = chosen.get("slurm_partition", "").strip("'\"") or None
    return partition_limit(partition) or math.inf


# Training that runs out of time puts its job back in the queue where the job is there for it alone, and not where the
# workflow as a whole runs inside of a job. By the environment: a parameter of the rule would train everything again
# when a study moves from one machine to another.
if workflow.remote_exec:
    os.environ.update(SPECTRALSEG_REQUEUE="1")
    pass_on()


def refuse_absent_slurm():
    """Without SLURM's commands, the executor would fail with each job, and the workflow only after all retries."""
    if workflow.executor_plugin.name == "slurm" and not shutil.which("sbatch"):
        raise WorkflowError(
            "executor 'slurm': there is no command 'sbatch' on this machine; run this on a machine that submits jobs to "
            "SLURM, or leave '--profile slurm' out"
        )


def lock_the_study():
    """One Snakemake per study, and none of the jobs that a killed one left. Snakemake's own lock would outlive a kill.
    From now on, SIGTERM ends this machine's jobs with Snakemake: a training saves its checkpoint, as it does on Ctrl-C.
    """
    try:
        LOCK.take()
    except InputError as error:
        raise WorkflowError(str(error)) from None
    if is_local():
        if ended := end_orphans(Path(RESULTS)):
            print(f"Ended processes of an earlier run: {ended}", file=sys.stderr)
        pass_on()


def refuse_arrays():
    """The executor looks for the files of an array's first job after each of them (its issue 447): those that end before
    the first count as failed, and what the first has written is removed."""
    if getattr(workflow.executor_settings, "array_jobs", None):
        raise WorkflowError(
            "slurm-array-jobs: jobs of an array are taken for failed although they are done, see docs/run-on-a-cluster.md; "
            "leave it out, and set 'jobs' or 'max-jobs-per-timespan' lower where submissions are limited"
        )


def stay_with_squeue():
    """The executor asks for SLURM's MinJobAge whenever it looks after its jobs, takes the silence of a controller for one
    that is too short, and turns to sacct for a day, which does not answer where there is no accounting."""
    executor = sys.modules.get("snakemake_executor_plugin_slurm")
    ask = getattr(executor, "get_min_job_age", None)
    if ask and not is_local():
        known = ask()
        executor.get_min_job_age = lambda: ask() or known


def cancel_orphans(logs):
    """Jobs that a killed Snakemake left in the queue would write to the same files as those that start now. All jobs of
    one Snakemake have one name, which the executor logs; the lock sees to it that each study has one Snakemake only.
    """
    noted = Path(f"{RESULTS}/logs/slurm_name.txt")
    try:
        cancelled = cancel_jobs_named(noted.read_text("utf-8")) if noted.exists() else []
    except InputError as error:
        raise WorkflowError(f"{error}; if you know that there are none, delete {noted}") from None
    if cancelled:
        print(f"Cancelled jobs of an earlier run: {', '.join(cancelled)}", file=sys.stderr)
    if name := re.search(
        r"^SLURM run ID: (\S+)$", "\n".join(Path(log).read_text("utf-8", "replace") for log in logs), re.MULTILINE
    ):
        with replacing(noted) as partial:
            partial.write_text(name[1], encoding="utf-8")
