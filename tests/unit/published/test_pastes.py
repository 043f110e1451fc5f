"""Results tables as reviewers paste them: Markdown, LaTeX, tabs, semicolons, decimal commas, text around them."""

import io
import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectralseg import cli
from spectralseg.errors import InputError
from spectralseg.published.grids import parse_tables
from spectralseg.published.latex import MAX_DEPTH, find_tables, plain_text
from spectralseg.published.parsing import parse_printed

MARKDOWN = """
Table 2: our results, with 12, 13 and 14 patients.

| Method | Dataset | Dice ↑ (%) | mIoU ↑ | HD95 [mm] ↓ | Params (M) |
|:-------|---------|-----------:|-------:|:-----------:|-----------:|
| UNet [3] | ACDC | 88.4 ± 0.2 | 80.1% | 12.1 mm | 31 |
| **Ours** (a\\|b) | ACDC | **89.0**<sup>*</sup> | _81.0_ | n/a | 32 |
"""
LATEX = r"""
\begin{table}[t] \caption{Results on 2 sets, 3 seeds.} \label{tab:a}
\resizebox{\textwidth}{!}{
\begin{tabular}{@{}l|cc|>{\bfseries}c c@{}}
\toprule
\multirow{2}{*}{Method} & \multicolumn{2}{c|}{ACDC} & \multicolumn{2}{c}{Synapse} \\ % and & \\ here
\cmidrule(lr){2-3} \cmidrule(l){4-5}
 & DSC$\uparrow$ (\%) & HD$_{95}$ $\downarrow$
 & \begin{tabular}[c]{@{}c@{}}DSC\\ (\%)\end{tabular} & \makecell{HD95\\(mm)} \\
\midrule
\multicolumn{5}{l}{\textit{CNN-based}} \\
UNet~\cite{a} & 88.4 $\pm$ 0.2 & 12.1 & $77.3_{\pm 1.2}$ & 30.1 \\[2pt]
%removed & 1 & 2 & 3 & 4 \\
\rowcolor{gray!10} Ours \& co & \best{89.0}\std{0.3} & \textbf{11.0}\tiny{1.0} & \underline{\textbf{78.0}}\% & --- \\
\bottomrule
\end{tabular}}
\end{table}
"""


def only(text, **options):
    (table,) = parse_printed(text, "paste", **options).tables
    return table


def numbers(table):
    values = table.values.assign(printed=table.values["value"] * table.values["scale"])
    return {
        (row["name"], row["metric"]): row["printed"] for row in values.to_dict("records") if not np.isnan(row["value"])
    }


class TestMarkdown:
    def test_formatting_marks_and_units_are_removed(self):
        table = only(MARKDOWN)
        assert (table.format, table.line, table.unit, table.left_out) == ("markdown", 4, "percent", ("Params (M)",))
        assert numbers(table) == pytest.approx(
            {
                ("UNet [3], ACDC", "dsc"): 88.4,
                ("UNet [3], ACDC", "iou"): 80.1,
                ("UNet [3], ACDC", "hd95"): 12.1,
                ("Ours (a|b), ACDC", "dsc"): 89.0,
                ("Ours (a|b), ACDC", "iou"): 81.0,
            }
        )
        assert table.values["half"].min() == pytest.approx(0.0005)
        assert table.values["value"].isna().sum() == 1

    def test_outer_bars_are_optional_and_short_rows_have_missing_values(self):
        table = only("method | DSC | IOU\n--- | --- | ---\na | $0.90 \\pm 0.1$ | 0.8\nb | 0.7\n")
        assert numbers(table) == pytest.approx({("a", "dsc"): 0.9, ("a", "iou"): 0.8, ("b", "dsc"): 0.7})

    def test_a_row_with_more_cells_than_headings_is_refused(self):
        with pytest.raises(InputError, match=r"paste: is not a valid table \(line 3 has 3 columns, the heading 2\)"):
            only("| a | DSC |\n|---|---|\n| b | 0.9 | 0.8 |\n")


