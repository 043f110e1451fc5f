import cProfile
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spectralseg import cli
from spectralseg.errors import InputError
from spectralseg.published.consistency import BOUNDS, FINDINGS, audit

JENSEN, RECALL = "DSC ≤ 2·IOU/(1+IOU)", "DSC ≤ 2·SE/(1+SE)"
HEADINGS = {
    "dsc": "DSC",
    "iou": "IOU",
    "sensitivity": "SE",
    "specificity": "SP",
    "precision": "PRE",
    "accuracy": "ACC",
    "ece": "ECE",
    "mce": "MCE",
}
METHODS = ("UNet", "TransUNet", "UNet(ours)", "TransUNet(ours)")


def audited(folder, text, **options):
    file = folder / "results.csv"
    file.write_text(text, encoding="utf-8")
    return audit([file], **options)


def keys(report):
    return {(finding["check"], finding["name"]) for finding in report.findings.to_dict("records")}


class TestPaper:
    def test_findings(self, published):
        report = audit(sorted(published.glob("table_*.csv")))
        jensen = {f"{data}, {method}" for data in ("Kvasir-SEG", "ISIC-18", "BTSeg") for method in METHODS}
        jensen |= {f"ISIC-18 → ISIC-17, {method}" for method in METHODS}
        jensen |= {f"Kviser-SEG, λ = {lam}" for lam in ("0.1", "0.2", "0.3", "0.5")}
        recall = {f"ISIC-18 → ISIC-17, {method}" for method in METHODS} | {"BTSeg, TransUNet(ours)"}
        expected = {(JENSEN, name) for name in jensen} | {(RECALL, name) for name in recall}
        assert keys(report) == expected | {("means of classes", "ACDC, UNet(ours)")}
        assert len(report.findings) == 20 + 5 + 1
        covered = report.checks.set_index("check")["covered"]
        assert covered[[JENSEN, RECALL, "means of classes", "values in range"]].tolist() == [29, 20, 16, 276]

    def test_numbers(self, published):
        findings = audit(sorted(published.glob("table_*.csv"))).findings.set_index(["check", "name"])
        one = findings.loc[(JENSEN, "ISIC-18 → ISIC-17, TransUNet(ours)")]
        assert (one["printed"], one["class"], one["metric"]) == (pytest.approx(94.86), "mean", "dsc")
        assert one["bound"] == pytest.approx(200 * 0.77845 / 1.77845)  # 77.84 may be up to 77.845
        assert one["excess"] == pytest.approx(7.32, abs=0.01)
        assert one["finding"] == (
            "ISIC-18 → ISIC-17, TransUNet(ours): DSC 94.86 is 7.32 above 87.54, the largest value possible with "
            "IOU 77.84"
        )
        mean = findings.loc[("means of classes", "ACDC, UNet(ours)")]
        assert mean["bound"] == pytest.approx((87.90 + 86.62 + 94.74) / 3)
        assert mean["finding"] == "ACDC, UNet(ours): Mean DSC 89.69 is not 89.75, the mean of its 3 classes"


def count_metrics(counts):
    """The metrics of every unit; counts (n, 4) of TP, FP, FN, TN. NaN where undefined."""
    tp, fp, fn, tn = np.asarray(counts, float).T
    with np.errstate(invalid="ignore"):
        return {
            "dsc": 2 * tp / (2 * tp + fp + fn),
            "iou": tp / (tp + fp + fn),
            "sensitivity": tp / (tp + fn),
            "specificity": tn / (tn + fp),
            "precision": tp / (tp + fp),
            "accuracy": (tp + tn) / (tp + fp + fn + tn),
        }


def mean(values, weights):
    """Weighted mean of the defined values."""
    defined = np.isfinite(values)
    return np.average(values[defined], weights=weights[defined]) if weights[defined].sum() > 0 else np.nan


unit_counts = st.tuples(*[st.integers(0, 30)] * 4).filter(lambda unit: sum(unit[:3]) > 0)


