"""What makes jobs run again: content, never dates. Stand-ins write the results, so that plans alone are tested."""

import copy
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.standins import commands

from .conftest import TINY, planned, snakemake, write_config
from .test_docs import copy_repository

pytestmark = pytest.mark.workflow

RESULTS = "results/tiny"
FUTURE = time.time() + 10**8
OWN = "own $(touch PWNED)"  # folder of raw files


def grid():
    """Two datasets, one from files of the user and one official, two architectures, two objectives."""
    study = copy.deepcopy(TINY)
    phantom = study["datasets"]["polypgen"]
    study["datasets"] = {
        "kvasir_seg": {"source": "path", "path": OWN, "split": "own split.csv", "allow_partial": True},
        "polypgen": phantom,  # the partner of the first
        "isic2018": {"source": "official"},
    }
    unet = study["architectures"]["unet"]
    study["architectures"] = {
        "unet": {**unet, "encoder": "resnet18", "encoder_weights": "imagenet"},
        "other": {**unet, "encoder_weights": "own weights.pt"},
    }
    study["grid"]["main"] |= {"datasets": ["kvasir_seg", "isic2018"], "architectures": ["unet", "other"]}
    study["evaluation"]["noise"]["datasets"] = ["kvasir_seg"]
    return study


@dataclass
class Study:
    """A finished study in a directory of its own, beside a repository of its own."""

    directory: Path
    repository: Path
    environment: dict

    def run(self, study, *arguments, **options):
        config = write_config(self.directory, study)
        given = ["--cores", 2, "--configfile", config, *arguments]
        return snakemake(self.directory, *given, repository=self.repository, **{**self.environment, **options})

    def plan(self, study):
        done = self.run(study, "--dry-run", "--")
        print(*re.findall(r"^(?:local)?(?:rule|checkpoint) .*|^    reason: .*", done.stdout, re.MULTILINE), sep="\n")
        assert ("Nothing to be done" in done.stdout) == (not planned(done))
        return planned(done)

    def specification(self, name):
        return self.repository / "workflow" / "rules" / "datasets" / f"{name}.smk"

    def commands(self):
        return commands.calls(Path(self.environment["STAND_IN_CALLS"]).parent)


def finish(folder):
    """Run the study to its end."""
    directory, repository = folder / "directory", folder / "repository"
    directory.mkdir()
    copy_repository(repository)
    for name in ("images", "masks"):
        (directory / OWN / name).mkdir(parents=True)
        (directory / OWN / name / "1.png").write_text("first")
    os.utime(directory / OWN / "images" / "1.png", (FUTURE, FUTURE))
    (directory / "own split.csv").write_text("case,part\n1,train\n")
    (directory / "own weights.pt").write_text("weights")
    Study(directory, repository, commands.install(folder / "bin")).run(grid())


@pytest.fixture
def finished(made_once, tmp_path):
    """A copy of the finished study, to be changed; in another place, which is the first harmless change."""
    first = made_once("finished_with_stand_ins", finish)
    for name in ("directory", "repository"):
        shutil.copytree(first / name, tmp_path / name, symlinks=True)
    log = {"STAND_IN_CALLS": str(tmp_path / "calls.jsonl")}
    return Study(tmp_path / "directory", tmp_path / "repository", commands.environment(first / "bin") | log)


def edit(file, pattern, replacement):
    text = file.read_text(encoding="utf-8")
    changed = re.sub(pattern, replacement, text, count=1)
    assert changed != text
    file.write_text(changed, encoding="utf-8")


def test_harmless_edits_plan_nothing(finished):
    directory, results = finished.directory, finished.directory / RESULTS
    kvasir, isic = finished.specification("kvasir_seg"), finished.specification("isic2018")
    edit(kvasir, r"\A", "# a comment\n")
    edit(kvasir, r'"licence": "', '"licence": "to be clarified; ')
    edit(isic, r'( +)"dimensions": 2,\n( +)"channels": 3,', r'\1"channels": 3,\n\2"dimensions": 2,')
    edit(isic, r'"url": "https://', '"url": "https://mirror.')
    edit(finished.repository / "workflow" / "rules" / "runs.smk", r"exec spectralseg train", "exec  spectralseg train")
    edit(finished.repository / "workflow" / "rules" / "common" / "runs.smk", r"\A", "# a comment\n")
    for folder in (directory / OWN, directory / OWN / "images", results / "prepared" / "kvasir_seg", results / "runs"):
        (folder / ".DS_Store").write_text("where icons lie")
    (results / "raw" / "polypgen" / ".DS_Store").write_text("likewise")
    shutil.rmtree(results / "raw")
    shutil.rmtree(directory / "results" / "downloads")
    for name in ("own split.csv", "own weights.pt", OWN, f"{OWN}/masks/1.png"):
        os.utime(directory / name, (FUTURE, FUTURE))
    for file in (*results.glob("prepared/*/dataset.json"), *results.glob("runs/*/*/*/*/*/*")):
        file.touch()
    for file in finished.repository.rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.touch()
    study = grid()
    study["training"] |= {"workers": 2, "save_every": 7, "tensorboard": True}
    study["runs_per_gpu"] = 2
    study["datasets"]["isic2018"]["mirrors"] = ["https://example.org/files"]
    study["architectures"] = dict(reversed(study["architectures"].items()))
    study["architectures"]["unet"] = dict(reversed(study["architectures"]["unet"].items()))
    assert finished.plan(study) == {}


