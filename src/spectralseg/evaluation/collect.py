"""Join the records of all runs into one table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from spectralseg.config import Config
from spectralseg.errors import InputError
from spectralseg.files import replacing
from spectralseg.grid import runs
from spectralseg.metrics.records import COLUMNS

_REPEATED = [name for name in COLUMNS if name not in ("seed", "value")]


def collect(config: Config, folder: Path, out: Path) -> None:
    """Concatenate the records of the grid's runs below ``folder`` into one parquet file.

    The grid decides, not what lies in the folder: runs of an earlier configuration are left out.

    Raises:
        InputError: a file is missing or has other columns.
    """
    frames = []
    for run in runs(config):
        file = folder / run.folder / "records.parquet"
        try:
            frame = pd.read_parquet(file)
        except OSError as error:
            raise InputError(f"{file}: cannot be read as records ({error}); evaluate the run again") from None
        if list(frame.columns) != list(COLUMNS):
            raise InputError(f"{file}: has other columns than this version writes; evaluate the run again")
        frames.append(frame)
    records = pd.concat(frames, ignore_index=True)
    records[_REPEATED] = records[_REPEATED].astype("category")
    with replacing(out) as partial:
        records.to_parquet(partial, index=False)
