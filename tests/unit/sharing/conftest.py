"""Studies of laboratories and their bundles."""

import pytest
from tests.standins.laboratory import write_study

from spectralseg import cli


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A finished study; do not change it."""
    return write_study(tmp_path_factory.mktemp("laboratory") / "results" / "toy")


@pytest.fixture
def bundled(tmp_path, capsys):
    """Writes a study of a laboratory and its bundle, and returns the bundle."""

    def write(laboratory, **options):
        root = write_study(tmp_path / laboratory / "results" / "toy", **options)
        out = tmp_path / f"{laboratory}.zip"
        assert cli.main(["bundle", str(root), "--laboratory", laboratory, "--out", str(out)]) == 0
        capsys.readouterr()
        return out

    return write


@pytest.fixture
def refused(capsys):
    """Runs a command that is refused, and returns its message."""

    def run(*arguments):
        assert cli.main([str(argument) for argument in arguments]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line.removeprefix("error: ")

    return run
