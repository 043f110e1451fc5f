"""What the pages of docs/ tell to type, word for word."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from spectralseg import cli
from spectralseg.config import Architecture, validate_config
from tests.standins.laboratory import write_study

from .conftest import REPOSITORY, TINY, environment, snakemake, write_config

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

trains = pytest.mark.nightly(reason="the commands of the page train with the settings that users type")

PAGE = (REPOSITORY / "docs" / "add-a-dataset.md").read_text(encoding="utf-8")


def copy_repository(target):
    """The files that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        source = REPOSITORY / name
        if source.exists() or source.is_symlink():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)


@pytest.fixture
def typed(tmp_path, monkeypatch):
    """Runs commands of the package in ``tmp_path``, one after another in this process, which saves their imports."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # as the commands set it

    def run(commands):
        monkeypatch.chdir(tmp_path)
        for command in commands.splitlines():
            program, *arguments = shlex.split(command)
            assert program == "spectralseg"
            assert cli.main(arguments) == 0, command

    return run


def draw_cells(folder, count=24, side=80):
    """Bright discs on a darker, noisy ground."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rows, columns = np.mgrid[:side, :side]
    for number in range(count):
        centre, radius = rng.uniform(20, side - 20, 2), rng.uniform(8, 18)
        mask = np.hypot(rows - centre[0], columns - centre[1]) < radius
        image = rng.normal(90, 12, (side, side, 3)) + 80 * mask[..., None]
        cv2.imwrite(str(folder / "images" / f"{number:03d}.png"), np.clip(image, 0, 255).astype(np.uint8))
        cv2.imwrite(str(folder / "masks" / f"{number:03d}.png"), mask.astype(np.uint8) * 255)


def files_of_page(dataset):
    """Names and contents of the files that the page on datasets shows for one of them."""
    files = re.findall(r"`([\w/.]+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert [name for name, _ in files] == [f"workflow/rules/datasets/{name}.smk" for name in ("cells", "livers")] + [
        "config/cells.yaml"
    ]
    return [(name, content) for name, content in files if Path(name).stem == dataset]


@trains
def test_adding_a_dataset_as_documented(tmp_path):
    copy_repository(tmp_path)
    draw_cells(tmp_path / "cells")
    for name, content in files_of_page("cells"):
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(content)
    (command,) = re.findall(r"```bash\n(snakemake .*?)\n```", PAGE)
    subprocess.run(shlex.split(command), cwd=tmp_path, env=environment(), check=True)

    (verify,) = re.findall(r"`(spectralseg verify-dataset .*?)`", PAGE)
    done = subprocess.run(
        shlex.split(verify), cwd=tmp_path, env=environment(), check=True, capture_output=True, text=True
    )
    assert "6 test" in done.stdout
    records = pd.read_parquet(tmp_path / "results/cells/records.parquet")
    dice = records[(records["metric"] == "dsc") & (records["protocol"] == "sound")]
    assert set(dice["objective"]) == {"spatial", "spatial_spectral"}
    assert dice.groupby("objective", observed=True)["value"].mean().min() > 0.5
    assert "cells" in (tmp_path / "results/cells/tables/summary.md").read_text()


def draw_livers(folder):
    """Volumes with a bright ellipsoid, and a smaller one within it, in the files of the page."""
    names = re.search(r"^  images/  (.*)$", PAGE[PAGE.index("livers/") :], re.MULTILINE)[1].split()
    assert len(names) == 3
    rng = np.random.default_rng(0)
    x, y, z = np.mgrid[:32, :24, :10]
    for name in names:
        distance = np.hypot(np.hypot((x - 16) / 9, (y - 12) / 7), (z - 5) / 4)
        mask = (distance < 1).astype(np.uint8) + (distance < 0.5)
        image = rng.normal(-50, 20, mask.shape) + 100 * mask
        for kind, array in (("images", image.astype(np.int16)), ("masks", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([-1, 1, 3, 1])), folder / kind / name)


def test_adding_volumes_as_documented(tmp_path, typed):
    draw_livers(tmp_path / "livers")
    ((name, content),) = files_of_page("livers")
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text(content)
    (commands,) = re.findall(r"```bash\n(spectralseg prepare .*?)```", PAGE, re.DOTALL)
    typed(commands)
    cases = pd.read_csv(tmp_path / "prepared" / "livers" / "cases.csv")
    assert cases["group"].tolist() == ["p01", "p02", "p03"]
    assert sorted(cases["part"]) == ["test", "train", "validation"]
    assert "tumour" in (tmp_path / "livers.html").read_text()


