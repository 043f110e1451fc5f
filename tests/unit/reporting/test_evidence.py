"""The page of the study on real images says what its files say, and the README says the same."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from tests.conftest import REPOSITORY

from spectralseg import cli
from spectralseg.config import load_config
from spectralseg.reporting.findings.cells import MOST_DIGITS
from spectralseg.reporting.findings.numbers import Numbers
from spectralseg.reporting.findings.sections.summary import answer
from spectralseg.reporting.rendering import signed
from spectralseg.statistics.verdicts import FEWEST_GROUPS, FEWEST_SEEDS

FOLDER = REPOSITORY / "docs" / "evidence"
PAGE = FOLDER.with_suffix(".md")
TEXTS = {"lambda": "str", "reference_lambda": "str", "leak_free": "str"}


@pytest.fixture(scope="module")
def text():
    return PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def effects():
    return pd.read_csv(FOLDER / "effects.csv", dtype=TEXTS)


@pytest.fixture(scope="module")
def records():
    return pd.read_parquet(FOLDER / "records.parquet")


def test_the_page_is_what_the_command_writes(text, tmp_path):
    shutil.copytree(FOLDER, tmp_path / "evidence")
    assert cli.main(["findings", "--out", str(tmp_path / "evidence")]) == 0
    assert (tmp_path / "evidence.md").read_text(encoding="utf-8") == text


def test_the_readme_repeats_the_answer():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8").split("## What you get")[0]
    assert "docs/evidence/forest.svg" in readme
    for sentence in answer(Numbers(FOLDER)):
        assert sentence in readme


def test_the_configuration_is_that_of_the_repository():
    """But for paths, all settings are those that others will run."""
    ours, public = load_config(FOLDER / "config.yaml"), load_config(REPOSITORY / "config" / "evidence.yaml")
    for section in ("objectives", "grid", "training", "evaluation", "comparison"):
        assert getattr(ours, section) == getattr(public, section)
    for name, dataset in public.datasets.items():
        assert (ours.datasets[name].image_size, ours.datasets[name].iterations) == (
            dataset.image_size,
            dataset.iterations,
        )


def test_files_are_small_and_show_no_image():
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 2**20
    assert {file.suffix for file in files} <= {".csv", ".md", ".parquet", ".svg", ".yaml"}
    for plot in FOLDER.glob("*.svg"):
        assert "<image" not in plot.read_text(encoding="utf-8")


def test_every_interval_of_the_page_is_in_its_files(text, effects):
    noise, claims = (pd.read_csv(FOLDER / f"{name}.csv") for name in ("noise", "claims"))
    printed = re.findall(r"([+−]\d+\.\d+) \[([+−]\d+\.\d+), ([+−]\d+\.\d+)\]", text)
    assert len(printed) > 20
    sources = [effects[["difference", *limits]] for limits in (["low", "high"], ["narrow_low", "narrow_high"])]
    sources += [noise[["gain", "gain_low", "gain_high"]], claims[["measured", "low", "high"]]]
    intervals = {
        tuple(signed(value, digits) for value in row)
        for source in sources
        for row in source.dropna().to_numpy()
        for digits in range(2, MOST_DIGITS + 1)
    }
    assert set(printed) <= intervals


def test_verdicts_are_no_stronger_than_their_intervals(effects):
    higher_is_better = {"dsc", "nsd"}
    for row in effects[effects["metric"].isin(["dsc", "nsd", "hd95", "ece", "brier", "nll"])].to_dict("records"):
        sign = 1 if row["metric"] in higher_is_better else -1
        inside = max(-row["narrow_low"], row["narrow_high"]) < row["margin"]
        few = row["seeds"] < FEWEST_SEEDS or row["groups"] < FEWEST_GROUPS
        if row["verdict"] == "equivalent":
            assert inside
            assert not few
        elif row["verdict"] in ("better", "worse"):
            assert not few
            gain = sign * np.array([row["low"], row["high"]])
            assert (gain > 0).all() if row["verdict"] == "better" else (gain < 0).all()


def test_differences_follow_from_the_records(effects, records):
    """On datasets of one class, the difference is that of the means over seeds and cases."""
    config = load_config(FOLDER / "config.yaml")
    rows = effects[
        (effects["reference"] == config.baseline)
        & (effects["metric"] == "dsc")
        & effects["dataset"].isin(["kvasir_seg", "monuseg"])
        & effects["leak_free"].isna()
    ]
    assert len(rows) > 0
    for row in rows.to_dict("records"):
        part = records[
            (records["suite"] == "iid")
            & (records["metric"] == "dsc")
            & (records["protocol"] == row["protocol"])
            & (records["dataset"] == row["dataset"])
            & (records["architecture"] == row["architecture"])
        ]
        wide = part.pivot_table(index=["seed", "case"], columns=["objective", "lambda"], values="value", observed=True)
        pairs = wide[[(row["objective"], row["lambda"]), (config.baseline, "0")]].dropna()
        mean = 100 * (pairs.iloc[:, 0] - pairs.iloc[:, 1]).mean()
        assert mean == pytest.approx(row["difference"], abs=0.02)
        by_seed = 100 * (pairs.iloc[:, 0] - pairs.iloc[:, 1]).groupby("seed").mean()
        assert 100 * pairs.iloc[:, 1].groupby("seed").mean().std() == pytest.approx(row["reference_sd"], abs=0.02)
        assert [by_seed.min(), by_seed.max()] == pytest.approx([row["smallest_seed"], row["largest_seed"]], abs=0.02)
        assert pairs.index.get_level_values("seed").nunique() == row["seeds"]
