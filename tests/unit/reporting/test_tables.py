import io
import math
import re
import shutil
import statistics

import numpy as np
import pandas as pd
import pytest

from spectralseg.errors import InputError
from spectralseg.metrics.records import COLUMNS
from spectralseg.reporting import rendering
from spectralseg.reporting.measurements import Measurements
from spectralseg.reporting.rendering import escape_latex
from spectralseg.reporting.results import BANNER, Results
from spectralseg.reporting.tables import build_table
from spectralseg.statistics.bootstrap import paired_interval

NAMES = [f"table_{number}" for number in range(1, 7)]
KEYS = ("dataset", "architecture", "objective", "lambda", "suite", "test_dataset", "corruption", "severity", "metric")


def recomputed(records, cell):
    """Mean, standard deviation and undefined values of a cell in plain Python."""
    values, undefined = {}, 0
    for record in records:
        if record["protocol"] != cell["protocol"] or any(record[key] != cell[key] for key in KEYS):
            continue
        if cell["class"] not in ("mean", record["class"]):
            continue
        if cell["leak_free"] and (record["dataset"], record["case"]) == ("isic2018", "isic2017_0"):
            continue
        by_class = values.setdefault(record["seed"], {}).setdefault(record["class"], [])
        if math.isnan(record["value"]):
            undefined += 1
        else:
            by_class.append(record["value"])
    seeds = [statistics.mean(statistics.mean(v) for v in by_class.values()) for by_class in values.values()]
    factor = 1 if cell["metric"] == "hd95" else 100
    mean = factor * statistics.mean(seeds) if seeds else math.nan
    return mean, factor * statistics.stdev(seeds) if len(seeds) > 1 else math.nan, undefined, len(seeds)


@pytest.mark.parametrize("name", NAMES)
def test_measured_numbers(official, published, name):
    results = Results(official)
    cells = build_table(name, Results(results.root, published)).cells
    relevant = results.records[results.records["metric"].isin(set(cells["metric"]))].to_dict("records")
    for cell in cells.iloc[::7].to_dict("records"):
        mean, deviation, undefined, seeds = recomputed(relevant, cell)
        assert cell["measured"] == pytest.approx(mean, nan_ok=True)
        assert cell["measured_sd"] == pytest.approx(deviation, nan_ok=True)
        assert (cell["undefined"], cell["seeds"]) == (undefined, seeds)


def test_undefined_values_are_counted(official, published):
    cells = build_table("table_2", Results(official, published)).cells
    aorta = cells[(cells["class"] == "aorta") & (cells["metric"] == "dsc")]
    # One case in three lacks the class, with two seeds, under the sound protocol only.
    assert set(aorta.loc[aorta["protocol"] == "sound", "undefined"]) == {2}
    assert set(aorta.loc[aorta["protocol"] == "published", "undefined"]) == {0}
    assert set(aorta["values"]) == {6}
    assert set(aorta["cases"]) == {3}


def test_missing_runs_are_marked_and_counted(official, published):
    table = build_table("table_1", Results(official, published))
    missing = table.cells[(table.cells["row"] == "TransUNet") & (table.cells["group"] == "BTSeg")]
    assert missing["measured"].isna().all()
    assert set(missing["missing_runs"]) == {2}  # both seeds that the other methods have
    assert "| – | – | – | – |" in table.markdown()
    assert re.search(r"^\| Missing runs \|  \|( 0 \|){10}( 2 \|){4}$", table.markdown(), re.MULTILINE)


def test_a_missing_seed_is_counted(official, published):
    table = build_table("table_2", Results(official, published))
    unet = table.cells[(table.cells["row"] == "UNet") & (table.cells["group"] == "ACDC")]
    assert set(unet["missing_runs"]) == {1}
    assert unet["measured_sd"].isna().all()
    assert re.search(r"\| 1–2 \|", table.markdown())


