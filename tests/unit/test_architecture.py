"""The page on the architecture: its picture is current, and what it names exists."""

import re
import runpy
import subprocess
import sys

import pytest
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
SCRIPT = REPOSITORY / "docs" / "architecture.py"
PATHS = sorted({path for path in re.findall(r"`([\w/]+(?:/|\.py|\.smk|\.csv|\.json))`", PAGE) if "/" in path})


def test_the_picture_is_current():
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", PATHS)
def test_files_that_the_page_names_exist(path):
    assert any((REPOSITORY / folder / path).exists() for folder in (".", "src", "src/spectralseg"))


def test_every_package_is_in_the_picture():
    rows = runpy.run_path(str(SCRIPT))["layers"]()
    packages = {folder.parent.name for folder in (REPOSITORY / "src" / "spectralseg").glob("*/__init__.py")}
    assert packages <= {name for row in rows for name in row}


def test_arrows_that_follow_from_others_are_left_out():
    necessary = runpy.run_path(str(SCRIPT))["necessary"]
    assert list(necessary({"a": {"b", "c"}, "b": {"c"}, "c": set()})) == [("a", "b"), ("b", "c")]
