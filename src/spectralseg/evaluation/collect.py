"""Join the records of all runs into one table."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from spectralseg.config import Config
from spectralseg.errors import InputError
from spectralseg.files import replacing
from spectralseg.grid import runs
from spectralseg.metrics.records import COMPACT, TEXT, checked
from spectralseg.progress import progress_bar


def collect(config: Config, folder: Path, out: Path) -> None:
    """Write the records of the grid's runs below ``folder`` into one parquet file, a run at a time.

    The grid decides, not what lies in the folder: runs of an earlier configuration are left out.

    Raises:
        InputError: a file is missing or has other columns.
    """
    chosen = runs(config)
    with replacing(out) as partial, parquet.ParquetWriter(partial, COMPACT) as writer:
        for run in progress_bar(chosen, desc="collect", unit="run", total=len(chosen)):
            writer.write_table(_read(folder / run.folder / "records.parquet"))


def _read(file: Path) -> pa.Table:
    try:
        table = parquet.read_table(file, read_dictionary=list(TEXT), partitioning=None)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{file}: cannot be read as metric records ({error}); evaluate the runs again") from None
    return checked(table, file, COMPACT)
