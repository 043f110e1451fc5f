"""The table of lesions, from records of a study with lesion metrics."""

import numpy as np
import pandas as pd
import pytest

from spectralseg.metrics import risk_category
from spectralseg.metrics.records import COLUMNS
from spectralseg.reporting.results import Results
from spectralseg.reporting.tables import build_table
from spectralseg.statistics import intraclass_correlation, paired_interval, weighted_kappa
from spectralseg.statistics.comparison import compare

CASES, SEEDS = 24, 3
METHODS = [("spatial", "0", 0.5), ("spatial_spectral", "0.2", 0.1)]  # objective, λ, relative error of volumes
SHARES = ("lesion_f1", "lesion_sensitivity", "lesion_sensitivity_small")


def study_records(dataset="coca", agatston=True):
    """Volumes and scores with errors of a known size; case 3 has no volume, and case 5 no small lesion."""
    rng, rows = np.random.default_rng(0), []
    reference = rng.exponential(3, CASES)
    for objective, lam, error in METHODS:
        for seed in range(SEEDS):
            predicted = reference * np.exp(error * rng.normal(size=CASES))
            for case in range(CASES):
                volumes = (predicted[case], reference[case])
                values = {name: ("sound", "calcium", 1 - error * rng.random()) for name in SHARES}
                values |= dict.fromkeys(("dsc",), ("sound", "calcium", 0.5))
                for name, volume in zip(("volume", "volume_reference"), volumes, strict=True):
                    values[name] = "sound", "calcium", np.nan if case == 3 else volume
                values["volume_difference"] = "sound", "calcium", np.nan if case == 3 else abs(np.subtract(*volumes))
                if case == 5:
                    values["lesion_sensitivity_small"] = "sound", "calcium", np.nan
                if agatston:
                    scores = [100 * volume for volume in volumes]
                    values |= {
                        "agatston": ("sound", "all", scores[0]),
                        "agatston_reference": ("sound", "all", scores[1]),
                    }
                    values["agatston_difference"] = "sound", "all", abs(scores[0] - scores[1])
                    same = risk_category(scores[0]) == risk_category(scores[1])
                    values["risk_agreement"] = "sound", "all", float(same)
                for metric, (protocol, name, value) in values.items():
                    keys = [dataset, "unet", objective, lam, seed, "iid", dataset, "none", "0"]
                    rows.append([*keys, f"c{case}", f"g{case}", name, protocol, metric, value, ""])
    return pd.DataFrame(rows, columns=list(COLUMNS))


@pytest.fixture(scope="module")
def records():
    return study_records()


@pytest.fixture(scope="module")
def table(records, tmp_path_factory):
    root = tmp_path_factory.mktemp("lesions")
    records.to_parquet(root / "records.parquet")
    return build_table("lesions", Results(root))


def of(records, metric, objective, seed):
    """Values of a metric by case, without undefined ones."""
    rows = records[(records["metric"] == metric) & (records["objective"] == objective) & (records["seed"] == seed)]
    return rows.set_index("case")["value"].dropna()


def ratings(records, metric, objective, seed):
    """Predicted and reference value, (cases, 2)."""
    return pd.concat(
        [of(records, name, objective, seed) for name in (metric, f"{metric}_reference")], axis=1
    ).to_numpy()


def cell(table, metric, objective):
    (row,) = table.cells[(table.cells["metric"] == metric) & (table.cells["objective"] == objective)].to_dict("records")
    return row


STATISTICS = {
    "icc_volume": ("volume", lambda values: intraclass_correlation(values).estimate),
    "icc_agatston": ("agatston", lambda values: intraclass_correlation(values).estimate),
    "kappa_risk": ("agatston", lambda values: weighted_kappa([list(map(risk_category, row)) for row in values])),
}


def test_a_protocol_without_these_metrics_has_no_heading(table):
    assert "## Protocol: sound" in table.markdown()
    assert "## Protocol: published" not in table.markdown()


