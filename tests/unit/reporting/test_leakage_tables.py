import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from spectralseg.data.audit import DEVELOPMENT, LEAKS, PAIRS, REPEATS, Audit, count_by_part, finding, no_audit
from spectralseg.data.duplicates import exact_matches, split_list_cases
from spectralseg.data.splits import PARTS
from spectralseg.errors import InputError
from spectralseg.reporting.drawing.layout import STAMP
from spectralseg.reporting.figures import build_figure
from spectralseg.reporting.report.sections import content
from spectralseg.reporting.results import BANNER, Results
from spectralseg.reporting.studies import build_study
from spectralseg.reporting.tables import build_table

FINDING = "isic2018 → isic2017: 2 of 3 test cases match cases of isic2018 (1 train, 1 test)"


@pytest.fixture
def results(official, published, tmp_path):
    """Build a folder with the records of the official results and a given audit."""

    def build(audit=None):
        pd.read_parquet(official / "records.parquet").to_parquet(tmp_path / "records.parquet")
        if audit is not None:
            audit.write(tmp_path / "leakage.parquet")
        return Results(tmp_path, published)

    return build


def mean_over(results, cell, cases):
    records = results.records
    keys = ["dataset", "architecture", "objective", "lambda", "suite", "test_dataset", "metric", "protocol"]
    mine = records[(records[keys] == cell[keys]).all(axis=1) & records["case"].isin(cases)]
    return mine.groupby(["seed", "class"])["value"].mean().groupby("seed").mean().mean() * 100


def cells_of(table, training, **wanted):
    cells = table.cells[table.cells["dataset"] == training]
    for name, value in wanted.items():
        cells = cells[cells[name] == value]
    return cells


class TestOutOfDistribution:
    @pytest.mark.parametrize("name", ["table_3", "summary"])
    def test_every_result_is_reported_twice(self, official, published, name):
        table = build_table(name, Results(official, published))
        twice = table.cells[table.cells["suite"] == "ood"]
        assert twice.groupby("test_dataset")["line"].value_counts().groupby("test_dataset").nunique().eq(1).all()
        assert set(twice["line"]) == {"measured", "leak-free"}
        cells = cells_of(table, "isic2018", test_dataset="isic2017", metric="dsc", line="leak-free")
        assert set(cells["cases"]) == {2}
        cell = cells.iloc[0]
        assert cell["measured"] == pytest.approx(mean_over(Results(official), cell, ["isic2017_1", "isic2017_2"]))
        assert np.isnan(cell["published"])
        assert set(cells_of(table, "kvasir_seg", test_dataset="polypgen", line="leak-free")["cases"]) == {3}

    def test_the_number_of_remaining_cases_is_given_below(self, official, published):
        text = build_table("table_3", Results(official, published)).markdown()
        assert re.search(
            r"^\| UNet \| published .*\n\|  \| measured .*\n\|  \| − published .*\n\|  \| leak-free ",
            text,
            re.MULTILINE,
        )
        assert "| Cases | measured | 3 | 3 | 3 | 3 | 3 | 3 | 3 | 3 |" in text
        assert "| Cases | leak-free | 2 | 2 | 2 | 2 | 3 | 3 | 3 | 3 |" in text

    def test_leaks_are_reported_before_any_number(self, official, phantom, published):
        table = build_table("table_3", Results(official, published))
        assert table.markdown().splitlines()[0] == f"**Leakage audit. {FINDING}.**"
        assert table.html().index(FINDING) < table.html().index("<table class=")
        assert "isic2018 $\\rightarrow$ isic2017: 2 of 3 test cases match" in table.latex()
        assert build_table("table_3", Results(phantom, published)).page.warnings[0] == BANNER
        assert "Leakage" not in build_table("table_2", Results(official, published)).markdown()

    def test_the_table_reports_a_missing_audit(self, results, published):
        table = build_table("table_3", results())
        assert set(table.cells["line"]) == {"measured"}
        assert "Not audited for leakage: isic2018 → isic2017, kvasir_seg → polypgen; run" in table.markdown()

    def test_without_remaining_cases_no_run_is_missing(self, official, results, published):
        audit = Results(official).leakage
        pair = audit.between("isic2018", "isic2017").iloc[[0]]
        everything = [pair.assign(test_case=f"isic2017_{n}", train_part="train") for n in range(3)]
        table = build_table("table_3", results(dataclasses.replace(audit, leaks=pd.concat(everything))))
        cells = cells_of(table, "isic2018", line="leak-free")
        assert set(cells["cases"]) == {0}
        assert set(cells["missing_runs"]) == {0}
        assert "| leak-free | undef. |" in table.markdown()


