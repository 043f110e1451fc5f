# Inputs and settings of runs. Parameters contain checksums, so that a changed date alone retrains nothing.
from spectralseg.data.prepared import checksum
from spectralseg.files import sha256_of
from spectralseg.training.settings import pretraining_of


def prepared(wildcards):
    """The dataset of a run. A changed date reruns nothing; ``learned_from`` tracks the content. Until the dataset is
    prepared, Snakemake plans everything that depends on it; afterwards, only runs with changed content."""
    return ancient(checkpoints.prepare.get(dataset=wildcards.dataset).output.info)


def partners(wildcards):
    """Prepared out-of-distribution datasets of a training dataset that are part of the study; see ``prepared``."""
    return [ancient(checkpoints.prepare.get(dataset=name).output.info) for name in partner_names(wildcards)]


def partner_names(wildcards):
    return [name for name in SPECIFICATIONS[wildcards.dataset].ood if name in CONFIG.datasets]


def partner_folders(wildcards, input):
    return [os.path.dirname(file) for file in input.partners]


def pretraining_settings(wildcards):
    """The configuration that a masked autoencoder depends on."""
    return canonical(pretraining_of(CONFIG, wildcards.dataset, wildcards.pretraining))


def pretrained_on(wildcards):
    """Checksum of the data that a masked autoencoder depends on."""
    return checksum(Path(f"{RESULTS}/prepared/{wildcards.dataset}"))


def pretrained_models(wildcards):
    """Masked autoencoders of an architecture."""
    names = CONFIG.architectures[wildcards.architecture].pretrained
    return [f"{RESULTS}/pretraining/{wildcards.dataset}/{name}/model.pt" for name in names]


def pretrained_option(wildcards, input):
    return ["--pretrained", *input.pretrained] if input.pretrained else []


def train_settings(wildcards):
    """The configuration that the weights of a run depend on: a change retrains only the affected runs."""
    architecture = CONFIG.architectures[wildcards.architecture]
    settings = {
        "architecture": DUMPED["architectures"][wildcards.architecture],
        "objective": DUMPED["objectives"][wildcards.objective],
        "training": LEARNED[wildcards.dataset],
    }
    if architecture.pretrained:
        settings["pretraining"] = {
            name: pretraining_of(CONFIG, wildcards.dataset, name) for name in architecture.pretrained
        }
    return canonical(settings)


def learned_from(wildcards):
    """Checksums of the data and the encoder weights that the weights of a run depend on."""
    file = weights_file(CONFIG.architectures[wildcards.architecture].encoder_weights)
    return [
        checksum(Path(f"{RESULTS}/prepared/{wildcards.dataset}")),
        content_of_weights(file) if file and file.is_file() else None,
    ]


@functools.cache
def content_of_weights(file):
    return sha256_of(file)


def encoder_weights(wildcards):
    """Pretrained encoder weights, downloaded before training on a machine with a network."""
    architecture = CONFIG.architectures[wildcards.architecture]
    if architecture.encoder_weights is None:
        return []
    if weights_file(architecture.encoder_weights):
        return if_missing(architecture.encoder_weights)
    return ancient(f"{RESULTS}/weights/{architecture.encoder}/{architecture.encoder_weights}")


def models_of_weights(wildcards, input):
    """Models of the study with this encoder and these weights, which determine their sources: one per library."""
    wanted = (wildcards.encoder, wildcards.weights)
    models = [a.model for a in CONFIG.architectures.values() if (a.encoder, a.encoder_weights) == wanted]
    return list({library_of(model): model for model in reversed(models)}.values())


def evaluation_settings(wildcards):
    """The configuration that the records of a run depend on; corruptions only if they apply to its dataset."""
    noise = DUMPED["evaluation"]["noise"]
    applied = {
        "corruptions": noise["corruptions"] if wildcards.dataset in noise["datasets"] else {},
        "sweep": wildcards.dataset in noise["sweep"],
    }
    return canonical({**DUMPED["evaluation"], "noise": applied})


def tested_on(wildcards):
    """Checksums of the data that the records of a run depend on, in addition to its weights."""
    names = [wildcards.dataset, *SPECIFICATIONS[wildcards.dataset].ood]
    return [
        checksum(Path(f"{RESULTS}/prepared/{name}"), "modality", "lesions") for name in names if name in CONFIG.datasets
    ]


def _passed_audit(wildcards):
    """No file, once the audit has passed. The audit is a checkpoint, which orders jobs without becoming an input:
    neither a change of ``fail_on_leakage`` nor a new audit retrains anything."""
    checkpoints.leakage.get()
    return []


def audit_first():
    """Makes training and evaluation wait for the leakage audit when ``fail_on_leakage`` is set."""
    return _passed_audit if CONFIG.fail_on_leakage else []


def records():
    return [f"{RESULTS}/runs/{run.folder}/records.parquet" for run in RUNS]


def runs_folder(wildcards):
    return f"{RESULTS}/runs"
