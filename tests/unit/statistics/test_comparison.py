import numpy as np
import pandas as pd
import pytest

from spectralseg.errors import InputError
from spectralseg.evaluation.score import score_labels
from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import COLUMNS
from spectralseg.statistics.comparison import compare
from spectralseg.statistics.margins import Margins

BASE = {
    "dataset": "toy",
    "architecture": "unet",
    "suite": "iid",
    "test_dataset": "toy",
    "corruption": "none",
    "severity": "0",
    "class": "disc",
    "protocol": "sound",
    "metric": "dsc",
    "flag": "",
}


def records(values, objective, lam="0", **changes):
    """Rows from {(seed, case): value}; two cases make a patient."""
    return [
        {**BASE, "objective": objective, "lambda": lam, "seed": seed, "case": f"c{case}", "group": f"p{case // 2}"}
        | {"value": value}
        | changes
        for (seed, case), value in values.items()
    ]


def grid(function, seeds=3, cases=6):
    return {(s, c): function(s, c) for s in range(seeds) for c in range(cases)}


def frame(*parts):
    return pd.DataFrame([row for part in parts for row in part], columns=list(COLUMNS))


@pytest.fixture
def run(tmp_path):
    def compare_records(table, baseline="spatial", categorical=True):
        if categorical:
            repeated = [name for name in COLUMNS if name not in ("seed", "value")]
            table = table.copy()
            table[repeated] = table[repeated].astype("category")
        table.to_parquet(tmp_path / "records.parquet")
        compare(tmp_path / "records.parquet", baseline, tmp_path / "comparison.parquet")
        return pd.read_parquet(tmp_path / "comparison.parquet")

    return compare_records


BASELINE = records(grid(lambda s, c: 0.5 + 0.1 * s + 0.01 * c), "spatial")


@pytest.mark.parametrize("categorical", [True, False])
def test_differences_are_paired_by_seed_and_case(run, categorical):
    other = records(grid(lambda s, c: 0.5 + 0.1 * s + 0.01 * c + 0.02), "mixed", "0.2")
    shuffled = frame(BASELINE, other).sample(frac=1, random_state=0)
    (row,) = run(shuffled, categorical=categorical).to_dict("records")
    assert (row["objective"], row["lambda"], row["baseline"]) == ("mixed", "0.2", "spatial")
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((0.02, 0.02, 0.02))
    assert (row["seeds"], row["cases"], row["undefined"], row["unpaired"]) == (3, 6, 0, 0)


def test_one_row_per_lambda_condition_class_and_metric(run):
    parts = []
    for changes in ({}, {"class": "ring"}, {"metric": "iou"}, {"suite": "noise", "corruption": "gaussian"}):
        parts.append(records(grid(lambda s, c: 0.5), "spatial", **changes))
        parts += [records(grid(lambda s, c: 0.6), "mixed", lam, **changes) for lam in ("0.1", "0.2")]
    result = run(frame(*parts))
    assert np.allclose(result["difference"], 0.1)
    counts = result.value_counts(["suite", "metric", "class"]).to_dict()
    assert counts == {
        **dict.fromkeys([("iid", "dsc", "mean"), ("iid", "dsc", "disc"), ("iid", "dsc", "ring")], 2),
        **dict.fromkeys([("iid", "iou", "mean"), ("noise", "dsc", "mean")], 2),
    }


def test_pixel_counts_are_not_compared(run):
    table = frame(
        BASELINE, *(records(grid(lambda s, c: 1.0), o, metric=m) for o in ("spatial", "mixed") for m in ("tp", "dsc"))
    ).drop_duplicates(["objective", "seed", "case", "metric"])
    assert set(run(table)["metric"]) == {"dsc"}


def test_undefined_values_are_left_out_and_counted(run):
    values = grid(lambda s, c: 0.5 + 0.1 * s + 0.01 * c + 0.02)
    for seed in range(3):
        values[seed, 0] = np.nan
    values[1, 3] = np.nan
    (row,) = run(frame(BASELINE, records(values, "mixed", "0.2"))).to_dict("records")
    assert row["undefined"] == 4
    assert row["difference"] == pytest.approx(0.02)
    assert row["cases"] == 6


def scored(prediction, reference):
    """Metrics of one empty or full case under the sound protocol, by name."""
    masks = [np.full((1, 8, 8), value, np.uint8) for value in (prediction, reference)]
    scores = score_labels(masks[0][0], masks[0][0], masks[1], masks[1][0], None, 1)
    return {score.metric: score.value for score in scores if score.protocol == "sound"}


