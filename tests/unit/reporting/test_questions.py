import numpy as np
import pandas as pd
import pytest
import yaml
from tests.standins.study import grid_of

from spectralseg.reporting.results import Results
from spectralseg.reporting.tables import build_table
from spectralseg.statistics.bootstrap import paired_interval
from spectralseg.statistics.verdicts import BETTER, OPEN, SAME, WORSE

OBJECTIVES = {"spatial": {"base": "bce_dice"}}
NAMES = ("unet", "whole", "part", "control")
QUESTIONS = {
    "backbone": {"title": "Against its backbone", "reference": "unet", "methods": ["whole"], "metrics": ["dsc"]},
    "part": {"title": "Which part?", "reference": "unet", "methods": ["part", "control"], "metrics": ["dsc", "nsd"]},
}


@pytest.fixture
def study(official, tmp_path):
    """Four architectures, two datasets, twenty patients; each architecture adds its own gain to every case."""

    def make(gains, seeds=6, questions=QUESTIONS, drop=None):
        rows = []
        random = np.random.default_rng(0)
        template = pd.read_parquet(official / "records.parquet").iloc[0].to_dict()
        base = {"suite": "iid", "corruption": "none", "severity": "0", "class": "polyp", "flag": ""}
        for dataset in ("kvasir_seg", "isic2018"):
            cases = random.uniform(0.5, 0.8, 20)
            for seed in range(seeds):
                for name in NAMES:
                    noise = random.normal(0, 0.002, 20)
                    for case, value in enumerate(cases + gains.get(name, 0) + noise):
                        for metric in ("dsc", "nsd"):
                            keys = {"dataset": dataset, "test_dataset": dataset, "architecture": name, "seed": seed}
                            keys |= {"objective": "spatial", "lambda": "0", "case": f"c{case}", "group": f"p{case}"}
                            rows.append(
                                {**template, **base, **keys, "protocol": "sound", "metric": metric, "value": value}
                            )
        records = pd.DataFrame(rows)
        records[records["architecture"] != drop].to_parquet(tmp_path / "records.parquet")
        config = {
            "name": "toy",
            "datasets": {"kvasir_seg": {}, "isic2018": {}},
            "architectures": {name: {"model": "unet"} for name in NAMES},
            "objectives": OBJECTIVES,
            "grid": grid_of(records, OBJECTIVES),
            "comparison": {"questions": questions},
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        return build_table("questions", Results(tmp_path)), records

    return make


def cell(cells, architecture, metric="dsc", dataset="kvasir_seg"):
    chosen = cells[(cells["architecture"] == architecture) & (cells["metric"] == metric)]
    (row,) = chosen[chosen["dataset"] == dataset].to_dict("records")
    return row


def test_verdicts_follow_from_the_differences(study):
    table, records = study({"whole": 0.03, "part": -0.02, "control": 0.0005})
    verdicts = {name: cell(table.cells, name)["verdict"] for name in NAMES[1:]}
    assert verdicts == {"whole": BETTER, "part": WORSE, "control": SAME}
    values = records[(records["dataset"] == "kvasir_seg") & (records["metric"] == "dsc")]
    grid = values.pivot_table("value", "seed", ["architecture", "case"])
    differences = (grid["whole"] - grid["unet"]).to_numpy()
    expected = 100 * np.array(paired_interval(differences, np.arange(20)))
    row = cell(table.cells, "whole")
    assert [row["difference"], row["low"], row["high"]] == pytest.approx(expected)
    assert (row["seeds"], row["groups"], row["cases"], row["unit"]) == (6, 20, 20, "pp")


def test_a_question_is_a_block_with_a_line_for_each_test_set(study):
    table, _ = study({"whole": 0.03})
    (section,) = table.page.sections
    assert section.key == "sound", "no record has the other protocol"
    assert [block.title for block in section.blocks] == ["Against its backbone", "Which part?"]
    assert [(row.label, row.kind) for row in section.blocks[0].rows] == [
        ("whole − UNet, spatial", "ISIC-18"),
        ("whole − UNet, spatial", "Kvasir-SEG"),
    ]
    assert section.blocks[1].headings == ("Δ DSC ↑", "Δ NSD ↑", "Seeds", "Cases")
    assert "better" in section.blocks[0].rows[0].entries[0].text


def test_two_seeds_settle_nothing(study):
    table, _ = study({"whole": 0.03}, seeds=2)
    assert set(table.cells["verdict"]) == {OPEN}
    assert cell(table.cells, "whole")["low"] > 0


def test_p_values_are_adjusted_within_a_question_and_metric(study):
    cells = study({"whole": 0.001, "part": 0.002, "control": 0.001})[0].cells
    family = cells[(cells["question"] == "part") & (cells["metric"] == "dsc")]
    assert len(family) == 4
    assert (family["p_adjusted"] >= family["p"]).all()
    assert family["p_adjusted"].min() == pytest.approx(min(1, 4 * family["p"].min()))
    alone = cells[cells["question"] == "backbone"]
    assert alone["p_adjusted"].min() == pytest.approx(min(1, 2 * alone["p"].min()))


def test_a_reference_without_runs_leaves_the_difference_open(study):
    table, _ = study({"whole": 0.03}, drop="unet")
    assert set(table.cells["verdict"]) == {OPEN}
    assert table.cells["difference"].isna().all()
    assert "| – |" in table.markdown()


def test_a_study_without_questions_says_how_to_ask_one(official):
    table = build_table("questions", Results(official))
    assert table.cells.empty
    assert "add 'questions' to 'comparison'" in table.markdown()
