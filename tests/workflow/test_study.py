"""A tiny study from archives to tables: results, incremental rebuilding, interruption, bad configurations."""

import json
import random
import re
import time

import pandas as pd
import psutil
import pytest

from .conftest import TINY, planned, snakemake, status, write_config
from .test_interruptions import STOPS, Command

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

RESULTS = "results/tiny"
RUN = f"{RESULTS}/runs/kvasir_seg/unet/spatial/lambda0/seed0"
THREADS = ["--set-threads", "train=1", "evaluate=1", "--"]


def test_everything_is_there(finished):
    directory, _ = finished
    results = directory / RESULTS
    for name in ("table_3", "summary"):
        for suffix in ("csv", "md", "tex", "html"):
            assert (results / "tables" / f"{name}.{suffix}").stat().st_size > 0
        assert "Demonstration on synthetic phantoms" in (results / "tables" / f"{name}.md").read_text()
    assert (results / "figures" / "figure_5.pdf").stat().st_size > 0
    assert "What is Eq. (2)?" in (results / "studies" / "study_equation_2.html").read_text()
    for name in ("kvasir_seg", "polypgen"):
        assert "Dataset card" in (results / "cards" / f"{name}.html").read_text()
    report = (results / "report" / "index.html").read_text(encoding="utf-8")
    assert "<b>2 of 2</b> runs evaluated" in report
    assert "../tables/table_3.csv" in report
    for page in ("tables/table_3", "studies/study_equation_2", "cards/polypgen"):
        assert 'href="../report/index.html"' in (results / f"{page}.html").read_text(encoding="utf-8")
    executed = json.loads((results / "notebooks" / "summary.ipynb").read_text())
    assert any(cell.get("outputs") for cell in executed["cells"])
    assert len(pd.read_parquet(results / "comparisons.parquet")) > 0
    run = json.loads((directory / RUN / "run.json").read_text())
    assert {"run", "architecture", "objective", "training", "data", "versions", "hardware", "seconds"} <= set(run)
    assert not (directory / RUN / "state.pt").exists()


def test_every_job_is_measured_for_the_time_left(finished):
    """A finished study has no time left; a deleted table and the report take as long as they did before."""
    directory, config = finished
    results = directory / RESULTS
    assert status(directory, config)["time"]["stages"] == []
    jobs = ["phantom/kvasir_seg", "prepare/kvasir_seg", "leakage", "cards/kvasir_seg", "collect", "compare", "claims"]
    jobs += ["tables/summary", "figures/figure_5", "studies/study_equation_2", "report"]
    seconds = {job: json.loads((results / f"logs/{job}.benchmark.jsonl").read_text())["s"] for job in jobs}
    assert min(seconds.values()) > 0
    (results / "tables" / "summary.json").unlink()
    (stage,) = status(directory, config)["time"]["stages"]
    assert (stage["stage"], stage["jobs"], stage["evidence"]) == ("render", 2, ["measured"])
    assert stage["seconds"] == pytest.approx(seconds["tables/summary"] + seconds["report"])


def test_table_equals_the_records(finished):
    directory, _ = finished
    records = pd.read_parquet(directory / RESULTS / "records.parquet")
    cells = pd.read_csv(directory / RESULTS / "tables" / "summary.csv", dtype={"lambda": "str"})
    assert len(cells) > 0
    for _, cell in cells.iterrows():
        mine = records[
            (records["objective"] == cell["objective"])
            & (records["test_dataset"] == cell["test_dataset"])
            & (records["suite"] == cell["suite"])
            & (records["protocol"] == cell["protocol"])
            & (records["metric"] == cell["metric"])
        ]
        values = [value for value in mine["value"].tolist() if value == value]
        factor = 1 if cell["metric"] == "hd95" else 100
        assert cell["measured"] == pytest.approx(factor * sum(values) / len(values))
        assert cell["undefined"] == len(mine) - len(values)