def test_no_run_at_all(official, published, tmp_path):
    pd.read_parquet(official / "records.parquet")[:0].to_parquet(tmp_path / "records.parquet")
    table = build_table("table_6", Results(tmp_path, published))
    assert table.cells["measured"].isna().all()
    assert set(table.cells["missing_runs"]) == {1}
    assert not table.cells["measured_best"].any()
    assert set(table.cells["source"]) == {"not prepared"}
    assert table.markdown().count("–") > 40


def test_no_defined_value(official, published, tmp_path):
    records = pd.read_parquet(official / "records.parquet")
    records.loc[records["architecture"] == "unet", "value"] = float("nan")
    records.to_parquet(tmp_path / "records.parquet")
    table = build_table("table_3", Results(tmp_path, published))
    assert "undef." in table.markdown()
    assert set(table.cells.loc[table.cells["row"] == "UNet", "missing_runs"]) == {0}


def test_records_of_whole_cases(official, published, tmp_path):
    """A metric without classes is taken as it is; beside classes, a class of that name is refused."""
    records = pd.read_parquet(official / "records.parquet")
    whole = records[records["metric"] == "ece"].assign(**{"class": "all", "value": 0.25})
    rest = records[records["metric"] == "mce"]
    pd.concat([whole, rest]).to_parquet(tmp_path / "records.parquet")
    cells = build_table("table_4", Results(tmp_path, published)).cells
    assert set(cells.loc[cells["metric"] == "ece", "measured"]) == {25.0}
    pd.concat([whole, rest, rest.assign(**{"class": "all"})]).to_parquet(tmp_path / "records.parquet")
    with pytest.raises(InputError, match="a class is called 'all', beside others in records of run"):
        build_table("table_4", Results(tmp_path, published))


@pytest.fixture
def seeded(official, tmp_path):
    """Records with six seeds in which UNet with the spectral term beats all others by about five points of Dice."""

    def make(seeds=6, gap=0.05):
        records = pd.read_parquet(official / "records.parquet")
        records = records[(records["dataset"] == "kvasir_seg") & (records["seed"] == 0)]
        rng = np.random.default_rng(0)
        parts = [records.assign(seed=seed, value=0.5 + rng.normal(0, 0.002, len(records))) for seed in range(seeds)]
        every = pd.concat(parts)
        lead = (every["architecture"] == "unet") & (every["objective"] == "spatial_spectral")
        every.loc[lead, "value"] += gap
        every.to_parquet(tmp_path / "records.parquet")
        return Results(tmp_path)

    return make


def marked(results, published, name="table_1"):
    cells = build_table(name, Results(results.root, published)).cells
    return cells[cells["measured_best"]]


class TestWinners:
    def test_a_significant_lead_is_marked(self, seeded, published):
        best = marked(seeded(), published)
        assert set(best["row"]) == {"UNet(ours)"}
        assert set(best["column"]) == {"DSC", "IOU", "SE", "SP"}
        assert set(best["protocol"]) == {"published", "sound"}

    def test_lower_is_better_for_errors(self, seeded, published):
        assert marked(seeded(), published, "table_4").empty, "the outlier is the worst, all others are similar"
        assert set(marked(seeded(gap=-0.05), published, "table_4")["row"]) == {"UNet(ours)"}

    def test_five_seeds_are_too_few_for_a_winner(self, seeded, published):
        assert marked(seeded(seeds=5), published).empty

    @pytest.mark.parametrize(("p", "marks"), [(0.012, 4), (0.013, 0)])
    def test_the_columns_of_a_protocol_are_one_family(self, seeded, published, monkeypatch, p, marks):
        """Four columns have runs: the smallest p value counts four times."""
        monkeypatch.setattr(Measurements, "lead", lambda self, best, others: p)
        assert marked(seeded(), published)["protocol"].value_counts().to_dict() == (
            {"published": marks, "sound": marks} if marks else {}
        )

    def test_the_p_value_of_a_lead_is_the_largest_over_the_others(self, seeded, published):
        results = seeded()
        cells = build_table("table_1", Results(results.root, published)).cells
        cells = cells[(cells["group"] == "Kvasir-SEG") & (cells["column"] == "DSC") & (cells["protocol"] == "sound")]
        measurements = Measurements(results.records, results.leakage, "spatial")
        best, others = (
            cells[(cells["row"] == "UNet(ours)") == is_best].to_dict("records") for is_best in (True, False)
        )
        assert len(others) == 3
        assert 0 < measurements.lead(best[0], others) < 0.001
        assert measurements.lead(others[0], [*best, *others[1:]]) == 1.0
        assert np.isnan(measurements.lead(best[0], []))

    def test_noise_has_no_winner(self, seeded, published):
        assert marked(seeded(gap=0.0), published).empty
        assert marked(seeded(gap=0.0005), published).empty


