"""A tiny results folder with every dataset of the paper, its runs and its records."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from spectralseg.data.audit import LEAKS, PAIRS, Audit, finding
from spectralseg.data.prepared import COLUMNS as CASE_COLUMNS
from spectralseg.data.prepared import FORMAT
from spectralseg.data.splits import PARTS
from spectralseg.grid import Run
from spectralseg.metrics.records import COLUMNS
from spectralseg.statistics.comparison import compare

SIDE = 32
REPOSITORY = Path(__file__).parents[3]
PUBLISHED = REPOSITORY / "config" / "published"
CLASSES = {
    "synapse": [
        "aorta",
        "gallbladder",
        "left kidney",
        "right kidney",
        "liver",
        "pancreas",
        "spleen",
        "stomach",
    ],
    "acdc": ["right ventricle", "myocardium", "left ventricle"],
    "kvasir_seg": ["polyp"],
    "polypgen": ["polyp"],
    "isic2018": ["lesion"],
    "isic2017": ["lesion"],
    "monuseg": ["nucleus"],
    "btseg": ["tumour"],
}
MODALITIES = {
    "synapse": "abdominal CT",
    "acdc": "cardiac MR",
    "kvasir_seg": "colonoscopy",
    "polypgen": "colonoscopy",
    "isic2018": "dermoscopy",
    "isic2017": "dermoscopy",
    "monuseg": "histopathology",
    "btseg": "brain MR",
}
PARTNERS = {"kvasir_seg": ["polypgen"], "isic2018": ["isic2017"]}
METHODS = [
    ("unet", "spatial", "0"),
    ("transunet", "spatial", "0"),
    ("unet", "spatial_spectral", "0.2"),
    ("transunet", "spatial_spectral", "0.2"),
]


def write_prepared(root, name, source, cases=4):
    """One slice per case; the foreground grows from case to case."""
    folder = root / "prepared" / name
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(name))
    images = rng.integers(0, 256, (cases, SIDE, SIDE, 1 if name in ("synapse", "acdc") else 3)).astype(np.uint8)
    masks = np.zeros((cases, SIDE, SIDE), np.uint8)
    count = len(CLASSES[name])
    for case in range(cases):
        for label in range(1, count + 1):
            masks[case, 3 * label : 3 * label + 2, 2 : 8 + 4 * case] = label
    np.save(folder / "images.npy", images)
    np.save(folder / "masks.npy", masks)
    (folder / "native_labels.bin").touch()
    channels = images.shape[-1]
    info = {"format": FORMAT, "name": name, "title": name, "classes": CLASSES[name], "source": source, "files": {}}
    info |= {"modality": MODALITIES[name], "dimensions": 2}
    info |= {"channels": channels, "image_size": SIDE, "mean": [0.5] * channels, "std": [0.2] * channels}
    info |= {"id_namespace": name, "ood": PARTNERS.get(name, [])}
    (folder / "dataset.json").write_text(json.dumps(info))
    rows = [[f"{name}_{i}", f"g{i}", "test", i, 1, "[32, 32]", "", 0, 0, "", "", "{}", "", ""] for i in range(cases)]
    pd.DataFrame(rows, columns=list(CASE_COLUMNS)).to_csv(folder / "cases.csv", index=False)
    return masks


def write_examples(root, run, masks):
    arrays = {"dataset": [], "case": [], "row": [], "prediction": [], "probability": [], "cam": []}
    for name in [run.dataset, *PARTNERS.get(run.dataset, [])]:
        for row in (1, 2, 3):
            prediction = np.roll(masks[name][row], 1, axis=1)
            arrays["dataset"].append(name)
            arrays["case"].append(f"{name}_{row}")
            arrays["row"].append(row)
            arrays["prediction"].append(prediction)
            arrays["probability"].append(np.stack([prediction == k + 1 for k in range(len(CLASSES[name]))]) * 0.9)
            arrays["cam"].append((prediction > 0) * 2.5)
    file = root / "runs" / run.folder / "examples.npz"
    file.parent.mkdir(parents=True)
    types = {"prediction": np.uint8, "probability": np.float16, "cam": np.float16}
    np.savez(file, **{name: np.asarray(values, types.get(name)) for name, values in arrays.items()})


def conditions(run):
    yield "iid", run.dataset, "none", "0"
    for partner in PARTNERS.get(run.dataset, []):
        yield "ood", partner, "none", "0"
    if run.dataset in ("synapse", "acdc"):
        yield "noise", run.dataset, "gaussian", "0.01"
        yield "noise", run.dataset, "bernoulli", "0.01"


def records_of(run, rng, cases=3):
    for suite, test, corruption, severity in conditions(run):
        for metric in ("dsc", "iou", "sensitivity", "specificity", "hd95", "ece", "mce"):
            for case in range(cases):
                for name in CLASSES[test]:
                    for protocol in ("published", "sound"):
                        value = rng.random() * (30 if metric == "hd95" else 1)
                        # The last case lacks its first class under the sound protocol.
                        undefined = protocol == "sound" and case == cases - 1 and name == CLASSES[test][0]
                        yield {
                            **run.keys,
                            "suite": suite,
                            "test_dataset": test,
                            "corruption": corruption,
                            "severity": severity,
                            "case": f"{test}_{case}",
                            "group": f"g{case}",
                            "class": name,
                            "protocol": protocol,
                            "metric": metric,
                            "value": np.nan if undefined else value,
                            "flag": "absent" if undefined else "",
                        }


def audit():
    """Of three test cases of isic2017, one is a training image of isic2018 and one a test image."""
    pairs = []
    for training, test in [*((name, name) for name in CLASSES), *((a, b) for a in PARTNERS for b in PARTNERS[a])]:
        counts = {"train": 1, "validation": 0, "test": 1} if test == "isic2017" != training else dict.fromkeys(PARTS, 0)
        role, told = "own" if training == test else "ood", finding(training, test, 3, counts)
        pairs.append([training, test, role, 3, 0, *counts.values(), told])
    leaks = [
        ["isic2018", "isic2017", "isic2017_0", kind, "isic2018_1", "train", distance]
        for kind, distance in (("bytes", np.nan), ("near_duplicate", 0.0))
    ]
    leaks.append(["isic2018", "isic2017", "isic2017_2", "near_duplicate", "isic2018_3", "test", 8.0])
    return Audit(pd.DataFrame(pairs, columns=list(PAIRS)), pd.DataFrame(leaks, columns=list(LEAKS)))


def all_runs():
    """The paper's grid with two seeds; TransUNet on BTSeg is missing, and ACDC's UNet has one seed."""
    for dataset in ("synapse", "acdc", "kvasir_seg", "isic2018", "monuseg", "btseg"):
        for architecture, objective, lam in METHODS:
            for seed in (0, 1):
                missing = (dataset, architecture, objective) == ("btseg", "transunet", "spatial")
                if not missing and not (seed and (dataset, architecture, objective) == ("acdc", "unet", "spatial")):
                    yield Run(dataset, architecture, objective, lam, seed)


def make_results(root, source="official"):
    masks = {name: write_prepared(root, name, source) for name in CLASSES}
    rng = np.random.default_rng(0)
    rows = []
    for run in all_runs():
        rows += records_of(run, rng)
        if run.seed == 0:
            write_examples(root, run, masks)
    pd.DataFrame(rows, columns=list(COLUMNS)).to_parquet(root / "records.parquet")
    audit().write(root / "leakage.parquet")
    return root


SEVERITIES = ("0", "1", "2", "3", "4", "5")
FORMS = {"spatial_spectral": "add", "printed": "printed", "convex": "convex"}


def study_runs():
    """Three seeds on two datasets: both networks with and without the term, and UNet with every form and three λ."""
    methods = {*METHODS, *(("unet", name, lam) for name in FORMS for lam in ("0.1", "0.2", "0.5"))}
    return [
        Run(name, *method, seed) for name in ("acdc", "isic2018") for method in sorted(methods) for seed in range(3)
    ]


def study_records(run, rng, cases=5):
    """Better networks are better by a known amount, and each severity costs four points of Dice."""
    level = 0.8 + 0.05 * (run.architecture == "transunet") + 0.02 * (run.objective != "spatial")
    noisy = [("noise", run.dataset, "ghosting", severity) for severity in SEVERITIES[1:]]
    others = [
        ("noise", run.dataset, "bernoulli", "0.01"),
        *(("ood", one, "none", "0") for one in PARTNERS.get(run.dataset, [])),
    ]
    for suite, test, corruption, severity in [("iid", run.dataset, "none", "0"), *noisy, *others]:
        for metric in ("dsc", "iou", "hd95", "frc_low", "frc_mid"):
            for case in range(cases):
                for name in CLASSES[test]:
                    for protocol in ("published", "sound"):
                        value = level - 0.04 * float(severity) + 0.01 * case + 0.01 * rng.standard_normal()
                        keys = {"suite": suite, "test_dataset": test, "corruption": corruption, "severity": severity}
                        unit = {"case": f"{test}_{case}", "group": f"g{case}", "class": name}
                        rest = {"protocol": protocol, "metric": metric, "flag": ""}
                        yield {**run.keys, **keys, **unit, **rest, "value": 10 * value if metric == "hd95" else value}


def reliability_of(run):
    """Calibrated: in each bin as many pixels are foreground as their probabilities add up to."""
    bins = pd.DataFrame({"bin": range(15), "pixels": 300}).assign(
        probability=lambda frame: 20.0 * frame["bin"] + 10, foreground=lambda frame: 20 * frame["bin"] + 10
    )
    return pd.concat(
        bins.assign(**run.keys, suite="iid", test_dataset=test, region=region, **{"class": name})
        for test in (run.dataset, *PARTNERS.get(run.dataset, []))
        for name in CLASSES[test]
        for region in ("image", "band")
    )


def write_training_log(folder, run):
    """Four validations, of which the third is best. Returns what ``run.json`` says about them."""
    scores = [0.2, 0.5, 0.8 + 0.01 * run.seed, 0.7]
    entries = [{"iteration": 100 * (n + 1), "loss": 1 - dice, "validation_dice": dice} for n, dice in enumerate(scores)]
    (folder / "history.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return {"iterations": 400, "best_iteration": 300, "validation_dice": scores[2], "diverged": None}


def make_study(root):
    """A study with seeds, severities, weights and forms, with all that its runs leave behind."""
    masks = {name: write_prepared(root, name, "official") for name in ("acdc", "isic2018", "isic2017")}
    rng = np.random.default_rng(0)
    rows = []
    for number, run in enumerate(study_runs()):
        rows += study_records(run, rng)
        write_examples(root, run, masks)
        folder = root / "runs" / run.folder
        reliability_of(run).to_parquet(folder / "reliability.parquet")
        info = {"seconds": 60.0 + number, "parameters": 10**6, "peak_memory": {"resident_mib": 512.0}}
        info["hardware"] = {"device_name": "cpu", "threads": 1}
        info |= write_training_log(folder, run)
        (folder / "run.json").write_text(json.dumps(info))
    records = pd.DataFrame(rows)[list(COLUMNS)]
    compared = records[records["severity"].isin(["0", "0.01", "5"]) & (records["protocol"] == "sound")]
    compared[compared["metric"].isin(["dsc", "hd95"])].to_parquet(root / "records.parquet")
    compare(root / "records.parquet", "spatial", root / "comparisons.parquet")
    records.to_parquet(root / "records.parquet")
    audit().write(root / "leakage.parquet")
    forms = {name: {"base": "bce_dice", "auxiliary": "spectral", "form": form} for name, form in FORMS.items()}
    names = {name: {"source": "official"} for name in masks}
    block = {"datasets": ["acdc", "isic2018"], "architectures": ["unet"], "seeds": [0, 1, 2]}
    methods = {
        "architectures": ["unet", "transunet"],
        "objectives": ["spatial", "spatial_spectral"],
        "lambdas": ["0.2"],
    }
    curves = {"objectives": list(FORMS), "lambdas": ["0.1", "0.2", "0.5"]}
    config = {
        "name": "study",
        "datasets": names,
        "architectures": {name: {"model": name} for name in ("unet", "transunet")},
        "objectives": {
            "spatial": {"base": "bce_dice"},
            **forms,
        },
        "grid": {"main": block | methods, "curves": block | curves},
    }
    (root / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return root


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def official(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("phantom"), "phantom")


@pytest.fixture(scope="session")
def published():
    return PUBLISHED


@pytest.fixture(scope="session")
def repository():
    return REPOSITORY