class TestLatex:
    def test_cells(self):
        assert numbers(only(LATEX)) == pytest.approx(
            {
                ("ACDC, CNN-based, UNet", "dsc"): 88.4,
                ("ACDC, CNN-based, UNet", "hd95"): 12.1,
                ("Synapse, CNN-based, UNet", "dsc"): 77.3,
                ("Synapse, CNN-based, UNet", "hd95"): 30.1,
                ("ACDC, CNN-based, Ours & co", "dsc"): 89.0,
                ("ACDC, CNN-based, Ours & co", "hd95"): 11.0,
                ("Synapse, CNN-based, Ours & co", "dsc"): 78.0,
            }
        )
        assert only(LATEX).values["value"].isna().sum() == 1

    def test_values_of_different_groups_are_different_rows(self):
        values = only(LATEX).values
        assert values.groupby("unit")["name"].nunique().tolist() == [1, 1, 1, 1]
        assert set(values["heading"]) == {"DSC↑ (%)", "HD95 ↓", "DSC (%)", "HD95 (mm)"}

    def test_a_name_over_several_rows_holds_for_each(self):
        text = r"""\begin{tabular}{llcc} Method & class & DSC & IoU \\ \hline
            \multirow{3}{*}{\textbf{UNet}} & liver & 90.1 & 82.3 \\ & spleen & 81.2 & 70.0 \\ & \textbf{Mean} & 85.6
            & 76.1 \\ \end{tabular}"""
        values = only(text).values
        assert set(values["class"]) == {"liver", "spleen", "mean"}
        assert set(values["name"]) == {"UNet, liver", "UNet, spleen", "UNet"}

    def test_groups_with_a_mean_are_classes(self):
        text = r"""\begin{tabular}{lccc} & Aorta & Liver & Average \\ Method & DSC & DSC & DSC \\ \hline
            UNet & 90.1 & 81.3 & 85.7 \\ Ours & 90.1 & 81.3 & 85.7 \\ \end{tabular}"""
        values = only(text).values
        assert set(values["class"]) == {"Aorta", "Liver", "mean"}
        assert values["group"].nunique() == 2

    def test_rows_without_environment(self):
        table = only("Method & DSC & IOU \\\\ \\midrule\na & 0.80 & 0.70 \\\\\nb & 0.81 & 0.71 \\\\\n")
        assert numbers(table)[("b", "iou")] == pytest.approx(0.71)

    @pytest.mark.parametrize(
        ("source", "text"),
        [
            (r"88.4\std{1.2}", "88.4 ±1.2"),
            (r"$88.4^{1.2}$", "88.4^1.2"),  # not a number
            (r"$88.4^{\dagger}$", "88.4 ±dagger"),
            (r"88{,}4", "88,4"),
            (r"\textcolor{red}{\textbf{88.4}}", "88.4"),
            (r"{\bf 88.4}\footnote{a note}", "88.4"),
            (r"$\mathbf{88.4}$\,\%", "88.4 %"),
            (r"\best{88.4}", "88.4"),
            (r"R$^2$ of HD$_{95}$", "R2 of HD95"),
            (r"\ours", "ours"),
            (r"U-Net \citep[see][p.~3]{ronneberger}", "U-Net"),
            (r"$-0.2$--1", "-0.2–1"),
            (r"\hline [UNet]", "[UNet]"),
            (r"\midrule[1pt] UNet", "UNet"),
            (r"\addlinespace[2pt UNet", "[2pt UNet"),
        ],
    )
    def test_text(self, source, text):
        assert plain_text(source) == text

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            (r"\begin{tabular}{lc} a & DSC \\ b & 0.5 \\", r"\\begin\{tabular\} has no \\end"),
            (rf"\begin{{tabular}}{{l}} DSC \\ {'{' * (MAX_DEPTH + 2)}0.5 \\ \end{{tabular}}", "nested more than 50"),
        ],
    )
    def test_damaged_source_is_refused(self, text, problem):
        with pytest.raises(InputError, match=f"paste: is not a valid table .*{problem}"):
            only(text)

    @settings(max_examples=60)
    @given(st.text("\\{}&$%_^ []a1.\n", max_size=80))
    def test_any_source_ends_in_a_table_or_an_error(self, body):
        for text in (body, rf"\begin{{tabular}}{{lc}}{body}\end{{tabular}}"):
            try:
                tables = find_tables(text)
            except ValueError:
                continue
            assert all(len({len(row) for row in table.rows}) <= 1 for table in tables)


