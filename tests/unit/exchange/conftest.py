"""Raw phantoms, their prepared datasets, and one trained run for each."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from tests.conftest import DATASET_FILES, STUDY

from spectralseg.config import Config, validate_config
from spectralseg.data import PreparedDataset, open_prepared, phantoms
from spectralseg.data.archives import is_archive, unpack
from spectralseg.data.prepare import prepare
from spectralseg.data.specification import DatasetSpecification, read_specification
from spectralseg.exchange.predictions import predict
from spectralseg.grid import Run
from spectralseg.run_folder import read_settings, write_run
from spectralseg.training.loop import train


class Source(NamedTuple):
    specification: DatasetSpecification
    raw: Path
    data: PreparedDataset
    run: Path
    config: Config
    predictions: Path

    @property
    def tested(self):
        """Ids of the test cases."""
        return self.data.cases[self.data.cases["part"] == "test"]["case"].tolist()

    @property
    def ending(self):
        return ".nii.gz" if self.data.volumes else ".png"


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """``source(name)``: a phantom with raw files, run and predictions, created once; tests must not change it."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = build(name, tmp_path_factory.mktemp(f"source_{name}"))
        return made[name]

    return make


@pytest.fixture(params=["recorded", "not recorded"])
def diverged(request, source, tmp_path):
    """A run with weights that are not finite, recorded as diverged or not; and its training dataset."""
    polyps, run = source("kvasir_seg"), tmp_path / "diverged"
    shutil.copytree(polyps.run, run)
    weights = torch.load(run / "model.pt", weights_only=True)
    for state in weights.values():
        state["segmentation_head.0.bias"].fill_(torch.nan)
    reason = "its logits are not finite" if request.param == "recorded" else None
    write_run(run, weights, {**read_settings(run), "diverged": reason})
    return run, polyps.data


def build(name, folder):
    specification, raw = read_specification(DATASET_FILES / f"{name}.smk"), folder / "raw"
    raw.mkdir()
    for file in phantoms.generate(name, folder / "archives", cases=8, side=48, seed=1):
        if is_archive(file):
            unpack(file, raw / file.stem)
        else:
            file.rename(raw / file.name)
    options = {"image_size": 32, "source": "phantom", "validation": 0.3, "allow_partial": True}
    prepare(specification, raw, folder / "prepared", **options)
    data = open_prepared(folder / "prepared")
    study = {**STUDY, "datasets": {name: {"source": "phantom"}}, "evaluation": {"suites": ["iid"], "recheck": 0}}
    study["grid"] = {"main": {**STUDY["grid"]["main"], "datasets": [name]}}
    config = validate_config(study, "test.yaml")
    train(config, Run(name, "unet", "mixed", "0.2", 0), data, folder / "run", device_name="cpu")
    predict(folder / "run", data, folder / "predictions", device_name="cpu")
    return Source(specification, raw, data, folder / "run", config, folder / "predictions")
