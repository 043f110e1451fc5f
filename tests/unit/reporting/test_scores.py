"""The report of scored predictions: means with counts, paired differences, honest verdicts, every case."""

import itertools

import numpy as np
import pandas as pd
import pytest

from spectralseg.errors import InputError
from spectralseg.evaluation.score import score_labels
from spectralseg.metrics.records import COLUMNS
from spectralseg.reporting.rendering import read_page
from spectralseg.reporting.scores import build_score_report
from spectralseg.statistics.margins import Margins

RUN = {"dataset": "toy", "objective": "external", "lambda": "0", "suite": "iid", "test_dataset": "toy"}
CLEAN = {"corruption": "none", "severity": "0"}


def mask(rows, columns=8, label=1):
    """A mask of some rows, 16 x 16."""
    labels = np.zeros((16, 16), np.uint8)
    labels[:rows, :columns] = label
    return labels


def records(**methods):
    """Records from ``method={(seed, case): (prediction, reference)}``; two cases make a patient; classes a and b."""
    rows = []
    for name, pairs in methods.items():
        for (seed, case), (prediction, reference) in pairs.items():
            keys = {
                **RUN,
                **CLEAN,
                "architecture": name,
                "seed": seed,
                "case": f"c{case:02d}",
                "group": f"p{case // 2}",
            }
            for score in score_labels(prediction, prediction, reference[None], reference, None, 2):
                rows.append({**keys, "class": " ab"[score.label], **score._asdict()})
    return pd.DataFrame(rows)[list(COLUMNS)]


def grid(offset, seeds=3, cases=8):
    """Predictions that miss some rows, fewer with a larger ``offset``; case 1 has no reference of class a."""
    pairs = {}
    for seed, case in itertools.product(range(seeds), range(cases)):
        reference = mask(0 if case == 1 else 10 + case % 3) + mask(4, 16, 2) * (mask(16) == 0)
        prediction = mask(5 + offset + (seed + case) % 2) + mask(4, 16, 2) * (mask(16) == 0)
        pairs[seed, case] = prediction, reference
    return pairs


@pytest.fixture(scope="module")
def three_seeds():
    return build_score_report(records(base=grid(0), new=grid(4)), [("toy", "1 thing", ("c01",))])


def test_means_are_over_cases_then_classes_then_seeds(three_seeds):
    table = records(base=grid(0))
    dice = table[(table["metric"] == "dsc") & (table["protocol"] == "sound")]
    expected = dice.groupby(["seed", "class"])["value"].mean().groupby("seed").mean().mean()
    row = three_seeds.means.set_index(["architecture", "protocol", "metric", "class"]).loc[
        "base", "sound", "dsc", "mean"
    ]
    assert row["mean"] == pytest.approx(100 * expected)
    assert (row["seeds"], row["groups"], row["cases"], row["values"], row["undefined"]) == (3, 4, 8, 48, 0)
    assert row["unit"] == "%"
    assert row["low"] < row["mean"] < row["high"]


def test_undefined_values_and_false_structures_are_counted(three_seeds):
    rows = three_seeds.means.set_index(["architecture", "protocol", "metric", "class"])
    assert rows.loc[("base", "sound", "sensitivity", "a"), "undefined"] == 3
    false = rows.loc["base", "sound", "false_structure", "mean"]
    assert (false["false_structures"], false["values"], false["mean"]) == (3, 3, 100)
    assert "False structures, of empty references" in three_seeds.text()
    assert "3 of 3" in three_seeds.text()


def test_units_of_distances_are_those_of_the_protocol():
    table = records(base=grid(0))
    for in_mm, unit in ((True, "mm"), (False, "pixels")):
        rows = build_score_report(table, [], in_mm=in_mm).means.set_index(["protocol", "metric", "class"])["unit"]
        assert rows["sound", "hd95", "mean"] == unit
        assert rows["published", "hd95", "mean"] == "pixels"


def test_differences_have_verdicts_with_three_seeds(three_seeds):
    row = three_seeds.differences.set_index(["protocol", "metric", "class"]).loc["sound", "dsc", "a"]
    assert (row["architecture"], row["baseline"], row["verdict"], row["about"]) == ("new", "base", "better", "methods")
    assert 0 < row["low"] < row["difference"] < row["high"]
    assert row["detectable"] > 0
    same = three_seeds.differences.set_index(["protocol", "metric", "class"]).loc["sound", "dsc", "b"]
    assert (same["difference"], same["verdict"]) == (0, "same")
    assert not three_seeds.page.warnings


def test_a_lower_distance_is_better(three_seeds):
    row = three_seeds.differences.set_index(["protocol", "metric", "class"]).loc["sound", "assd", "a"]
    assert row["difference"] < 0
    assert row["verdict"] == "better"


