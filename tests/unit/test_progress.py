import io
import sys

from spectralseg import progress
from spectralseg.progress import progress_bar


def test_a_log_gets_few_complete_lines(capsys):
    assert list(progress_bar(range(1000), desc="count", unit="it")) == list(range(1000))
    text = capsys.readouterr().err
    lines = text.splitlines()
    assert len(lines) == 2, "the beginning and the end"
    assert lines[0].startswith("count: 0/1000 it (0 %)")
    assert lines[1].startswith("count: 1000/1000 it (100 %)")
    assert "\r" not in text


def test_a_log_gets_more_lines_over_time(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    list(progress_bar(range(5), desc="count", unit="it"))
    assert len(capsys.readouterr().err.splitlines()) >= 5


def test_a_bar_without_a_total_counts(capsys):
    with progress_bar(desc="file", unit="B") as bar:
        bar.update(500)
    assert capsys.readouterr().err.splitlines()[-1].startswith("file: 500B")


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    list(progress_bar(range(3), desc="count", unit="it"))
    assert terminal.getvalue().count("\r") >= 2
    assert "100%|" in terminal.getvalue()