class TestDelimiters:
    @pytest.mark.parametrize(
        ("form", "text"),
        [
            ("tsv", "Method\tDSC\tIOU\na, b\t0.9\t0.8\n"),
            ("semicolon", "Method;DSC;IOU\n a, b ;0.9;0.8\n"),
            ("csv", 'Method,DSC,IOU\n"a, b",0.9,0.8\n'),
        ],
    )
    def test_the_delimiter_is_recognised(self, form, text):
        table = only(text)
        assert table.format == form
        assert numbers(table) == pytest.approx({("a, b", "dsc"): 0.9, ("a, b", "iou"): 0.8})

    def test_the_given_format_is_used(self):
        text = "a;DSC;x,y\nb;0.9;z\n"
        assert only(text, form="semicolon").left_out == ("x,y",)
        with pytest.raises(InputError, match="no column is a known metric"):
            only(text, form="tsv")

    def test_headings_of_two_rows(self):
        table = only("\tACDC\t\tSynapse\t\nMethod\tDSC\tIOU\tDSC\tIOU\na\t0.9\t0.8\t0.7\t0.6\n")
        assert numbers(table)[("Synapse, a", "iou")] == pytest.approx(0.6)

    def test_metrics_may_be_rows(self):
        table = only("Metric\tUNet\tOurs\nDice\t0.9\t0.8\nIoU\t0.8\t0.7\nfps\t12\t13\n")
        assert numbers(table)[("Ours", "iou")] == pytest.approx(0.7)
        assert table.left_out == ("fps",)


class TestDecimalCommas:
    def test_commas_are_read_as_points(self):
        table = only("Methode;DSC;HD95\na;88,40 ± 1,2;1,234\nb;**89,1**;12\n")
        assert numbers(table)[("a", "dsc")] == pytest.approx(88.4)
        assert numbers(table)[("a", "hd95")] == pytest.approx(1.234)
        assert table.values["half"].tolist()[0] == pytest.approx(0.00005)
        assert "decimal commas" in table.summary

    @pytest.mark.parametrize(
        ("cells", "problem"),
        [
            ("88,4;12.1", "has numbers with a comma, 88,4, and with a point, 12.1"),
            ("88;1,234", "the comma of 1,234 may separate thousands"),
            ("88;1,234.5", "has numbers with a comma"),
        ],
    )
    def test_ambiguous_commas_are_refused(self, cells, problem):
        with pytest.raises(InputError, match=f"paste: {problem}"):
            only(f"Method;DSC;HD95\na;{cells}\n")


class TestSeveralTables:
    BLANKS = "UNet 88.4 79.2 12\nOurs 89.4 79.9 11\n"
    TEXT = f"Dear authors,\n{MARKDOWN}\nFurther:\n{LATEX}\n{BLANKS}\nIn 2018, 12 of 30 did.\n"

    def test_all_are_read_and_the_rest_is_reported(self):
        printed = parse_printed(self.TEXT, "paste")
        assert [(table.source, table.format) for table in printed.tables] == [
            ("paste, table 1", "markdown"),
            ("paste, table 2", "latex"),
        ]
        line = self.TEXT[: self.TEXT.index(self.BLANKS)].count("\n") + 1
        assert printed.unread == (
            f"paste: line {line} starts text that looks like a table, which is not checked; "
            "separate its columns by tabs",
        )

    def test_a_table_of_something_else_is_named(self):
        printed = parse_printed(MARKDOWN + "\n| set | cases |\n|---|---|\n| ACDC | 100 |\n", "paste")
        assert printed.unread == ("paste, table 2: is not checked, as no column is a known metric",)

    def test_delimited_tables_start_at_their_headings(self):
        text = "First results\n\nmethod\tDSC\na\t0.9\n\nb\t0.8\n\nTable 2\nmethod\tIOU\na\t0.7\n"
        printed = parse_printed(text, "paste")
        assert [(table.line, len(table.values)) for table in printed.tables] == [(3, 2), (9, 1)]
        assert not printed.unread

    def test_text_without_a_table_is_refused(self):
        with pytest.raises(InputError, match="paste: "):
            parse_printed("We reach a Dice of 0.9.\n", "paste")
        assert parse_tables("").grids == ()


