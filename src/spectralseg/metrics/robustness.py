"""Robustness of a model to corruptions of its test images, from per-case values."""

from __future__ import annotations

import numpy as np
import pandas as pd

CLEAN = "none"


def mean_corruption_error(values: pd.DataFrame, baseline: pd.DataFrame) -> float:
    """Mean corruption error (mCE, Hendrycks and Dietterich 2019): errors relative to those of a baseline.

    Args:
        values: values of a model for one test dataset and one metric in [0, 1] of which more is better. Columns
            ``case``, ``corruption`` (``none`` for clean images), ``severity``, ``value``, and others that identify a
            value, such as ``class``.
        baseline: the same of the baseline, under the same conditions. Only cases are compared for which both have a
            value under every condition.

    Returns:
        ``mean_c Σ_s E_cs / Σ_s E'_cs`` over corruptions c and their severities s, where E is 1 - mean value of the
        model and E' that of the baseline. 1 is as robust as the baseline, less is better. NaN or infinite where the
        baseline has no error; NaN without a shared case or without a corruption.

    Raises:
        ValueError: the conditions differ, a value is outside [0, 1], or a case has two values under one condition.
    """
    tables = [_by_condition(table) for table in (values, baseline)]
    if set(tables[0].columns) != set(tables[1].columns):
        raise ValueError("model and baseline were tested under other conditions; evaluate both alike")
    shared = tables[0].index.intersection(tables[1].index)
    errors, baseline_errors = (_by_corruption(1 - table.loc[shared].mean()) for table in tables)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float((errors / baseline_errors).mean())


def _by_condition(values: pd.DataFrame) -> pd.DataFrame:
    """One row per case (and class ...) with a value under every condition, one column per condition."""
    conditions = ["corruption", "severity"]
    units = [name for name in values.columns if name not in (*conditions, "value")]
    if not values["value"].dropna().between(0, 1).all():
        raise ValueError("there are values outside 0..1; pass a metric that is a share, not a percentage or a distance")
    if values.duplicated([*units, *conditions]).any():
        raise ValueError("a case has two values under one condition; pass one method, one seed and one metric")
    return values.set_index([*units, *conditions])["value"].unstack(conditions).dropna()


def _by_corruption(errors: pd.Series) -> pd.Series:
    return errors.drop(CLEAN, level="corruption", errors="ignore").groupby(level="corruption").mean()
