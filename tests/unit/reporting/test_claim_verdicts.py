import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.standins.study import grid_of

from spectralseg.cli import main
from spectralseg.data.audit import LEAKS, PAIRS, Audit
from spectralseg.errors import InputError
from spectralseg.metrics.records import COLUMNS
from spectralseg.reporting.claim_papers import tally
from spectralseg.reporting.claim_verdicts import FAILS, HOLDS, UNCERTAIN, UNTESTED, build_claim_verdicts
from spectralseg.reporting.results import BANNER, Results

CELLS = (
    "claim,direction,size,dataset,suite,test_dataset,corruption,severity,class,metric,"
    "architecture,objective,lambda,reference_architecture,reference_objective,reference_lambda\n"
)
GAIN = 0.02
BASE = {"dataset": "acdc", "suite": "iid", "test_dataset": "acdc", "corruption": "none", "severity": "0", "flag": ""}


def records(metric, gain, seeds=5, cases=20, noise=0.002, protocols=("published", "sound")):
    """UNet with the spectral term better by ``gain`` than without."""
    rng = np.random.default_rng(0)
    for protocol in protocols:
        for seed in range(seeds):
            for case in range(cases):
                level = 0.6 + rng.normal(0, 0.1)
                for objective, lam, more in (("spatial", "0", 0), ("spatial_spectral", "0.2", gain)):
                    yield {
                        **BASE, "architecture": "unet", "objective": objective, "lambda": lam, "seed": seed,
                        "case": f"c{case}", "group": f"p{case // 2}", "class": "myocardium", "protocol": protocol,
                        "metric": metric, "value": level + more + rng.normal(0, noise),
                    }  # fmt: skip


def paper_folder(published, tmp_path, *tables, name="harmonized"):
    """A folder of one paper with some tables, in which a test writes the claims."""
    folder = tmp_path / "published" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("paper.yaml", *(f"table_{number}.csv" for number in tables)):
        shutil.copy(published / "harmonized" / file, folder)
    return folder


@pytest.fixture
def judge(published, tmp_path):
    """The ledger of one claim, of (direction, metric) comparisons."""

    def run(comparisons, rows, quantifier="all", size=""):
        folder = paper_folder(published, tmp_path, 2, 6)
        (folder / "claims.csv").write_text(f"id,section,claim,quantifier,untestable\nc,4,It helps,{quantifier},\n")
        lines = [
            f"c,{direction},{size},acdc,iid,acdc,none,0,{name},{metric},unet,spatial_spectral,0.2,unet,{reference}\n"
            for direction, metric, name, reference in comparisons
        ]
        (folder / "claims_cells.csv").write_text(CELLS + "".join(lines))
        pd.DataFrame(rows, columns=list(COLUMNS)).to_parquet(tmp_path / "records.parquet")
        return build_claim_verdicts(Results(tmp_path), folder.parent)

    return run


def comparison(direction, metric="dsc", name="mean", reference="spatial,0"):
    return (direction, metric, name, reference)


@pytest.mark.parametrize(
    ("direction", "metric", "gain", "verdict"),
    [
        ("higher", "dsc", 0.02, HOLDS),
        ("higher", "dsc", -0.02, FAILS),
        ("higher", "dsc", 0.0, FAILS),  # equivalent within the margin
        ("lower", "dsc", -0.02, HOLDS),
        ("lower", "dsc", 0.02, FAILS),
        ("lower", "hd95", -0.02, HOLDS),
        ("higher", "hd95", 0.0, UNCERTAIN),  # a margin in shares says nothing about distances
        ("no worse", "dsc", 0.0, HOLDS),
        ("no worse", "dsc", -0.002, HOLDS),
        ("no worse", "dsc", -0.02, FAILS),
        ("no worse", "ece", 0.02, FAILS),
        ("no worse", "ece", -0.02, HOLDS),
        ("similar", "dsc", 0.001, HOLDS),
        ("similar", "dsc", 0.02, FAILS),
        ("similar", "dsc", -0.02, FAILS),
    ],
)
def test_verdicts_where_the_truth_is_known(judge, direction, metric, gain, verdict):
    row = judge([comparison(direction, metric)], list(records(metric, gain))).claims.iloc[0]
    assert row["verdict"] == row["verdict_published_protocol"] == verdict
    factor = 1 if metric == "hd95" else 100
    assert row["measured"] == pytest.approx(factor * gain, abs=factor * 0.001)
    assert row["low"] < row["measured"] < row["high"]
    assert (row["seeds"], row["cases"], row["comparisons"]) == (5, 20, 1)


