import shutil

import numpy as np
import pandas as pd
import pytest

from spectralseg.cli import main
from spectralseg.data.leakage import LEAKS, PAIRS, Audit
from spectralseg.metrics.records import COLUMNS
from spectralseg.reporting.ledger import FAILS, HOLDS, UNCERTAIN, UNTESTED, build_ledger
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


@pytest.fixture
def judge(published, tmp_path):
    """The ledger of one claim, of (direction, metric) comparisons."""

    def run(comparisons, rows, quantifier="all", size=""):
        folder = tmp_path / "published"
        folder.mkdir(exist_ok=True)
        for number in (2, 6):
            shutil.copy(published / f"table_{number}.csv", folder)
        (folder / "claims.csv").write_text(f"id,section,claim,quantifier,untestable\nc,4,It helps,{quantifier},\n")
        lines = [
            f"c,{direction},{size},acdc,iid,acdc,none,0,{name},{metric},unet,spatial_spectral,0.2,unet,{reference}\n"
            for direction, metric, name, reference in comparisons
        ]
        (folder / "claims_cells.csv").write_text(CELLS + "".join(lines))
        pd.DataFrame(rows, columns=list(COLUMNS)).to_parquet(tmp_path / "records.parquet")
        return build_ledger(Results(tmp_path), folder)

    return run


def one(direction, metric="dsc", name="mean", reference="spatial,0"):
    return (direction, metric, name, reference)


@pytest.mark.parametrize(
    ("direction", "metric", "gain", "verdict"),
    [
        ("higher", "dsc", 0.02, HOLDS),
        ("higher", "dsc", -0.02, FAILS),
        ("higher", "dsc", 0.0, FAILS),  # shown to be smaller than the margin
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
    row = judge([one(direction, metric)], list(records(metric, gain))).claims.iloc[0]
    assert row["verdict"] == row["verdict_published_protocol"] == verdict
    factor = 1 if metric == "hd95" else 100
    assert row["measured"] == pytest.approx(factor * gain, abs=factor * 0.001)
    assert row["low"] < row["measured"] < row["high"]
    assert (row["seeds"], row["cases"], row["comparisons"]) == (5, 20, 1)


@pytest.mark.parametrize("direction", ["higher", "lower", "no worse", "similar"])
def test_noise_decides_nothing(judge, direction):
    assert judge([one(direction)], list(records("dsc", 0.0, noise=0.3))).claims.iloc[0]["verdict"] == UNCERTAIN


@pytest.mark.parametrize("direction", ["higher", "no worse", "similar"])
def test_one_seed_decides_nothing(judge, direction):
    row = judge([one(direction)], list(records("dsc", 0.3, seeds=1))).claims.iloc[0]
    assert row["verdict"] == UNCERTAIN
    assert "one seed" in row["reason"]


def test_without_runs_a_claim_is_untested_and_says_which_are_lacking(judge):
    row = judge([one("higher", reference="spatial_spectral,0.5")], list(records("dsc", 0.3))).claims.iloc[0]
    assert row["verdict"] == UNTESTED
    assert row["reason"] == "no records of acdc/unet/spatial_spectral/0.5 (iid, acdc, dsc)"
    assert np.isnan(row["measured"])


def test_the_published_difference_is_that_of_the_text_or_else_of_the_table(judge):
    rows = list(records("dsc", 0.02))
    assert judge([one("higher")], rows, size="0.82").claims.iloc[0]["published"] == 0.82
    assert judge([one("higher")], rows).claims.iloc[0]["published"] == pytest.approx(89.69 - 88.88)
    assert np.isnan(judge([one("higher", name="myocardium", metric="nsd")], rows).claims.iloc[0]["published"])


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
    ledger = judge([one("higher", metric) for metric in metrics], rows, quantifier)
    row = ledger.claims.iloc[0]
    assert row["verdict"] == verdict
    assert row[["hold", "fail", "uncertain", "untested"]].sum() == row["comparisons"] == 3
    assert row["reason"].endswith(f"{quantifier} must hold")
    assert ledger.cells.value_counts(["protocol", "leak_free"]).to_dict() == {
        ("sound", ""): 3,
        ("sound", "validation"): 3,
        ("published", ""): 3,
    }


def test_a_collapsed_seed_is_no_second_seed(judge):
    rows = list(records("dsc", 0.3, seeds=2))
    for row in rows:
        if row["seed"] == 1:
            row["value"] = float("nan")
    assert judge([one("higher")], rows).claims.iloc[0]["verdict"] == UNCERTAIN


def test_leaking_cases_may_decide_a_claim(judge, tmp_path):
    rows = list(records("dsc", 0.02))
    for row in rows:  # the gain is all in ten of twenty cases, which training data show as well
        if row["objective"] == "spatial_spectral" and int(row["case"][1:]) >= 10:
            row["value"] -= 0.06
        elif row["objective"] == "spatial_spectral":
            row["value"] += 0.06
    pairs = pd.DataFrame([["acdc", "acdc", "own", 20, 0, 10, 0, 0, "told"]], columns=list(PAIRS))
    leaks = [["acdc", "acdc", f"c{case}", "bytes", f"t{case}", "train", np.nan] for case in range(10)]
    Audit(pairs, pd.DataFrame(leaks, columns=list(LEAKS))).write(tmp_path / "leakage.parquet")
    row = judge([one("higher")], rows).claims.iloc[0]
    assert row["verdict_leak_free"] == FAILS
    assert row["verdict"] != FAILS


def test_protocols_may_disagree(judge):
    rows = [*records("dsc", 0.02, protocols=("sound",)), *records("dsc", -0.02, protocols=("published",))]
    row = judge([one("higher")], rows).claims.iloc[0]
    assert (row["verdict"], row["verdict_published_protocol"]) == (HOLDS, FAILS)


def test_the_papers_claims_on_a_study_of_its_grid(official, published):
    ledger = build_ledger(Results(official), published)
    assert ledger.claims["id"].is_unique
    assert ledger.claims["verdict"].isin([HOLDS, FAILS, UNCERTAIN, UNTESTED]).all()
    lambdas = ledger.claims[ledger.claims["id"].str.startswith("lambda-")]
    assert set(lambdas["verdict"]) == {UNTESTED}, "the tiny study has one λ"
    told = ledger.claims.set_index("id")["reason"]
    assert told["state-of-the-art"] == "No other method is in the paper's tables."
    assert not ledger.claims["demonstration"].any()


def test_the_command_writes_four_files_and_phantoms_are_stamped(phantom, published, tmp_path):
    main(["claims", str(phantom), "--published", str(published), "--out", str(tmp_path)])
    assert {file.name for file in tmp_path.iterdir()} == {"claims.csv", "claims_cells.csv", "claims.md", "claims.html"}
    table = pd.read_csv(tmp_path / "claims.csv")
    assert table["demonstration"].all()
    text = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert text.startswith(f"**{BANNER}**")
    assert text.count("demonstration: ") == 3 * len(table)
    assert pd.read_csv(tmp_path / "claims_cells.csv")["demonstration"].all()
    page = (tmp_path / "claims.html").read_text(encoding="utf-8")
    assert all(claim in page for claim in table["claim"] if "'" not in claim)
