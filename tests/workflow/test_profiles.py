"""What the README promises to type works from a clean home."""

import re
import subprocess
import sys

import pytest
import yaml

from .conftest import REPOSITORY, TINY, environment, snakemake, write_config

pytestmark = pytest.mark.workflow


def jobs(text):
    """Number of jobs per rule in the table that a dry run prints."""
    table = text.partition("Job stats:")[2].partition("\n\n")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE)}


@pytest.mark.parametrize("arguments", [["--cores", "8", "--profile", "slurm"], ["--cores", "8"]])
def test_the_two_commands_plan_the_grid_of_the_paper_with_an_empty_home(tmp_path, arguments):
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments, "-n", "--quiet", "rules", "--directory", tmp_path],
        cwd=REPOSITORY,
        env=environment(HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    count = jobs(done.stdout + done.stderr)
    # 6 datasets x 2 networks x 2 objectives x 3 seeds, and 2 datasets x 4 further λ x 3 seeds.
    assert count["train"] == count["evaluate"] == 6 * 2 * 2 * 3 + 2 * 4 * 3
    assert count["prepare"] == 8
    assert count["leakage"] == 1
    assert count["table"] == 14
    assert count["figure"] == 19
    assert count["fetch"] == 8
    assert count["weights"] == 1


@pytest.mark.parametrize(("value", "given"), [("true", False), ("false", True)])
def test_the_configuration_decides_how_images_are_decoded(tmp_path, value, given):
    config = write_config(tmp_path, {**TINY, "reduced_decoding": value == "true"})
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--cores", 2, "--configfile", config)
    commands = re.findall(r"spectralseg prepare .*", done.stdout + done.stderr)
    assert len(commands) == 2
    assert all(("--full-decoding" in command) == given for command in commands)
    assert all("--threads 2" in command for command in commands)


def test_a_key_that_a_configuration_gives_twice_is_refused(tmp_path):
    """Snakemake would take the last."""
    file = write_config(tmp_path, TINY)
    file.write_text(f"{file.read_text()}\nimage_size: 64\n")
    done = snakemake(tmp_path, "--dry-run", "--cores", 1, "--configfile", file, check=False)
    assert done.returncode == 1
    assert "duplicate key 'image_size'; keep one" in done.stdout + done.stderr


def test_the_slurm_profile_is_refused_where_there_is_no_slurm(tmp_path):
    config = write_config(tmp_path, TINY)
    profile = REPOSITORY / "slurm"
    done = snakemake(tmp_path, "--cores", 1, "--profile", profile, "--configfile", config, check=False)
    assert done.returncode == 1
    assert "executor 'slurm': there is no command 'sbatch' on this machine" in done.stdout + done.stderr
    assert not (tmp_path / "results" / "tiny").exists()


def test_slurm_profile_is_a_link_that_survives_a_clone():
    assert (REPOSITORY / "slurm").is_symlink()
    assert (REPOSITORY / "slurm").resolve() == REPOSITORY / "workflow" / "profiles" / "slurm"


def test_the_default_profile_holds_only_what_is_right_everywhere():
    """Snakemake adds it to any other profile, and its keys win over those of the other."""
    assert not (REPOSITORY / "default").exists()
    profile = yaml.safe_load((REPOSITORY / "profiles" / "default" / "config.yaml").read_text(encoding="utf-8"))
    assert profile == {
        "rerun-incomplete": True,
        "keep-going": True,
        "show-failed-logs": True,
        "rerun-triggers": ["mtime", "input", "params"],
        "nolock": True,
    }
    for name in ("demo", "slurm"):
        other = yaml.safe_load((REPOSITORY / "workflow/profiles" / name / "config.yaml").read_text(encoding="utf-8"))
        assert not profile.keys() & other.keys(), "one place for each"


def test_the_workflow_asks_for_the_version_that_parses_it():
    text = (REPOSITORY / "workflow" / "Snakefile").read_text(encoding="utf-8")
    assert 'min_version("9.12")' in text, "the first with 'pathvars'"
