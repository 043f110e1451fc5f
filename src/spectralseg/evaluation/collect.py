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
from spectralseg.training.outputs import CHECKSUM, DESCRIPTION, read_settings

_REMEDY = "evaluate the run again"
_log = logging.getLogger(__name__)


def collect(config: Config, folder: Path, out: Path) -> None:
    """Write the records of the grid's runs below ``folder`` into one parquet file, a run at a time.

    The grid decides, not what lies in the folder: runs of an earlier configuration are left out. Records must be of the
    run that their folder is named for, and of the weights beside them. Where nothing says which weights they are of, as
    in folders of earlier versions or without ``run.json``, the log says how many.

    Raises:
        InputError: a file is missing or damaged, has other columns, or holds the records of another run.
    """
    chosen, unbound = runs(config), 0
    with replacing(out) as partial, parquet.ParquetWriter(partial, COMPACT) as writer:
        for run in progress_bar(chosen, desc="collect", unit="run", total=len(chosen)):
            table, bound = _read(folder / run.folder, run)
            writer.write_table(table)
            unbound += not bound
    if unbound:
        _log.warning("%d of %d runs do not say which weights their records are of", unbound, len(chosen))


def _read(folder: Path, run: Run) -> tuple[pa.Table, bool]:
    """Records of a run, and whether they are known to be of the weights in its folder."""
    file = folder / "records.parquet"
    table = read_table(file, read_dictionary=list(TEXT))
    for name, value in run.keys.items():
        found = table[name].unique().to_pylist()
        if found != [value]:
            given = ", ".join(map(repr, found[:3])) or "nothing"
            raise InputError(f"{file}: holds {given} as {name}, where its folder is that of {value!r}; {_REMEDY}")
    _refuse_repeats(file, table)
    bound = _is_bound(folder, run, notes_of(table))
    return table.replace_schema_metadata(None).cast(COMPACT), bound


def _refuse_repeats(file: Path, table: pa.Table) -> None:
    keys = [name for name in COLUMNS if name not in (*RUN_KEYS, "group", "value", "flag")]
    repeated = table.num_rows - table.select(keys).unify_dictionaries().group_by(keys).aggregate([]).num_rows
    if repeated:
        raise InputError(f"{file}: {repeated} values are recorded twice; {_REMEDY}")


def _is_bound(folder: Path, run: Run, notes: Mapping[str, Any] | None) -> bool:
    """Whether records are of the weights in their folder, as far as both say.

    Raises:
        InputError: they are not.
    """
    file = folder / "records.parquet"
    if notes is not None and notes.get("run") != run.keys:
        raise InputError(f"{file}: was made by the evaluation of another run; {_REMEDY}")
    if not (folder / DESCRIPTION).exists():
        return False
    checksum = read_settings(folder).get(CHECKSUM)
    if checksum is not None and (notes is None or notes.get(CHECKSUM) != checksum):
        raise InputError(f"{file}: is not of the weights that {DESCRIPTION} beside it describes; {_REMEDY}")
    return checksum is not None
