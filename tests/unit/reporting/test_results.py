import pandas as pd
import pytest

from spectralseg.errors import InputError
from spectralseg.grid import Run
from spectralseg.reporting.results import Results


def test_folder_must_exist(tmp_path):
    with pytest.raises(InputError, match="no such results folder"):
        Results(tmp_path / "none")


def test_records_must_exist(tmp_path):
    with pytest.raises(InputError, match="no metric records"):
        Results(tmp_path).records  # noqa: B018


def test_records_must_be_complete(official, tmp_path):
    pd.read_parquet(official / "records.parquet").drop(columns="flag").to_parquet(tmp_path / "records.parquet")
    with pytest.raises(InputError, match="no table of metric records"):
        Results(tmp_path).records  # noqa: B018


def test_filters(official):
    results = Results(official)
    some = results.read(metric={"dsc"}, dataset={"acdc", "synapse"})
    whole = results.records
    assert len(some) == ((whole["metric"] == "dsc") & whole["dataset"].isin(["acdc", "synapse"])).sum()
    assert results.read(metric={"none"}).empty


def test_demonstration(official, phantom, tmp_path):
    assert not Results(official).demonstration
    assert Results(phantom).demonstration
    assert not Results(tmp_path).demonstration


def test_runs_and_examples(official):
    results = Results(official)
    runs = results.runs()
    assert len(runs) == 6 * 4 - 1
    assert Run("btseg", "transunet", "spatial", "0", 0) not in runs
    assert results.examples(Run("btseg", "transunet", "spatial", "0", 0)) is None
    examples = results.examples(Run("kvasir_seg", "unet", "spatial_spectral", "0.2", 0))
    assert examples is not None
    assert examples.find("polypgen", "polypgen_2", 2) == 4
    assert examples.find("polypgen", "polypgen_2", 1) is None


def test_damaged_examples_are_told(official, tmp_path):
    run = Run("acdc", "unet", "spatial", "0", 0)
    file = tmp_path / "runs" / run.folder / "examples.npz"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"examples\.npz"):
        Results(tmp_path).examples(run)