@pytest.mark.parametrize("direction", ["higher", "lower", "no worse", "similar"])
def test_noise_is_uncertain(judge, direction):
    assert judge([comparison(direction)], list(records("dsc", 0.0, noise=0.3))).claims.iloc[0]["verdict"] == UNCERTAIN


@pytest.mark.parametrize("direction", ["higher", "no worse", "similar"])
@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_are_uncertain(judge, direction, seeds):
    row = judge([comparison(direction)], list(records("dsc", 0.3, seeds=seeds))).claims.iloc[0]
    assert row["verdict"] == row["verdict_adjusted"] == UNCERTAIN
    assert row["reason"] == f"{seeds} of 3 seeds that a verdict needs"
    assert np.isnan(row[["p", "p_adjusted", "margin_needed"]].astype(float)).all()
    assert row["low"] <= row["measured"] <= row["high"], "the interval is given all the same"


@pytest.mark.parametrize("gain", [0.3, -0.3, 0.0])
def test_three_seeds_are_enough(judge, gain):
    expected = HOLDS if gain > 0 else FAILS
    assert judge([comparison("higher")], list(records("dsc", gain, seeds=3))).claims.iloc[0]["verdict"] == expected


def test_untested_claims_name_the_missing_runs(judge):
    row = judge([comparison("higher", reference="spatial_spectral,0.5")], list(records("dsc", 0.3))).claims.iloc[0]
    assert row["verdict"] == UNTESTED
    assert row["reason"] == "no records of acdc/unet/spatial_spectral/0.5 (iid, acdc, dsc)"
    assert np.isnan(row["measured"])


def test_the_published_difference_is_that_of_the_text_or_else_of_the_table(judge):
    rows = list(records("dsc", 0.02))
    assert judge([comparison("higher")], rows, size="0.82").claims.iloc[0]["published"] == 0.82
    assert judge([comparison("higher")], rows).claims.iloc[0]["published"] == pytest.approx(89.69 - 88.88)
    assert np.isnan(judge([comparison("higher", name="myocardium", metric="nsd")], rows).claims.iloc[0]["published"])


@pytest.mark.parametrize(
    ("quantifier", "gains", "verdict"),
    [
        ("all", (0.02, 0.02, 0.02), HOLDS),
        ("all", (0.02, 0.02, -0.02), FAILS),
        ("most", (0.02, 0.02, -0.02), HOLDS),
        ("most", (0.02, -0.02, -0.02), FAILS),
        ("all", (0.02, 0.02, None), UNTESTED),
        ("most", (0.02, 0.02, None), HOLDS),
        ("all", (0.02, -0.02, None), FAILS),
        ("all", (0.02, 0.02, "noise"), UNCERTAIN),
    ],
)
def test_claims_of_several_comparisons(judge, quantifier, gains, verdict):
    metrics = ("dsc", "iou", "nsd")
    rows = []
    for metric, gain in zip(metrics, gains, strict=True):
        if gain is not None:
            rows += records(metric, 0.0, noise=0.3) if gain == "noise" else records(metric, gain)
    ledger = judge([comparison("higher", metric) for metric in metrics], rows, quantifier)
    row = ledger.claims.iloc[0]
    assert row["verdict"] == verdict
    assert row[["hold", "fail", "uncertain", "untested"]].sum() == row["comparisons"] == 3
    assert row["reason"].endswith(f"{quantifier} must hold")
    assert ledger.cells.value_counts(["protocol", "leak_free"]).to_dict() == {
        ("sound", ""): 3,
        ("sound", "validation"): 3,
        ("published", ""): 3,
    }


def test_a_collapsed_seed_does_not_count(judge):
    rows = list(records("dsc", 0.3, seeds=3))
    for row in rows:
        if row["seed"] == 1:
            row["value"] = float("nan")
    assert judge([comparison("higher")], rows).claims.iloc[0]["verdict"] == UNCERTAIN


