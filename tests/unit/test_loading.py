"""Damaged files of every format are reported in one sentence."""

import errno
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from spectralseg.errors import InputError
from spectralseg.loading import read_arrays, read_csv, read_json, read_json_lines, read_parquet, read_tensors

WHAT, REMEDY = "a sample", "write it again"
WRITERS = {
    "a.json": lambda file: file.write_text(json.dumps({"a": {"b": 1}})),
    "a.jsonl": lambda file: file.write_text('{"a": 1}\n{"a": 2}\n'),
    "a.csv": lambda file: file.write_text("a,b\n1,2\n"),
    "a.parquet": lambda file: pd.DataFrame({"a": range(1000)}).to_parquet(file),
    "a.npz": lambda file: np.savez(file, a=np.arange(1000)),
    "a.pt": lambda file: torch.save({"a": torch.arange(1000)}, file),
}
READERS = {
    "a.json": lambda file: read_json(file, WHAT, REMEDY, {"a.b": int}),
    "a.jsonl": lambda file: read_json_lines(file, WHAT, REMEDY, {"a": int}),
    "a.csv": lambda file: read_csv(file, WHAT, REMEDY, ["a"]),
    "a.parquet": lambda file: read_parquet(file, WHAT, REMEDY, ["a"]),
    "a.npz": lambda file: read_arrays(file, WHAT, REMEDY, ["a"]),
    "a.pt": lambda file: read_tensors(file, WHAT, REMEDY, {"a": torch.Tensor}),
}
INCOMPLETE = {
    "a.json": lambda file: file.write_text('{"a": {}}'),
    "a.jsonl": lambda file: file.write_text('{"a": 1}\n{"b": 2}\n'),
    "a.csv": lambda file: file.write_text("b\n2\n"),
    "a.parquet": lambda file: pd.DataFrame({"b": [1]}).to_parquet(file),
    "a.npz": lambda file: np.savez(file, b=np.arange(3)),
    "a.pt": lambda file: torch.save({"b": 1}, file),
}
DAMAGES = {
    "missing": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "zeroed": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "foreign": lambda file: file.write_bytes(b"\xff\xfe\x00not ours\n" * 30),
    "folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("name", WRITERS)
def test_written_files_are_read(name, tmp_path):
    WRITERS[name](tmp_path / name)
    assert len(READERS[name](tmp_path / name))


@pytest.mark.parametrize("damage", [*DAMAGES, "cut", "incomplete"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_file_is_reported_with_name_and_remedy(name, damage, tmp_path):
    file = tmp_path / name
    WRITERS[name](file)
    if (name, damage) == ("a.jsonl", "empty"):
        pytest.skip("no lines yet")
    if damage == "cut":
        file.write_bytes(b"a\x00\xff" if name == "a.csv" else file.read_bytes()[:-3])
    else:
        (INCOMPLETE[name] if damage == "incomplete" else DAMAGES[damage])(file)
    with pytest.raises(InputError, match=r"cannot be read as a sample \(.+\); write it again$") as error:
        READERS[name](file)
    assert str(error.value).startswith(f"{file}: ")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a": ' + "9" * 10_000 + "}", '{"a": {"b": true}}', '{"a": {"b": "1"}}', "[1]"]
)
def test_json_that_is_too_deep_or_of_other_types_is_rejected(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json: cannot be read as a sample"):
        read_json(tmp_path / "a.json", WHAT, REMEDY, {"a.b": int})


@pytest.mark.parametrize("name", ["a.parquet", "a.pt", "a.npz"])
def test_a_flipped_bit_is_detected(name, tmp_path):
    file = tmp_path / name
    if name == "a.parquet":
        pd.DataFrame({"a": np.arange(1000)}).to_parquet(
            file, compression=None, use_dictionary=False, write_page_checksum=True
        )
    else:
        WRITERS[name](file)
    content = bytearray(file.read_bytes())
    content[content.index(np.arange(500, 510).tobytes())] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: cannot be read as a sample"):
        READERS[name](file)


def test_errors_of_the_operating_system_have_their_own_remedy(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "a.json").write_text("{}")
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(InputError, match=r"a\.json: permission denied; change the permissions"):
        read_json(tmp_path / "a.json", WHAT, REMEDY)


def test_arrays_beyond_the_limit_are_rejected_before_unpacking(tmp_path, monkeypatch):
    monkeypatch.setattr("spectralseg.loading.MAX_ARRAY_BYTES", 2**20)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("it was unpacked"))
    file = tmp_path / "a.npz"
    np.savez_compressed(file, a=np.zeros(2**21, np.uint8))
    assert file.stat().st_size < 2**14
    with pytest.raises(InputError, match=r"a\.npz: cannot be read as a sample \(it unpacks to more than"):
        READERS["a.npz"](file)


def test_tables_with_too_many_rows_are_rejected_before_reading(tmp_path, monkeypatch):
    monkeypatch.setattr("spectralseg.loading.MAX_ROWS", 2**20)
    monkeypatch.setattr(parquet, "read_table", lambda *_, **__: pytest.fail("it was read"))
    file = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"a": pa.array(np.zeros(2**20 + 1, np.int8))}), file, compression="zstd")
    assert file.stat().st_size < 2**14
    with pytest.raises(InputError, match=r"a\.parquet: cannot be read as a sample \(it has 1048577 rows, more than"):
        READERS["a.parquet"](file)


def test_compressed_tensors_are_rejected(tmp_path):
    file, packed = tmp_path / "a.pt", tmp_path / "packed.pt"
    torch.save({"a": torch.zeros(2**20)}, file)
    with zipfile.ZipFile(file) as stored, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for record in stored.infolist():
            archive.writestr(record.filename, stored.read(record))
    with pytest.raises(InputError, match=r"packed\.pt: .*compressed.*; write it again"):
        READERS["a.pt"](packed)
