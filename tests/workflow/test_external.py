"""Methods that the suite does not train: exported data, commands, records, and the same tables."""

import copy
import json
import re
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import yaml

from .conftest import REPOSITORY, TINY, environment, planned, snakemake, status, write_config

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

PAGE = (REPOSITORY / "docs" / "external-methods.md").read_text(encoding="utf-8")
RUN = "results/tiny/runs/kvasir_seg/threshold/external/lambda0/seed1"


def study(directory, slow=False):
    """The tiny study with the method of the page, whose training waits for a file ``go`` if it is to be slow."""
    (script,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    if slow:
        wait = (
            "def train(data, model, seed):\n    import time\n"
            "    with (model / 'attempts').open('a') as stream:\n        stream.write('x')\n"
            "    while not Path('go').exists():\n        time.sleep(0.05)\n"
        )
        script = script.replace("def train(data, model, seed):\n", wait)
    (directory / "threshold.py").write_text(script)
    (section,) = re.findall(r"```yaml\n(external:.*?)```", PAGE, re.DOTALL)
    content = copy.deepcopy(TINY)
    content["grid"]["main"]["objectives"] = ["spatial"]
    content["external"] = yaml.safe_load(section)["external"]
    content["external"]["threshold"] |= {"seeds": [0, 1], "prepare": "python -c pass {data} {preprocessed}"}
    return content | {"tables": ["leaderboard", "summary"], "figures": ["examples"], "studies": []}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A finished study with a method of others."""
    directory = tmp_path_factory.mktemp("compared")
    config = write_config(directory, study(directory))
    snakemake(directory, "--cores", 2, "--configfile", config, "--set-threads", "train=1", "evaluate=1", "--")
    return directory, config


def test_a_method_of_others_is_in_records_tables_and_report(compared):
    directory, config = compared
    records = pd.read_parquet(directory / "results/tiny/records.parquet")
    own = records[records["architecture"] == "threshold"]
    assert set(own["objective"]) == {"external"}
    assert set(own["seed"]) == {0, 1}
    assert set(own["test_dataset"]) == {"kvasir_seg", "polypgen"}
    assert set(own["corruption"]) == {"none"}
    dice = records[(records["test_dataset"] == "polypgen") & (records["metric"] == "dsc")]
    cases = dice.groupby("architecture", observed=True)["case"].unique()
    assert sorted(cases["threshold"]) == sorted(cases["unet"])

    board = pd.read_csv(directory / "results/tiny/tables/leaderboard.csv")
    rows = board[(board["architecture"] == "threshold") & (board["metric"] == "dsc")]
    assert set(rows["reference"]) == {"unet spatial"}
    assert rows["difference"].notna().all()
    assert "threshold" in (directory / "results/tiny/report/index.html").read_text()
    assert {item["state"] for item in status(directory, config)["status"]} == {"done"}


def test_predictions_are_scored_as_by_the_command(compared):
    directory, _ = compared
    command = [sys.executable, "-m", "spectralseg", "score", "--predictions", f"{RUN}/predictions/kvasir_seg"]
    command += [
        "--data",
        "results/tiny/prepared/kvasir_seg",
        "--out",
        "own.parquet",
        "--method",
        "threshold",
        "--seed",
        "1",
    ]
    subprocess.run(command, cwd=directory, env=environment(), check=True, capture_output=True)
    recorded = pd.read_parquet(directory / RUN / "records.parquet")
    recorded = recorded[recorded["test_dataset"] == "kvasir_seg"].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_parquet(directory / "own.parquet"), recorded)


def test_a_second_run_has_nothing_to_do_and_a_changed_script_trains_again(compared):
    directory, config = compared

    def trainings():
        plan = planned(snakemake(directory, "--cores", 2, "--configfile", config, "--dry-run", "--"))
        states = {item["seed"] for item in status(directory, config)["status"] if not item["trained"]}
        return plan.get("train_external", set()), plan.get("train", set()), states, "all" in plan

    assert trainings() == (set(), set(), set(), False)
    script = directory / "threshold.py"
    before = script.read_text()
    try:
        script.write_text(before.replace("20)", "21)"))
        expected = {f"dataset=kvasir_seg, method=threshold, seed={seed}" for seed in (0, 1)}
        assert trainings() == (expected, set(), {0, 1}, True)
    finally:
        script.write_text(before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_training_resumes_in_its_folder(tmp_path, number):
    config = write_config(tmp_path, study(tmp_path, slow=True))
    command = [sys.executable, "-m", "snakemake", "--snakefile", REPOSITORY / "Snakefile", "--cores", "2"]
    command += ["--configfile", config, "--set-threads", "train_external=2", "--", f"{RUN}/records.parquet"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    attempts = tmp_path / RUN / "model" / "attempts"
    while not attempts.exists():
        assert process.poll() is None
        time.sleep(0.1)
    (item,) = [item for item in status(tmp_path, config)["status"] if item["state"] == "running"]
    assert (item["architecture"], item["seed"], item["task"]) == ("threshold", 1, "train")
    process.send_signal(number)
    process.wait()
    (tmp_path / "go").touch()
    subprocess.run(command, cwd=tmp_path, env=environment(), check=True, capture_output=True)
    assert attempts.read_text() == "xx"
    assert json.loads((tmp_path / RUN / "run.json").read_text())["seconds"] > 0


def test_commands_run_in_the_environment_of_the_method(tmp_path):
    content = study(tmp_path)
    (tmp_path / "requirements.txt").touch()
    write = "import sys, pathlib; pathlib.Path(sys.argv[1], 'prefix').write_text(sys.prefix)"
    train = {"train": f'python -c "{write}" {{model}} {{seed}}', "environment": "requirements.txt", "files": []}
    content["external"]["threshold"] |= train
    config = write_config(tmp_path, content)
    snakemake(tmp_path, "--cores", 2, "--configfile", config, "--", f"{RUN}/run.json")
    environment = tmp_path / "results/downloads/environments/threshold"
    assert (tmp_path / RUN / "model" / "prefix").read_text() == str(environment)


def test_an_unknown_architecture_has_no_rule(compared):
    directory, config = compared
    target = "results/tiny/runs/kvasir_seg/unknown/spatial/lambda0/seed0/model.pt"
    done = snakemake(directory, "--cores", 1, "--configfile", config, "--dry-run", "--", target, check=False)
    assert done.returncode
    assert "MissingRuleException" in done.stdout + done.stderr


def test_a_failing_command_is_named_with_its_message(tmp_path):
    content = study(tmp_path)
    content["external"]["threshold"]["train"] = "python threshold.py train {data} {model} {seed} surplus"
    config = write_config(tmp_path, content)
    target = f"{RUN}/run.json"
    done = snakemake(tmp_path, "--cores", 2, "--configfile", config, "--retries", 0, "--", target, check=False)
    assert done.returncode
    log = (tmp_path / RUN / "train.log").read_text()
    assert "TypeError: train() takes 3 positional arguments but 4 were given" in log
    (item,) = [item for item in status(tmp_path, config)["status"] if item["state"] == "failed"]
    assert item["error"].startswith("external.threshold.train: ")
    assert "failed with status 1" in item["error"]


@pytest.mark.nightly(reason="installs nnU-Net, more than a gigabyte")
def test_nnunet_is_installed_trains_and_predicts(tmp_path):
    section = yaml.safe_load((REPOSITORY / "config/nnunet.yaml").read_text())["external"]["nnunet"]
    paths = {"environment": str(REPOSITORY / section["environment"]), "datasets": ["kvasir_seg"], "seeds": [0]}
    script = REPOSITORY / section["files"][0]
    commands = {
        task: section[task].replace(section["files"][0], str(script)) for task in ("prepare", "train", "predict")
    }
    commands["train"] += " --epochs 2 --iterations 2 --save-every 1"
    content = copy.deepcopy(TINY) | {"external": {"nnunet": {**paths, **commands, "files": [str(script)]}}}
    config = write_config(tmp_path, content)
    run = "results/tiny/runs/kvasir_seg/nnunet/external/lambda0/seed0"
    snakemake(tmp_path, "--cores", 2, "--configfile", config, "--", f"{run}/records.parquet")
    description = json.loads((tmp_path / run / "run.json").read_text())
    assert (description["iterations"], set(description["versions"])) == (
        4,
        {"nnunetv2", "numpy", "spectralseg", "torch"},
    )
    assert description["parameters"] > 1e5
    records = pd.read_parquet(tmp_path / run / "records.parquet")
    assert set(records["test_dataset"]) == {"kvasir_seg", "polypgen"}
    progress = json.loads((tmp_path / run / "model" / "progress.json").read_text())
    assert progress == {"done": 2, "total": 2, "unit": "epoch"}