def test_limits_are_those_of_the_statistics(official, published):
    results = Results(official)
    cells = build_table("table_2", Results(results.root, published)).cells
    cell = cells[(cells["row"] == "TransUNet(ours)") & (cells["metric"] == "hd95") & (cells["class"] == "mean")].iloc[0]
    records = results.records
    own = cell[[*KEYS, "protocol"]]
    others = own.copy()
    others[["objective", "lambda"]] = "spatial", "0"
    selected, baseline = (records[(records[own.index] == keys).all(axis=1)] for keys in (own, others))
    cubes = [
        part.pivot(index=["class", "seed"], columns="case", values="value").to_numpy().reshape(-1, 2, 3)
        for part in (selected, baseline)
    ]
    mean, gain = paired_interval(cubes[0]), paired_interval(cubes[0] - cubes[1])
    assert (cell["measured_low"], cell["measured_high"]) == pytest.approx((max(mean.low, 0), mean.high))
    assert (cell["gain"], cell["gain_low"], cell["gain_high"]) == pytest.approx(gain)


def test_differences_follow_the_measured_row(official, published):
    table = build_table("table_1", Results(official, published))
    row = table.markdown().split("| UNet(ours) |")[1].split("| TransUNet(ours) |")[0].splitlines()
    assert [line.split("|")[2].strip() for line in row[1:]] == ["measured", "− published", "− spatial"]
    cell = table.cells[(table.cells["row"] == "UNet(ours)") & (table.cells["column"] == "DSC")].iloc[0]
    difference = f"{cell['measured'] - cell['published']:+.2f}".replace("-", "−")
    assert f"| {difference} [" in row[2]
    baseline = table.markdown().split("| UNet |")[1].split("| TransUNet |")[0]
    assert "− spatial" not in baseline


def test_a_changed_record_changes_only_dependent_cells(official, published, tmp_path):
    records = pd.read_parquet(official / "records.parquet")
    keys = {"dataset": "acdc", "architecture": "unet", "objective": "spatial_spectral", "suite": "iid", "metric": "dsc"}
    keys |= {"protocol": "sound", "class": "myocardium", "seed": 0, "case": "acdc_0"}
    selected = (records[list(keys)] == pd.Series(keys)).all(axis=1)
    assert selected.sum() == 1
    shares = records["metric"] == "dsc"  # similar enough to keep intervals within [0, 1]
    records.loc[shares, "value"] = 0.5 + (records.loc[shares, "value"] - 0.5) / 100
    roots = tmp_path / "before", tmp_path / "after"
    for root, change in zip(roots, (0, 0.001), strict=True):
        root.mkdir()
        records.loc[selected, "value"] += change
        records.to_parquet(root / "records.parquet")
        Results(official).leakage.write(root / "leakage.parquet")
    before, after = (build_table("table_2", Results(root, published)).cells for root in roots)
    changed = before.drop(columns="source").ne(after.drop(columns="source")) & (before.notna() | after.notna())
    rows = before[changed.any(axis=1)]
    assert set(zip(rows["row"], rows["protocol"], rows["group"], rows["column"], strict=True)) == {
        ("UNet(ours)", "sound", "ACDC", "MYO"),
        ("UNet(ours)", "sound", "ACDC", "Mean DSC"),
    }
    assert set(changed.columns[changed.any()]) == {
        *("measured", "measured_sd", "measured_low", "measured_high", "gain", "gain_low", "gain_high"),
    }


