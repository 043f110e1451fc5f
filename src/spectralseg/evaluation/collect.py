"""Join the records of all runs into one table."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from spectralseg.config import Config
from spectralseg.errors import InputError
from spectralseg.files import notes_of, replacing
from spectralseg.grid import Run, runs
from spectralseg.metrics.records import COLUMNS, COMPACT, RUN_KEYS, TEXT, read_table
from spectralseg.progress import progress_bar
from spectralseg.run_folder import CHECKSUM, DESCRIPTION, EXTERNAL_KEYS, read_settings

_RECORDS = "records.parquet"
_REMEDY = "evaluate the run again"
_log = logging.getLogger(__name__)


def collect(config: Config, folder: Path, out: Path, *, unfinished: bool = False) -> None:
    """Write the records of all runs of the grid into one parquet file, a run at a time.

    Runs that are not in the grid, as of an earlier configuration, are ignored. Records must belong to the run of their
    folder and to the weights in it. The log counts runs whose records name no weights, as in folders of earlier
    versions or without ``run.json``.

    Args:
        config: the study.
        folder: folder of all run folders.
        out: parquet file.
        unfinished: leave out runs that are not evaluated; the log counts them.

    Raises:
        InputError: a file is missing or damaged, has other columns, or holds the records of another run; or no run is
            evaluated.
    """
    grid, unverified = runs(config), 0
    if unfinished:
        planned, grid = len(grid), [run for run in grid if (folder / run.folder / _RECORDS).is_file()]
        if not grid:
            raise InputError(f"{folder}: no run of the study is evaluated yet; run the workflow first")
        if planned > len(grid):
            _log.warning("%d of %d runs are not evaluated and left out", planned - len(grid), planned)
    with replacing(out) as partial, parquet.ParquetWriter(partial, COMPACT) as writer:
        for run in progress_bar(grid, desc="collect", unit="run", total=len(grid)):
            table, verified = _read(folder / run.folder, run)
            writer.write_table(table)
            unverified += not verified
    if unverified:
        _log.warning("%d of %d runs have records that name no weights; they are not verified", unverified, len(grid))


def _read(folder: Path, run: Run) -> tuple[pa.Table, bool]:
    """Read the records of a run, and whether they are verified to be of the weights in its folder."""
    file = folder / _RECORDS
    table = read_table(file, read_dictionary=list(TEXT))
    for name, value in run.keys.items():
        values = table[name].unique().to_pylist()
        if values != [value]:
            recorded = ", ".join(map(repr, values[:3])) or "nothing"
            raise InputError(f"{file}: holds {recorded} as {name}, but its folder is that of {value!r}; {_REMEDY}")
    _refuse_repeats(file, table)
    verified = _verify(folder, run, notes_of(table))
    return table.replace_schema_metadata(None).cast(COMPACT), verified


def _refuse_repeats(file: Path, table: pa.Table) -> None:
    keys = [name for name in COLUMNS if name not in (*RUN_KEYS, "group", "value", "flag")]
    repeated = table.num_rows - table.select(keys).unify_dictionaries().group_by(keys).aggregate([]).num_rows
    if repeated:
        raise InputError(f"{file}: {repeated} values are recorded twice; {_REMEDY}")


def _verify(folder: Path, run: Run, notes: Mapping[str, Any] | None) -> bool:
    """Whether records name the weights in their folder; False if the records or the folder do not say.

    Raises:
        InputError: the records are of another run or of other weights.
    """
    file = folder / _RECORDS
    if notes is not None and notes.get("run") != run.keys:
        raise InputError(f"{file}: holds the evaluation of another run; {_REMEDY}")
    if not (folder / DESCRIPTION).exists():
        return False
    checksum = (read_settings(folder, EXTERNAL_KEYS) if run.external else read_settings(folder)).get(CHECKSUM)
    if checksum is not None and (notes is None or notes.get(CHECKSUM) != checksum):
        raise InputError(f"{file}: holds the evaluation of other weights than those of {DESCRIPTION}; {_REMEDY}")
    return checksum is not None
