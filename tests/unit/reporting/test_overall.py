import numpy as np
import pandas as pd
import pytest
import yaml
from tests.standins.study import grid_of

from spectralseg.reporting.results import BANNER, Results
from spectralseg.reporting.tables import build_table
from spectralseg.reporting.tables.overall import COLUMNS, OPEN
from spectralseg.statistics import bayesian_signed_rank


@pytest.fixture
def grid(official, tmp_path):
    """Six datasets and three seeds; the spectral term adds the same to every case of each, TransUNet none."""

    def make(gain=0.02, seeds=3, datasets=6):
        records = pd.read_parquet(official / "records.parquet")
        names = sorted(set(records["dataset"]))[:datasets]
        first = records[(records["seed"] == 0) & records["dataset"].isin(names) & (records["suite"] == "iid")]
        every = pd.concat([first.assign(seed=seed, value=0.5 + 0.01 * seed) for seed in range(seeds)])
        helped = (every["objective"] == "spatial_spectral") & (every["architecture"] == "unet")
        every.loc[helped, "value"] += gain
        every.to_parquet(tmp_path / "records.parquet")
        return build_table("overall", Results(tmp_path)).cells

    return make


def row(cells, architecture="unet"):
    (row,) = cells[
        (cells["architecture"] == architecture) & (cells["metric"] == "dsc") & (cells["protocol"] == "sound")
    ].to_dict("records")
    return row


def test_an_objective_that_helps_everywhere(grid):
    cells = grid()
    cell = row(cells)
    assert list(cells.columns) == [*COLUMNS, "source"]
    assert (cell["datasets"], cell["seeds"], cell["verdict"]) == (6, 3, "better")
    assert cell["difference"] == pytest.approx(2)
    expected = bayesian_signed_rank(np.full(6, 0.02), rope=0.005)
    assert (cell["worse"], cell["equivalent"], cell["better"]) == pytest.approx(tuple(expected))


def test_runs_are_compared_in_all_pairs(grid):
    """Of runs at .50, .51 and .52, the same .015 higher: 8 of 9 pairs are won."""
    assert row(grid(gain=0.015))["better_than_baseline"] == pytest.approx(8 / 9)


def test_a_difference_within_the_margin_is_the_same(grid):
    assert row(grid(gain=0.001))["verdict"] == "same"


@pytest.mark.parametrize("changes", [{"seeds": 1}, {"seeds": 2}, {"datasets": 5}])
def test_few_seeds_or_datasets_are_not_settled(grid, changes):
    cell = row(grid(**changes))
    assert cell["better"] > 0.9
    assert cell["verdict"] == OPEN


def test_a_dataset_without_the_baseline_is_left_out(official):
    """There is no TransUNet on BTSeg with the baseline; ACDC's UNet has one seed of it."""
    cells = build_table("overall", Results(official)).cells
    assert row(cells, "transunet")["datasets"] == 5
    assert row(cells)["seeds"] == 1


def test_no_records_at_all(official, tmp_path):
    pd.read_parquet(official / "records.parquet")[:0].to_parquet(tmp_path / "records.parquet")
    assert build_table("overall", Results(tmp_path)).cells.empty


def test_the_page_has_a_legend(phantom):
    table = build_table("overall", Results(phantom))
    assert set(table.cells["source"]) == {BANNER}
    assert "within 0.5 pp" in table.markdown()
    assert "| unet spatial_spectral, λ = 0.2 | − spatial | 6 | 1 |" in table.markdown()


def test_each_dataset_has_its_own_margin(grid, official, tmp_path):
    """A gain of two points is within the margin of one dataset of six, and four times the margin of the others."""
    plain = row(grid())
    records = pd.read_parquet(tmp_path / "records.parquet")
    datasets = sorted(set(records["dataset"]))
    objectives = {"spatial": {"base": "bce_dice"}, "spatial_spectral": {"base": "bce_dice", "auxiliary": "spectral"}}
    config = {
        "name": "toy",
        "datasets": {name: {} for name in datasets},
        "architectures": {name: {"model": name} for name in ("unet", "transunet")},
        "objectives": objectives,
        "grid": grid_of(records, objectives),
        "comparison": {"margins": {"dsc": {datasets[0]: 0.2}}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    table = build_table("overall", Results(tmp_path))
    expected = bayesian_signed_rank(np.array([0.1, *[4.0] * 5]), rope=1.0)
    cell = row(table.cells)
    assert (cell["worse"], cell["equivalent"], cell["better"]) == pytest.approx(tuple(expected), abs=0.003)
    assert cell["better"] < plain["better"]
    assert "within 0.5 or 20 pp" in table.markdown()
