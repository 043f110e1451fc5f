"""What the audit does to a study: it stops one that asks for that, and says so in the tables of one that does not."""

import pandas as pd
import pytest

from .conftest import TINY, snakemake, write_config

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

RESULTS = "results/tiny"
THREADS = ["--set-threads", "train=1", "evaluate=1", "--"]
PHANTOM = {"source": "phantom", "allow_partial": True, "phantom": {"cases": 10, "side": 48}}
LEAKING = {
    **TINY,
    "datasets": {"isic2018": PHANTOM, "isic2017": PHANTOM},
    "objectives": {"spatial": {"base": "bce_dice"}},
    "grid": {"main": {**TINY["grid"]["main"], "datasets": ["isic2018"], "objectives": ["spatial"]}},
    "evaluation": {},
    "tables": ["summary", "leakage", "leakage_effect"],
    "figures": ["leakage_matrix"],
    "studies": ["study_leakage"],
}


def run(directory, study, *arguments, targets=(), **options):
    config = write_config(directory, study)
    done = snakemake(directory, "--cores", 2, "--configfile", config, *arguments, *THREADS, *targets, **options)
    return done.returncode, done.stdout + done.stderr


def test_a_leak_stops_a_study_before_training_or_is_told_in_its_tables(tmp_path):
    results = tmp_path / RESULTS
    status, _ = run(tmp_path, {**LEAKING, "fail_on_leakage": True}, "--keep-going", check=False)
    assert status != 0
    log = (results / "logs" / "leakage.log").read_text()
    assert log.splitlines()[-1].startswith("error: isic2018 → isic2017: ")
    assert "fail_on_leakage: false" in log
    assert (results / "prepared" / "isic2018" / "dataset.json").exists()
    assert not (results / "runs").exists()

    run(tmp_path, LEAKING)
    pairs = pd.read_csv(results / "leakage.csv", keep_default_na=False)
    (finding,) = pairs.loc[pairs["role"] == "ood", "finding"]
    for name in ("summary", "leakage", "leakage_effect"):
        assert f"Leakage audit. {finding}." in (results / "tables" / f"{name}.md").read_text()
    cells = pd.read_csv(results / "tables" / "leakage_effect.csv", keep_default_na=False).drop_duplicates("leak_free")
    pair = pairs[pairs["role"] == "ood"].iloc[0]
    left = pair["cases"] - pair[["train", "validation", "test"]].cumsum()
    assert cells["cases"].tolist() == [pair["cases"], *left]
    assert left.iloc[1] < pair["cases"]

    run(tmp_path, LEAKING, "--report", "report.html")
    assert finding.partition(" → ")[2] in (tmp_path / "report.html").read_text()


def test_where_nothing_leaks_the_key_neither_stops_nor_retrains(finished):
    directory, _ = finished
    model = f"{RESULTS}/runs/kvasir_seg/unet/spatial/lambda0/seed0/model.pt"
    trained = (directory / model).stat().st_mtime_ns
    for fail in (True, False, True):
        study = {**TINY, "fail_on_leakage": fail}
        status, text = run(directory, study, targets=[model, f"{RESULTS}/leakage.csv"])
        assert status == 0
        assert "checkpoint leakage" in text
        assert (directory / model).stat().st_mtime_ns == trained
