"""What the tests share: a network ban, small phantoms and the datasets prepared from them, small models and studies."""

import copy
import functools
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from filelock import FileLock

from spectralseg.config import validate_config
from spectralseg.data import open_prepared, phantoms
from spectralseg.data import prepare as preparation
from spectralseg.data.cases import Case, Sample
from spectralseg.data.specification import DatasetSpecification, read_specification

REPOSITORY = Path(__file__).parents[1]
DATASET_FILES = REPOSITORY / "workflow" / "rules" / "datasets"
SMALL_ENCODER = "tu-test_resnet.r160_in1k"
SMALL_OPTIONS = {
    "unet": {"decoder_channels": [16, 16, 8, 8, 8]},
    "transunet": {"width": 32, "layers": 2, "heads": 4, "decoder_channels": [16, 16, 8, 8]},
}
_SMALL_LEVELS = {"channels": [4, 8, 8, 8], "strides": [2, 2, 2]}
SMALL_MONAI = {
    "monai:AttentionUnet": _SMALL_LEVELS,
    "monai:BasicUNet": {"features": [4, 4, 8, 8, 8, 4]},
    "monai:BasicUNetPlusPlus": {"features": [4, 4, 8, 8, 8, 4]},
    "monai:DynUNet": {
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [4, 8, 8],
    },
    "monai:FlexibleUNet": {"encoder": "resnet10", "decoder_channels": [8, 8, 8, 4, 4]},
    "monai:MedNeXt": {"init_filters": 4, "blocks_down": [1, 1], "blocks_bottleneck": 1, "blocks_up": [1, 1]},
    "monai:SegResNet": {"init_filters": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]},
    "monai:SegResNetDS": {"init_filters": 4, "blocks_down": [1, 1, 1]},
    "monai:SwinUNETR": {"feature_size": 12, "depths": [2, 1, 1, 1], "num_heads": [1, 1, 1, 1], "window_size": 4},
    "monai:UNETR": {"feature_size": 4, "hidden_size": 8, "mlp_dim": 8, "num_heads": 2},
    "monai:UNet": _SMALL_LEVELS,
}
_SMALL_GRCSF = {
    "decoder_channels": [16, 16, 8, 8, 8],
    **{"rcu_strides": [8, 4], "rcu_window": 4, "rcu_width": 8, "rcu_heads": 2},
    **{"mae_patch": 8, "mae_width": 16, "mae_layers": 1, "mae_heads": 2},
    **{"mae_decoder_width": 16, "mae_decoder_layers": 1, "mae_decoder_heads": 2},
}

SPECIFICATION = {
    "name": "toy",
    "title": "Toy",
    "modality": "drawing",
    "classes": ["disc"],
    "dimensions": 2,
    "channels": 3,
    "licence": "CC0",
    "citation": "nobody",
    "homepage": "https://example.org",
    "reader": "paired_images",
    "split": {"random": 0.3},
}

STUDY = {
    "name": "toy",
    "image_size": 32,
    "datasets": {"toy": {"source": "phantom"}},
    "architectures": {
        name: {"model": name, "encoder": SMALL_ENCODER, "encoder_weights": None, "options": options}
        for name, options in SMALL_OPTIONS.items()
    },
    "objectives": {"spatial": {"base": "bce_dice"}, "mixed": {"base": "bce_dice", "auxiliary": "spectral"}},
    "grid": {
        "main": {
            "datasets": ["toy"],
            "architectures": ["unet"],
            "objectives": ["spatial", "mixed"],
            "lambdas": ["0.2"],
            "seeds": [0],
        }
    },
    "training": {"iterations": 2, "batch_size": 2, "learning_rate": 0.01},
    "evaluation": {
        "batch_size": 4,
        "noise": {"datasets": ["toy"], "corruptions": {"gaussian": ["0.01"], "bernoulli": ["0.1"]}},
    },
}


SLURM_COMMANDS = {"sinfo", "squeue", "sacct", "sacctmgr", "sbatch", "srun", "salloc", "scancel", "scontrol"}


def pytest_configure(config):
    # Tiny models gain nothing from more, and parallel tests would wait for each other. The environment is for the
    # workers of pytest-xdist, which start later, and for commands that tests run.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in processes that a shell starts in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # No test may fail because the machine is slow.
    hypothesis.settings.register_profile(
        "patient",
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
    )
    hypothesis.settings.load_profile("patient")
    if config.option.markexpr != "slurm":
        config.add_cleanup(hide_slurm())


def hide_slurm():
    """Take SLURM's commands off PATH: tests must pass where there is no SLURM, and not depend on that of the machine.

    A folder that holds such commands is replaced by one with links to its other files.

    Returns:
        A function that puts PATH back.
    """
    path, folders, made = os.environ["PATH"], [], []
    for folder in map(Path, path.split(os.pathsep)):
        if not any((folder / command).exists() for command in SLURM_COMMANDS):
            folders.append(str(folder))
            continue
        made.append(tempfile.mkdtemp(prefix="without-slurm-"))
        folders.append(made[-1])
        for file in folder.iterdir():
            if file.name not in SLURM_COMMANDS:
                (Path(made[-1]) / file.name).symlink_to(file)
    os.environ["PATH"] = os.pathsep.join(folders)

    def restore():
        os.environ["PATH"] = path
        for folder in made:
            shutil.rmtree(folder)

    return restore


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Only this machine may be reached, so that no test depends on a server or downloads official data."""
    connect = socket.socket.connect

    def local_only(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"tests must not reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture(scope="session")
def repository():
    """Root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """``made_once(name, make)``: a folder that ``make(folder)`` fills, shared by all processes of the test run.

    Tests must not change it.
    """
    root = tmp_path_factory.getbasetemp()
    root = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "made-once"
    root.mkdir(exist_ok=True)

    def find(name, make):
        folder, complete = root / name, root / f"{name}.complete"
        with FileLock(root / f"{name}.lock"):
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
                folder.mkdir()
                make(folder)
                complete.touch()
        return folder

    return find


