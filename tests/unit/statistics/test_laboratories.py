import numpy as np
import pandas as pd
import pytest

from spectralseg.errors import InputError
from spectralseg.metrics.records import COLUMNS, LABORATORY
from spectralseg.statistics.comparison import compare
from spectralseg.statistics.laboratories import ALL, compare_laboratories

GAINS = {"north": 0.02, "south": 0.04, "west": 0.06}
BASE = {"dataset": "toy", "architecture": "unet", "suite": "iid", "test_dataset": "toy", "corruption": "none"}
BASE |= {"severity": "0", "class": "disc", "protocol": "sound", "metric": "dsc", "flag": ""}


def records(gains=GAINS, seeds=3, cases=8, noise=0.01):
    rng = np.random.default_rng(0)
    rows = [
        {**BASE, LABORATORY: name, "objective": objective, "lambda": "0", "seed": seed, "case": f"c{case}"}
        | {"group": f"g{case}", "value": 0.5 + (objective == "spectral") * gain + noise * rng.standard_normal()}
        for name, gain in gains.items()
        for objective in ("spatial", "spectral")
        for seed in range(seeds)
        for case in range(cases)
    ]
    return pd.DataFrame(rows)[[LABORATORY, *COLUMNS]]


def test_there_is_a_row_of_each_laboratory_and_one_of_all():
    table, remarks = compare_laboratories(records(), "spatial")
    rows = table.set_index(LABORATORY)
    assert list(rows.index) == ["north", "south", "west", ALL]
    for name, gain in GAINS.items():
        assert rows.loc[name, "low"] < gain < rows.loc[name, "high"]
        assert rows.loc[name, ["seeds", "groups", "cases"]].tolist() == [3, 8, 8]
    assert rows.loc[ALL, "difference"] == pytest.approx(rows.loc[list(GAINS), "difference"].mean())
    assert rows.loc[ALL, ["laboratories", "seeds", "groups", "cases"]].tolist() == [3, 9, 8, 8], "the cases are shared"
    assert rows.loc[ALL, "i2"] > 0.5
    assert rows.loc[ALL, "tau2"] == pytest.approx(0.02**2, rel=0.5)
    assert rows.loc[ALL, "low"] < 0 < rows.loc["west", "low"], "three laboratories that differ settle little"
    assert rows.loc[list(GAINS), "tau2"].isna().all()
    assert remarks == ()


def test_cases_of_one_laboratory_only_are_added():
    table = records()
    west = table[LABORATORY] == "west"
    for name in ("case", "group"):
        table.loc[west, name] = "w" + table.loc[west, name]
    table.loc[west & (table["case"] == "wc0"), "value"] = np.nan
    rows = compare_laboratories(table, "spatial")[0].set_index(LABORATORY)
    assert rows.loc[ALL, ["seeds", "groups", "cases"]].tolist() == [9, 8 + 7, 8 + 8]


def test_rows_of_a_laboratory_equal_those_of_its_own_comparison(tmp_path):
    table = records()
    table.loc[table[LABORATORY] == "south", list(COLUMNS)].to_parquet(tmp_path / "south.parquet")
    compare(tmp_path / "south.parquet", "spatial", tmp_path / "compared.parquet")
    own = pd.read_parquet(tmp_path / "compared.parquet").iloc[0]
    row = compare_laboratories(table, "spatial")[0].set_index(LABORATORY).loc["south"]
    names = ["difference", "low", "high", "seeds", "groups", "cases", "undefined", "unpaired"]
    assert row[names].tolist() == own[names].tolist()


def test_a_method_of_a_single_laboratory_has_no_row_of_all():
    table = records()
    extra = table[(table[LABORATORY] == "west") & (table["objective"] == "spectral")].assign(objective="other")
    compared = compare_laboratories(pd.concat([table, extra]), "spatial")[0]
    assert compared.loc[compared["objective"] == "other", LABORATORY].tolist() == ["west"]


def test_a_laboratory_without_the_baseline_is_reported():
    table = records()
    table = table[(table[LABORATORY] != "west") | (table["objective"] != "spatial")]
    compared, remarks = compare_laboratories(table, "spatial")
    assert compared[LABORATORY].tolist() == ["north", "south", ALL]
    assert remarks == ("west: unet/spectral on toy: not compared, as spatial has no records under the same keys",)


def test_records_without_the_baseline_are_refused():
    with pytest.raises(InputError, match="there are no records of the baseline objective 'spatil'"):
        compare_laboratories(records(), "spatil")


def test_compare_pairs_runs_within_their_laboratory(tmp_path):
    records().to_parquet(tmp_path / "records.parquet")
    assert compare(tmp_path / "records.parquet", "spatial", tmp_path / "compared.parquet") == ()
    row = pd.read_parquet(tmp_path / "compared.parquet").iloc[0]
    assert (row["seeds"], row["cases"], row["unpaired"]) == (9, 8, 0)
    assert row["difference"] == pytest.approx(0.04, abs=0.01)