def test_leaked_cases_may_decide_a_claim(judge, tmp_path):
    rows = list(records("dsc", 0.02))
    for row in rows:  # the gain is all in ten of twenty cases, which training data show as well
        if row["objective"] == "spatial_spectral" and int(row["case"][1:]) >= 10:
            row["value"] -= 0.06
        elif row["objective"] == "spatial_spectral":
            row["value"] += 0.06
    pairs = pd.DataFrame([["acdc", "acdc", "own", 20, 0, 10, 0, 0, "leak"]], columns=list(PAIRS))
    leaks = [["acdc", "acdc", f"c{case}", "bytes", f"t{case}", "train", np.nan] for case in range(10)]
    Audit(pairs, pd.DataFrame(leaks, columns=list(LEAKS))).write(tmp_path / "leakage.parquet")
    row = judge([comparison("higher")], rows).claims.iloc[0]
    assert row["verdict_leak_free"] == FAILS
    assert row["verdict"] != FAILS


def test_protocols_may_disagree(judge):
    rows = [*records("dsc", 0.02, protocols=("sound",)), *records("dsc", -0.02, protocols=("published",))]
    row = judge([comparison("higher")], rows).claims.iloc[0]
    assert (row["verdict"], row["verdict_published_protocol"]) == (HOLDS, FAILS)


def test_the_papers_claims_on_a_study_of_its_grid(official, published):
    ledger = build_claim_verdicts(Results(official), published)
    assert ledger.claims["id"].is_unique
    assert ledger.claims["verdict"].isin([HOLDS, FAILS, UNCERTAIN, UNTESTED]).all()
    lambdas = ledger.claims[ledger.claims["id"].str.startswith("lambda-")]
    assert set(lambdas["verdict"]) == {UNTESTED}, "the tiny study has one λ"
    reasons = ledger.claims.set_index("id")["reason"]
    assert reasons["state-of-the-art"] == "No other method is in the paper's tables."
    assert not ledger.claims["demonstration"].any()


def test_the_command_writes_four_files_and_phantoms_are_stamped(phantom, published, tmp_path):
    main(["claims", str(phantom), "--published", str(published), "--out", str(tmp_path)])
    assert {file.name for file in tmp_path.iterdir()} == {
        *("claims.csv", "claims_cells.csv", "claims_papers.csv", "claims.md", "claims.html")
    }
    table = pd.read_csv(tmp_path / "claims.csv")
    assert table["demonstration"].all()
    text = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert text.startswith(f"**{BANNER}**")
    assert text.count("demonstration: ") == 4 * len(table)
    assert pd.read_csv(tmp_path / "claims_cells.csv")["demonstration"].all()
    page = (tmp_path / "claims.html").read_text(encoding="utf-8")
    assert all(claim in page for claim in table["claim"] if "'" not in claim)


def several(published, tmp_path, claims, rows, config=None):
    """The ledger of claims {id: (quantifier, [(direction, metric), ...])}."""
    folder = paper_folder(published, tmp_path, 2)
    names = [f"{name},4,It helps,{quantifier},\n" for name, (quantifier, _) in claims.items()]
    (folder / "claims.csv").write_text("id,section,claim,quantifier,untestable\n" + "".join(names))
    lines = [
        f"{name},{direction},,acdc,iid,acdc,none,0,mean,{metric},unet,spatial_spectral,0.2,unet,spatial,0\n"
        for name, (_, comparisons) in claims.items()
        for direction, metric in comparisons
    ]
    (folder / "claims_cells.csv").write_text(CELLS + "".join(lines))
    records = pd.DataFrame(rows, columns=list(COLUMNS))
    records.to_parquet(tmp_path / "records.parquet")
    if config:
        study = CONFIG | {"grid": grid_of(records, CONFIG["objectives"]), "comparison": config}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(study))
    return build_claim_verdicts(Results(tmp_path), folder.parent)


CONFIG = {
    "name": "toy",
    "datasets": {"acdc": {}, "synapse": {}},
    "architectures": {"unet": {"model": "unet"}},
    "objectives": {"spatial": {"base": "bce_dice"}, "spatial_spectral": {"base": "bce_dice", "auxiliary": "spectral"}},
}
BORDERLINE = 0.0225  # at a noise of 0.04
METRICS = ("dsc", "iou", "sensitivity", "accuracy", "nsd", "boundary_iou")