def test_one_seed_is_about_the_predictions_and_has_no_verdict():
    report = build_score_report(records(base=grid(0, 1), new=grid(4, 1)), [])
    rows = report.differences.set_index(["protocol", "metric", "class"])
    row = rows.loc["sound", "dsc", "mean"]
    assert row["low"] > 0
    assert (row["verdict"], row["about"]) == ("not settled", "these predictions")
    assert row["reason"] == "1 of 3 seeds that a verdict needs"
    assert row["detectable"] > 0
    assert set(report.differences["verdict"]) == {"not settled"}
    (warning,) = report.page.warnings
    assert "about these predictions, not about the methods" in warning
    assert warning in report.text()


def test_two_seeds_have_no_verdict_either():
    report = build_score_report(records(base=grid(0, 2), new=grid(4, 2)), [])
    assert set(report.differences["verdict"]) == {"not settled"}
    assert report.page.warnings == ("2 seeds: there is no verdict, which needs 3 seeds of each method.",)


def test_p_values_are_adjusted_for_the_number_of_methods():
    report = build_score_report(records(base=grid(0), new=grid(4), other=grid(5)), [])
    rows = report.differences.set_index(["protocol", "metric", "class", "architecture"])
    both = rows.loc["sound", "dsc", "a"]
    assert both["p_adjusted"].max() >= both["p"].max()
    assert both["p_adjusted"].min() == pytest.approx(2 * both["p"].min())


def test_another_baseline_reverses_the_difference(three_seeds):
    report = build_score_report(records(base=grid(0), new=grid(4)), [], baseline="new")
    key = ["protocol", "metric", "class"]
    reversed_, usual = (r.differences.set_index(key)["difference"] for r in (report, three_seeds))
    assert np.allclose(reversed_, -usual, equal_nan=True)
    with pytest.raises(InputError, match="no folder of predictions has this name"):
        build_score_report(records(base=grid(0)), [], baseline="nwe")


def test_the_margin_decides_what_is_the_same():
    table = records(base=grid(4), new=grid(5))
    verdicts = {
        margin: build_score_report(table, [], margins=Margins(margin))
        .differences.set_index(["protocol", "metric", "class"])
        .loc[("sound", "specificity", "a"), "margin"]
        for margin in (0.01, 0.3)
    }
    assert verdicts == pytest.approx({0.01: 1, 0.3: 30})


def test_cases_have_all_metrics_and_the_situation(three_seeds):
    cases = three_seeds.cases
    assert len(cases) == 2 * 3 * 8 * 2 * 2  # methods, seeds, cases, classes, protocols
    row = cases[(cases["case"] == "c01") & (cases["class"] == "a") & (cases["protocol"] == "sound")].iloc[0]
    assert (row["situation"], row["dsc"], row["false_structure"]) == ("spurious", 0, 1)
    rest = cases[cases["class"] == "b"]
    assert set(rest["situation"]) == {"present"}
    assert not cases.duplicated(["architecture", "seed", "case", "class", "protocol"]).any()


def test_leaked_cases_are_left_out_of_a_second_mean():
    table = records(base=grid(0))
    usual = build_score_report(table[table["case"] != "c01"], []).means
    report = build_score_report(table, [], leaks=["c01"])
    key = ["protocol", "metric", "class"]
    left_out = report.means.set_index(key)["leak_free"].drop("false_structure", level="metric")
    expected = usual.set_index(key)["mean"].reindex(left_out.index)
    assert np.allclose(left_out, expected, equal_nan=True)
    assert "Leak-free" in report.text()


def test_files_and_text_have_the_same_content(three_seeds, tmp_path):
    three_seeds.write(tmp_path)
    assert read_page(tmp_path / "scores.json") == three_seeds.page
    page = (tmp_path / "scores.html").read_text()
    for text in ((tmp_path / "scores.md").read_text(), page, three_seeds.text()):
        assert "toy: 1 thing: c01." in text
        assert "Boundary IOU" in text
        assert "c07" in text or "more rows" in text
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")
    assert pd.read_csv(tmp_path / "audit.csv").values.tolist() == [["toy", "1 thing", "c01"]]
    assert len(pd.read_csv(tmp_path / "cases.csv")) == len(three_seeds.cases)


def test_text_lists_few_cases_and_says_how_many_more():
    text = build_score_report(records(base=grid(0, 1, cases=30)), []).text()
    assert "… and 10 more rows, which --report writes" in text
    assert "c19" in text
    assert "c20" not in text


def test_the_page_starts_with_the_verdict(three_seeds):
    (word, _, (sentence,)), (audit, *_) = three_seeds.page.lead
    assert (word, audit) == ("Verdict", "Audit")
    row = three_seeds.differences.set_index(["protocol", "metric", "class"]).loc["sound", "dsc", "mean"]
    assert sentence.startswith(f"new − base: DSC +{row['difference']:.2f} [")
    assert f"pp, {row['verdict']}, detectable from {row['detectable']:.2f}; " in sentence
    assert [word for word, *_ in build_score_report(records(base=grid(0)), []).page.lead] == ["Audit"]