def test_false_structures_in_empty_cases_are_worse(run):
    """False structures in 30 of 100 empty cases, none by the baseline."""
    right, wrong = scored(0, 0), scored(1, 0)
    metrics = ("dsc", "iou", "nsd", "boundary_iou", "hd95", "assd", "false_structure")
    baseline = [records(grid(lambda s, c, m=m: right[m], cases=100), "spatial", metric=m) for m in metrics]
    inventing = [
        records(grid(lambda s, c, m=m: (wrong if c < 30 else right)[m], cases=100), "mixed", metric=m) for m in metrics
    ]
    result = run(frame(*baseline, *inventing)).set_index("metric")
    assert set(result.index) == set(metrics)
    for metric, row in result.iterrows():
        sign = metric_of(metric).sign
        assert row["difference"] == pytest.approx(0.3 * (wrong[metric] - right[metric]))
        assert max(sign * row["low"], sign * row["high"]) < 0, metric
        assert not row["equivalent"]
        assert (row["cases"], row["undefined"], row["unpaired"]) == (100, 0, 0)
    assert result.loc["false_structure", "difference"] == pytest.approx(0.3)


def test_cases_of_a_patient_are_resampled_together(run):
    """Both cases of a patient have equal differences: three independent units instead of six."""
    rng = np.random.default_rng(0)
    of_patient = rng.normal(0, 1, 30)
    values = grid(lambda s, c: of_patient[c // 2], 1, 60)
    zeros = records(grid(lambda s, c: 0.0, 1, 60), "spatial")
    together = run(frame(zeros, records(values, "mixed", "0.2"))).iloc[0]
    apart = [{**row, "group": row["case"]} for row in (*zeros, *records(values, "mixed", "0.2"))]
    ignored = run(frame(apart)).iloc[0]
    ratio = (together["high"] - together["low"]) / (ignored["high"] - ignored["low"])
    assert ratio == pytest.approx(2**0.5, rel=0.15)


def test_a_missing_baseline_is_an_input_error(run):
    with pytest.raises(InputError, match=r"records.parquet: there are no records.*'sptial'.*'spatial'"):
        run(frame(BASELINE), "sptial")


def test_a_value_that_is_recorded_twice_is_refused(run):
    other = records(grid(lambda s, c: 0.6), "mixed")
    with pytest.raises(InputError, match=r"records.parquet: 18 values are recorded twice, the first is dsc"):
        run(frame(BASELINE, other, other))


def test_a_case_with_two_groups_is_refused(run):
    other = records(grid(lambda s, c: 0.6), "mixed", group="all")
    with pytest.raises(InputError, match="case 'c0' of toy has several groups"):
        run(frame(BASELINE, other))


def test_values_of_the_baseline_only_are_unpaired(run):
    few = records(grid(lambda s, c: 0.6, cases=2), "mixed")
    (row,) = run(frame(BASELINE, few)).to_dict("records")
    assert (row["cases"], row["unpaired"]) == (2, 3 * 4)


@pytest.mark.parametrize("seeds", [(0, 1, 2), (3, 4, 5)], ids=["same seeds", "other seeds"])
def test_a_baseline_with_several_lambdas_is_refused(run, seeds):
    again = {(seeds[s], c): value for (s, c), value in grid(lambda s, c: 0.8).items()}
    base = [records(grid(lambda s, c: 0.4), "mixed", "0.1"), records(again, "mixed", "0.9")]
    with pytest.raises(InputError, match=r"'mixed' has several λ \(0\.1, 0\.9\)"):
        run(frame(*base, records(grid(lambda s, c: 0.5), "spatial")), "mixed")


def test_a_baseline_may_have_another_lambda_on_another_dataset(run):
    parts = []
    for lam, dataset in (("0.1", "toy"), ("0.9", "other")):
        parts.append(records(grid(lambda s, c: 0.4), "mixed", lam, dataset=dataset))
        parts.append(records(grid(lambda s, c: 0.5), "spatial", dataset=dataset))
    result = run(frame(*parts), "mixed")
    assert result["difference"].tolist() == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize(
    ("column", "value", "seeds", "cases", "unpaired"), [("seed", 0, 2, 6, 6), ("case", "c0", 3, 5, 3)]
)
def test_values_missing_in_the_baseline_are_unpaired(run, column, value, seeds, cases, unpaired):
    other = records(grid(lambda s, c: 0.6), "mixed", "0.2")
    base = [{**row, "value": 0.5} for row in BASELINE if row[column] != value]
    (row,) = run(frame(base, other)).to_dict("records")
    assert (row["seeds"], row["cases"], row["undefined"], row["unpaired"]) == (seeds, cases, 0, unpaired)
    assert row["difference"] == pytest.approx(0.1)


def test_a_condition_that_the_baseline_lacks_has_a_row_without_numbers(run):
    alone = records(grid(lambda s, c: 0.6), "mixed", "0.2", suite="ood")
    (row,) = run(frame(BASELINE, alone)).to_dict("records")
    assert (row["seeds"], row["cases"], row["undefined"], row["unpaired"]) == (0, 0, 0, 18)
    assert np.isnan([row["difference"], row["low"], row["high"]]).all()


def test_a_study_with_one_objective_has_an_empty_comparison_with_columns(run):
    several = run(frame(BASELINE, records(grid(lambda s, c: 0.6), "mixed", "0.2")))
    alone = run(frame(BASELINE))
    assert alone.empty
    assert list(alone.columns) == list(several.columns)


def test_the_mean_over_classes_gives_equal_weights(run):
    base = [records(grid(lambda s, c: 0.5), "spatial", **{"class": name}) for name in ("disc", "ring")]
    disc = records(grid(lambda s, c: 0.6), "mixed", "0.2")
    ring = records(grid(lambda s, c: 0.9 if c < 2 else np.nan), "mixed", "0.2", **{"class": "ring"})
    result = run(frame(*base, disc, ring)).set_index("class")
    assert result["difference"].to_dict() == pytest.approx({"mean": 0.25, "disc": 0.1, "ring": 0.4})
    assert result["undefined"].to_dict() == {"mean": 12, "disc": 0, "ring": 12}


def test_improved_follows_the_direction_of_the_metric(run):
    sides = (("spatial", "0", 2.0), ("mixed", "0.2", 1.0))
    both = [
        records(dict.fromkeys(grid(lambda s, c: 0), v), o, lam, metric=m)
        for o, lam, v in sides
        for m in ("hd95", "ece", "dsc")
    ]
    result = run(frame(*both)).set_index("metric")
    assert result["improved"].to_dict() == {"hd95": 1, "ece": 1, "dsc": 0}
    assert result["p_equivalence"].isna().to_dict() == {"hd95": True, "ece": False, "dsc": False}


def test_p_values_are_adjusted_within_the_objectives_of_one_endpoint(run):
    rng = np.random.default_rng(0)
    noise = {key: 0.5 + rng.normal(0.01, 0.02) for key in grid(lambda s, c: 0, 3, 40)}
    parts = [records(dict.fromkeys(noise, 0.5), "spatial", metric=m) for m in ("dsc", "iou")]
    parts += [records(noise, "mixed", lam) for lam in ("0.1", "0.2", "0.3")] + [
        records(noise, "mixed", "0.1", metric="iou")
    ]
    result = run(frame(*parts))
    times = (result["p_holm"] / result["p_wilcoxon"]).groupby(result["metric"]).max()
    assert times.to_dict() == pytest.approx({"dsc": 3, "iou": 1})


class TestMargins:
    def table(self, run, tmp_path, margins, gap=0.001, seeds=3):
        sides = (("spatial", "0", 0.0), ("mixed", "0.2", gap))
        values = [
            records(grid(lambda s, c, more=more: 0.5 + more + 0.0001 * (-1) ** (s + c), seeds), o, lam, metric=metric)
            for o, lam, more in sides
            for metric in ("dsc", "hd95")
        ]
        run(frame(*values))  # writes the records
        compare(tmp_path / "records.parquet", "spatial", tmp_path / "again.parquet", margins)
        return pd.read_parquet(tmp_path / "again.parquet").set_index("metric")

    def test_distances_have_no_default_margin(self, run, tmp_path):
        result = self.table(run, tmp_path, 0.005)
        assert result["equivalent"].to_dict() == {"dsc": True, "hd95": False}
        assert result["margin"].fillna(0).to_dict() == {"dsc": 0.005, "hd95": 0}
        result = self.table(run, tmp_path, Margins(0.0005, {"hd95": {"toy": 2.0}}))
        assert result["equivalent"].to_dict() == {"dsc": False, "hd95": True}
        assert result["margin"].to_dict() == {"dsc": 0.0005, "hd95": 2.0}
        assert result.loc["hd95", "p_equivalence"] < 0.05

    def test_margin_needed_is_the_smallest_margin_of_equivalence(self, run, tmp_path):
        needed = self.table(run, tmp_path, 0.005)["margin_needed"]
        for share, equivalent in ((0.999, False), (1.001, True)):
            margins = Margins(share * needed["dsc"], {"hd95": share * needed["hd95"]})
            assert set(self.table(run, tmp_path, margins)["equivalent"]) == {equivalent}

    def test_with_two_seeds_no_margin_is_large_enough(self, run, tmp_path):
        result = self.table(run, tmp_path, 0.5, seeds=2)
        assert not result["equivalent"].any()
        assert result["margin_needed"].isna().all()


class TestSeveralFiles:
    """Records of several files, with methods that differ in the architecture."""

    def files(self, tmp_path, *tables):
        paths = [tmp_path / f"{letter}.parquet" for letter in "ABC"[: len(tables)]]
        for path, table in zip(paths, tables, strict=True):
            table.to_parquet(path)
        return paths

    def method(self, architecture, more=0.0, objective="external", **sizes):
        values = grid(lambda s, c: 0.5 + 0.1 * s + 0.01 * c + more, **sizes)
        return records(values, objective, architecture=architecture)

    def compared(self, tmp_path, files, baseline):
        unpaired = compare(files, baseline, tmp_path / "out.parquet")
        return pd.read_parquet(tmp_path / "out.parquet"), list(unpaired)

    def test_an_architecture_is_a_baseline_of_others_with_the_same_objective(self, tmp_path):
        files = self.files(tmp_path, frame(self.method("ours", 0.02)), frame(self.method("theirs")))
        table, unpaired = self.compared(tmp_path, files, "theirs")
        (row,) = table.to_dict("records")
        assert (row["architecture"], row["objective"], row["baseline"]) == ("ours", "external", "theirs")
        assert (row["difference"], row["seeds"], row["cases"], row["unpaired"]) == (pytest.approx(0.02), 3, 6, 0)
        assert unpaired == []

    def test_what_has_no_partner_is_counted(self, tmp_path):
        ours = frame(self.method("ours", 0.02, seeds=2, cases=7), self.method("other", objective="x"))
        table, unpaired = self.compared(tmp_path, self.files(tmp_path, ours, frame(self.method("theirs"))), "theirs")
        assert unpaired == [
            "ours/external on toy: 1 seeds of theirs without a partner (2)",
            "ours/external on toy: 1 cases of ours/external without a partner (c6)",
            "other/x on toy: not compared, as theirs has no records under the same keys",
        ]
        row = table.set_index("architecture").loc["ours"]
        assert (row["seeds"], row["cases"], row["unpaired"]) == (2, 6, 2 + 6)

    def test_a_baseline_of_both_names_is_compared_with_all_methods(self, tmp_path):
        study = frame(self.method("unet", objective="spatial"), self.method("unet", 0.03, objective="mixed"))
        files = self.files(tmp_path, study, frame(self.method("theirs", 0.02)))
        table, unpaired = self.compared(tmp_path, files, "unet/spatial")
        differences = table.set_index(["architecture", "objective"])["difference"].to_dict()
        assert differences == pytest.approx({("unet", "mixed"): 0.03, ("theirs", "external"): 0.02})
        assert unpaired == []

    def test_seeds_of_a_method_may_be_in_several_files(self, tmp_path):
        parts = frame(self.method("ours", 0.02)), frame(self.method("theirs"))
        files = self.files(tmp_path, parts[0].query("seed == 0"), parts[0].query("seed > 0"), parts[1])
        assert self.compared(tmp_path, files, "theirs")[0]["seeds"].tolist() == [3]

    def test_a_method_in_two_files_is_an_error(self, tmp_path):
        files = self.files(tmp_path, frame(self.method("ours")), frame(self.method("ours", 0.1)))
        with pytest.raises(InputError, match=r"B\.parquet: has records of ours/external, λ 0, seed 0 on 'toy', as .*A"):
            self.compared(tmp_path, files, "ours")

    def test_an_ambiguous_baseline_is_an_error(self, tmp_path):
        files = self.files(tmp_path, frame(self.method("x", objective="y"), self.method("y", objective="x")))
        with pytest.raises(InputError, match=r"'x' is both an objective and an architecture; give .*/objective"):
            self.compared(tmp_path, files, "x")