class TestSeveralPapers:
    """Two papers make the same claims of UNet on ACDC, a third claims of another network."""

    @pytest.fixture
    def papers(self, published, tmp_path):
        rows = list(records("dsc", BORDERLINE, noise=0.04))
        for metric in METRICS[1:]:
            rows += records(metric, 0.0, noise=0.3)
        several(published, tmp_path, {metric: ("all", [("higher", metric)]) for metric in METRICS}, rows)
        first = tmp_path / "published" / "harmonized"
        second, third = (paper_folder(published, tmp_path, name=name) for name in ("second", "third"))
        heading = "id,section,claim,quantifier,untestable\n"
        (second / "claims.csv").write_text(f"{heading}dsc,4,It helps,all,\n")
        (second / "claims_cells.csv").write_text("".join((first / "claims_cells.csv").read_text().splitlines(True)[:2]))
        (third / "claims.csv").write_text(f"{heading}other,4,It helps,all,\nnone,5,It is,,Why\n")
        text = (second / "claims_cells.csv").read_text().replace("dsc,higher", "other,higher")
        (third / "claims_cells.csv").write_text(text.replace(",unet,", ",segformer,"))
        for folder in (second, third):
            (folder / "paper.yaml").write_text(f"name: {folder.name.title()}\ntitle: Title\ncitation: Citation\n")
        return build_claim_verdicts(Results(tmp_path), tmp_path / "published")

    def test_ids_may_recur_and_adjustment_stays_within_a_paper(self, papers):
        table = papers.claims.set_index(["paper", "id"])
        many, alone = table.loc[("harmonized", "dsc")], table.loc[("second", "dsc")]
        assert many["p"] == alone["p"] == alone["p_adjusted"]
        assert many["p_adjusted"] == pytest.approx(min(6 * alone["p"], 1))
        assert (many["verdict_adjusted"], alone["verdict_adjusted"]) == (UNCERTAIN, HOLDS)
        cells = papers.cells[(papers.cells["metric"] == "dsc") & (papers.cells["protocol"] == "sound")]
        assert set(cells["paper"]) == {"harmonized", "second"}

    def test_published_differences_are_those_of_the_paper(self, papers):
        table = papers.claims.set_index(["paper", "id"])["published"]
        assert np.isfinite(table[("harmonized", "dsc")])
        assert np.isnan(table[("second", "dsc")]), "it has no tables"

    def test_a_paper_without_runs_is_named_in_one_line(self, papers):
        assert "third" not in set(papers.claims["paper"]) | set(papers.cells["paper"])
        line = "Third: none of its 2 claims can be tested, as the study has none of their runs."
        assert [paper.sentence for paper in papers.papers if not paper.runs] == [line]
        assert line in papers.page.warnings
        assert [(section.key, len(section.blocks[0].rows)) for section in papers.page.sections] == [
            ("harmonized", 6),
            ("second", 1),
        ]
        assert "Citation: 1 of its 1 claims can be tested with this study" in papers.page.sections[1].blocks[0].title

    def test_runs_without_records_count_if_the_configuration_has_them(self, papers, published, tmp_path):
        study = CONFIG | {"architectures": {"segformer": {"model": "segformer"}, "unet": {"model": "unet"}}}
        block = {"datasets": ["acdc"], "architectures": ["segformer"], "objectives": ["spatial"], "seeds": [0]}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(study | {"grid": {"main": block}}))
        ledger = build_claim_verdicts(Results(tmp_path), tmp_path / "published")
        assert {paper.paper: paper.runs for paper in ledger.papers} == {"harmonized": 0, "second": 0, "third": 1}
        assert ledger.claims["id"].tolist() == ["other", "none"]
        assert set(ledger.claims["verdict"]) == {UNTESTED}


def test_a_study_with_the_runs_of_no_paper_has_an_empty_ledger(published, tmp_path):
    rows = [{**row, "architecture": "mine"} for row in records("dsc", 0.02)]
    pd.DataFrame(rows, columns=list(COLUMNS)).to_parquet(tmp_path / "records.parquet")
    main(["claims", str(tmp_path), "--published", str(published)])
    assert pd.read_csv(tmp_path / "claims.csv").empty
    text = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert "**GRCSF: none of its 10 claims can be tested" in text
    assert "**Harmonized: none of its 83 claims can be tested" in text
    main(["report", str(tmp_path)])
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "GRCSF" not in page
    assert "Harmonized" not in page


LEVELS = {"unet": 0.5, "rcu_untrained": 0.52, "rcu_plain": 0.54, "gcu": 0.6, "rcu": 0.6, "grcsf": 0.7}


