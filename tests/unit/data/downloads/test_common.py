import re
import subprocess
import sys
from pathlib import Path

import pytest

from spectralseg.data.downloads import _common
from spectralseg.errors import InputError


@pytest.mark.parametrize(
    ("status", "kind", "sentence"),
    [
        (None, ConnectionError, "Drive cannot be reached"),
        (429, ConnectionError, "Drive is overloaded or broken (status 429)"),
        (500, ConnectionError, "Drive is overloaded or broken (status 500)"),
        (200, InputError, "ask the owner"),
        (403, InputError, "ask the owner"),
        (428, InputError, "ask the owner"),
        (499, InputError, "ask the owner"),
    ],
)
def test_exception_by_http_status(status, kind, sentence):
    failure = _common.failure("Drive", status, "ask the owner")
    assert type(failure) is kind
    assert str(failure) == sentence


@pytest.mark.parametrize(("terminal", "expected"), [(True, range(8, 25)), (False, range(2, 4))])
def test_logs_get_fewer_lines_than_terminals(capsys, monkeypatch, terminal, expected):
    now = iter(range(1000))
    monkeypatch.setattr("tqdm.std.time", lambda: next(now) / 5)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    with _common.download_bar(Path("a.zip")) as bar:
        bar.total = 50
        for _ in range(50):
            bar.update()
    lines = [line for line in re.split("[\r\n]", capsys.readouterr().err) if line.strip()]
    assert len(lines) in expected
    assert lines[-1].startswith("a.zip: 100%")


def test_client_libraries_are_imported_on_use():
    code = (
        "import sys, spectralseg.data.downloads.gdrive, spectralseg.data.downloads.synapse\n"
        "print([name for name in ('gdown', 'synapseclient') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
