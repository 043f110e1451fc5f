"""Readers of files that the suite wrote itself, one for each format.

If a file is missing, truncated, empty, overwritten or of another version, readers raise an :class:`InputError` with its
name, the cause and the remedy. ``what`` names the content, as in "metric records". The message ends with
``remedy``.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectralseg.errors import InputError, explained, has_remedy
from spectralseg.files import regular_file
from spectralseg.parsing import MAX_JSON_BYTES, parse_json

if TYPE_CHECKING:  # imported where they are used, as the workflow's parser needs JSON only
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

MAX_ARRAY_BYTES = 2**32
MAX_ROWS = 2 * 10**8  # of a parquet table; a file of kilobytes can repeat a row billions of times

Kinds = Mapping[str, type | tuple[type, ...]]


@contextmanager
def reading(file: Path, what: str, remedy: str) -> Iterator[None]:
    """Turn any exception of a parser inside the block into an :class:`InputError` about ``file``.

    Parsers can raise nearly any exception on damaged files, so all are caught: the block must contain parsing only.
    """
    try:
        if not file.is_file():
            raise ValueError("is not a regular file" if file.exists() else "there is no such file")
        yield
    except InputError:
        raise
    except MemoryError:  # caused by the machine, not by the file
        raise
    except Exception as error:
        if isinstance(error, OSError) and has_remedy(error):
            raise InputError(f"{file}: {explained(error)}") from None
        raise unreadable(file, what, remedy, error) from None


def unreadable(file: Path, what: str, remedy: str, reason: object) -> InputError:
    """The error about a file with invalid content."""
    cause = " ".join(str(reason).split())[:160] or type(reason).__name__
    return InputError(f"{file}: cannot be read as {what} ({cause}); {remedy}")


def read_json(file: Path, what: str, remedy: str, keys: Kinds = {}) -> dict[str, Any]:  # noqa: B006 - never changed
    """A JSON object.

    Args:
        file: the file.
        what: name of its content, for messages.
        remedy: what to do about a damaged file.
        keys: required keys, with the types of their values; ``"data.mean"`` is the key ``mean`` in ``data``.
    """
    with reading(file, what, remedy):
        regular_file(file, MAX_JSON_BYTES, remedy)
        content = parse_json(file.read_text(encoding="utf-8"))
        _require(content, keys)
    return content  # type: ignore[no-any-return]


def read_json_lines(file: Path, what: str, remedy: str, keys: Kinds = {}) -> list[dict[str, Any]]:  # noqa: B006
    """JSON objects, one per line."""
    with reading(file, what, remedy):
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for line in lines:
            _require(line, keys)
    return lines


def read_csv(
    file: Path, what: str, remedy: str, columns: Sequence[str] = (), *, exact: bool = False, **options: Any
) -> pd.DataFrame:
    """A table of text with at least these columns, or exactly these; ``options`` are passed to ``pandas.read_csv``."""
    import pandas as pd

    with reading(file, what, remedy):
        frame: pd.DataFrame = pd.read_csv(file, **{"dtype": "str", "keep_default_na": False, **options})
        _require_columns(frame.columns.tolist(), columns, exact=exact)
    return frame


def read_parquet(
    file: Path, what: str, remedy: str, columns: Sequence[str] | None = None, *, exact: bool = False, **options: Any
) -> pa.Table:
    """A parquet table of at most :data:`MAX_ROWS` rows. Checksums of its pages are verified if the file has them.

    Args:
        file: the file.
        what: name of its content, for messages.
        remedy: what to do about a damaged file.
        columns: columns to read; None reads all.
        exact: whether the file must have exactly these columns, in this order.
        options: further options of ``pyarrow.parquet.read_table``.
    """
    from pyarrow import parquet

    with reading(file, what, remedy):
        metadata = parquet.read_metadata(file)
        _require_columns(metadata.schema.to_arrow_schema().names, columns or (), exact=exact)
        if metadata.num_rows > MAX_ROWS:
            raise ValueError(f"it has {metadata.num_rows} rows, more than {MAX_ROWS}")
        options = {"partitioning": None, "page_checksum_verification": True, **options}
        return parquet.read_table(file, columns=None if columns is None else list(columns), **options)


def read_arrays(file: Path, what: str, remedy: str, names: Sequence[str], prefix: str = "") -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz`` file, without unpickling; of at most :data:`MAX_ARRAY_BYTES` in total.

    Args:
        file: the file.
        what: what it should be, for messages.
        remedy: what to do if it is damaged.
        names: of the arrays.
        prefix: of further arrays, which the file may have; empty for none.
    """
    import numpy as np

    with reading(file, what, remedy), zipfile.ZipFile(file) as archive:
        if sum(record.file_size for record in archive.infolist()) > MAX_ARRAY_BYTES:
            raise ValueError(f"it unpacks to more than {MAX_ARRAY_BYTES // 2**30} GiB")
    with reading(file, what, remedy), np.load(file, allow_pickle=False) as arrays:
        _require_columns(list(arrays), names, "array")
        further = [name for name in arrays if prefix and name.startswith(prefix)]
        return {name: arrays[name] for name in [*names, *further]}


def read_tensors(file: Path, what: str, remedy: str, keys: Kinds = {}) -> dict[str, Any]:  # noqa: B006
    """A dictionary that ``torch.save`` wrote, loaded on the CPU without executing pickled code.

    Unlike ``torch.load``, this verifies the checksums of the records in the file.
    """
    import torch

    with reading(file, what, remedy):
        with zipfile.ZipFile(file) as archive:
            if any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist()):
                raise ValueError("its records are compressed, which torch.save does not do")
            if (record := archive.testzip()) is not None:
                raise ValueError(f"the checksum of {record} is wrong")
        content = torch.load(file, map_location="cpu", weights_only=True)
        _require(content, keys)
    return content  # type: ignore[no-any-return]


def _require(content: Any, keys: Kinds) -> None:
    if not isinstance(content, dict):
        raise ValueError(f"contains a {type(content).__name__} instead of a mapping")
    for key, kinds in keys.items():
        value: Any = content
        for name in key.split("."):
            if not isinstance(value, dict) or name not in value:
                raise ValueError(f"'{key}' is missing")
            value = value[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise ValueError(f"'{key}' has the wrong type")


def _require_columns(
    names: Sequence[str], required: Sequence[str], kind: str = "column", *, exact: bool = False
) -> None:
    columns = [name for name in names if not name.startswith("__index_level_")]  # without an index of pandas
    if exact and columns != list(required):
        raise ValueError("it has other columns than this version writes")
    if missing := [name for name in required if name not in names]:
        raise ValueError(f"{kind} '{missing[0]}' is missing")