def test_claims_of_grcsf_on_a_study_of_lesions(published, tmp_path):
    """Where every unit helps, all testable claims hold; the other paper is named in one line."""
    rng = np.random.default_rng(0)
    metrics = ("dsc", "nsd", "hd95", "lesion_f1", "lesion_sensitivity", "lesion_sensitivity_small")
    rows = [
        {
            **BASE, "dataset": name, "test_dataset": name, "architecture": architecture, "objective": objective,
            "lambda": "0", "seed": seed, "case": f"c{case}", "group": f"p{case}", "class": "lesion",
            "protocol": "sound", "metric": metric,
            "value": (1 - level if metric == "hd95" else level) + rng.normal(0, 0.002),
        }
        for name, objective in (("atlas", "dice_focal"), ("orcascore", "focal"), ("coca", "focal"))
        for architecture, level in LEVELS.items()
        for metric in metrics
        for seed in range(3)
        for case in range(8)
    ]  # fmt: skip
    pd.DataFrame(rows, columns=list(COLUMNS)).to_parquet(tmp_path / "records.parquet")
    ledger = build_claim_verdicts(Results(tmp_path), published)
    untested = {"state-of-the-art", "maps-highlight-lesions"}
    verdicts = ledger.claims.set_index("id")["verdict"]
    assert set(verdicts[list(untested)]) == {UNTESTED}
    assert set(verdicts.drop(list(untested))) == {HOLDS}
    assert ledger.claims["published"].isna().all(), "no number of the paper is public"
    assert [paper.sentence for paper in ledger.papers] == [
        "GRCSF: 8 of its 10 claims can be tested with this study.",
        "Harmonized: none of its 83 claims can be tested, as the study has none of their runs.",
    ]


def test_a_missing_folder_of_papers_is_refused(official, tmp_path):
    with pytest.raises(InputError, match="absent: there is no such folder of papers"):
        build_claim_verdicts(Results(official), tmp_path / "absent")


class TestAdjustment:
    def test_a_borderline_claim_among_many_is_uncertain(self, published, tmp_path):
        rows = list(records("dsc", BORDERLINE, noise=0.04))
        for metric in METRICS[1:]:
            rows += records(metric, 0.0, noise=0.3)
        alone = several(published, tmp_path, {"a": ("all", [("higher", "dsc")])}, rows).claims.iloc[0]
        assert alone["verdict"] == alone["verdict_adjusted"] == HOLDS
        assert 0.05 / 6 < alone["p"] == alone["p_adjusted"] <= 0.05, "the test needs a borderline difference"
        claims = {metric: ("all", [("higher", metric)]) for metric in METRICS}
        table = several(published, tmp_path, claims, rows).claims.set_index("id")
        assert table.loc["dsc", "p"] == alone["p"]
        assert table.loc["dsc", "p_adjusted"] == pytest.approx(min(6 * alone["p"], 1))
        assert (table.loc["dsc", "verdict"], table.loc["dsc", "verdict_adjusted"]) == (HOLDS, UNCERTAIN)

    def test_clear_verdicts_survive_adjustment(self, published, tmp_path):
        rows = [row for n, metric in enumerate(METRICS) for row in records(metric, 0.3 * (-1) ** n)]
        claims = {metric: ("all", [("higher", metric)]) for metric in METRICS}
        table = several(published, tmp_path, claims, rows).claims
        assert list(table["verdict_adjusted"]) == list(table["verdict"]) == 3 * [HOLDS, FAILS]

    def test_p_is_that_of_the_interval(self, published, tmp_path):
        """A claim is settled by itself where p is at most 0.05, whatever it says."""
        seen = set()
        for number in range(6):
            rows = [row for metric in METRICS for row in records(metric, 0.004 * number, noise=0.02)]
            claims = {
                f"{direction} {metric}": ("all", [(direction, metric)])
                for metric in METRICS
                for direction in ("higher", "lower", "no worse", "similar")
            }
            table = several(published, tmp_path, claims, rows).claims
            settled = table["verdict"].isin([HOLDS, FAILS])
            assert (settled == (table["p"] <= 0.05)).all()
            seen |= set(table["verdict"])
        assert seen == {HOLDS, FAILS, UNCERTAIN}

    def test_untested_claims_do_not_count(self, published, tmp_path):
        rows = list(records("dsc", BORDERLINE, noise=0.04))
        claims = {metric: ("all", [("higher", metric)]) for metric in METRICS}
        table = several(published, tmp_path, claims, rows).claims.set_index("id")
        assert table.loc["dsc", "p_adjusted"] == table.loc["dsc", "p"]
        assert set(table.loc[list(METRICS[1:]), "verdict_adjusted"]) == {UNTESTED}
        assert table.loc[list(METRICS[1:]), "p"].isna().all()

    @pytest.mark.parametrize(
        ("quantifier", "gains", "p", "verdict"),
        [
            # every one must hold: the largest p counts
            ("all", (0.3, 0.3, BORDERLINE), "largest", HOLDS),
            # two of three: twice the second smallest
            ("most", (0.3, 0.3, None), "twice the second", HOLDS),
            # one of three is enough to refute: three times the smallest
            ("all", (-0.3, 0.2, None), "three times the smallest", FAILS),
            ("most", (-0.3, -0.3, None), "twice the second", FAILS),
        ],
    )
    def test_claims_of_several_comparisons(self, published, tmp_path, quantifier, gains, p, verdict):
        rows = []
        for metric, gain in zip(METRICS, gains, strict=False):
            rows += records(metric, 0.0, noise=0.3) if gain is None else records(metric, gain, noise=0.04)
        comparisons = [("higher", metric) for metric in METRICS[:3]]
        ledger = several(published, tmp_path, {"c": (quantifier, comparisons)}, rows)
        cells = ledger.cells[(ledger.cells["protocol"] == "sound") & (ledger.cells["leak_free"] == "")]
        smallest, second, largest = sorted(cells["p"])
        expected = {"largest": largest, "twice the second": 2 * second, "three times the smallest": 3 * smallest}[p]
        row = ledger.claims.iloc[0]
        assert (row["verdict"], row["verdict_adjusted"]) == (verdict, verdict)
        assert row["p"] == pytest.approx(expected, rel=1e-6)

    def test_the_same_comparison_counts_once(self, published, tmp_path):
        rows = [row for metric in METRICS for row in records(metric, 0.3)]
        claims = {
            "a": ("all", [("higher", metric) for metric in METRICS]),
            "b": ("all", [("higher", metric) for metric in METRICS[:3]]),
        }
        cells = several(published, tmp_path, claims, rows).cells
        assert cells["p_adjusted"].to_numpy() == pytest.approx(6 * cells["p"].to_numpy())


