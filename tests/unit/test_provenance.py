from pathlib import Path

import pytest

from spectralseg import provenance


def test_the_name_of_the_processor_is_read_from_linux(monkeypatch):
    text = "processor\t: 0\nmodel name\t: Some Processor 9000 \nflags\t\t: avx\n"
    monkeypatch.setattr(Path, "read_text", lambda self, **_: text)
    assert provenance.hardware("cpu")["device_name"] == "Some Processor 9000"


@pytest.mark.parametrize("text", [None, "processor\t: 0\n"])
def test_without_a_name_the_architecture_of_the_processor_is_used(text, monkeypatch):
    def read(self, **_):
        if text is None:
            raise FileNotFoundError
        return text

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert provenance.processor() == "arm64"