def test_results_on_a_leaked_own_test_set_are_reported_twice(official, results, published):
    audit = Results(official).leakage
    own = (audit.pairs["train_dataset"] == "btseg") & (audit.pairs["test_dataset"] == "btseg")
    pairs = audit.pairs.assign(validation=audit.pairs["validation"].mask(own, 1))
    leak = ["btseg", "btseg", "btseg_1", "group", "btseg_9", "validation", np.nan]
    leaks = pd.concat([audit.leaks, pd.DataFrame([leak], columns=audit.leaks.columns)])
    table = build_table("table_1", results(dataclasses.replace(audit, pairs=pairs, leaks=leaks)))
    twice = table.cells[table.cells["line"] == "leak-free"]
    assert set(twice["dataset"]) == {"btseg"}
    assert set(twice.loc[twice["seeds"] > 0, "cases"]) == {2}


WITHIN = "isic2018: 1 of 5 validation cases match training cases (v = t), which biases model selection"


@pytest.fixture
def repeating(official, results):
    """An audit with a validation case in the training data of isic2018."""
    rows = [
        ["isic2018", "validation", "train", 5, 0, 1, WITHIN],
        ["isic2018", "train", "train", 9, 0, 0, ""],
        ["kvasir_seg", "validation", "train", 5, 0, 0, ""],
    ]
    repeats = [["isic2018", "v", "validation", "bytes", "t", "train", np.nan]]
    return results(
        dataclasses.replace(
            Results(official).leakage,
            development=pd.DataFrame(rows, columns=list(DEVELOPMENT)),
            repeats=pd.DataFrame(repeats, columns=list(REPEATS)),
        )
    )


@pytest.mark.slow
class TestRepeatsWithinTrainingData:
    def test_they_are_reported_with_the_audit_and_beside_results_of_the_dataset(self, repeating, published):
        text = build_table("leakage", repeating).markdown()
        assert f"**Leakage audit. {WITHIN}.**" in text
        assert "also compared with each other: 1 of 2 datasets have matches" in text
        for name in ("table_2", "table_3"):
            reported = WITHIN in build_table(name, Results(repeating.root, published)).markdown()
            assert reported == (name == "table_3"), "table_2 does not have the dataset"
        study = build_study("study_leakage", Results(repeating.root, published))
        assert f"Leakage audit. {WITHIN}." in study.page.warnings

    def test_the_report_starts_with_them(self, repeating):
        assert content(repeating, repeating.root)["leaks"] == [FINDING, WITHIN]

    def test_they_change_no_number(self, repeating, official, published):
        for name in ("leakage", "table_3"):
            cells = [
                build_table(name, Results(root, published)).cells.drop(columns="source")
                for root in (repeating.root, official)
            ]
            pd.testing.assert_frame_equal(*cells)

    def test_an_audit_without_them_is_reported(self, official):
        text = build_table("leakage", Results(official)).markdown()
        assert "Training and validation cases were not compared with each other" in text


class TestEffect:
    def test_decreasing_subsets_of_cases(self, official):
        results = Results(official)
        table = build_table("leakage_effect", results)
        columns = cells_of(table, "isic2018", architecture="unet", objective="spatial", protocol="sound")
        assert columns["leak_free"].tolist() == ["", *PARTS]
        assert columns["cases"].tolist() == [3, 2, 2, 1]
        left = [["isic2017_0", "isic2017_1", "isic2017_2"], *[["isic2017_1", "isic2017_2"]] * 2, ["isic2017_1"]]
        for (_, cell), cases in zip(columns.iterrows(), left, strict=True):
            assert cell["measured"] == pytest.approx(mean_over(Results(official), cell, cases), nan_ok=True)
        assert set(table.cells["suite"]) == {"ood"}

    def test_a_study_on_own_test_sets_only(self, official, results):
        audit = Results(official).leakage
        own = audit.pairs[audit.pairs["role"] == "own"]
        table = build_table("leakage_effect", results(dataclasses.replace(audit, pairs=own)))
        assert table.cells.empty
        assert "No run is tested on another dataset" in table.markdown()
        assert table.latex().count("\\begin{table*}") == 2