@st.composite
def rows(draw):
    """Metrics of one row with one averaging: weighted over units, or pooled."""
    counts = np.array(draw(st.lists(unit_counts, min_size=1, max_size=6)))
    if draw(st.booleans()):
        counts = counts.sum(0, keepdims=True)
    weights = np.array(draw(st.lists(st.integers(1, 9), min_size=len(counts), max_size=len(counts))), float)
    bins = np.array(draw(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=4)))
    values = {name: mean(of_units, weights) for name, of_units in count_metrics(counts).items()}
    return values | {"ece": bins.mean(1).mean(), "mce": bins.max(1).mean()}


@pytest.mark.slow
@settings(max_examples=30)
@given(st.lists(rows(), min_size=1, max_size=15), st.integers(1, 3), st.booleans(), st.booleans())
def test_consistent_tables_raise_no_alarm(tmp_path, table, digits, percent, tell):
    """With any averaging and rounding, and undefined units excluded from the mean of one metric."""
    frame = pd.DataFrame(table).rename(columns=HEADINGS) * (100 if percent else 1)
    text = frame.map(lambda value: "" if np.isnan(value) else f"{value:.{digits}f}")
    largest = frame[["DSC", "IOU", "SE", "SP", "PRE", "ACC"]].round(digits).max()
    clear = not percent or (largest.dropna() > 1).all()
    unit = None if clear and not tell else "percent" if percent else "share"
    report = audited(tmp_path, text.to_csv(index=False), unit=unit)
    assert report.findings.empty, report.text()
    (read,) = report.tables
    assert read.unit == ("percent" if percent else "share")
    assert read.values["value"].isna().sum() == frame.isna().sum().sum()
    report.refuse()


@pytest.mark.slow
@pytest.mark.parametrize("percent", [False, True], ids=["share", "percent"])
@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.formula)
def test_bounds_allow_for_rounding(tmp_path, bound, percent):
    rng = np.random.default_rng(0)
    arguments = rng.integers(0, 1001, (len(bound.arguments), 400)) / 1000
    half, sign = 0.0005, 1 if bound.upper else -1
    suits_best = np.clip(arguments + sign * half, 0, 1)
    values = {"at the bound": bound.limit(*arguments), "beyond": bound.limit(*suits_best) + sign * 3 * half}
    result = {}
    for name, limited in values.items():
        possible = (limited >= 0) & (limited <= 1)
        columns = zip((bound.metric, *bound.arguments), (limited, *arguments), strict=True)
        table = pd.DataFrame({HEADINGS[metric]: column[possible] for metric, column in columns})
        text = table.map(lambda one: f"{one * 100:.1f}" if percent else f"{one:.3f}").to_csv(index=False)
        checks = audited(tmp_path, text, unit="percent" if percent else "share").checks.set_index("check")
        result[name] = checks.loc[bound.formula, "findings"] / checks.loc[bound.formula, "covered"]
    assert result == {"at the bound": 0, "beyond": 1}


@pytest.mark.slow
@settings(max_examples=25)
@given(st.lists(rows(), min_size=2, max_size=5), st.floats(0.003, 0.2), st.data())
def test_tampered_tables_have_findings(tmp_path, table, excess, data):
    """A DSC above the limit of the IOU in its row, among consistent rows."""
    frame = pd.DataFrame(table)[["dsc", "iou"]].rename(columns=HEADINGS)
    place = data.draw(st.integers(0, len(frame) - 1))
    tampered = 2 * frame["IOU"] / (1 + frame["IOU"]) + excess
    assume(tampered[place] <= 1)
    frame.loc[place, "DSC"] = tampered[place]
    report = audited(tmp_path, frame.map("{:.3f}".format).to_csv(index=False), unit="share")
    assert keys(report) == {(JENSEN, f"row {place + 1}")}
    assert report.findings["excess"].item() == pytest.approx(excess, abs=0.002)
    with pytest.raises(InputError, match=r"results\.csv: 1 finding, see above"):
        report.refuse()


