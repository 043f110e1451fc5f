"""Pieces of a finished study: its configuration, runs, comparisons and claims."""

import json

import pandas as pd

from spectralseg.reporting.claim_papers import FILE, ClaimPaper, papers_text
from spectralseg.reporting.report.claims_table import COLUMNS as CLAIMS
from spectralseg.statistics.verdicts import VERDICTS
from tests.conftest import SMALL_ENCODER

CONFIG = {
    "name": "toy",
    "datasets": {"kvasir_seg": {"source": "phantom"}, "polypgen": {"source": "phantom"}},
    "architectures": {"unet": {"model": "unet", "encoder": SMALL_ENCODER, "encoder_weights": None}},
    "objectives": {"spatial": {"base": "bce_dice"}, "spatial_spectral": {"base": "bce_dice", "auxiliary": "spectral"}},
    "grid": {
        "main": {
            "datasets": ["kvasir_seg"],
            "architectures": ["unet"],
            "objectives": ["spatial", "spatial_spectral"],
            "lambdas": ["0.2"],
            "seeds": [0, 1],
        }
    },
    "tables": ["table_3", "summary"],
    "figures": ["figure_2"],
}


def grid_of(records, objectives):
    """A grid with the runs of metric records, and with one run at least of the first objective, the baseline.

    Args:
        records: the records.
        objectives: objectives of the configuration by name.
    """
    runs = records[["dataset", "architecture", "objective", "lambda", "seed"]].drop_duplicates()
    blocks = {
        f"run_{number}": {
            "datasets": [dataset],
            "architectures": [architecture],
            "objectives": [objective],
            "lambdas": [lam] if objectives[objective].get("auxiliary") else [],
            "seeds": [int(seed)],
        }
        for number, (dataset, architecture, objective, lam, seed) in enumerate(runs.itertuples(index=False))
    }
    baseline, *_ = objectives
    first = next(iter(blocks.values()))
    weighted = objectives[baseline].get("auxiliary")
    if not any(block["objectives"] == [baseline] for block in blocks.values()):
        blocks["baseline"] = {**first, "objectives": [baseline], "lambdas": ["0.2"] if weighted else []}
    return blocks


def effect(metric, difference, low, high, **changes):
    """A row of comparisons.parquet."""
    row = {"dataset": "kvasir_seg", "architecture": "unet", "suite": "iid", "test_dataset": "kvasir_seg"}
    row |= {"corruption": "none", "severity": "0", "protocol": "sound", "metric": metric, "class": "mean"}
    row |= {"objective": "spatial_spectral", "lambda": "0.2", "baseline": "spatial", "improved": 0.75, "p_holm": 0.04}
    row |= {"margin": 0.005, "margin_needed": 0.0123}
    row |= {"seeds": 3, "groups": 3, "effective_groups": 3.0, "cases": 3, "undefined": 1, "unpaired": 0}
    row |= {"difference": difference, "low": low, "high": high}
    return {**row, **changes}


def claim(number, **changes):
    """A row of claims.csv."""
    row = dict.fromkeys(CLAIMS, "")
    row |= {
        "paper": "harmonized",
        "id": f"c{number}",
        "section": f"4.{number}",
        "claim": f"claim {number}",
        "published": str(10.5 - number),
    }
    row |= {"measured": "1.5", "low": "0.5", "high": "2.5", "unit": "pp", "verdict": VERDICTS[number % 4]}
    row |= {"p": "0.0002", "p_adjusted": "0.0166", "margin_needed": "2.5", "verdict_adjusted": row["verdict"]}
    return {**row, "demonstration": "True", **changes}


def write_claims(root, claims, untested=()):
    """Write claims.csv of one paper, and claims_papers.csv, also with papers none of whose claims can be tested."""
    pd.DataFrame(claims).to_csv(root / "claims.csv", index=False)
    papers = [
        ClaimPaper("harmonized", "Harmonized", "A title", "A citation", len(claims), len(claims) - 1, 5),
        *(ClaimPaper(name.lower(), name, "Another title", "Another citation", 7, 0, 0) for name in untested),
    ]
    (root / FILE).write_text(papers_text(papers))


def describe_run(root, run, **changes):
    """run.json and the measurements of the workflow beside it."""
    folder = root / "runs" / run.folder
    folder.mkdir(parents=True, exist_ok=True)
    told = {"seconds": 3600.0, "iterations": 120, "best_iteration": 60, "validation_dice": 0.5, "parameters": 574417}
    told |= {"peak_memory": {"resident_mib": 500.4}, "hardware": {"device_name": "a processor", "machine": "x86_64"}}
    told |= {"git": {"commit": "c0ffee" * 6, "dirty": False}, "versions": {"torch": "2.1"}, "encoder_sha256": None}
    told |= {"data": {"name": run.dataset, "files": {}}}
    (folder / "run.json").write_text(json.dumps({**told, **changes}))
    (folder / "records.parquet").touch()
    for name, seconds in (("train", 3700), ("evaluate", 1800)):
        line = json.dumps({"s": seconds, "cpu_time": 900, "h:m:s": "0:00:01"})
        (folder / f"{name}.benchmark.jsonl").write_text(line + "\n")
