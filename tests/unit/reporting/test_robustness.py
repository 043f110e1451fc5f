import numpy as np
import pandas as pd
import pytest

from spectralseg.metrics.robustness import mean_corruption_error
from spectralseg.reporting.results import BANNER, Results
from spectralseg.reporting.tables import build_table
from spectralseg.reporting.tables.robustness import COLUMNS

pytestmark = pytest.mark.slow

METHOD = ["architecture", "objective", "lambda"]
COLUMNS_USED = ["case", "class", "corruption", "severity", "value"]


@pytest.fixture(scope="module")
def table(study):
    return build_table("robustness", Results(study))


def records_of(study, cell, **changes):
    records = pd.read_parquet(study / "records.parquet")
    selected = (records["metric"] == "dsc") & records["suite"].isin(["iid", "noise"])
    for name, value in {**{key: cell[key] for key in ("protocol", "dataset", *METHOD)}, **changes}.items():
        selected &= records[name] == value
    return records[selected]


def per_seed(records, function):
    return [function(part[COLUMNS_USED]) for _, part in records.groupby("seed")]


def relative_degradation(values):
    """``rD_c = Σ_s (D_clean - D_cs) / Σ_s D_clean`` by corruption, over cases with a value under every condition."""
    means = values.pivot_table("value", ["case", "class"], ["corruption", "severity"]).dropna().mean()
    means = means.groupby(level="corruption").mean()
    return 1 - means.drop("none") / means["none"]


class TestNumbers:
    def test_losses_follow_the_definition(self, study, table):
        cells = table.cells[table.cells["quantity"] == "rD"]
        for cell in cells.iloc[::5].to_dict("records"):
            seeds = per_seed(records_of(study, cell), relative_degradation)
            losses = [seed.mean() if cell["corruption"] == "mean" else seed[cell["corruption"]] for seed in seeds]
            assert cell["measured"] == pytest.approx(100 * np.mean(losses))
            assert cell["measured_sd"] == pytest.approx(100 * np.std(losses, ddof=1))

    def test_errors_are_relative_to_the_baseline(self, study, table):
        cells = table.cells[table.cells["quantity"] == "mCE"]
        assert not (cells["objective"] == "spatial").any()
        cell = cells.iloc[0]
        reference = records_of(study, cell, objective="spatial", **{"lambda": "0"})
        records = records_of(study, cell)
        errors = [
            mean_corruption_error(*(part.loc[part["seed"] == seed, COLUMNS_USED] for part in (records, reference)))
            for seed in range(3)
        ]
        assert cell["measured"] == pytest.approx(100 * np.mean(errors))

    def test_the_gain_is_the_difference_of_the_measured_values(self, table):
        cells = table.cells[table.cells["quantity"] == "rD"].set_index(["protocol", "dataset", "corruption", *METHOD])
        for place, cell in cells[cells["gain"].notna()].iterrows():
            baseline = cells.loc[(*place[:4], "spatial", "0")]
            assert cell["gain"] == pytest.approx(cell["measured"] - baseline["measured"])
            assert cell["gain_low"] < cell["gain"] < cell["gain_high"]

    def test_counts(self, table):
        assert list(table.cells.columns) == [*COLUMNS, "source"]
        ghosting = table.cells[table.cells["corruption"] == "ghosting"]
        assert set(ghosting["severities"]) == {5}
        assert set(table.cells.loc[table.cells["dataset"] == "acdc", "units"]) == {3 * 5 * 3}
        assert set(table.cells["left_out"]) == {0}


def changed(study, tmp_path, change):
    records = pd.read_parquet(study / "records.parquet")
    change(records).to_parquet(tmp_path / "records.parquet")
    return build_table("robustness", Results(tmp_path))


def test_a_structure_counts_only_if_defined_under_every_condition(study, tmp_path):
    def lose_one(records):
        lost = (records["case"] == "acdc_0") & (records["severity"] == "3") & (records["class"] == "myocardium")
        records.loc[lost & (records["seed"] == 1), "value"] = np.nan
        return records

    cells = changed(study, tmp_path, lose_one).cells
    assert set(cells.loc[cells["dataset"] == "acdc", "left_out"]) == {1}
    assert set(cells.loc[cells["dataset"] == "acdc", "cases"]) == {5}


def test_a_corruption_without_the_baseline(study, tmp_path):
    def drop(records):
        return records[(records["objective"] != "spatial") | (records["corruption"] != "ghosting")]

    cells = changed(study, tmp_path, drop).cells
    others = cells[cells["objective"] != "spatial"]
    assert others.loc[others["corruption"] == "ghosting", "gain"].isna().all()
    assert others.loc[others["corruption"] == "bernoulli", "gain"].notna().all()
    assert others.loc[others["corruption"] == "mean", "gain"].isna().all(), "means of other corruptions"
    assert others.loc[others["quantity"] == "mCE", "measured"].isna().all()


@pytest.mark.parametrize("lacking", ["spatial", "spatial_spectral"])
def test_the_difference_is_that_of_the_structures_of_both(study, tmp_path, lacking):
    """A Dice is undefined where reference and prediction are empty, which is not so for every method."""
    lost = {"case": "acdc_0", "severity": "3", "class": "myocardium"}

    def is_lost(records, names):
        return np.logical_and.reduce([records[name] == lost[name] for name in names])

    def lose_one(records):
        undefined = is_lost(records, lost) & (records["objective"] == lacking)
        return records.assign(value=records["value"].mask(undefined))

    cells = changed(study, tmp_path, lose_one).cells
    selected = (cells["objective"] == "spatial_spectral") & (cells["dataset"] == "acdc") & (cells["quantity"] == "rD")
    for cell in cells[selected].to_dict("records"):
        losses = {}
        for objective, lam in (("spatial_spectral", cell["lambda"]), ("spatial", "0")):
            records = records_of(study, cell, objective=objective, **{"lambda": lam})
            both = records[~is_lost(records, ["case", "class"])]
            seeds = per_seed(both, relative_degradation)
            losses[objective] = np.mean(
                [seed.mean() if cell["corruption"] == "mean" else seed[cell["corruption"]] for seed in seeds]
            )
        assert cell["gain"] == pytest.approx(100 * (losses["spatial_spectral"] - losses["spatial"]), abs=1e-9)


def test_without_corrupted_images(study, tmp_path):
    table = changed(study, tmp_path, lambda records: records[records["suite"] != "noise"])
    assert table.cells.empty
    assert "No test images were corrupted." in table.markdown()


def test_a_clean_dice_of_zero_is_undefined(study, tmp_path):
    def fail(records):
        return records.assign(value=records["value"].where(records["objective"] != "printed", 0.0))

    cells = changed(study, tmp_path, fail).cells
    failed = cells[(cells["objective"] == "printed") & (cells["quantity"] == "rD")]
    assert failed["measured"].isna().all()


def test_phantoms_are_stamped(phantom):
    assert set(build_table("robustness", Results(phantom)).cells["source"]) == {BANNER}


def test_the_page(table):
    text = table.markdown()
    assert "| unet spatial_spectral, λ = 0.2 | measured |" in text
    assert "|  | − spatial |" in text
    assert "rD, % ghosting ↓" in text
    assert table.latex().count("\\begin{table*}") >= 2
