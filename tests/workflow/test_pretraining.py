"""The workflow trains masked autoencoders before the runs that use them, and the status agrees with what it plans."""

import copy
import shutil

import pytest

from .conftest import TINY, planned, snakemake, status, write_config

pytestmark = pytest.mark.workflow

SIZES = {"mask_ratio": 0.5, "patch": 8, "width": 16, "layers": 1, "heads": 2}
SIZES |= {"decoder_width": 16, "decoder_layers": 1, "decoder_heads": 2}
OPTIONS = {"decoder_channels": [8, 8, 8, 8, 8], "rcu_strides": [8, 4], "rcu_window": 4, "rcu_width": 8, "rcu_heads": 2}


def study():
    """One dataset, one run without and one with a masked autoencoder."""
    content = copy.deepcopy(TINY)
    del content["datasets"]["polypgen"]
    content["pretraining"] = {"half": {**SIZES, "iterations": 4, "batch_size": 2}}
    grcsf = {**content["architectures"]["unet"], "model": "grcsf", "options": OPTIONS, "pretrained": ["half"]}
    content["architectures"]["grcsf"] = grcsf
    content["grid"]["main"] |= {"architectures": ["unet", "grcsf"], "objectives": ["spatial"]}
    return content


@pytest.fixture
def trained(made_once, tmp_path):
    """A copy of a directory with the finished runs of the study."""

    def run(directory):
        snakemake(directory, "--cores", 2, "--configfile", write_config(directory, study()), "--", "runs")

    shutil.copytree(made_once("pretrained_study", run), tmp_path / "a" / "b", symlinks=True)
    return tmp_path / "a" / "b"


def trainings(directory, content):
    """Wildcards of the planned trainings, and the titles of all trainings that the status calls unfinished."""
    config = write_config(directory, content)
    plan = planned(snakemake(directory, "--cores", 2, "--configfile", config, "--dry-run", "--", "runs"))
    values = status(directory, config)
    unfinished = {
        f"dataset={item['dataset']}, pretraining={item['pretraining']}": item for item in values["pretraining"]
    }
    for item in values["status"]:
        keys = {key: item[key] for key in ("dataset", "architecture", "objective")}
        wildcards = ", ".join(f"{key}={value}" for key, value in keys.items())
        unfinished[f"{wildcards}, lam={item['lambda']}, seed={item['seed']}"] = item
    titles = {wildcards for wildcards, item in unfinished.items() if not item["trained"]}
    return plan.get("pretrain", set()) | plan.get("train", set()), titles


UNET, GRCSF = (
    f"dataset=kvasir_seg, architecture={name}, objective=spatial, lam=0, seed=0" for name in ("unet", "grcsf")
)
HALF = "dataset=kvasir_seg, pretraining=half"  # its SLURM log is named after these values in this order


def unchanged(content, results):
    return set()


def learning_rate_of_runs(content, results):
    content["training"]["learning_rate"] = 0.5
    return {UNET, GRCSF}


def width(content, results):
    content["pretraining"]["half"]["width"] = 32
    return {HALF, GRCSF}


def augmentation(content, results):
    content["training"]["flip"] = False
    return {HALF, UNET, GRCSF}


def image_size(content, results):
    content["image_size"] = 64
    return {HALF, UNET, GRCSF}


def without_the_autoencoder(content, results):
    shutil.rmtree(results / "pretraining")
    return {HALF, GRCSF}


def without_its_picture(content, results):
    (results / "pretraining/kvasir_seg/half/residual_maps.png").unlink()
    return {HALF, GRCSF}


@pytest.mark.parametrize(
    "change",
    [
        *(unchanged, learning_rate_of_runs, width, augmentation, image_size),
        *(without_the_autoencoder, without_its_picture),
    ],
    ids=lambda change: change.__name__,
)
def test_the_status_calls_outdated_what_the_workflow_trains_again(trained, change):
    content = study()
    expected = change(content, trained / "results/tiny")
    assert trainings(trained, content) == (expected, expected)


def test_a_finished_study_has_finished_autoencoders(trained):
    values = status(trained, trained / "study.yaml")
    assert (values["runs"], values["autoencoders"], values["done"]) == (2, 1, 3)
    (half,) = values["pretraining"]
    assert (half["state"], half["iteration"], half["trained"]) == ("done", 4, True)
    assert half["validation_r2"] <= 1
