"""Finished studies of several laboratories, with records from random numbers instead of training."""

import json
import zipfile

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from spectralseg.config import validate_config
from spectralseg.data.prepared import COLUMNS as CASE_COLUMNS
from spectralseg.data.prepared import FORMAT
from spectralseg.files import write_parquet
from spectralseg.grid import runs
from spectralseg.metrics.records import COLUMNS
from spectralseg.statistics.comparison import compare
from tests.standins.study import CONFIG

CASES = 6
DATASETS = ("kvasir_seg", "polypgen")


def write_dataset(root, name, pixel=0):
    """A prepared dataset with one slice per case; ``pixel`` changes its content."""
    folder = root / "prepared" / name
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", np.full((CASES, 32, 32, 3), pixel, np.uint8))
    np.save(folder / "masks.npy", np.ones((CASES, 32, 32), np.uint8))
    (folder / "native_labels.bin").touch()
    info = {"format": FORMAT, "name": name, "title": name, "classes": ["polyp"], "source": "phantom", "channels": 3}
    info |= {"modality": "colonoscopy", "dimensions": 2, "image_size": 32, "mean": [0.5] * 3, "std": [0.2] * 3}
    info |= {"id_namespace": name, "ood": [], "files": {"images.npy": f"{pixel:064d}"}, "intensity": None}
    info |= {"licence": "CC0-1.0", "citation": f"{name} et al.", "homepage": f"https://example.org/{name}?page=1"}
    info |= {"cases": {"test": CASES}}
    (folder / "dataset.json").write_text(json.dumps(info))
    rows = [[f"c{i}", f"g{i}", "test", i, 1, "[32, 32]", "", 0, 0, "", "", "{}", "", ""] for i in range(CASES)]
    pd.DataFrame(rows, columns=list(CASE_COLUMNS)).to_csv(folder / "cases.csv", index=False)


def records_of(run, rng, gain):
    """Dice of one test set under both protocols; the method with the auxiliary term gains ``gain``."""
    for protocol in ("published", "sound"):
        for case in range(CASES):
            value = 0.5 + 0.05 * case + gain * (run.objective != "spatial") + 0.005 * rng.standard_normal()
            condition = {"suite": "iid", "test_dataset": run.dataset, "corruption": "none", "severity": "0"}
            unit = {"case": f"c{case}", "group": f"g{case}", "class": "polyp", "protocol": protocol, "metric": "dsc"}
            yield {**run.keys, **condition, **unit, "value": value, "flag": ""}


def describe(run, number, version="0.1.0"):
    """The content of run.json; ``number`` makes the weights those of one run only."""
    training = {"learning_rate": 0.1, "batch_size": 4}
    data = {"name": run.dataset, "source": "phantom", "classes": ["polyp"], "channels": 3, "image_size": 32}
    return {
        **{"run": run.keys, "architecture": {"model": "unet", "encoder": "resnet18", "encoder_weights": None}},
        **{"objective": {"base": "bce_dice", "auxiliary": None, "form": "add"}, "training": training},
        **{"data": {**data, "mean": [0.5] * 3, "std": [0.2] * 3, "files": {}}, "iterations": 120, "best_iteration": 60},
        **{"validation_dice": 0.5, "parameters": 1000, "versions": {"spectralseg": version}, "seconds": 60.0},
        **{"git": {"commit": "c0ffee", "dirty": False}, "weights_sha256": f"{number:064x}", "diverged": None},
        **{"peak_memory": {"resident_mib": 500.0}, "hardware": {"device_name": "cpu", "threads": 1}},
    }


def write_study(root, *, seed=0, gain=0.02, pixel=0, version="0.1.0", changes=None, report=False):
    """A finished study with three seeds."""
    content = {**CONFIG, "tables": ["summary"], "figures": ["figure_5", "forest"], **(changes or {})}
    content["grid"] = {"main": {**CONFIG["grid"]["main"], "seeds": [0, 1, 2]}}
    root.mkdir(parents=True)
    (root / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    rng, rows = np.random.default_rng(seed), []
    for name in DATASETS:
        write_dataset(root, name, pixel)
    for number, run in enumerate(runs(validate_config(content, "config.yaml"))):
        folder = root / "runs" / run.folder
        folder.mkdir(parents=True)
        description = describe(run, 100 * seed + number, version)
        (folder / "run.json").write_text(json.dumps(description))
        (folder / "history.jsonl").write_text('{"iteration": 60, "loss": 0.5, "validation_dice": 0.5}\n')
        (folder / "model.pt").write_bytes(b"weights of a model")
        (folder / "train.log").write_text("/home/anna/data: 3 cases\n")
        own = list(records_of(run, rng, gain))
        notes = {"run": run.keys, "weights_sha256": description["weights_sha256"]}
        write_parquet(folder / "records.parquet", pd.DataFrame(own)[list(COLUMNS)], notes)
        rows += own
    pd.DataFrame(rows)[list(COLUMNS)].to_parquet(root / "records.parquet")
    compare(root / "records.parquet", "spatial", root / "comparisons.parquet")
    for kind, name in (("figures", "figure_5"), ("figures", "forest")):
        (root / kind).mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(root / kind / f"{name}.png")
    return root


def rewrite(bundle, out, changes=None, *, without=()):
    """Copy a bundle with changed or further members."""
    with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        members = {name: source.read(name) for name in source.namelist() if name not in without}
        for name, content in {**members, **(changes or {})}.items():
            target.writestr(name, content)
    return out
