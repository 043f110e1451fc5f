from pathlib import Path

import pytest

from spectralseg import provenance


def test_a_processor_is_called_by_its_name(monkeypatch):
    text = "processor\t: 0\nmodel name\t: Some Processor 9000 \nflags\t\t: avx\n"
    monkeypatch.setattr(Path, "read_text", lambda self, **_: text)
    assert provenance.hardware("cpu")["device_name"] == "Some Processor 9000"


@pytest.mark.parametrize("text", [None, "processor\t: 0\n"])
def test_where_linux_does_not_say_its_kind_stands_for_it(text, monkeypatch):
    def read(self, **_):
        if text is None:
            raise FileNotFoundError
        return text

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert provenance.processor() == "arm64"