def test_a_borderline_refutation_among_many_is_uncertain(published, tmp_path):
    """Of six comparisons without a true effect one is borderline; each alone would refute the claim."""
    rows = list(records("dsc", -0.0095, noise=0.04))
    for metric in METRICS[1:]:
        rows += records(metric, 0.0, noise=0.3)
    row = several(published, tmp_path, {"c": ("all", [("higher", metric) for metric in METRICS])}, rows).claims.iloc[0]
    assert (row["verdict"], row["verdict_adjusted"]) == (FAILS, UNCERTAIN)
    assert row["p"] > 0.05


class TestMargins:
    @pytest.mark.parametrize(
        ("config", "verdict", "margin"),
        [
            (None, UNCERTAIN, np.nan),
            ({"margins": {"hd95": 0.5}}, FAILS, 0.5),
            ({"margins": {"hd95": {"acdc": 0.5}}}, FAILS, 0.5),
            ({"margins": {"hd95": {"synapse": 0.5}}}, UNCERTAIN, np.nan),
            ({"margins": {"hd95": 0.0001}}, UNCERTAIN, 0.0001),
        ],
    )
    def test_distances_have_one_where_the_configuration_gives_it(self, published, tmp_path, config, verdict, margin):
        claims = {"c": ("all", [("lower", "hd95")])}
        ledger = several(published, tmp_path, claims, list(records("hd95", 0.0)), config)
        row = ledger.claims.iloc[0]
        assert row["verdict"] == verdict
        assert row["margin"] == pytest.approx(margin, nan_ok=True)
        published_cell = ledger.cells[ledger.cells["protocol"] == "published"].iloc[0]
        assert np.isnan(published_cell["margin"]), "its distances are in other units"

    def test_a_share_may_have_its_own(self, published, tmp_path):
        claims = {metric: ("all", [("similar", metric)]) for metric in ("dsc", "iou")}
        rows = [*records("dsc", 0.01), *records("iou", 0.01)]
        config = {"margins": {"dsc": 0.02}}
        table = several(published, tmp_path, claims, rows, config).claims.set_index("id")
        assert table["verdict"].to_dict() == {"dsc": HOLDS, "iou": FAILS}
        assert table["margin"].to_dict() == pytest.approx({"dsc": 2, "iou": 0.5})

    @pytest.mark.parametrize("direction", ["higher", "no worse", "similar"])
    def test_the_margin_needed_is_where_the_verdict_flips(self, published, tmp_path, direction):
        claims, rows = {"c": ("all", [(direction, "dsc")])}, list(records("dsc", -0.001, noise=0.02))

        def verdict(margin):
            return several(published, tmp_path, claims, rows, {"margin": margin}).claims.iloc[0]

        needed = float(verdict(0.005)["margin_needed"]) / 100
        below, above = verdict(0.999 * needed), verdict(1.001 * needed)
        assert below["verdict"] == UNCERTAIN
        assert above["verdict"] == (FAILS if direction == "higher" else HOLDS)
        assert below["margin_needed"] == above["margin_needed"] == pytest.approx(100 * needed)

    def test_without_a_margin_nothing_is_similar(self, published, tmp_path):
        rows = list(records("hd95", 3.0))
        claims = {direction: ("all", [(direction, "hd95")]) for direction in ("similar", "no worse")}
        table = several(published, tmp_path, claims, rows).claims.set_index("id")
        assert set(table["verdict"]) == {UNCERTAIN}
        assert set(table["reason"]) == {"the metric has no margin"}