@pytest.mark.parametrize("name", NAMES)
def test_latex_is_well_formed(official, published, name):
    text = build_table(name, Results(official, published)).latex()
    assert text.isascii()
    stack = []
    for action, environment in re.findall(r"\\(begin|end)\{([a-z*]+)\}", text):
        if action == "begin":
            stack.append(environment)
        else:
            assert stack.pop() == environment
    assert not stack
    assert text.count("{") == text.count("}")
    width = 0
    for line in text.splitlines():
        declared = re.search(r"\\begin\{tabular\}\{(\w+)\}", line)
        width = len(declared[1]) if declared else width
        if line.endswith(r"\\") and "multicolumn" not in line:
            assert line.count(" & ") == width - 1
        assert not re.search(r"(?<!\\)[%#_]", line.removeprefix("%").removesuffix("%").replace("\\label{", ""))


def test_latex_escapes():
    assert escape_latex("50 % & a_b #1 λ → {x}") == r"50 \% \& a\_b \#1 $\lambda$ $\rightarrow$ \{x\}"
    assert escape_latex("\\^~$") == r"\textbackslash{}\textasciicircum{}\textasciitilde{}\$"


def test_banner(official, phantom, published):
    table = build_table("table_1", Results(phantom, published))
    assert table.markdown().splitlines()[0] == f"**{BANNER}**"
    assert table.latex().count(rf"\caption{{{BANNER}") == table.latex().count(r"\begin{table*}") >= 2
    assert set(table.cells["source"]) == {BANNER}
    plain = build_table("table_1", Results(official, published))
    assert BANNER not in plain.markdown() + plain.latex() + plain.csv()
    assert set(plain.cells["source"]) == {"official"}


def test_files(official, published, tmp_path):
    table = build_table("table_2", Results(official, published))
    files = table.write(tmp_path / "tables")
    assert [file.name for file in files] == [f"table_2.{suffix}" for suffix in ("csv", "json", "md", "tex", "html")]
    again = pd.read_csv(io.StringIO(files[0].read_text(encoding="utf-8")), dtype={"lambda": "str"})
    assert len(again) == 2 * 104
    assert set(again["protocol"]) == {"published", "sound"}
    markdown = files[2].read_text(encoding="utf-8")
    assert markdown.count("## Protocol") == 2
    assert "ACDC Mean HD ↓" in markdown
    assert "ACDC Mean DSC ↑" in markdown


def test_html_contains_every_number_of_the_markdown(phantom, published):
    table = build_table("table_1", Results(phantom, published))
    page = table.html()
    assert BANNER in page
    for number in re.findall(r"\d+\.\d\d", table.markdown()):
        assert number in page


@pytest.mark.parametrize("name", NAMES)
def test_all_rows_of_an_html_table_have_equal_width(official, published, name):
    page = build_table(name, Results(official, published)).html()
    tables = re.findall(r"<table[^>]*>(.*?)</table>", page, re.DOTALL)
    assert tables
    for table in tables:
        rows = [re.findall(r"<t[hd]\b([^>]*)>", row) for row in re.split(r"<tr\b", table)[1:]]
        spans = [[re.search(r'colspan="(\d+)"', cell) for cell in row] for row in rows]
        widths = {sum(int(span[1]) if span else 1 for span in row) for row in spans}
        assert len(widths) == 1
        assert min(widths) > 2


def test_summary_has_every_run_on_every_test_set(official):
    results = Results(official)
    table = build_table("summary", results)
    records = results.records
    clean = records[records["suite"].isin(["iid", "ood"]) & (records["metric"] == "dsc")]
    keys = ["dataset", "architecture", "objective", "lambda", "test_dataset"]
    cells = table.cells[(table.cells["metric"] == "dsc") & (table.cells["protocol"] == "sound")]
    assert set(map(tuple, cells[keys].to_numpy())) == set(map(tuple, clean[keys].drop_duplicates().to_numpy()))
    cell = cells.iloc[0]
    mine = clean[(clean["protocol"] == "sound") & (clean[keys] == cell[keys]).all(axis=1)]
    expected = mine.groupby(["seed", "class"])["value"].mean().groupby("seed").mean().mean() * 100
    assert cell["measured"] == pytest.approx(expected)
    assert "published" not in table.markdown().split("## Protocol: sound")[1].split("Measured:")[0]


