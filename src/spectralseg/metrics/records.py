"""The metric record: one value of one metric on one case of one run, in long format.

Every table, figure and test is computed from these rows, so that a new table needs no training.

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

Where the dataset has ``lesions``, a class also has, under ``sound``, the numbers of lesions ``lesion_tp``,
``lesion_fp`` and ``lesion_fn``, the volumes ``volume`` (predicted) and ``volume_reference`` in millilitres, and the
metrics of :data:`spectralseg.metrics.policy.LESIONS`. With Agatston scores, the foreground as a whole has ``agatston``
(predicted), ``agatston_reference``, ``agatston_difference`` and ``risk_agreement`` (1 if both scores are in one risk
category, else 0).

The same calibration metrics with the prefix ``pooled_`` are those of all pixels of the test set together. Where the
suite has interpretation, the records hold ``CAM_METRICS`` and ``SPECTRAL_METRICS`` of
:mod:`spectralseg.interpretation.scores`, too.

Volumes also have, under ``sound``, the mean over slices ``slice_<metric>`` of each overlap metric and the number of
slices ``slices_<metric>`` in it. The mean over all slices of a test set is the mean of the first weighted by the
second.

Records of several laboratories (``spectralseg merge``) have the column ``laboratory`` before all others.

A run that diverged has no values. Its only record has the metric ``diverged``, no value, and the reason as flag.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ArrowInvalid, parquet

from spectralseg.errors import InputError
from spectralseg.loading import read_parquet, reading, unreadable

POOLED = "pooled"
WHOLE_CASE = "all"
MEAN = "mean"
DIVERGED = "diverged"
OUTCOMES = frozenset({"false_structure", "risk_agreement"})  # metrics that are 1 or 0 in each case
METHOD_KEYS = ("architecture", "objective", "lambda")
RUN_KEYS = ("dataset", *METHOD_KEYS, "seed")
CONDITION_KEYS = ("suite", "test_dataset", "corruption", "severity")
RELIABILITY = ("suite", "test_dataset", "class", "region", "bin", "pixels", "probability", "foreground")  # histograms
LABORATORY = "laboratory"
COLUMNS = (*RUN_KEYS, *CONDITION_KEYS, "case", "group", "class", "protocol", "metric", "value", "flag")
_NUMBERS = {"seed": pa.int64(), "value": pa.float64()}
TEXT = tuple(name for name in COLUMNS if name not in _NUMBERS)
SCHEMA = pa.schema([(name, _NUMBERS.get(name, pa.string())) for name in COLUMNS])
COMPACT = pa.schema([(name, _NUMBERS.get(name, pa.dictionary(pa.int32(), pa.string()))) for name in COLUMNS])
_WHAT, _REMEDY = "metric records", "evaluate the runs again"
_KINDS = {"seed": pa.types.is_integer, "value": pa.types.is_floating}


def divergence_record(dataset: str, reason: str) -> dict[str, str | float]:
    """The only record of a run that diverged, without the identity of the run."""
    condition = {"suite": "iid", "test_dataset": dataset, "corruption": "none", "severity": "0"}
    unit = {"case": POOLED, "group": POOLED, "class": WHOLE_CASE, "protocol": "sound"}
    return {**condition, **unit, "metric": DIVERGED, "value": float("nan"), "flag": reason}


def divergence(file: Path) -> str:
    """Reason why the run of a file of metric records diverged; empty if it did not or the file cannot be read."""
    try:
        if not file.is_file() or parquet.read_metadata(file).num_rows != 1:
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


def read_merged(file: Path) -> pd.DataFrame:
    """As :func:`read_records`, for records of one study or of several laboratories.

    Returns:
        The columns of the schema and :data:`LABORATORY`, which is empty for records of one study.
    """
    with reading(file, _WHAT, _REMEDY):
        merged = LABORATORY in parquet.read_schema(file).names
    frame: pd.DataFrame = read_table(file, (LABORATORY, *COLUMNS) if merged else COLUMNS).to_pandas()
    return frame if merged else frame.assign(**{LABORATORY: ""})


def read_table(file: Path, columns: Sequence[str] = COLUMNS, **options: Any) -> pa.Table:
    """As :func:`read_records`, of exactly these columns.

    Args:
        file: the file.
        columns: those of the schema, and maybe others.
        options: those of ``pyarrow.parquet.read_table``.
    """
    table = read_parquet(file, _WHAT, _REMEDY, columns, exact=True, **options)
    for column in table.schema:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not _KINDS.get(column.name, _is_text)(kind):
            raise unreadable(file, _WHAT, _REMEDY, f"column '{column.name}' holds {kind}")
    refuse_ambiguous(file, table)
    return table


def refuse_ambiguous(file: Path, table: pa.Table) -> None:
    """Refuse empty cells, and classes and cases with reserved names.

    Raises:
        InputError: names the run.
    """
    for name in COLUMNS:
        if name != "value" and table[name].null_count:
            _refuse(file, table, pc.is_null(table[name]), f"column '{name}' has cells without a value")
    pooled = table.filter(pc.equal(table["case"], POOLED))
    metric = pooled["metric"].cast(pa.string())
    of_test_set = pc.or_(pc.starts_with(metric, f"{POOLED}_"), pc.equal(metric, DIVERGED))
    _refuse(file, pooled, pc.invert(of_test_set), f"a case is called '{POOLED}'")
    _refuse(file, table, pc.equal(table["class"], MEAN), f"a class is called '{MEAN}'")
    whole = pc.equal(table["class"], WHOLE_CASE)
    if pc.any(whole).as_py():
        other_classes = pc.and_(_among(table["metric"], table["metric"].filter(whole)), pc.invert(whole))
        _refuse(file, table, other_classes, f"a class is called '{WHOLE_CASE}', beside others")


def _among(column: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_in(column.cast(pa.string()), pc.unique(values.cast(pa.string())))


def _refuse(file: Path, table: pa.Table, rows: pa.ChunkedArray, problem: str) -> None:
    """Raise an :class:`InputError` about the first of the rows, a boolean mask, if there is any."""
    if pc.any(rows).as_py():
        first = table.filter(rows).slice(0, 1).to_pylist()[0]
        run = "/".join(str(first[key]) for key in RUN_KEYS)
        raise InputError(f"{file}: {problem} in records of run {run}, metric {first['metric']}; {_REMEDY}")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def recorded_runs(file: Path) -> set[tuple[Any, ...]]:
    """Values of :data:`RUN_KEYS` of the runs in a file of metric records.

    Raises:
        InputError: the file is damaged.
    """
    with reading(file, _WHAT, _REMEDY):
        with parquet.ParquetFile(file) as opened:
            runs = _runs_of_row_groups(opened)
        return runs or _runs_of_rows(file)


def _runs_of_row_groups(file: parquet.ParquetFile) -> set[tuple[Any, ...]]:
    """Runs from the statistics of the file, without reading rows; empty unless each row group holds one run."""
    runs, columns = set(), [file.schema.names.index(key) for key in RUN_KEYS]
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        statistics = [group.column(column).statistics for column in columns]
        if any(s is None or not s.has_min_max or s.null_count or s.min != s.max for s in statistics):
            return set()
        runs.add(tuple(s.min for s in statistics))
    return runs


def _runs_of_rows(file: Path) -> set[tuple[Any, ...]]:
    keys = parquet.read_table(file, columns=list(RUN_KEYS), partitioning=None).select(RUN_KEYS)
    keys = keys.cast(pa.schema([SCHEMA.field(key) for key in RUN_KEYS]))  # row groups differ in their dictionaries
    return {tuple(row.values()) for row in keys.group_by(list(RUN_KEYS)).aggregate([]).to_pylist()}
