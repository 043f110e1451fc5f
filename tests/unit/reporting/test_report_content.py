"""The content of the report page."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.standins.study import CONFIG, claim, describe_run, write_claims

from spectralseg.errors import InputError
from spectralseg.grid import Run
from spectralseg.metrics.records import COLUMNS
from spectralseg.reporting import rendering
from spectralseg.reporting.claim_papers import ClaimPaper
from spectralseg.reporting.rendering.html_table import DASH, Cell, number, tables_of
from spectralseg.reporting.report import _json
from spectralseg.reporting.report.case_browser import ABSENT, case_browser
from spectralseg.reporting.report.claims_table import claims_grid, paper_sections, read_claims, verdict_counts
from spectralseg.reporting.report.leaderboard_table import answer, leaderboard_grid
from spectralseg.reporting.report.runs_table import cost_grid, origins, read_runs, runs_grid
from spectralseg.reporting.report.sections import _figures
from spectralseg.reporting.results import Results
from spectralseg.reporting.tables import build_table
from spectralseg.reporting.tables.strata import COLUMNS as STRATA
from spectralseg.statistics.verdicts import VERDICTS


@st.composite
def pages(draw):
    """Pages of random texts, with groups of columns, counts and a lead."""
    texts = st.text(max_size=9)

    def lines(columns):
        entry = st.builds(rendering.Entry, texts, st.booleans())
        line = st.builds(rendering.Line, texts, texts, st.tuples(*[entry] * columns))
        return draw(st.lists(line, max_size=2).map(tuple))

    def block():
        columns = draw(st.integers(0, 3))
        groups, headings = (draw(st.tuples(*[texts] * columns)) for _ in range(2))
        return rendering.Block(draw(texts), groups, headings, lines(columns), lines(columns))

    sections = [
        rendering.Section(draw(texts), draw(texts), tuple(block() for _ in range(draw(st.integers(0, 2)))))
        for _ in range(draw(st.integers(0, 2)))
    ]
    several = st.lists(texts, max_size=2).map(tuple)
    lead = draw(st.lists(st.tuples(texts, texts, several), max_size=2).map(tuple))
    return rendering.Page(
        *("table_1", draw(texts), draw(several), draw(st.tuples(texts, texts)), tuple(sections)),
        *(draw(texts), draw(several), lead),
    )


class TestTables:
    @given(pages())
    def test_a_written_page_is_read_back(self, tmp_path_factory, page):
        file = tmp_path_factory.mktemp("tables") / "table_1.json"
        file.write_text(rendering.json_text(page), encoding="utf-8")
        assert rendering.read_page(file) == page

    def test_every_number_of_a_table_is_on_the_page(self, official, published, tmp_path):
        table = build_table("table_3", Results(official, published))
        table.write(tmp_path)
        page = rendering.read_page(tmp_path / "table_3.json")
        assert page.title == table.page.title
        assert page.warnings == table.page.warnings
        assert page.notes == table.page.notes
        for (title, (grid,)), section in zip(tables_of(page), table.page.sections, strict=True):
            (block,) = section.blocks
            assert title == section.title
            texts = [[cell.text for cell in row[2:]] for row in grid.rows]
            assert texts == [[entry.text for entry in line.entries] for line in block.rows]
            assert [row[0].text for row in grid.feet] == [line.label for line in block.counts]
            assert len(grid.columns) == len(grid.rows[0])

    def test_rows_keep_the_name_of_their_method(self, official, published, tmp_path):
        build_table("table_3", Results(official, published)).write(tmp_path)
        (_, (grid,)), _ = tables_of(rendering.read_page(tmp_path / "table_3.json"))
        assert [row[0].text for row in grid.rows[:8]] == ["UNet"] * 4 + ["TransUNet"] * 4
        assert [row[1].text for row in grid.rows[:4]] == ["published", "measured", "− published", "leak-free"]
        assert grid.columns[1][0] == "Line"

    def test_numbers_sort_by_their_value(self):
        line = rendering.Line("a", "b", tuple(map(rendering.Entry, ("86.60 ± 0.31", "−2.5", "1,537", "–", "0 of 4"))))
        block = rendering.Block("", ("",) * 5, tuple("vwxyz"), (line,))
        page = rendering.Page("t", "t", (), ("", ""), (rendering.Section("", "", (block,)),), "", ())
        ((_, (grid,)),) = tables_of(page)
        assert [cell.key for cell in grid.rows[0][2:]] == [86.6, -2.5, 1537, None, 0]

    def test_groups_are_headings_above_the_columns(self):
        line = rendering.Line("a", "b", tuple(map(rendering.Entry, "123")))
        block = rendering.Block("", ("left", "left", ""), tuple("xyz"), (line,))
        page = rendering.Page("t", "t", (), ("", ""), (rendering.Section("", "", (block,)),), "", ())
        ((_, (grid,)),) = tables_of(page)
        assert grid.spans == [("", 2), ("left", 2), ("", 1)]
        assert [heading for heading, _ in grid.columns[2:]] == list("xyz")

    def test_columns_of_words_are_not_numeric(self):
        texts = ("better", "1.5", "of 3 comparisons 2 hold and 1 is untested", rendering.NO_RUN)
        line = rendering.Line("a", "b", tuple(map(rendering.Entry, texts)))
        block = rendering.Block("", ("",) * 4, tuple("vwxy"), (line,))
        page = rendering.Page("t", "t", (), ("", ""), (rendering.Section("", "", (block,)),), "", ())
        ((_, (grid,)),) = tables_of(page)
        assert [numeric for _, numeric in grid.columns[2:]] == [False, True, False, True]
        assert [cell.kind for cell in grid.rows[0][2:]] == ["", "", "prose", ""]

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "t", "sections": [{}]}'])
    def test_other_files_are_refused(self, tmp_path, text):
        (tmp_path / "t.json").write_text(text)
        with pytest.raises(InputError, match=r"t\.json: cannot be read as a page of results"):
            rendering.read_page(tmp_path / "t.json")


PAPER = ClaimPaper("harmonized", "Harmonized", "A title", "A citation", 6, 5, 4)


class TestEvidence:
    def test_a_paper_without_runs_is_named_and_has_no_section(self, tmp_path):
        write_claims(tmp_path, [claim(n) for n in range(6)], untested=["GRCSF"])
        (section,), untested = paper_sections(tmp_path)
        assert untested == ["GRCSF: none of its 7 claims can be tested, as the study has none of their runs."]
        assert section.grid.name == "claims-harmonized"
        assert section.paper.outcome == "5 of its 6 claims can be tested with this study"
        assert section.verdicts == dict(zip(VERDICTS, (2, 2, 1, 1), strict=True))

    def test_claims_without_their_papers_are_refused(self, tmp_path):
        pd.DataFrame([claim(0)]).to_csv(tmp_path / "claims.csv", index=False)
        with pytest.raises(InputError, match=r"claims_papers\.csv: .*; run 'spectralseg claims' again"):
            paper_sections(tmp_path)

    def test_claims_are_counted_by_verdict(self, tmp_path):
        pd.DataFrame([claim(n) for n in range(6)]).to_csv(tmp_path / "claims.csv", index=False)
        claims = read_claims(tmp_path / "claims.csv")
        assert verdict_counts(claims) == dict(zip(VERDICTS, (2, 2, 1, 1), strict=True))
        grid = claims_grid(PAPER, claims)
        expected = ["c0", "claim 0", "holds", "demonstration", "+10.50", "+1.50", "+0.50 to +2.50"]
        assert [cell.text for cell in grid.rows[0][:7]] == expected
        assert [cell.text for cell in grid.rows[0][12:]] == ["< 0.001", "0.017", "holds", "2.50"]
        assert [cell.key for cell in grid.rows[0][12:14]] == [0.0002, 0.0166]
        assert len(grid.columns) == len(grid.rows[0])

    def test_missing_files_give_none(self, tmp_path):
        assert read_claims(tmp_path / "claims.csv") is None
        assert paper_sections(tmp_path) is None

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda f: f.drop(columns="unit"), "'unit' is missing"),
            (lambda f: f.assign(verdict="yes"), "'yes' is unknown"),
            (lambda f: f.assign(verdict_adjusted="yes"), "'yes' is unknown"),
            (lambda f: f.drop(columns="p_adjusted"), "'p_adjusted' is missing"),
        ],
    )
    def test_invalid_claims_raise(self, tmp_path, change, message):
        change(pd.DataFrame([claim(0)])).to_csv(tmp_path / "claims.csv", index=False)
        with pytest.raises(InputError, match=message):
            read_claims(tmp_path / "claims.csv")


def row(metric="dsc", verdict="not settled", **changes):
    """A row of the leaderboard."""
    keys = {"protocol": "sound", "metric": metric, "leak_free": "", "dataset": "kvasir_seg", "suite": "iid"}
    keys |= {"test_dataset": "kvasir_seg", "corruption": "none", "severity": "0", "architecture": "unet"}
    keys |= {"objective": "mine", "lambda": "0", "reference": "unet spatial", "verdict": verdict, "unit": "pp"}
    numbers = {"mean": 80.0, "sd": 0.5, "difference": 5.0, "low": 1.0, "high": 10.0, "p": 0.01, "p_adjusted": 0.02}
    numbers |= {"p_equivalence": 0.5, "margin": 0.5, "seeds": 3, "groups": 9, "effective_groups": 9.0, "cases": 12}
    numbers |= {"undefined": 1, "seeds_needed": 7.0, "groups_needed": np.nan, "false_structures": 12.5}
    return {**keys, **numbers, **changes}


def group(value, mean, gap, worst, **changes):
    """A row of the table ``strata``: the sites of a test set."""
    keys = {"attribute": "site", "value": value, "mean": mean, "low": mean - 3, "high": mean + 3, "gap": gap}
    numbers = {"difference_low": -1.0, "difference_high": 4.0, "difference": 1.5, "worst": worst, "cases": 5}
    numbers |= {f"difference_{name}": number for name, number in (("seeds", 3), ("groups", 4), ("cases", 5))}
    numbers |= {"difference_effective_groups": 4.0, "difference_undefined": 0}
    return {name: value for name, value in {**row(), **keys, **numbers, **changes}.items() if name in STRATA}


def rows_of(grid):
    """Texts of each row of a grid by heading."""
    headings = [name for name, _ in grid.columns]
    return [dict(zip(headings, (cell.text for cell in cells), strict=True)) for cells in grid.rows]


class TestAnswer:
    def test_settled_differences_are_sentences_the_largest_first(self):
        other = {"test_dataset": "polypgen", "suite": "ood", "difference": -7.0, "low": -9.0, "high": -5.0}
        same = row(verdict="same", difference=0.1, low=-0.1, high=0.3, **{"lambda": "0.2"})
        counts, sentences = answer(pd.DataFrame([row(verdict="better"), row(verdict="worse", **other), same]))
        assert counts == {"better": 1, "worse": 1, "same": 1, "not settled": 0}
        assert sentences == [
            "unet mine is worse than unet spatial on Kvasir-SEG → PolypGen: −7.00 [−9.00, −5.00] pp of Dice.",
            "unet mine is better than unet spatial on Kvasir-SEG: +5.00 [+1.00, +10.00] pp of Dice.",
            "unet mine, λ = 0.2 and unet spatial are the same on Kvasir-SEG within 0.5 pp of Dice: "
            "+0.10 [−0.10, +0.30] pp.",
        ]

    def test_only_dice_of_all_clean_test_cases_under_the_sound_protocol_counts(self):
        rows = [row(), row("hd95"), row(protocol="published"), row(suite="noise"), row(leak_free="validation")]
        rows.append(row(reference="", verdict="not settled"))
        counts, sentences = answer(pd.DataFrame(rows))
        assert sum(counts.values()) == counts["not settled"] == 1
        assert sentences == ["No difference is settled; the column 'To settle' says what would."]

    @pytest.mark.parametrize(
        ("numbers", "needs"),
        [
            ({"seeds": 2}, "3 seeds"),
            ({"groups": 2}, "3 patients"),
            ({"seeds": 1, "groups": 1}, "3 seeds and 3 patients"),
        ],
    )
    def test_too_few_seeds_or_patients_are_said(self, numbers, needs):
        _, sentences = answer(pd.DataFrame([row(**numbers)]))
        assert sentences == [f"No difference is settled: a verdict needs at least {needs}."]

    def test_a_difference_that_no_number_of_seeds_would_settle_refers_to_no_empty_column(self):
        _, sentences = answer(pd.DataFrame([row(seeds_needed=np.nan, groups_needed=np.nan)]))
        assert sentences == [
            "No difference is settled, and neither more seeds nor more patients alone are estimated to do so."
        ]

    @pytest.mark.parametrize(
        ("settled", "unsettled", "expected"),
        [
            (9, 1, ("3 more settled differences are in the table.", "1 of 10 differences is not settled")),
            (7, 2, ("1 more settled difference is in the table.", "2 of 9 differences are not settled")),
        ],
    )
    def test_many_settled_differences_are_counted(self, settled, unsettled, expected):
        rows = [row(verdict="better", architecture=f"net{n}") for n in range(settled)]
        _, sentences = answer(pd.DataFrame([*rows, *[row()] * unsettled]))
        assert len(sentences) == 8
        assert sentences[-2:] == [expected[0], f"{expected[1]}; the column 'To settle' says what would."]

    def test_the_grid_has_one_row_per_method_on_one_scale_per_test_set(self):
        rows = [row(verdict="better"), row(difference=-1.0, low=-20.0, high=18.0), row(reference="", difference=np.nan)]
        grid = leaderboard_grid(pd.DataFrame(rows), pd.DataFrame(columns=list(STRATA)))
        headings = [name for name, _ in grid.columns]
        first, second, third = (dict(zip(headings, cells, strict=True)) for cells in grid.rows)
        assert (first["Mean ± sd"].text, first["Mean ± sd"].key) == ("80.00 ± 0.50", 80.0)
        assert first["95 % interval"].bar == pytest.approx((0.05, 0.25, 0.5))
        assert second["95 % interval"].bar == pytest.approx((-1.0, -0.05, 0.9))
        assert [cells["Verdict"].text for cells in (first, second, third)] == ["better", "not settled", "reference"]
        assert [cells["To settle"].text for cells in (first, second, third)] == ["", "7 seeds", ""]
        assert third["95 % interval"].text == DASH
        assert first["False structures, %"].text == "12.5"
        assert {cells["Group of cases"].text for cells in (first, second, third)} == {"all cases"}
        assert [cells["Worst group"].text for cells in (first, second, third)] == ["", "", ""]

    def test_groups_of_cases_follow_with_their_own_numbers(self):
        groups = [group("B", 70.0, -10.0, True), group("A", 84.0, 4.0, False)]
        other = {"objective": "spatial", "reference": "", "difference": np.nan}
        groups += [group("B", 75.0, -5.0, True, **other), group("A", 86.0, 2.0, False, **other)]
        grid = leaderboard_grid(pd.DataFrame([row(), row(objective="spatial")]), pd.DataFrame(groups))
        everyone, baseline, *by_group = rows_of(grid)
        assert (everyone["Worst group"], baseline["Worst group"]) == ("site = B (−10.00)", "site = B (−5.00)")
        assert [cell.prefix for row in grid.rows for cell in row if cell.prefix] == ["site = ", "site = "]
        texts = [(cells["Group of cases"], cells["Method"], cells["Mean ± sd"]) for cells in by_group]
        assert texts == [
            ("site = B", "unet spatial", "75.00 [72.00, 78.00]"),
            ("site = B", "unet mine", "70.00 [67.00, 73.00]"),
            ("site = A", "unet spatial", "86.00 [83.00, 89.00]"),
            ("site = A", "unet mine", "84.00 [81.00, 87.00]"),
        ], "the groups in the order of the table, the best method first"
        mine = by_group[1]
        assert (mine["Difference"], mine["95 % interval"], mine["Cases"]) == ("+1.50", "−1.00 to +4.00", "5")
        assert [cells["Worst group"] for cells in by_group] == ["worst: −5.00", "worst: −10.00", "+2.00", "+4.00"]
        assert by_group[0]["Verdict"] == "reference"

    def test_the_worst_group_is_named_for_the_same_condition_only(self):
        rows = [row(), row("hd95"), row(protocol="published"), row(corruption="gaussian", severity="0.1")]
        grid = leaderboard_grid(pd.DataFrame(rows), pd.DataFrame([group("B", 70.0, -10.0, True)]))
        assert [cells["Worst group"] != "" for cells in rows_of(grid)] == [True, False, False, False, True]


class TestCases:
    def pair(self, root, label):
        browser = case_browser(Results(root))
        return next(pair for pair in browser["pairs"] if pair["label"] == label)

    def test_every_value_of_clean_images_is_listed(self, official):
        records = pd.read_parquet(official / "records.parquet")
        pair = self.pair(official, "ISIC-18 → ISIC-17")
        rows = records[(records["test_dataset"] == "isic2017") & (records["metric"] == "dsc")]
        rows = rows[rows["protocol"] == "published"]
        assert pair["classes"] == [["mean", ""]]
        ((*runs,),) = [pair["values"]["published"]["dsc"][0]]
        assert len(runs) == len(pair["runs"]) == 8
        keys = ["architecture", "objective", "lambda"]
        methods = sorted(rows[keys].drop_duplicates().itertuples(index=False, name=None))
        for (method, seed), values in zip(pair["runs"], runs, strict=True):
            run_rows = rows[(rows[keys].apply(tuple, axis=1) == methods[method]) & (rows["seed"] == seed)]
            expected = dict(zip(run_rows["case"], run_rows["value"], strict=True))
            assert dict(zip(pair["cases"], values, strict=True)) == {c: round(1e4 * v) for c, v in expected.items()}

    def test_the_mean_is_over_defined_classes(self, official):
        pair = self.pair(official, "ACDC")
        assert [name for name, _ in pair["classes"]] == ["mean", "right ventricle", "myocardium", "left ventricle"]
        mean, *classes = (run[0] for run in pair["values"]["sound"]["hd95"])
        case = pair["cases"].index("acdc_2")
        assert classes[0][case] is None, "its first class is undefined"
        assert mean[case] == pytest.approx((classes[1][case] + classes[2][case]) / 2, abs=1)

    def test_runs_without_a_record_differ_from_undefined_values(self, official, tmp_path):
        records = pd.read_parquet(official / "records.parquet")
        records = records[records["dataset"] == "btseg"]
        lost = (records["case"] == "btseg_0") & (records["seed"] == 1) & (records["metric"] == "dsc")
        records[~lost].to_parquet(tmp_path / "records.parquet")
        (pair,) = case_browser(Results(tmp_path))["pairs"]
        case = pair["cases"].index("btseg_0")
        values = pair["values"]["sound"]["dsc"][0]
        for (_, seed), run in zip(pair["runs"], values, strict=True):
            assert (run[case] == ABSENT) == (seed == 1)
        assert pair["values"]["sound"]["dsc"][0][0][pair["cases"].index("btseg_2")] is None
        assert pair["unit"] == {"published": "px", "sound": "mm or px"}
        assert pair["pictures"] == {}

    def test_pictures_show_the_stored_predictions(self, official):
        results = Results(official)
        pair = self.pair(official, "Kvasir-SEG → PolypGen")
        assert [pair["cases"][place] for place in pair["pictures"]] == ["polypgen_1", "polypgen_2"]
        picture = pair["pictures"][1]
        assert picture["side"] == 32
        assert picture["slice"] is None
        assert sorted(picture["predictions"]) == list(range(4))
        reference = results.prepared("polypgen").masks[1] > 0
        shifted = np.roll(reference, 1, axis=1)
        dice = 200 * (reference & shifted).sum() / (reference.sum() + shifted.sum())
        assert picture["predictions"][0]["seed"] == 0
        assert picture["predictions"][0]["dice"] == pytest.approx(dice, abs=0.05)
        (outline,) = picture["reference"]
        assert outline == ("polyp", "M2.5,3.5 2.5,4.5 11.5,4.5 11.5,3.5z")

    def test_leaked_cases_are_marked(self, official):
        pair = self.pair(official, "ISIC-18 → ISIC-17")
        assert [pair["cases"][place] for place in pair["seen"]] == ["isic2017_0"]

    def test_pooled_and_corrupted_values_are_left_out(self, official, tmp_path):
        records = pd.read_parquet(official / "records.parquet")
        acdc = records[records["dataset"] == "acdc"]
        assert (acdc["suite"] == "noise").any()
        pooled = acdc[acdc["metric"] == "ece"].head(1).assign(case="pooled", metric="pooled_ece")
        pd.concat([acdc, pooled])[list(COLUMNS)].to_parquet(tmp_path / "records.parquet")
        (pair,) = case_browser(Results(tmp_path))["pairs"]
        assert pair["cases"] == ["acdc_0", "acdc_1", "acdc_2"]
        assert pair["classes"][0] == ["mean", ""]


class TestForeignRuns:
    """A study shows what its configuration names, whatever else lies in its folder."""

    @pytest.fixture
    def results(self, study, tmp_path):
        root = tmp_path / "study"
        shutil.copytree(study, root, symlinks=True)
        for name in ("table_3", ".table_3.json", "leftover"):
            (root / "tables").mkdir(exist_ok=True)
            page = rendering.Page(name, "x", (), ("", ""), (), "", ())
            (root / "tables" / f"{name}.json").write_text(rendering.json_text(page))
        for name in ("forest", ".forest.png.x1", "old"):
            (root / "figures").mkdir(exist_ok=True)
            (root / "figures" / f"{name}.png").write_bytes(b"")
        shutil.copytree(root / "prepared" / "acdc", root / "prepared" / ".acdc.k1j2h3g4")
        return self.change(
            Results(root), lambda config: config.update(tables=["table_3"], figures=["forest"], studies=[])
        )

    def change(self, results, edit):
        config = yaml.safe_load((results.root / "config.yaml").read_text())
        edit(config)
        (results.root / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        return Results(results.root)

    def test_a_complete_study_shows_everything(self, results):
        assert results.prepared_names == ["acdc", "isic2017", "isic2018"]
        assert len(results.runs()) == len(results.trained()) == len(set(results.study.runs))
        assert len(results.records) == len(pd.read_parquet(results.root / "records.parquet"))
        assert [file.name for file in results.study.pages("tables")] == ["table_3.json"]
        assert [file.name for file in results.study.pages("figures")] == ["forest.png"]
        assert results.study.left_out == {"tables": 1, "figures": 1}

    def test_a_removed_seed_leaves_every_reader(self, results):
        changed = self.change(results, lambda config: [block.update(seeds=[0, 1]) for block in config["grid"].values()])
        assert {run.seed for run in (*changed.runs(), *changed.trained())} == {0, 1}
        assert set(changed.records["seed"]) == set(changed.reliability()["seed"]) == {0, 1}
        assert set(read_runs(changed)["seed"]) == {0, 1}
        assert changed.study.left_out["runs"] == 24

    def test_a_removed_weight_leaves_every_reader(self, results):
        changed = self.change(results, lambda config: config["grid"]["curves"].update(lambdas=["0.2", "0.5"]))
        for rows in (changed.records, changed.comparisons, changed.reliability(), read_runs(changed)):
            assert set(rows["lambda"]) - {"0"} == {"0.2", "0.5"}
        assert {run.lam for run in changed.runs()} == {"0", "0.2", "0.5"}

    def test_a_removed_dataset_leaves_every_reader(self, results):
        changed = self.change(results, lambda config: config["datasets"].pop("isic2017"))
        assert changed.prepared_names == ["acdc", "isic2018"]
        assert "isic2017" not in set(changed.leakage.pairs["test_dataset"])
        assert "isic2017" not in set(changed.records["test_dataset"])
        assert changed.study.left_out_sentence() == (
            "Left out, as the configuration does not name them: 1 dataset, 1 table, 1 figure."
        )


class TestRuns:
    @pytest.fixture
    def results(self, tmp_path):
        (tmp_path / "runs").mkdir()
        return Results(tmp_path)

    def test_every_run_of_the_grid_is_listed(self, results):
        describe_run(results.root, Run("kvasir_seg", "unet", "spatial", "0", 0))
        describe_run(results.root, Run("kvasir_seg", "unet", "spatial", "0", 7))
        trained = Run("kvasir_seg", "unet", "spatial", "0", 1)
        describe_run(results.root, trained)
        (results.root / "runs" / trained.folder / "records.parquet").unlink()
        (results.root / "config.yaml").write_text(yaml.safe_dump(CONFIG))
        runs = read_runs(results)
        states = dict(zip(zip(runs["objective"], runs["seed"], strict=True), runs["state"], strict=True))
        assert states == {
            ("spatial", 0): "evaluated",
            ("spatial", 1): "trained",
            ("spatial_spectral", 0): "missing",
            ("spatial_spectral", 1): "missing",
        }
        assert len(runs_grid(runs).rows) == 4
        assert results.study.left_out_sentence() == "Left out, as the configuration does not name them: 1 run."

    def test_costs_add_up(self, results):
        run = Run("kvasir_seg", "unet", "spatial", "0", 0)
        describe_run(results.root, run)
        other = Run("kvasir_seg", "unet", "spatial", "0", 1)
        describe_run(results.root, other, seconds=7200.0, peak_memory={"resident_mib": 900, "cuda_mib": 40})
        (results.root / "runs" / other.folder / "evaluate.benchmark.jsonl").unlink()
        grid = cost_grid(read_runs(results))
        expected = ["2", "1", "3.00", "0.50", "0.50", "900", "40"]  # one evaluation was not measured
        assert [cell.text for cell in grid.rows[0][3:]] == expected
        assert [cell.text for cell in grid.feet[0][3:]] == expected
        assert len(grid.columns) == len(grid.rows[0])

    def test_a_job_that_ran_twice_counts_with_its_last_time(self, results):
        run = Run("kvasir_seg", "unet", "spatial", "0", 0)
        describe_run(results.root, run)
        with (results.root / "runs" / run.folder / "evaluate.benchmark.jsonl").open("a") as stream:
            stream.write(json.dumps({"s": 60.0, "cpu_time": "NA"}) + "\n")
        runs = read_runs(results)
        assert runs["evaluation"].tolist() == [60.0]
        assert runs["processor"].isna().all(), "no sum of times if one is unknown"

    def test_differences_in_origin_are_listed(self, results):
        for seed, dirty in enumerate((False, False, True)):
            git = {"commit": "abc", "dirty": dirty}
            describe_run(results.root, Run("toy", "unet", "spatial", "0", seed), git=git)
        origin = dict(origins(results, read_runs(results)))
        assert origin["Commit"] == [("abc", 2), ("abc with uncommitted changes", 1)]
        assert origin["torch"] == [("2.1", 3)]
        assert origin["Data"] == [("trained on a dataset that no longer exists", 3)]

    @pytest.mark.parametrize(
        ("name", "message"), [("run.json", "run.json"), ("train.benchmark.jsonl", "train.benchmark")]
    )
    def test_damaged_descriptions_raise(self, results, name, message):
        run = Run("toy", "unet", "spatial", "0", 0)
        describe_run(results.root, run)
        (results.root / "runs" / run.folder / name).write_text("{")
        with pytest.raises(InputError, match=name):
            read_runs(results)

    def test_no_run_at_all(self, results):
        runs = read_runs(results)
        assert cost_grid(runs).rows == []
        assert [cell.text for cell in cost_grid(runs).feet[0][3:]] == ["0", "0", *[DASH] * 5]


@pytest.mark.parametrize(
    ("value", "options", "text"),
    [
        *((1234.5, {}, "1,234.50"), (-2, {"digits": 0}, "−2"), (2, {"sign": True}, "+2.00"), (np.nan, {}, DASH)),
        *((-0.001, {}, "0.00"), (-0.001, {"sign": True}, "+0.00")),
    ],
)
def test_numbers(value, options, text):
    cell = number(value, **options)
    assert cell.text == text
    assert cell == (Cell(DASH) if np.isnan(value) else Cell(text, key=value))


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=5))
def test_json_in_a_script_round_trips_and_is_escaped(value):
    text = str(_json(value))
    assert json.loads(text) == value
    assert not set(text) & set("<>&")


def test_studies_are_shown_with_their_answer(tmp_path):
    (tmp_path / "studies").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "studies" / "study_sign.png")
    page = rendering.Page("study_sign", "x", (), ("", ""), (), "", (), (("Answer", "It draws it.", ("a point",)),))
    (tmp_path / "studies" / "study_sign.json").write_text(rendering.json_text(page))
    (tmp_path / "studies" / "study_sign.html").touch()
    Image.new("RGB", (40, 30)).save(tmp_path / "studies" / "another.png")
    another, sign = _figures(Results(tmp_path), tmp_path / "report", "studies")
    assert sign["answer"] == "It draws it."
    assert sign["files"]["HTML"] == "../studies/study_sign.html"
    assert "Table 6" in sign["output"].title
    assert another["answer"] == ""