def test_ties_have_no_best_cell(official, published, tmp_path):
    records = pd.read_parquet(official / "records.parquet").assign(value=0.5)
    records.to_parquet(tmp_path / "records.parquet")
    table = build_table("table_1", Results(tmp_path, published))
    assert table.cells["measured"].notna().any()
    assert not table.cells["measured_best"].any()


def test_an_unknown_protocol_is_an_error(official, published, tmp_path):
    records = pd.read_parquet(official / "records.parquet")
    records.loc[0, "protocol"] = "other"
    records.to_parquet(tmp_path / "records.parquet")
    with pytest.raises(InputError, match="protocol 'other'"):
        build_table("table_2", Results(tmp_path, published))


def test_records_stored_as_categories(official, published, tmp_path):
    records = pd.read_parquet(official / "records.parquet")
    text = [name for name in COLUMNS if name not in ("seed", "value")]
    records.astype(dict.fromkeys(text, "category")).to_parquet(tmp_path / "records.parquet")
    Results(official).leakage.write(tmp_path / "leakage.parquet")
    first, second = (build_table("table_3", Results(root, published)).cells for root in (official, tmp_path))
    pd.testing.assert_frame_equal(first.drop(columns="source"), second.drop(columns="source"))


class TestFurtherMetrics:
    @pytest.fixture
    def table(self, official, tmp_path):
        """The records of one dataset, its IoU taken for NSD (sound only) and its HD95 for scores of whole cases."""
        records = pd.read_parquet(official / "records.parquet")
        records = records[records["dataset"] == "isic2018"]
        surfaces = records[(records["metric"] == "iou") & (records["protocol"] == "sound")].assign(metric="nsd")
        maps = records[(records["metric"] == "hd95") & (records["protocol"] == "sound")]
        maps = maps.assign(**{"metric": "cam_energy", "class": "all"})
        pd.concat([records, surfaces, maps]).to_parquet(tmp_path / "records.parquet")
        for file in ("leakage.parquet", "leakage.csv"):
            shutil.copy(official / file, tmp_path)
        return build_table("metrics", Results(tmp_path)), surfaces

    def test_a_block_for_each_kind_and_test_set(self, table):
        assert list(table[0].cells["block"].unique()) == [
            "Surfaces: isic2018",
            "Surfaces: isic2018 → isic2017",
            "Class activation maps: isic2018",
            "Class activation maps: isic2018 → isic2017",
        ]

    def test_a_protocol_without_the_metric_has_no_column(self, table):
        assert set(table[0].cells["protocol"]) == {"sound"}

    def test_numbers(self, table):
        cells, records = table[0].cells, table[1]
        selected = (cells["metric"] == "nsd") & (cells["suite"] == "iid") & (cells["row"] == "unet spatial")
        (measured,) = cells.loc[selected, "measured"]
        same = (records["architecture"] == "unet") & (records["objective"] == "spatial") & (records["suite"] == "iid")
        assert measured == pytest.approx(100 * records[same].groupby("seed")["value"].mean().mean())

    def test_out_of_distribution_is_reported_twice(self, table):
        cells = table[0].cells
        assert set(cells.loc[cells["suite"] == "ood", "line"]) == {"measured", "leak-free"}

    def test_without_records_the_table_is_empty(self, official):
        assert build_table("metrics", Results(official)).cells.empty


def test_intervals_over_few_patients_come_with_a_warning():
    assert rendering.few_patients([0, 59, 300.0]) == ()
    (warning,) = rendering.few_patients([6.9, 20, 300, 0])
    assert "here as few as 6" in warning
    assert "absent from 74 % of test sets" in warning
