"""The metric record: one value of one metric on one case of one run, in long format.

Every table, figure and test is computed from these rows, so a new table never trains a model again.

=============  ========================================================================================
column         meaning
=============  ========================================================================================
dataset        dataset that the model was trained on
architecture   name in the configuration, e.g. ``unet``
objective      name in the configuration, e.g. ``spatial_spectral``
lambda         weight of the auxiliary term as the string of the configuration; ``"0"`` where there is none
seed           seed of the run
suite          ``iid``, ``ood`` or ``noise``
test_dataset   dataset that the case belongs to
corruption     ``none`` or the name of the corruption
severity       its parameter as the string of the configuration; ``"0"`` where there is none
case, group    ids within the test dataset, or ``pooled`` for metrics of the test set as a whole
class          foreground class, or ``all`` for the foreground as a whole
protocol       ``published`` (traps included) or ``sound``
metric         see below
value          NaN where undefined
flag           why the value is undefined or was set by the missing-structure policy; empty otherwise
=============  ========================================================================================

Metrics of a class of a case: the pixel counts ``tp``, ``fp``, ``fn``, ``tn``; those of
:data:`spectralseg.metrics.policy.POLICY`; under ``sound``, where the reference is empty, ``false_structure`` (1 if the
prediction is not, else 0); and where the suite has calibration, ``ece``, ``mce`` and, under ``sound``,
``ace``, ``brier``, ``nll`` and all five with the prefix ``band_`` near the boundary.

The same calibration metrics with the prefix ``pooled_`` are those of all pixels of the test set together. Where the
suite has interpretation, the records hold ``CAM_METRICS`` and ``SPECTRAL_METRICS`` of
:mod:`spectralseg.interpretation.scores`, too.

Volumes also have, under ``sound``, the mean over slices ``slice_<metric>`` of each overlap metric and the number of
slices ``slices_<metric>`` that it is over. The mean over all slices of a test set is the mean of the first weighted by
the second; two rows per case thus stand for four counts of each slice, of which there may be hundreds.

A run that diverged has no values. Its only record has the metric ``diverged``, no value, and the reason as flag.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import ArrowInvalid, parquet

from spectralseg.loading import read_parquet, unreadable

POOLED = "pooled"
WHOLE_CASE = "all"
MEAN = "mean"
DIVERGED = "diverged"
OUTCOMES = frozenset({"false_structure"})  # metrics that are 1 or 0 in each case
RUN_KEYS = ("dataset", "architecture", "objective", "lambda", "seed")
CONDITION_KEYS = ("suite", "test_dataset", "corruption", "severity")
COLUMNS = (*RUN_KEYS, *CONDITION_KEYS, "case", "group", "class", "protocol", "metric", "value", "flag")


def divergence_record(dataset: str, reason: str) -> dict[str, str | float]:
    """The only record of a run that diverged, without the identity of the run."""
    condition = {"suite": "iid", "test_dataset": dataset, "corruption": "none", "severity": "0"}
    unit = {"case": POOLED, "group": POOLED, "class": WHOLE_CASE, "protocol": "sound"}
    return {**condition, **unit, "metric": DIVERGED, "value": float("nan"), "flag": reason}


def divergence(file: Path) -> str:
    """Why the run of a file of metric records diverged; empty if it did not, or if the file cannot be read."""
    try:
        if parquet.read_metadata(file).num_rows != 1:
            return ""
        (record,) = parquet.read_table(file, columns=["metric", "flag"], partitioning=None).to_pylist()
    except (OSError, ArrowInvalid, ValueError):
        return ""
    return str(record["flag"]) if record.get("metric") == DIVERGED else ""


def read_records(file: Path) -> pd.DataFrame:
    """Read a file of metric records.

    Raises:
        InputError: the file is missing, damaged, or has other columns.
    """
    frame: pd.DataFrame = read_table(file).to_pandas()
    return frame


def read_table(file: Path, **options: Any) -> pa.Table:
    """As :func:`read_records`; ``options`` are those of ``pyarrow.parquet.read_table``."""
    table = read_parquet(file, _WHAT, _REMEDY, COLUMNS, exact=True, **options)
    for column in table.schema:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not _KINDS.get(column.name, _is_text)(kind):
            raise unreadable(file, _WHAT, _REMEDY, f"column '{column.name}' holds {kind}")
        if column.name != "value" and table[column.name].null_count:
            raise unreadable(file, _WHAT, _REMEDY, f"column '{column.name}' has cells without a value")
    return table


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


_WHAT, _REMEDY = "metric records", "evaluate the runs again"
_KINDS = {"seed": pa.types.is_integer, "value": pa.types.is_floating}