class TestClasses:
    TEXT = "method,class,DSC,HD\na,liver,90.10,12.1\na,spleen,81.23,20.0\na,Mean,{mean},16.0\nb,mean,70.0,1.0\n"

    @pytest.mark.parametrize("value", ["85.66", "85.67", "85.7", "86"])  # the classes may be up to 85.67
    def test_rounding_is_allowed(self, tmp_path, value):
        report = audited(tmp_path, self.TEXT.format(mean=value))
        assert report.findings.empty
        assert report.checks.set_index("check").loc["means of classes", "covered"] == 2  # DSC and HD of method a

    @pytest.mark.parametrize("value", ["85.65", "85.68", "85.8", "84"])
    def test_wrong_means_have_findings(self, tmp_path, value):
        report = audited(tmp_path, self.TEXT.format(mean=value))
        assert keys(report) == {("means of classes", "a")}
        assert report.findings["bound"].item() == pytest.approx(85.665)

    def test_a_missing_class_leaves_the_mean_unchecked(self, tmp_path):
        report = audited(tmp_path, self.TEXT.format(mean="90.10").replace("81.23", ""))
        assert report.findings.empty
        assert report.checks.set_index("check").loc["means of classes", "covered"] == 1

    def test_distances_are_averaged_as_well(self, tmp_path):
        report = audited(tmp_path, self.TEXT.format(mean="85.67").replace("16.0", "17.0"))
        assert report.findings["metric"].tolist() == ["hd95"]


@pytest.mark.parametrize(
    ("cell", "unit", "finding"),
    [
        ("104.2", "percent", "a: DSC 104.2 is above 100"),
        ("1.02", "share", "a: DSC 1.02 is above 1"),
        ("-0.3", "share", "a: DSC -0.3 is below 0"),
    ],
)
def test_values_out_of_range(tmp_path, cell, unit, finding):
    report = audited(tmp_path, f"method,DSC,IOU,HD95\na,{cell},0.5,3\n", unit=unit)
    assert report.findings["finding"].tolist() == [finding]  # and no bound is applied to it


def test_negative_distances_are_out_of_range(tmp_path):
    report = audited(tmp_path, "method,DSC,HD95\na,0.9,-2.0\nb,0.9,250.0\n")
    assert report.findings["finding"].tolist() == ["a: HD95 -2.0 is below 0"]


def test_the_same_cell_in_two_tables(published, tmp_path):
    text = (published / "table_6.csv").read_text(encoding="utf-8")
    assert "Kviser-SEG,DSC,89.40" in text
    (tmp_path / "table_6.csv").write_text(
        text.replace("Kviser-SEG,DSC,89.40", "Kviser-SEG,DSC,89.42"), encoding="utf-8"
    )
    report = audit([published / "table_1.csv", tmp_path / "table_6.csv"])
    result = report.findings[report.findings["check"] == "cells printed twice"]
    assert result["finding"].tolist() == [f"Kviser-SEG, λ = 0.2: DSC 89.42 is 89.40 in {published / 'table_1.csv'}"]


def test_claims_that_say_most_need_a_majority(published, tmp_path):
    def findings(*replaced):
        text = (published / "table_1.csv").read_text(encoding="utf-8")
        for old, new in replaced:
            assert text.count(old) == 1
            text = text.replace(old, new)
        (tmp_path / "table_1.csv").write_text(text, encoding="utf-8")
        others = [published / f"table_{number}.csv" for number in (2, 3)]
        result = audit([tmp_path / "table_1.csv", *others], published / "claims.csv").findings
        return (result["name"] == "unet-ours-beats-transunet").sum()

    # One of eight tasks, MoNuSeg, contradicts the claim. If half of them do, it does not hold.
    lower = [
        (f"UNet(ours),,{printed},true,{dataset},", f"UNet(ours),,{changed},true,{dataset},")
        for printed, changed, dataset in (
            ("Kvasir-SEG,DSC,89.40", "Kvasir-SEG,DSC,80.00", "kvasir_seg,unet"),
            ("ISIC-18,DSC,91.74", "ISIC-18,DSC,80.00", "isic2018,unet"),
            ("BTSeg,DSC,85.48", "BTSeg,DSC,80.00", "btseg,unet"),
        )
    ]
    assert findings() == 0
    assert findings(*lower[:2]) == 0
    assert findings(*lower) == 4


