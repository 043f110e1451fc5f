"""How much a score suffers under corruptions, from per-case values.

All functions take a long table with the columns ``case``, ``corruption``, ``severity`` and ``value``, and any others
that identify a value, such as ``class``: one model, one test dataset, one metric in [0, 1] of which more is better.
Clean values have the corruption ``none``. Scores are paired: a case counts only where its value is defined under
every condition. D is the mean over these cases; c runs over corruptions, s over the severities of a corruption.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

CLEAN = "none"


def condition_means(values: pd.DataFrame) -> pd.Series:
    """D under every condition, indexed by corruption and severity; NaN where no case is defined everywhere."""
    return _by_condition(values).mean()


def relative_degradation(values: pd.DataFrame) -> pd.Series:
    """Share of the clean score that each corruption costs.

    Returns:
        ``rD_c = Σ_s (D_clean - D_cs) / Σ_s D_clean`` by corruption: 0 where nothing is lost, 1 where everything is,
        negative where the corruption helps. Its mean is rD over all corruptions, each with equal weight, and its
        maximum the worst corruption. NaN or infinite for a clean score of 0; empty without corruptions.

    Raises:
        ValueError: there are no clean values.
    """
    means = condition_means(values)
    return 1 - _by_corruption(means) / _clean(means)


def mean_corruption_error(values: pd.DataFrame, baseline: pd.DataFrame, *, relative: bool = False) -> float:
    """Errors under corruption compared with those of a baseline (Hendrycks and Dietterich 2019), E = 1 - D.

    Args:
        values: of the model.
        baseline: of the baseline, under the same conditions; both are reduced to the cases that both have.
        relative: compare what corruption adds to the clean error, the "relative mCE".

    Returns:
        ``mCE = mean_c Σ_s E_cs / Σ_s E'_cs``, E' of the baseline; with ``relative``, E_cs - E_clean stands for E_cs on
        both sides. 1 is as robust as the baseline, less is better. The paper prints percent. NaN or infinite where
        the baseline has no error.

    Raises:
        ValueError: the two have other conditions, or no clean values where they are needed.
    """
    ours, theirs = _by_condition(values), _by_condition(baseline)
    if set(ours.columns) != set(theirs.columns):
        raise ValueError("model and baseline were tested under other conditions; evaluate both alike")
    shared = ours.index.intersection(theirs.index)
    errors = [1 - table.loc[shared].mean() for table in (ours, theirs)]
    added = [_by_corruption(error) - (_clean(error) if relative else 0) for error in errors]
    with np.errstate(divide="ignore", invalid="ignore"):
        return float((added[0] / added[1]).mean())


def _by_condition(values: pd.DataFrame) -> pd.DataFrame:
    """One row per case (and class ...) that is defined everywhere, one column per condition."""
    conditions = ["corruption", "severity"]
    units = [name for name in values.columns if name not in (*conditions, "value")]
    return values.set_index([*units, *conditions])["value"].unstack(conditions).dropna()


def _by_corruption(means: pd.Series) -> pd.Series:
    return means.drop(CLEAN, level="corruption", errors="ignore").groupby(level="corruption").mean()


def _clean(means: pd.Series) -> float:
    if CLEAN not in means.index.get_level_values("corruption"):
        raise ValueError(f"there are no clean values, of corruption '{CLEAN}'; evaluate the test set as it is too")
    return float(means.xs(CLEAN, level="corruption").iloc[0])
