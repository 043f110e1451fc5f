import json
import shutil

import numpy as np
import pandas as pd
import pytest

from spectralseg.reporting.results import Results
from spectralseg.reporting.tables import build_table
from spectralseg.reporting.tables.strata import COLUMNS, SIZE, strata_of
from spectralseg.statistics.bootstrap import paired_interval

CASES, SEEDS = 12, 3


@pytest.fixture
def study(official, tmp_path):
    """One test set of twelve cases of two sites; the second site is ten points worse, and sizes grow with the case."""
    shutil.copytree(official / "prepared" / "kvasir_seg", tmp_path / "prepared" / "kvasir_seg")
    table = tmp_path / "prepared" / "kvasir_seg" / "cases.csv"
    template = pd.read_csv(table, dtype=str, keep_default_na=False).iloc[0].to_dict()
    rows = []
    for n in range(CASES):
        attributes = {"site": "AB"[n % 2], "id": f"c{n}", "camera": "one", "ward": "rare" if n == 0 else "usual"}
        case = {"case": f"c{n}", "group": f"p{n}", "part": "test", "first": n, "attributes": json.dumps(attributes)}
        rows.append({**template, **case})
    pd.DataFrame(rows).to_csv(table, index=False)
    for name in ("images.npy", "masks.npy"):
        np.save(table.parent / name, np.repeat(np.load(table.parent / name)[:1], CASES, axis=0))
    record = pd.read_parquet(official / "records.parquet").iloc[0].to_dict()
    keys = {
        "dataset": "kvasir_seg",
        "test_dataset": "kvasir_seg",
        "suite": "iid",
        "corruption": "none",
        "severity": "0",
    }
    keys |= {
        "architecture": "unet",
        "objective": "spatial",
        "lambda": "0",
        "class": "polyp",
        "protocol": "sound",
        "flag": "",
    }
    random = np.random.default_rng(0)
    records = []
    for seed in range(SEEDS):
        for n in range(CASES):
            values = {"dsc": 0.8 - 0.1 * (n % 2) + random.normal(0, 0.02), "tp": 10.0 * n, "fn": 5.0}
            for metric, value in values.items():
                case = {"case": f"c{n}", "group": f"p{n}", "seed": seed, "metric": metric, "value": value}
                records.append({**record, **keys, **case})
    pd.DataFrame(records).to_parquet(tmp_path / "records.parquet")
    return tmp_path


def test_each_group_has_its_mean_and_interval(study):
    cells = build_table("strata", Results(study)).cells
    assert tuple(cells.columns) == (*COLUMNS, "source")
    assert list(dict.fromkeys(cells["attribute"])) == ["site", SIZE], "neither ids, nor single values, nor rare ones"
    site = cells[cells["attribute"] == "site"].set_index("value")
    records = pd.read_parquet(study / "records.parquet")
    values = records[records["metric"] == "dsc"].pivot_table("value", "seed", "case")
    for value, first in (("A", 0), ("B", 1)):
        part = values[sorted(f"c{n}" for n in range(first, CASES, 2))].to_numpy()
        expected = 100 * np.array(paired_interval(part, np.arange(CASES // 2)))
        assert site.loc[value, ["mean", "low", "high"]].astype(float).to_numpy() == pytest.approx(expected)
        assert site.loc[value, "gap"] == pytest.approx(100 * (part.mean() - values.to_numpy().mean()))
    assert site["worst"].tolist() == [False, True]
    assert site["cases"].tolist() == [6, 6]


def test_sizes_are_terciles_of_the_cases(study):
    cells = build_table("strata", Results(study)).cells
    sizes = cells[cells["attribute"] == SIZE]
    assert sizes["value"].tolist() == ["small", "medium", "large"]
    assert sizes["cases"].tolist() == [4, 4, 4]
    strata = strata_of(Results(study), "kvasir_seg", {f"c{n}": 10.0 * n + 5 for n in range(CASES)})
    assert strata[SIZE]["small"] == {"c0", "c1", "c2", "c3"}


def test_the_page_names_the_worst_group(study):
    text = build_table("strata", Results(study)).markdown()
    assert "### Kvasir-SEG by site: DSC ↑" in text
    assert "| B (−5." in text or "| B (−4." in text
    assert "| Cases |  | 6 | 6 |  |" in text


def test_without_attributes_and_sizes_there_is_nothing_to_show(official):
    assert set(build_table("strata", Results(official)).cells["attribute"]) <= {SIZE}


def test_methods_are_compared_within_each_group(study):
    records = pd.read_parquet(study / "records.parquet")
    better = records.assign(objective="spatial_spectral", **{"lambda": "0.2"})
    second = (better["metric"] == "dsc") & better["case"].isin([f"c{n}" for n in range(1, CASES, 2)])
    better.loc[second, "value"] += np.random.default_rng(1).normal(0.05, 0.001, second.sum())
    pd.concat([records, better]).to_parquet(study / "records.parquet")
    cells = build_table("strata", Results(study)).cells
    site = cells[(cells["attribute"] == "site") & (cells["objective"] == "spatial_spectral")].set_index("value")
    assert (site["reference"] == "unet spatial").all()
    assert site["difference"].tolist() == pytest.approx([0, 5], abs=0.1)
    assert site["verdict"].tolist() == ["same", "better"]
    assert site.loc["B", "difference_low"] > 4.5
    assert site["difference_cases"].tolist() == [6, 6]
    baseline = cells[cells["objective"] == "spatial"]
    assert (baseline["reference"] == "").all()
    assert baseline["difference"].isna().all()