def test_report(tmp_path):
    report = audited(tmp_path, "method,DSC,IOU,time\na,0.90,0.70,3\nb,-,0.50,4\n")
    report.write(tmp_path / "findings.csv")
    result = pd.read_csv(tmp_path / "findings.csv")
    assert list(result.columns) == list(FINDINGS)
    assert result["excess"].item() == pytest.approx(0.9 - 2 * 0.705 / 1.705)
    text = report.text()
    assert text.startswith(f"{tmp_path}/results.csv: 2 rows, 3 values in share, 1 missing; not checked: time\n")
    assert f"{JENSEN}        1         1\n" in text
    assert "not checked for lack of numbers: DSC ≤ 2·SE/(1+SE), " in text
    assert text.endswith("results.csv: a: DSC 0.90 is 0.07 above 0.83, the largest value possible with IOU 0.70")


def test_report_without_findings(tmp_path):
    report = audited(tmp_path, "DSC\n0.90\n")
    report.write(tmp_path / "findings.csv")
    assert (tmp_path / "findings.csv").read_text() == ",".join(FINDINGS) + "\n"
    assert report.text().endswith("No inconsistency found.")


def test_run_time_is_linear_in_rows(tmp_path):
    """Function calls are counted, as they do not depend on the load of the machine."""

    def calls(rows):
        lines = [f"m{n // 4},{'abc'[n % 4] if n % 4 < 3 else 'mean'},0.{80 - n % 4},0.60" for n in range(rows)]
        with cProfile.Profile() as profile:
            audited(tmp_path, "method,class,DSC,IOU\n" + "\n".join(lines))
        return sum(entry.callcount for entry in profile.getstats())

    calls(4)
    first, second, third = calls(400), calls(800), calls(1200)
    assert third - second < 1.2 * (second - first)
    assert second - first < 400 * 400


class TestCommand:
    def test_control_characters_and_formulas_in_names_are_escaped(self, tmp_path, capsys):
        file = tmp_path / "results.csv"
        file.write_text("method,DSC,IOU\n=\x1b[2Ja,0.80,0.60\n")
        assert cli.main(["audit-table", str(file), "--out", str(tmp_path / "findings.csv")]) == 1
        assert "=\\x1b[2Ja: DSC" in (message := capsys.readouterr().out)
        assert "\x1b" not in message
        assert pd.read_csv(tmp_path / "findings.csv")["name"].tolist() == ["'=\x1b[2Ja"]

    def test_a_table_in_order(self, tmp_path, capsys):
        file = tmp_path / "results.csv"
        file.write_text("method,DSC,IOU\na,0.80,0.70\n")
        assert cli.main(["audit-table", str(file)]) == 0
        assert "No inconsistency found." in capsys.readouterr().out

    def test_findings_end_with_status_1_after_everything_is_written(self, tmp_path, capsys):
        file = tmp_path / "results.csv"
        file.write_text("method,DSC,IOU\na,0.80,0.60\n")
        assert cli.main(["audit-table", str(file), "--out", str(tmp_path / "findings.csv")]) == 1
        message = capsys.readouterr()
        assert "a: DSC 0.80 is 0.05 above 0.75" in message.out
        assert message.err == f"error: {file}: 1 finding, see above; check these numbers at their source\n"
        assert len(pd.read_csv(tmp_path / "findings.csv")) == 1

    def test_the_unit_may_be_given(self, tmp_path, capsys):
        file = tmp_path / "results.csv"
        file.write_text("method,DSC,IOU\na,0.9,2.1\n")
        assert cli.main(["audit-table", str(file)]) == 2
        assert "give --unit" in capsys.readouterr().err
        assert cli.main(["audit-table", str(file), "--unit", "percent"]) == 1
        assert "a: IOU 2.1 is 1." in capsys.readouterr().out

    def test_claims(self, published, capsys):
        arguments = [str(published / "table_5.csv"), "--claims", str(published / "claims.csv")]
        assert cli.main(["audit-table", *arguments]) == 1
        assert "text against tables" in capsys.readouterr().out

    def test_a_missing_table_leaves_no_file(self, tmp_path, capsys):
        assert cli.main(["audit-table", str(tmp_path / "none.csv"), "--out", str(tmp_path / "findings.csv")]) == 2
        assert "none.csv: cannot be read" in capsys.readouterr().err
        assert not (tmp_path / "findings.csv").exists()

    def test_torch_is_not_needed(self):
        code = "import sys, spectralseg.published.consistency; sys.exit('torch' in sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True)