@pytest.mark.parametrize("part", ["\\midrule[", "1,", "(", "|", "\\\\[", "{", "|-", "1_", "*a", "\\begin{tabular}"])
@pytest.mark.parametrize("frame", ["{}", "\\begin{{tabular}}{{l}}{}\\end{{tabular}}", "a|DSC\n-|-\n{}|1"])
def test_forged_text_ends_in_tables_or_an_error(part, frame):
    """Of parsing in quadratic time, this would take minutes."""
    try:
        grids = parse_tables(frame.format(part * 20_000)).grids
    except ValueError:
        grids = ()
    assert all(len(row) == len(grid.levels[0]) for grid in grids for row in grid.rows)


def test_other_statistics_of_a_metric_are_not_the_metric():
    table = only("| | Mean | | Std | |\n|-|-|-|-|-|\n| Method | DSC | IOU | DSC | IOU |\n| a | 90 | 81 | 1 | 2 |\n")
    assert numbers(table) == pytest.approx({("a", "dsc"): 90, ("a", "iou"): 81})
    assert table.left_out == ("Std DSC", "Std IOU")


def test_columns_of_numbers_that_name_rows_are_listed():
    assert "taken as names of rows: Params" in only("method,Params,DSC\na,31,0.9\n").summary


class TestCommand:
    @pytest.fixture
    def typed(self, monkeypatch):
        def run(text, *options):
            stream = io.TextIOWrapper(io.BytesIO(text if isinstance(text, bytes) else text.encode()), "utf-8")
            monkeypatch.setattr(sys, "stdin", stream)
            return cli.main(["audit-table", "-", *options])

        return run

    def test_standard_input_without_findings(self, typed, capsys):
        assert typed(MARKDOWN) == 0
        assert capsys.readouterr().out.startswith("standard input: 2 rows, 5 values in percent, 1 missing")

    def test_findings_end_with_status_1(self, typed, capsys):
        assert typed(MARKDOWN.replace("80.1", "70.1")) == 1
        message = capsys.readouterr()
        assert "UNet [3], ACDC: Dice ↑ (%) 88.4 is 5.9 above 82.5" in message.out
        assert message.err.startswith("error: standard input: 1 finding,")

    @pytest.mark.parametrize("text", ["", "no table\n", b"method\tDSC\na\t\xff\n", "method,DSC\na,b\n"])
    def test_what_cannot_be_read_ends_with_status_2(self, typed, capsys, text):
        assert typed(text) == 2
        message = capsys.readouterr()
        assert message.err.startswith("error: standard input: ")
        assert message.out == ""

    def test_a_findings_file_that_cannot_be_written_is_no_finding(self, typed, tmp_path, capsys):
        (tmp_path / "file").write_text("")
        assert typed(MARKDOWN, "--out", str(tmp_path / "file" / "findings.csv")) == 2

    def test_json(self, typed, capsys):
        assert typed(MARKDOWN.replace("80.1", "70.1"), "--json") == 1
        report = json.loads(capsys.readouterr().out)
        (table,) = report["tables"]
        assert (table["format"], table["rows"], table["values"], table["missing"]) == ("markdown", 2, 5, 1)
        assert table["not_checked"] == ["Params (M)"]
        (finding,) = report["findings"]
        assert (finding["table"], finding["printed"]) == ("standard input", pytest.approx(88.4))

    def test_standard_input_is_given_once(self, capsys):
        assert cli.main(["audit-table", "-", "-"]) == 2
        assert "standard input is given twice" in capsys.readouterr().err

    def test_the_format_may_be_given(self, typed, capsys):
        assert typed("method;DSC,x\na;0.9\n", "--format", "csv") == 2
        assert typed("method;DSC\na;0.9\n", "--format", "semicolon") == 0