class TestAgreement:
    @pytest.mark.parametrize("name", STATISTICS)
    @pytest.mark.parametrize("objective", [method[0] for method in METHODS])
    def test_it_is_the_mean_over_seeds(self, table, records, name, objective):
        metric, statistic = STATISTICS[name]
        expected = [statistic(ratings(records, metric, objective, seed)) for seed in range(SEEDS)]
        row = cell(table, name, objective)
        assert row["measured"] == pytest.approx(np.mean(expected))
        assert row["measured_sd"] == pytest.approx(np.std(expected, ddof=1))
        assert row["measured_low"] < row["measured"] < row["measured_high"] <= 1
        assert (row["cases"], row["seeds"]) == (CASES - (metric == "volume"), SEEDS)
        assert row["undefined"] == (SEEDS if metric == "volume" else 0)

    @pytest.mark.parametrize("name", STATISTICS)
    def test_the_difference_to_the_baseline_is_that_of_the_estimates(self, table, name):
        better, baseline = (cell(table, name, objective) for objective in ("spatial_spectral", "spatial"))
        assert better["gain"] == pytest.approx(better["measured"] - baseline["measured"])
        assert better["gain_low"] < better["gain"] < better["gain_high"]
        assert np.isnan(baseline["gain"])

    @pytest.mark.parametrize("lacking", [method[0] for method in METHODS])
    def test_the_difference_to_the_baseline_is_that_of_the_cases_of_both(self, records, tmp_path, lacking):
        gone = (records["objective"] == lacking) & (records["case"] == "c7")
        records[~gone].to_parquet(tmp_path / "records.parquet")
        gain = cell(build_table("lesions", Results(tmp_path)), "icc_agatston", "spatial_spectral")["gain"]
        both = records[records["case"] != "c7"]
        better, baseline = (
            np.mean([intraclass_correlation(ratings(both, "agatston", name, seed)).estimate for seed in range(SEEDS)])
            for name in ("spatial_spectral", "spatial")
        )
        assert gain == pytest.approx(better - baseline)

    def test_a_seed_without_agreement_is_left_out_and_counted(self, records, tmp_path):
        equal = records["metric"].str.startswith("agatston") & (records["seed"] == 2)
        records.assign(value=records["value"].mask(equal, 5)).to_parquet(tmp_path / "records.parquet")
        row = cell(build_table("lesions", Results(tmp_path)), "icc_agatston", "spatial")
        expected = [intraclass_correlation(ratings(records, "agatston", "spatial", seed)).estimate for seed in range(2)]
        assert row["measured"] == pytest.approx(np.mean(expected))
        assert (row["seeds"], row["undefined"], row["values"]) == (2, CASES, CASES * SEEDS)

    def test_the_interval_resamples_patients(self, records, table, tmp_path):
        grouped = records.assign(group="g" + (records["case"].str[1:].astype(int) % 4).astype(str))
        grouped.to_parquet(tmp_path / "records.parquet")
        wide, narrow = (
            cell(source, "icc_agatston", "spatial") for source in (build_table("lesions", Results(tmp_path)), table)
        )
        assert wide["measured"] == narrow["measured"]
        assert wide["groups"] == 4
        assert narrow["groups"] == CASES
        assert wide["measured_high"] - wide["measured_low"] > narrow["measured_high"] - narrow["measured_low"]

    def test_classes_are_added(self, records, table, tmp_path):
        """Halves of each volume in two classes give the same agreement."""
        split = records["metric"].isin(["volume", "volume_reference"])
        halves = records[split].assign(value=records["value"] / 2)
        parts = [records[~split], halves, halves.assign(**{"class": "second"})]
        pd.concat(parts).to_parquet(tmp_path / "records.parquet")
        other = build_table("lesions", Results(tmp_path))
        for objective, *_ in METHODS:
            first, second = (cell(source, "icc_volume", objective) for source in (table, other))
            assert first["measured"] == pytest.approx(second["measured"])


