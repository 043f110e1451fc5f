"""Join the records of all runs into one table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from spectralseg.config import Config
from spectralseg.files import replacing
from spectralseg.grid import runs
from spectralseg.metrics.records import COLUMNS, read_records

_REPEATED = [name for name in COLUMNS if name not in ("seed", "value")]


def collect(config: Config, folder: Path, out: Path) -> None:
    """Concatenate the records of the grid's runs below ``folder`` into one parquet file.

    The grid decides, not what lies in the folder: runs of an earlier configuration are left out.

    Raises:
        InputError: a file is missing or has other columns.
    """
    frames = [read_records(folder / run.folder / "records.parquet") for run in runs(config)]
    records = pd.concat(frames, ignore_index=True)
    records[_REPEATED] = records[_REPEATED].astype("category")
    with replacing(out) as partial:
        records.to_parquet(partial, index=False)
