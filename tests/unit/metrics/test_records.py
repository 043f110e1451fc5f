import pandas as pd
import pytest

from spectralseg.errors import InputError
from spectralseg.metrics.records import COLUMNS, RUN_KEYS, divergence_record, read_records, recorded_runs
from spectralseg.statistics.comparison import compare

ROW = {"dataset": "toy", "architecture": "unet", "objective": "spatial", "lambda": "0", "seed": 0, "suite": "iid"}
ROW |= {"test_dataset": "toy", "corruption": "none", "severity": "0", "case": "c0", "group": "g0", "class": "disc"}
ROW |= {"protocol": "sound", "metric": "dsc", "value": 0.5, "flag": ""}
ROWS = [{**ROW, "case": f"c{case}", "class": name} for case in range(3) for name in ("disc", "ring")]


@pytest.fixture
def file(tmp_path):
    """Write records with changes in the last row."""

    def write(**changes):
        frame = pd.DataFrame([*ROWS, {**ROW, "case": "c9", **changes}], columns=list(COLUMNS))
        frame.to_parquet(tmp_path / "records.parquet", index=False)
        return tmp_path / "records.parquet"

    return write


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"class": "mean"}, "a class is called 'mean'"),
        ({"class": "all"}, "a class is called 'all', beside others"),
        ({"case": "pooled"}, "a case is called 'pooled'"),
        ({"case": None}, "column 'case' has cells without a value"),
        ({"metric": None}, "column 'metric' has cells without a value"),
    ],
    ids=str,
)
def test_reserved_names_and_empty_cells_raise_with_file_and_run(file, changes, problem):
    with pytest.raises(InputError) as caught:
        read_records(file(**changes))
    assert str(caught.value).startswith(f"{file(**changes)}: {problem} in records of run toy/unet/spatial/0/0, metric ")


@pytest.mark.parametrize("changes", [{"seed": "zero"}, {"value": "high"}, {"seed": 0.5}], ids=str)
def test_other_types_are_refused(file, changes):
    path = file()
    pd.read_parquet(path).assign(**changes).to_parquet(path, index=False)
    with pytest.raises(
        InputError, match=rf"records\.parquet: cannot be read as metric records \(column '{next(iter(changes))}' holds"
    ):
        read_records(path)


def test_records_of_whole_cases_and_test_sets_are_read(file):
    for changes in (
        {"metric": "pooled_ece", "case": "pooled", "group": "pooled"},
        {"metric": "cam_pointing", "class": "all"},
        divergence_record("toy", "its logits are not finite"),
    ):
        assert len(read_records(file(**changes))) == 7


def test_comparisons_refuse_reserved_class_names(file, tmp_path):
    with pytest.raises(InputError, match="a class is called 'all'"):
        compare(file(**{"class": "all"}), "spatial", tmp_path / "out.parquet")


@pytest.mark.parametrize("size", [3, 100])
def test_recorded_runs_from_statistics_and_from_rows(tmp_path, size):
    """Row groups of one run each need not be read."""
    frame = pd.DataFrame([{**row, "seed": seed} for seed in (0, 2) for row in ROWS[:3]], columns=list(COLUMNS))
    frame.to_parquet(tmp_path / "records.parquet", index=False, row_group_size=size)
    expected = {tuple({**ROW, "seed": seed}[key] for key in RUN_KEYS) for seed in (0, 2)}
    assert recorded_runs(tmp_path / "records.parquet") == expected
