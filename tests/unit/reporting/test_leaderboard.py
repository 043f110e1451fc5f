import numpy as np
import pandas as pd
import pytest

from spectralseg.metrics.catalogue import metric_of
from spectralseg.reporting.contrasts import to_settle
from spectralseg.reporting.results import Results
from spectralseg.reporting.tables import build_table
from spectralseg.reporting.tables.leaderboard import COLUMNS, references
from spectralseg.statistics.bootstrap import paired_interval
from spectralseg.statistics.power import Components
from spectralseg.statistics.verdicts import OPEN

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cells(official):
    return build_table("leaderboard", Results(official)).cells


def place(cells, **keys):
    keys = {"metric": "dsc", "protocol": "sound", "suite": "iid", "leak_free": "", **keys}
    return cells[np.logical_and.reduce([cells[name] == value for name, value in keys.items()])]


def values_of(official, dataset, method, metric="dsc", protocol="sound"):
    """Values of a method by seed and by case and class."""
    records = pd.read_parquet(official / "records.parquet")
    keys = dict(zip(("architecture", "objective", "lambda"), method, strict=True))
    keys |= {"dataset": dataset, "test_dataset": dataset, "suite": "iid", "protocol": protocol, "metric": metric}
    chosen = records[np.logical_and.reduce([records[name] == value for name, value in keys.items()])]
    return chosen.pivot_table("value", "seed", ["class", "case"], dropna=False)


UNET, MINE = ("unet", "spatial", "0"), ("unet", "spatial_spectral", "0.2")


def test_means_and_differences_are_those_of_the_records(official, cells):
    (row,) = place(cells, dataset="isic2018", architecture="unet", objective="spatial_spectral").to_dict("records")
    mine, plain = (values_of(official, "isic2018", method) for method in (MINE, UNET))
    means = 100 * mine.mean(axis=1)
    assert (row["mean"], row["sd"]) == (pytest.approx(means.mean()), pytest.approx(means.std()))
    expected = 100 * np.array(paired_interval((mine - plain).to_numpy(), np.arange(mine.shape[1])))
    assert [row["difference"], row["low"], row["high"]] == pytest.approx(expected)
    assert (row["reference"], row["seeds"], row["cases"]) == ("unet spatial", 2, 3)


def test_every_method_of_every_test_set_has_a_row_the_best_first(official, cells):
    records = pd.read_parquet(official / "records.parquet")
    keys = ["dataset", "test_dataset", "architecture", "objective", "lambda"]
    clean = records[(records["metric"] == "dsc") & records["suite"].isin(["iid", "ood"])]
    all_cases = cells[cells["leak_free"] == ""]
    rows = all_cases[(all_cases["metric"] == "dsc") & (all_cases["protocol"] == "sound")]
    assert len(rows[rows["suite"] != "noise"]) == len(clean[keys].drop_duplicates())
    assert tuple(cells.columns) == (*COLUMNS, "source")
    groups = cells.groupby(["protocol", "metric", "leak_free", "dataset", "suite", "test_dataset", "corruption"])
    for keys, part in groups:
        merit = metric_of(keys[1]).sign * part["mean"].dropna().to_numpy()
        assert list(merit) == sorted(merit, reverse=True)


def test_leaked_test_sets_have_rows_without_the_leaked_cases(cells):
    rows = place(cells, dataset="isic2018", suite="ood", leak_free="validation")
    whole = place(cells, dataset="isic2018", suite="ood")
    assert len(rows) == len(whole) > 0
    assert (rows["cases"] < whole["cases"].max()).all()


def test_corrupted_images_have_rows_for_dice_only(cells):
    assert set(cells[cells["suite"] == "noise"]["metric"]) == {"dsc"}
    assert {"hd95", "ece"} <= set(cells[cells["suite"] == "iid"]["metric"])


def test_two_seeds_settle_nothing_and_the_table_says_what_is_missing(cells):
    assert set(cells["verdict"]) == {OPEN}
    row = place(cells, dataset="isic2018", objective="spatial_spectral").to_dict("records")[0]
    assert to_settle(row).startswith("at least 3 seeds")


def test_what_would_settle_a_difference_is_computed_from_its_variances(official, cells):
    (row,) = place(cells, dataset="isic2018", architecture="unet", objective="spatial_spectral").to_dict("records")
    differences = (values_of(official, "isic2018", MINE) - values_of(official, "isic2018", UNET)).to_numpy()
    parts = Components.of(differences, np.arange(differences.shape[1]))
    target = max(abs(row["difference"]), row["margin"]) / 100
    for name, needed in (("seeds_needed", parts.seeds_for(target)), ("groups_needed", parts.groups_for(target))):
        assert row[name] == needed or (needed is None and np.isnan(row[name]))
    open_row = {**row, "seeds": 3, "groups": 5, "seeds_needed": 8.0, "groups_needed": 1234.0}
    assert to_settle(open_row) == "8 seeds or 1,234 patients"
    assert to_settle({**open_row, "seeds_needed": np.nan}) == "1,234 patients"
    assert to_settle({**open_row, "verdict": "same"}) == ""


A, B = "first", "second"


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        ([(A, "plain", "0"), (A, "mine", "0.2")], {(A, "plain", "0"): None, (A, "mine", "0.2"): (A, "plain", "0")}),
        (
            [(A, "plain", "0"), (B, "plain", "0"), (B, "mine", "0")],
            {(B, "plain", "0"): (A, "plain", "0"), (B, "mine", "0"): (B, "plain", "0")},
        ),
        ([(A, "other", "0"), (B, "other", "0")], {(A, "other", "0"): None, (B, "other", "0"): (A, "other", "0")}),
        ([(A, "plain", "0"), (B, "own", "0")], {(B, "own", "0"): (A, "plain", "0")}),
        ([(B, "own", "0"), (B, "mine", "0")], {(B, "own", "0"): None, (B, "mine", "0"): None}),
        ([(A, "plain", "0.1"), (A, "plain", "0.2"), (A, "mine", "0")], {(A, "mine", "0"): None}),
    ],
)
def test_a_method_is_compared_with_the_most_similar_reference(methods, expected):
    found = references(methods, "plain", [A, B])
    assert list(found) == methods
    assert {method: found[method] for method in expected} == expected


def test_the_page_shows_dice_of_clean_images(official):
    page = build_table("leaderboard", Results(official)).page
    titles = [block.title for block in page.sections[1].blocks]
    assert "ISIC-18 → ISIC-17, leak-free: DSC ↑, %" in titles
    assert all(": DSC ↑, %" in title for title in titles)
    assert page.sections[1].blocks[0].rows[0].kind in {"reference", "− unet spatial", "− transunet spatial"}
