import os

import pytest

from spectralseg.data.fingerprint import fingerprint
from spectralseg.errors import InputError


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "1.png").write_bytes(bytes(100))
    (folder / "volume.nii").write_bytes(bytes(100_000))
    return folder


def icons(raw):
    for name in (".DS_Store", "Thumbs.db", "images/.DS_Store"):
        (raw / name).write_text("icons")
    (raw / "__MACOSX").mkdir()
    (raw / "__MACOSX" / "1.png").write_text("resources")


def dates(raw):
    for file in (raw, raw / "images", raw / "volume.nii"):
        os.utime(file, (2**32, 2**32))


def links(raw):
    (raw / "images").rename(raw.parent / "elsewhere")
    (raw / "images").symlink_to(raw.parent / "elsewhere")
    (raw / "elsewhere").symlink_to(raw)
    (raw / "gone").symlink_to(raw.parent / "nowhere")
    (raw / ".fifo").touch()
    os.mkfifo(raw / "fifo")


@pytest.mark.parametrize("change", [icons, dates, links])
def test_dates_and_clutter_do_not_count(raw, change):
    before = fingerprint(raw)
    change(raw)
    assert fingerprint(raw) == before


def name(raw):
    (raw / "images" / "1.png").rename(raw / "images" / "2.png")


def size(raw):
    (raw / "volume.nii").write_bytes(bytes(100_001))


def beginning(raw):
    (raw / "volume.nii").write_bytes(b"1" + bytes(99_999))


def end(raw):
    (raw / "volume.nii").write_bytes(bytes(99_999) + b"1")


def another(raw):
    (raw / "images" / "2.png").touch()


@pytest.mark.parametrize("change", [name, size, beginning, end, another])
def test_names_sizes_and_ends_count(raw, change):
    before = fingerprint(raw)
    change(raw)
    assert fingerprint(raw) != before


def test_a_single_file(raw):
    assert fingerprint(raw / "volume.nii") != fingerprint(raw / "images" / "1.png")


def test_a_file_that_is_missing_is_named(raw):
    with pytest.raises(InputError, match=r"nowhere: cannot be read: the file is missing"):
        fingerprint(raw / "nowhere")