class TestTable:
    def test_counts(self, official):
        table = build_table("leakage", Results(official))
        (row,) = table.cells[table.cells["role"].eq("ood") & table.cells["test_dataset"].eq("isic2017")].to_dict(
            "records"
        )
        assert [row[f"bytes_{part}"] for part in PARTS] == [1, 0, 0]
        assert [row[f"near_duplicate_{part}"] for part in PARTS] == [1, 0, 1]
        assert [row[f"any_{part}"] for part in PARTS] == [1, 0, 1]
        assert [row[f"left_{part}"] for part in PARTS] == [2, 2, 1]
        text = table.markdown()
        assert (
            "| ISIC-18 | ISIC-17 | 3 | 0 | **1 = 1 + 0 + 0** | **2 = 1 + 0 + 1** | 0 | **2 = 1 + 0 + 1** | 2 | 2 | 1 |"
            in text
        )
        assert "| Kvasir-SEG | PolypGen | 3 | 0 | 0 | 0 | 0 | 0 | 3 | 3 | 3 |" in text
        assert FINDING in text

    def test_the_published_lists(self, results):
        """The counts of the two ISIC challenges, by id alone."""
        first, second = split_list_cases("isic2018_bcdu_sorted"), split_list_cases("isic2017_official_test")
        matches = exact_matches("id", first, second).assign(train_dataset="isic2018", test_dataset="isic2017")
        counts = count_by_part(matches)
        text = finding("isic2018", "isic2017", 600, counts)
        pairs = pd.DataFrame([["isic2018", "isic2017", "ood", 600, 0, *counts.values(), text]], columns=list(PAIRS))
        text = build_table("leakage", results(Audit(pairs, matches[list(LEAKS)]))).markdown()
        assert "**529 = 108 + 61 + 360**" in text
        assert "| 492 | 431 | 71 |" in text
        assert "ISIC-18 → ISIC-17: by ids alone, 492, 431, 71 test cases would remain." in text
        assert "529 of 600 test cases match cases of isic2018 (108 train, 61 validation, 360 test)" in text

    def test_everything_left_out_is_counted(self, official, results):
        audit = Results(official).leakage
        more = audit.pairs.iloc[[0, 0]].assign(test_dataset=["acdc", "btseg"], role="other", not_hashed=2)
        more["finding"] = ["", "synapse → btseg: 1 of 3 test cases match cases of synapse (1 test)"]
        own = audit.pairs.assign(not_hashed=audit.pairs["test_dataset"].eq("polypgen").astype(int))
        table = build_table("leakage", results(dataclasses.replace(audit, pairs=pd.concat([own, more]))))
        text = table.markdown()
        assert "Matching, but not tested together" in text
        assert "without any match: 1 pair not tested together" in text
        assert "PolypGen: 1 blank test case not hashed." in text
        assert len(table.cells) == len(own) + 2

    def test_files(self, phantom, tmp_path):
        table = build_table("leakage", Results(phantom))
        files = table.write(tmp_path)
        assert [file.name for file in files] == [f"leakage.{suffix}" for suffix in ("csv", "json", "md", "tex", "html")]
        assert table.markdown().startswith(f"**{BANNER}**")
        assert set(pd.read_csv(files[0])["source"]) == {BANNER}
        assert files[3].read_text().isascii()

    def test_without_an_audit(self, results):
        for audit in (None, no_audit()):
            for name in ("leakage", "leakage_effect"):
                with pytest.raises(InputError, match="leakage was not audited"):
                    build_table(name, results(audit))


class TestFigure:
    def texts(self, root):
        return "\n".join(text.get_text() for text in build_figure("leakage_matrix", Results(root)).findobj(Text))

    def test_every_pair_and_the_matching_images(self, official, phantom):
        text = self.texts(official)
        assert text.count("0 of 3") == len(Results(official).leakage.pairs) - 1
        assert "1 of 3 (+1)" in text
        assert "ISIC-17\ntest\nisic2017_0" in text
        assert "ISIC-18\ntrain\nisic2018_1" in text
        assert "same bytes, near-duplicate" in text
        assert "isic2017_2" not in text, "a match with training comes before one with test data"
        assert STAMP in self.texts(phantom)
        assert STAMP not in text

    def test_without_a_match(self, official, results):
        audit = Results(official).leakage
        pairs = audit.pairs.assign(train=0, test=0)
        root = results(dataclasses.replace(audit, pairs=pairs, leaks=audit.leaks[:0])).root
        assert "No framed pair has a match." in self.texts(root)

    def test_without_an_audit(self, tmp_path):
        assert "Leakage was not audited." in self.texts(tmp_path)