class TestGains:
    """Both networks are better with the spectral term, one of them by ``more`` than the other."""

    def ledger(self, published, tmp_path, more, missing=()):
        rows = []
        for architecture, gain in (("unet", 0.05), ("transunet", 0.05 + more)):
            part = [{**row, "architecture": architecture} for row in records("dsc", gain)]
            rows += [row for row in part if (architecture, row["objective"]) not in missing]
        folder = paper_folder(published, tmp_path, 2)
        (folder / "claims.csv").write_text("id,section,claim,quantifier,untestable\nc,4,It helps one more,all,\n")
        row = "c,higher,,acdc,iid,acdc,none,0,mean,dsc,transunet,spatial_spectral,0.2,transunet,spatial,0,"
        heading = CELLS.replace("\n", ",minus,minus_reference\n")
        (folder / "claims_cells.csv").write_text(heading + row + "unet/spatial_spectral/0.2,unet/spatial/0\n")
        pd.DataFrame(rows, columns=list(COLUMNS)).to_parquet(tmp_path / "records.parquet")
        return build_claim_verdicts(Results(tmp_path), folder.parent)

    @pytest.mark.parametrize(("more", "verdict"), [(0.03, HOLDS), (-0.03, FAILS), (0.0, FAILS)])
    def test_verdicts_where_the_truth_is_known(self, published, tmp_path, more, verdict):
        ledger = self.ledger(published, tmp_path, more)
        row = ledger.claims.iloc[0]
        assert row["verdict"] == verdict
        assert row["measured"] == pytest.approx(100 * more, abs=0.15)
        assert row["published"] == pytest.approx((91.32 - 89.69) - (89.69 - 88.88))
        assert (row["seeds"], row["cases"]) == (5, 20)
        assert set(ledger.cells["minus"]) == {"unet/spatial_spectral/0.2"}

    def test_equal_gains_are_no_difference_of_gains(self, published, tmp_path):
        """By seed and case: what both gain alike in a case cancels."""
        row = self.ledger(published, tmp_path, 0.0).claims.iloc[0]
        assert row["high"] - row["low"] < 0.5

    def test_missing_sides_are_named(self, published, tmp_path):
        row = self.ledger(published, tmp_path, 0.03, missing=[("unet", "spatial")]).claims.iloc[0]
        assert row["verdict"] == UNTESTED
        assert row["reason"] == "no records of acdc/unet/spatial/0 (iid, acdc, dsc)"


def test_a_tally_has_the_verdicts_in_order_and_in_the_right_number():
    assert tally([]) == ""
    assert tally(["does not hold"]) == "1 does not hold"
    many = ["cannot be tested with this data", *["does not hold"] * 2, "holds", "too uncertain to say"]
    expected = "1 holds, 2 do not hold, 1 is too uncertain to say and 1 cannot be tested with this data"
    assert tally(many) == expected
    assert tally(["too uncertain to say"] * 3) == "3 are too uncertain to say"