def test_a_dataset_file_is_written_as_documented(tmp_path, typed, capsys):
    draw_livers(tmp_path / "livers")
    (tmp_path / "workflow/rules/datasets").mkdir(parents=True)
    command, text = re.search(
        r"```bash\n(spectralseg new-dataset .*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL
    ).groups()
    typed(command)
    assert capsys.readouterr().out == text
    typed(f"{text.splitlines()[-1].strip()} --image-size 64 --validation 0.3")


def test_the_leakage_page_shows_what_its_commands_print(tmp_path, capsys):
    page = (REPOSITORY / "docs" / "leakage.md").read_text(encoding="utf-8")
    (python, printed), (bash, told) = re.findall(r"```(?:python|bash)\n(.*?)```.*?```text\n(.*?)```", page, re.DOTALL)
    exec(python, {})
    assert capsys.readouterr().out == printed
    (tmp_path / "workflow").symlink_to(REPOSITORY / "workflow")
    done = subprocess.run(
        ["bash", "-e"], input=bash, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert "".join(line for line in done.stdout.splitlines(True) if not line.startswith("raw/")) == told


def test_the_audit_page_shows_what_its_commands_print(tmp_path):
    page = (REPOSITORY / "docs" / "audit-a-table.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"`results.csv`.*?```csv\n(.*?)```", page, re.DOTALL)
    (tmp_path / "results.csv").write_text(table, encoding="utf-8")
    (paste,) = re.findall(r"`paste.txt`.*?```latex\n(.*?)```", page, re.DOTALL)
    (tmp_path / "paste.txt").write_text(paste, encoding="utf-8")
    (tmp_path / "config").symlink_to(REPOSITORY / "config")
    examples = re.findall(r"```bash\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL)
    assert len(examples) == page.count("```bash") == 3
    for command, told in examples:
        done = subprocess.run(["bash"], input=command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, told)
    assert len(pd.read_csv(tmp_path / "findings.csv")) == 5


def test_a_dataset_file_with_a_typing_error_is_refused(tmp_path):
    copy_repository(tmp_path)
    file = tmp_path / "workflow/rules/datasets/kvasir_seg.smk"
    file.write_text(file.read_text().replace('"modality"', '"modalty"'))
    done = snakemake(tmp_path, "--dry-run", "--cores", 1, check=False, repository=tmp_path)
    assert done.returncode != 0
    assert "kvasir_seg.smk" in done.stdout + done.stderr
    assert "modal" in done.stdout + done.stderr


@trains
def test_training_a_run_as_documented(tmp_path, typed):
    copy_repository(tmp_path)
    page = (REPOSITORY / "docs" / "train-a-run.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    typed(commands)
    run = tmp_path / "results" / "try" / "run"
    assert sorted(path.name for path in run.iterdir()) == ["history.jsonl", "model.pt", "run.json"]


@trains
def test_pretraining_a_masked_autoencoder_as_documented(tmp_path, typed):
    copy_repository(tmp_path)
    page = (REPOSITORY / "docs" / "grcsf.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    typed(commands)
    folder = tmp_path / "results" / "try"
    assert {"map_quality.csv", "model.pt", "residual_maps.png"} <= {path.name for path in (folder / "half").iterdir()}
    assert (folder / "rcu" / "model.pt").is_file()


def test_sharing_studies_as_documented(tmp_path, typed):
    for seed, name in enumerate(("north", "south")):
        write_study(tmp_path / "results" / name, seed=seed)
    page = (REPOSITORY / "docs" / "share-a-study.md").read_text(encoding="utf-8")
    typed("".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL)))
    assert len(pd.read_csv(tmp_path / "merged" / "laboratories.csv")) == 2 * 3
    assert (pd.read_parquet(tmp_path / "comparisons.parquet")["seeds"] == 6).all()
    for name in re.findall(r"`(laboratories\.\w+|records\.parquet|merge\.json)`", page.partition("## Merge")[2]):
        assert (tmp_path / "merged" / name).is_file()


@trains
def test_exchanging_with_other_tools_as_documented(tmp_path, typed):
    (tmp_path / "workflow").symlink_to(REPOSITORY / "workflow")
    (tmp_path / "config").symlink_to(REPOSITORY / "config")
    page = (REPOSITORY / "docs" / "exchange.md").read_text(encoding="utf-8")
    commands = "".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL))
    if not all(map(importlib.util.find_spec, ("onnx", "onnxruntime", "onnxscript"))):
        commands = re.sub(r".*--format onnx\n", "", commands)
    typed(commands)
    found = tmp_path / "results" / "try"
    described = json.loads((found / "predictions" / "predictions.json").read_text())
    assert len(list((found / "predictions").glob("*.nii.gz"))) == described["cases"] == 6
    assert pd.read_parquet(found / "theirs.parquet")["case"].nunique() == 6
    assert len(list((found / "nnUNet_raw" / "Dataset501_ACDC" / "imagesTs").iterdir())) == 6
    assert (found / "torchscript" / "README.md").is_file()


def test_scoring_predictions_as_documented(tmp_path, typed, capsys):
    rng = np.random.default_rng(0)
    for case in range(6):
        labels = np.digitize(rng.random((5, 24, 20)), [0.7, 0.9]).astype(np.uint8)
        for folder in ("labelsTs", *(f"{name}/seed{seed}" for name in ("unet", "ours") for seed in range(3))):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            changed = labels * (rng.random(labels.shape) < (1 if folder == "labelsTs" else 0.9))
            image = nib.Nifti1Image(changed.astype(np.uint8), np.diag([0.8, 0.8, 3, 1]))
            nib.save(image, tmp_path / folder / f"patient{case // 2}_{case}.nii.gz")
        for folder in ("masks", "predictions"):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f"{case}.png"), labels[0] // 2 * 255)
    page = (REPOSITORY / "docs" / "score-predictions.md").read_text(encoding="utf-8")
    typed("".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL)))
    (table,) = re.findall(r"\| file \| content \|\n.*?\n\n", page, re.DOTALL)
    assert {path.name for path in (tmp_path / "scores").iterdir()} == set(re.findall(r"`([a-z]+\.[a-z]+)`", table))
    assert pd.read_parquet(tmp_path / "scores.parquet")["group"].nunique() == 3
    assert set(pd.read_parquet(tmp_path / "comparisons.parquet")["seeds"]) == {3}
    assert "Audit: " in capsys.readouterr().out