@pytest.fixture(autouse=True)
def one_thread():
    """Commands called in this process may set another number, with which sums of later tests have other last bits."""
    yield
    torch.set_num_threads(1)


@pytest.fixture
def study():
    """A valid raw configuration that a test may spoil."""
    return copy.deepcopy(STUDY)


@pytest.fixture
def config(study):
    """The same, checked."""
    return validate_config(study, "toy.yaml")


@pytest.fixture
def pretrained_study(study):
    """The raw configuration of three runs: without a masked autoencoder, with ``half``, and with ``untrained`` and the
    maps of other cases.
    """
    sizes = {"mask_ratio": 0.5, "patch": 8, "width": 16, "layers": 1, "heads": 2}
    sizes |= {"decoder_width": 16, "decoder_layers": 1, "decoder_heads": 2}
    study["pretraining"] = {
        "half": {**sizes, "iterations": 10, "batch_size": 4},
        "untrained": {**sizes, "iterations": 0},
    }
    options = {name: value for name, value in _SMALL_GRCSF.items() if not name.startswith("mae_")}
    grcsf = {"model": "grcsf", "encoder": SMALL_ENCODER, "encoder_weights": None, "options": options}
    study["architectures"]["grcsf"] = {**grcsf, "pretrained": ["half"]}
    other = {**grcsf, "options": {**options, "map_source": "other"}}
    study["architectures"]["control"] = {**other, "pretrained": ["untrained"]}
    study["grid"]["main"] |= {"architectures": ["unet", "grcsf", "control"], "objectives": ["spatial"]}
    return study


@pytest.fixture(scope="session")
def toy_specification():
    """Specification of an imaginary dataset of colour drawings, with any keys replaced."""

    def build(**changes):
        return DatasetSpecification.model_validate({**SPECIFICATION, **changes})

    return build


@pytest.fixture(scope="session")
def toy_cases():
    """Colour images of one disc each; the disc is brighter than the rest."""

    def build(count=10, side=40, prefix="case"):
        def load(number):
            rng = np.random.default_rng(number)
            rows, columns = np.mgrid[:side, :side]
            centre = rng.uniform(0.35, 0.65, 2) * side
            radius = (0.12 + 0.02 * number) * side
            disc = np.hypot(rows - centre[0], columns - centre[1]) <= radius
            image = rng.integers(0, 90, (side, side, 3)) + disc[..., None] * 120
            return Sample(image.astype(np.uint8), disc.astype(np.uint8))

        return [Case(f"{prefix}{n:02}", f"{prefix}{n:02}", lambda n=n: load(n), {"n": str(n)}) for n in range(count)]

    return build


@pytest.fixture(scope="session")
def prepare_cases(toy_specification):
    """Prepare cases that exist in memory only: everything of ``prepare`` runs but the reader."""

    def run(out, cases, specification=None, **options):
        settings = {"image_size": 32, "source": "path", "validation": 0.2, **options}
        raw = out.parent / f"{out.name}_raw"
        raw.mkdir(parents=True, exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(preparation, "read_cases", lambda reader, root, given: list(cases))
            preparation.prepare(specification or toy_specification(), raw, out, **settings)
        return open_prepared(out)

    return run


@pytest.fixture(scope="session")
def toy(made_once, prepare_cases, toy_cases):
    """A binary colour dataset of ten prepared images; tests must not change it."""
    return open_prepared(made_once("toy", lambda folder: prepare_cases(folder / "toy", toy_cases())) / "toy")


@pytest.fixture(scope="session")
def prepared_phantom(made_once):
    """Prepared phantoms by dataset, each made once; tests must not change them."""

    @functools.cache
    def prepare(name, image_size=32):
        def make(folder):
            phantoms.generate(name, folder / "raw", cases=8, side=48, seed=1)
            preparation.prepare(
                read_specification(DATASET_FILES / f"{name}.smk"),
                folder / "raw",
                folder / "prepared",
                image_size=image_size,
                source="phantom",
                validation=0.3,
                allow_partial=True,
            )

        return open_prepared(made_once(f"phantom-{name}-{image_size}", make) / "prepared")

    return prepare


@pytest.fixture(scope="session")
def hearts(prepared_phantom):
    """A multi-class dataset of volumes with spacing."""
    return prepared_phantom("acdc")


@pytest.fixture(scope="session")
def small_model():
    """Any registered model, as small as it gets; those of MONAI for images of ``image_size``."""
    from timm.models import vision_transformer_hybrid as hybrids

    from spectralseg.models import build_model

    resnet = hybrids._resnetv2

    def build(name, channels=3, outputs=1, image_size=64, **options):
        torch.manual_seed(0)
        if name.startswith("monai:"):
            return build_model(name, channels, outputs, image_size=image_size, **SMALL_MONAI[name] | options)
        small = {
            "transunet_original": {"encoder": "resnet50", "width": 48, "layers": 1, "heads": 4},
            "grcsf": _SMALL_GRCSF,
            **SMALL_OPTIONS,
        }
        with pytest.MonkeyPatch.context() as patch:  # one block per stage in place of three, four and nine
            patch.setattr(hybrids, "_resnetv2", lambda layers, **given: resnet([1] * len(layers), **given))
            return build_model(name, channels, outputs, **{"encoder": SMALL_ENCODER, **small.get(name, {}), **options})

    return build
