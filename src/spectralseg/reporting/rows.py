"""Columns that identify methods and pairs of datasets, and selection of rows of data frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from spectralseg.metrics.records import METHOD_KEYS

METHOD = list(METHOD_KEYS)
PAIR = ["dataset", "test_dataset"]


def rows_where(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """Rows in which every named column equals its value."""
    rows: pd.DataFrame = frame[np.logical_and.reduce([frame[name] == value for name, value in values.items()])]
    return rows


def row_where(frame: pd.DataFrame, **values: Any) -> dict[Any, Any]:
    """The first of :func:`rows_where`; empty if there is no such row."""
    rows = rows_where(frame, **values).to_dict("records")
    return rows[0] if rows else {}