def test_adding_an_architecture_as_documented(tmp_path):
    copy_repository(tmp_path)
    page = (REPOSITORY / "docs" / "add-an-architecture.md").read_text(encoding="utf-8")
    ((name, code),) = re.findall(r"`(src/[\w/.]+)`:\n\n```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / name).write_text(code)
    (command,) = re.findall(r"```bash\n(pytest .*?)\n```", page)
    found = {**environment(), "PYTHONPATH": str(tmp_path / "src")}
    done = subprocess.run(shlex.split(command), cwd=tmp_path, env=found, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    for choice in yaml.safe_load(block)["architectures"].values():
        Architecture.model_validate(choice)


def test_the_study_of_the_quickstart_as_documented(tmp_path):
    """The loss passes its contract tests, and the study can be planned and checked."""
    copy_repository(tmp_path)
    page = (REPOSITORY / "docs" / "quickstart.md").read_text(encoding="utf-8")
    files = re.findall(r"`([\w/.]+)`[^`]*:\n\n```\w+\n(.*?)```", page, re.DOTALL)
    assert [name for name, _ in files] == ["src/spectralseg/objectives/my_loss.py", "config/mine.yaml"]
    for name, content in files:
        (tmp_path / name).write_text(content, encoding="utf-8")
    (check,) = re.findall(r"`(pytest .*?)`", page)
    (commands,) = re.findall(r"```bash\n(snakemake .*?)```", page, re.DOTALL)
    own = {**environment(), "PYTHONPATH": str(tmp_path / "src")}
    tests, jobs, plan, doctor = (
        subprocess.run(shlex.split(command), cwd=tmp_path, env=own, capture_output=True, text=True)
        for command in (check, *commands.splitlines())
    )
    assert tests.returncode == jobs.returncode == plan.returncode == 0, tests.stdout[-3000:] + jobs.stderr + plan.stderr
    assert re.search(r"^train +12$", jobs.stdout, re.MULTILINE)
    assert not re.search(r"tables/table_[1-6]", jobs.stdout), "no table of a paper"
    assert "mine: 12 runs" in plan.stdout
    (estimate,) = re.findall(r"`(spectralseg plan .*?--on gpu .*?)`", page)
    (text,) = re.findall(r"```text\n(About .*?)```", page, re.DOTALL)
    done = subprocess.run(shlex.split(estimate), cwd=tmp_path, env=own, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(text)
    assert doctor.returncode == ("PROBLEM" in doctor.stdout), doctor.stderr


def test_planning_checking_and_watching_a_study_as_documented(tmp_path):
    copy_repository(tmp_path)
    page = (REPOSITORY / "docs" / "watch-a-study.md").read_text(encoding="utf-8")
    commands, _ = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    plan, doctor, status = (
        subprocess.run(shlex.split(command), cwd=tmp_path, env=environment(), capture_output=True, text=True)
        for command in commands.splitlines()
    )
    assert plan.returncode == status.returncode == 0, plan.stderr + status.stderr
    assert doctor.returncode == ("PROBLEM" in doctor.stdout), doctor.stderr
    assert "money: " in plan.stdout
    assert re.match(r"At least .*: prepare .*, pretrain .*, train .*, evaluate .*, render ", plan.stdout)
    assert plan.stdout.splitlines()[0] == status.stdout.splitlines()[1]
    assert "btseg is a phantom" in doctor.stdout
    assert status.stdout.startswith("demo: 36 runs, 2 autoencoders · 0 done · 0 running · 0 failed · 38 waiting\n")


def test_reading_an_unfinished_study_as_documented(tmp_path, typed, caplog):
    root = write_study(tmp_path / "results" / "demo")
    for name in ("records.parquet", "comparisons.parquet"):
        (root / name).unlink()
    shutil.rmtree(root / "figures")
    unfinished = list(root.glob("runs/*/*/*/*/seed2/records.parquet"))
    for file in unfinished:
        file.unlink()
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "published").symlink_to(REPOSITORY / "config" / "published")
    page = (REPOSITORY / "docs" / "watch-a-study.md").read_text(encoding="utf-8")
    _, commands = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    typed(commands)
    assert f"{len(unfinished)} of {3 * len(unfinished)} runs are not evaluated and left out" in caplog.text
    assert set(pd.read_parquet(root / "records.parquet")["seed"]) == {0, 1}
    assert "UNet" in (root / "report" / "index.html").read_text(encoding="utf-8")


def test_the_readme_has_the_estimate_of_the_grid_of_the_paper():
    command = "spectralseg plan config/config.yaml --on gpu --devices 1 --cores 8 --json"
    done = subprocess.run(
        shlex.split(command), cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=True
    )
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    estimate = json.loads(done.stdout)
    trainings = sum(part["runs"] for part in estimate["parts"])
    hours = f"{estimate['hours_low']:.0f} to {estimate['hours_high']:.0f} GPU-hours on an H100"
    assert f"{trainings} trainings, an estimated {hours}, and {estimate['run_bytes'] / 1e9:.0f} GB" in readme
    assert {part["estimate"]["device"] for part in estimate["parts"]} == {"NVIDIA H100 80GB HBM3"}


def test_choosing_gpus_and_parts_of_a_study_as_documented(tmp_path):
    page = (REPOSITORY / "docs" / "run-on-local-gpus.md").read_text(encoding="utf-8")
    commands = "".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL)).splitlines()
    commands = [command for command in commands if "snakemake" in command]
    expected = [(96, 2), (96, 4), (96, 4), (0, 2), (96, 2), (1, 2)]  # trainings and the threads of each
    machine = environment(SPECTRALSEG_DEVICES="GPU-a,GPU-b,GPU-c,GPU-d")
    for command, (trainings, threads) in zip(commands, expected, strict=True):
        done = subprocess.run(
            ["bash", "-ec", f"{command.partition('#')[0]} --dry-run --directory {tmp_path}"],
            cwd=REPOSITORY,
            env=machine,
            capture_output=True,
            text=True,
            check=True,
        )
        blocks = re.findall(r"^rule train:\n((?:    .+\n)+)", done.stdout + done.stderr, re.MULTILINE)
        assert len(blocks) == trainings
        assert all(f"    threads: {threads}\n" in block for block in blocks)
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    study = yaml.safe_load((REPOSITORY / "config" / "demo.yaml").read_text(encoding="utf-8"))
    assert validate_config({**study, **yaml.safe_load(block)}, page).runs_per_gpu == 3