class TestMeans:
    @pytest.mark.parametrize("metric", [*SHARES, "risk_agreement", "volume_difference", "agatston_difference"])
    def test_metrics_of_cases_are_measured_as_in_other_tables(self, table, records, metric):
        factor = 1 if metric.endswith("difference") else 100
        for objective, *_ in METHODS:
            expected = [factor * of(records, metric, objective, seed).mean() for seed in range(SEEDS)]
            row = cell(table, metric, objective)
            assert row["measured"] == pytest.approx(np.mean(expected))
            assert row["measured_sd"] == pytest.approx(np.std(expected, ddof=1))

    def test_gains_have_the_interval_of_paired_differences(self, table, records):
        differences = np.stack(
            [
                of(records, "lesion_f1", "spatial_spectral", seed) - of(records, "lesion_f1", "spatial", seed)
                for seed in range(SEEDS)
            ]
        )
        row = cell(table, "lesion_f1", "spatial_spectral")
        expected = [100 * value for value in paired_interval(differences)]
        assert [row[name] for name in ("gain", "gain_low", "gain_high")] == pytest.approx(expected, rel=0.05)

    def test_undefined_values_are_counted(self, table):
        assert cell(table, "lesion_sensitivity_small", "spatial")["undefined"] == SEEDS


def test_comparisons_hold_lesion_detection(records, tmp_path):
    records.to_parquet(tmp_path / "records.parquet")
    compare(tmp_path / "records.parquet", "spatial", tmp_path / "comparisons.parquet")
    rows = pd.read_parquet(tmp_path / "comparisons.parquet").set_index("metric")
    assert {"lesion_f1", "lesion_sensitivity"} == set(rows.index) - {"dsc"}
    assert rows.loc["lesion_f1", "low"] > 0
    assert rows.loc["lesion_f1", "improved"] > 0.9
    assert (rows.loc["dsc", "difference"], rows.loc["dsc", "margin"]) == (0, rows.loc["lesion_f1", "margin"])


class TestPage:
    def test_blocks_and_their_texts(self, table):
        sound = next(section for section in table.page.sections if section.key == "sound")
        assert [block.title for block in sound.blocks] == [
            *("Lesions: coca", "Sensitivity by size: coca", "Agatston score: coca", "Agreement: coca")
        ]
        agreement = sound.blocks[-1]
        assert agreement.headings == ("Volume ICC ↑", "Agatston ICC ↑", "Risk category κ ↑")
        assert [row.kind for row in agreement.rows] == [*("measured", "95 % interval") * 2, "− spatial"]
        assert all(entry.text for row in agreement.rows for entry in row.entries)
        assert [(line.label, line.entries[0].text) for line in agreement.counts] == [
            *(("Cases", str(CASES - 1)), ("Seeds", str(SEEDS)), ("Left out", str(SEEDS)))
        ]

    def test_all_formats_are_written(self, table, tmp_path):
        files = table.write(tmp_path)
        assert {file.suffix for file in files} == {".csv", ".json", ".md", ".tex", ".html"}
        assert "Agreement: coca" in table.markdown()

    def test_a_dataset_without_agatston_scores_has_no_columns_for_them(self, tmp_path):
        study_records("atlas", agatston=False).to_parquet(tmp_path / "records.parquet")
        table = build_table("lesions", Results(tmp_path))
        assert set(table.cells["metric"]) == {*SHARES, "volume_difference", "icc_volume"}
        assert "Agatston score:" not in table.markdown()

    def test_images_have_no_volumes_to_agree(self, records, tmp_path):
        volumes = records["metric"].str.startswith("volume")
        records.assign(value=records["value"].mask(volumes)).to_parquet(tmp_path / "records.parquet")
        table = build_table("lesions", Results(tmp_path))
        row = cell(table, "icc_volume", "spatial")
        assert np.isnan(row["measured"])
        assert (row["cases"], row["undefined"]) == (0, CASES * SEEDS)
        assert "undef." in table.markdown()

    def test_without_lesion_metrics_the_table_says_so(self, study):
        table = build_table("lesions", Results(study))
        assert table.cells.empty
        assert table.page.notes[0].startswith("No dataset of this study has lesion metrics")
        assert table.markdown()