def cells(found, rule):
    """Datasets, architectures and objectives of planned jobs; seeds only where they are not 0."""
    names = ("dataset", "architecture", "objective")
    wildcards = [dict(re.findall(r"(\w+)=([^,]+)", text)) for text in found.get(rule, ())]
    return {(*(one[name] for name in names), *([one["seed"]] if one["seed"] != "0" else [])) for one in wildcards}


def every(datasets=("kvasir_seg", "isic2018"), architectures=("unet", "other"), objectives=TINY["objectives"]):
    return {(d, a, o) for d in datasets for a in architectures for o in objectives}


def new_seed(study, finished):
    study["grid"]["main"]["seeds"] = [0, 1]
    shutil.rmtree(finished.directory / "results" / "downloads")
    return {(*cell, "1") for cell in every()}, None


def hyperparameter(study, finished):
    study["training"]["learning_rate"] = 0.04
    return every(), None


def image_size(study, finished):
    study["image_size"] = 64
    return every(), None


def iterations(study, finished):
    study["datasets"]["kvasir_seg"]["iterations"] = 3
    return every(["kvasir_seg"]), None


def objective(study, finished):
    study["objectives"]["spatial_spectral"]["form"] = "convex"
    (finished.directory / RESULTS / "runs/kvasir_seg/unet/spatial/lambda0/seed0/model.pt").unlink()
    return every(objectives=["spatial_spectral"]) | {("kvasir_seg", "unet", "spatial")}, None


def weights_file(study, finished):
    (finished.directory / "own weights.pt").write_text("WEIGHTS")
    return every(architectures=["other"]), None


def raw_files(study, finished):
    (finished.directory / OWN / "masks" / "1.png").write_text("other")
    os.utime(finished.directory / OWN / "masks" / "1.png", (0, 0))
    return every(["kvasir_seg"]), None


def split_list(study, finished):
    (finished.directory / "own split.csv").write_text("case,part\n1,test\n")
    return every(["kvasir_seg"]), None


def specification(study, finished):
    edit(finished.specification("isic2018"), r'"threshold": 127', '"threshold": 128')
    return every(["isic2018"]), None


def official_files(study, finished):
    edit(finished.specification("isic2018"), r'"sha256": "8', '"sha256": "9')
    return every(["isic2018"]), None


def partner(study, finished):
    study["datasets"]["polypgen"]["phantom"]["cases"] = 7
    return set(), every(["kvasir_seg"])


def corruptions(study, finished):
    study["evaluation"]["noise"]["corruptions"]["gaussian"] = ["0.02"]
    return set(), every(["kvasir_seg"])


@pytest.mark.parametrize(
    "change",
    [
        *(
            new_seed,
            hyperparameter,
            image_size,
            iterations,
            objective,
            weights_file,
            raw_files,
            split_list,
            specification,
        ),
        *(official_files, partner, corruptions),
    ],
    ids=lambda change: change.__name__,
)
def test_real_edits_plan_the_cells_they_touch(finished, change):
    study = grid()
    trained, evaluated = change(study, finished)
    found = finished.plan(study)
    assert cells(found, "train") == trained
    assert cells(found, "evaluate") == (trained if evaluated is None else evaluated)


def called(finished, study):
    """Commands of the package that a run of the study starts."""
    before = len(finished.commands())
    finished.run(study, "--")
    return [call[1] for call in finished.commands()[before:] if call[0] == "spectralseg"]


def test_preparing_the_same_again_trains_nothing_and_another_content_does(finished):
    (finished.directory / RESULTS / "prepared" / "kvasir_seg" / "masks.npy").unlink()
    again = called(finished, grid())
    assert again.count("prepare") == 1
    assert not {"train", "evaluate"} & set(again)
    (finished.directory / OWN / "images" / "2.png").write_text("another image")
    again = called(finished, grid())
    assert again.count("prepare") == 1
    assert again.count("train") == again.count("evaluate") == 4
    assert called(finished, grid()) == []


def test_asking_for_the_audit_before_training_trains_nothing_again(finished):
    again = called(finished, grid() | {"fail_on_leakage": True})
    assert again.count("leakage") == 1
    assert not {"prepare", "train", "evaluate"} & set(again)


def test_future_dates_end_neither_a_run_nor_repeat_it(finished):
    """The raw files had one when the study was run."""
    assert (finished.directory / OWN / "images" / "1.png").stat().st_mtime > time.time()
    assert finished.plan(grid()) == {}