def test_own_notebooks_and_published_tables_need_nothing_else(tmp_path):
    repository = tmp_path / "repository"
    copy_repository(repository)
    shutil.copy(repository / "notebooks" / "table.ipynb", repository / "notebooks" / "mine.ipynb")
    published = repository / "config" / "published"
    (published / "theirs").mkdir()
    shutil.copy(published / "harmonized" / "paper.yaml", published / "theirs")
    shutil.copy(published / "harmonized" / "table_3.csv", published / "theirs" / "table_7.csv")
    config = write_config(tmp_path, {**TINY, "tables": ["mine", "table_7", "summary"]})
    arguments = ("--dry-run", "--printshellcmds", "--cores", 1, "--configfile", config)
    done = snakemake(tmp_path, *arguments, repository=repository)
    text = done.stdout + done.stderr
    executed = re.findall(r"spectralseg\.papermill \S*/notebooks/(\w+)\.ipynb \S+ .*-p name (\S+) ", text)
    assert {name: template for template, name in executed} == {
        **{"mine": "mine", "table_7": "table", "summary": "table"},
        **{"figure_5": "figure", "study_equation_2": "study"},
    }
    rules = re.findall(r"^(?:local)?rule (\w+):\n    input: (.*)", text, re.MULTILINE)
    assert {rule for rule, inputs in rules if "published/theirs/table_7.csv" in inputs} == {"table", "claims"}