def test_second_run_has_nothing_to_do(finished):
    directory, config = finished
    done = snakemake(directory, "--cores", 2, "--configfile", config, *THREADS)
    assert "Nothing to be done" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("missing", "rebuilt", "kept"),
    [
        (f"{RESULTS}/tables/summary.md", {"table", "report_page"}, {"figure", "evaluate", "train", "collect"}),
        (f"{RUN}/records.parquet", {"evaluate", "collect", "compare", "table"}, {"train", "prepare"}),
        (f"{RUN}/model.pt", {"train", "evaluate", "collect"}, {"prepare", "phantom"}),
        (f"{RESULTS}/prepared/polypgen/masks.npy", {"prepare", "card", "evaluate"}, {"train", "phantom"}),
    ],
)
def test_a_deleted_output_rebuilds_only_what_depends_on_it(finished, missing, rebuilt, kept):
    directory, config = finished
    (directory / missing).unlink()
    rules = planned(snakemake(directory, "--dry-run", "--cores", 2, "--configfile", config, *THREADS)).keys()
    assert rebuilt <= rules
    assert not kept & rules


@pytest.mark.nightly(reason="starts a whole study 15 times and stops it at random moments")
def test_an_interrupted_study_continues_to_the_same_tables(finished, tmp_path):
    """Too slow for every day: a whole study, stopped at random moments in every way; the plain command each time."""
    source, _ = finished
    moments = random.Random(0)
    for stop in [*STOPS] * 2:
        command = Command(tmp_path, stand_ins={}, holds="")
        time.sleep(moments.uniform(4, 14))
        stop(command, psutil.Process(command.process.pid).children(recursive=True))
        command.wait()
    status, text = Command(tmp_path, stand_ins={}, holds="").wait()
    assert status == 0, text
    for name in ("table_3.csv", "summary.csv"):
        tables = f"{RESULTS}/tables/{name}"
        assert (tmp_path / tables).read_bytes() == (source / tables).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_sise": 64}, "did you mean 'image_size'"),
        ({"grid": {"main": {**TINY["grid"]["main"], "lambdas": [0.2]}}}, "quoted decimal"),
        ({"grid": {"main": {**TINY["grid"]["main"], "datasets": ["kvasir"]}}}, "did you mean 'kvasir_seg'"),
        ({"datasets": {"kvasir_segg": {"source": "phantom"}}}, "did you mean 'kvasir_seg'"),
    ],
)
def test_a_bad_configuration_is_refused_with_file_and_key(tmp_path, change, message):
    config = write_config(tmp_path, {**TINY, **change})
    done = snakemake(tmp_path, "--dry-run", "--cores", 1, "--configfile", config, check=False)
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert message in text
    assert config.name in text
    assert "Traceback" not in text
    assert not (tmp_path / "results").exists()


def test_a_study_makes_what_shows_its_runs_and_lists_say_otherwise(tmp_path):
    kinds = ("tables", "figures", "studies")
    study = {key: value for key, value in TINY.items() if key not in kinds}
    study["objectives"] = {"spatial": {"base": "bce_dice"}, "mine": {"base": "dice"}}
    study["grid"] = {"main": {**TINY["grid"]["main"], "objectives": ["spatial", "mine"]}}
    study["evaluation"] = {"suites": ["iid", "calibration"]}
    config = write_config(tmp_path, {**study, "studies": ["study_mid_band"]})
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--cores", 1, "--configfile", config)
    names = re.findall(r"-p name (\S+) ", done.stdout + done.stderr)
    assert set(names) == {
        *("leaderboard", "leakage", "metrics", "overall", "strata", "summary"),
        *("cost", "examples", "forest", "leakage_matrix", "learning_curves", "reliability", "scatter"),
        "study_mid_band",
    }


def test_report_has_captions(finished):
    directory, config = finished
    snakemake(directory, "--configfile", config, "--report", "report.zip", "--cores", 1)
    import zipfile

    with zipfile.ZipFile(directory / "report.zip") as archive:
        pages = [name for name in archive.namelist() if name.endswith("report.html")]
        text = archive.read(pages[0]).decode()
    assert "All runs of this study" in text
    assert "Beyond papers" in text
    assert "Synthetic phantom. The prepared dataset" in text
