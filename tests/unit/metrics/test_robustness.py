import numpy as np
import pandas as pd
import pytest

from spectralseg.metrics.robustness import mean_corruption_error

CONDITIONS = [("none", "0"), ("blur", "1"), ("blur", "2"), ("noise", "1"), ("noise", "2")]


def table(*rows, cases=None):
    """A row per case, a column per condition."""
    return pd.DataFrame(
        [
            {"case": name, "class": "organ", "corruption": corruption, "severity": severity, "value": value}
            for name, row in zip(cases or "abcdefg", rows, strict=False)
            for (corruption, severity), value in zip(CONDITIONS, row, strict=True)
        ]
    )


MODEL = table([0.8, 0.6, 0.4, 0.8, 0.8], [1.0, 1.0, 0.8, 0.9, 0.2])
BASELINE = table([0.8, 0.7, 0.6, 0.4, 0.2], [0.8, 0.7, 0.6, 0.4, 0.2])


def test_hand_computed_value():
    # blur 0.8, 0.6; noise 0.85, 0.5
    assert mean_corruption_error(MODEL, BASELINE) == pytest.approx((0.6 / 0.7 + 0.65 / 1.4) / 2)


def test_the_baseline_compared_with_itself_has_1():
    assert mean_corruption_error(MODEL, MODEL) == pytest.approx(1)


def test_cases_that_are_undefined_under_one_condition_are_dropped():
    undefined = table([0.8, 0.6, 0.4, 0.8, 0.8], [1.0, 1.0, np.nan, 0.9, 0.2])
    alone = table([0.8, 0.6, 0.4, 0.8, 0.8])
    assert mean_corruption_error(undefined, BASELINE) == pytest.approx(mean_corruption_error(alone, BASELINE))
    assert mean_corruption_error(alone, BASELINE) == pytest.approx(mean_corruption_error(alone, BASELINE.head(5)))


def test_row_order_does_not_matter():
    assert mean_corruption_error(MODEL.sample(frac=1, random_state=0), BASELINE) == pytest.approx(
        mean_corruption_error(MODEL, BASELINE)
    )


def test_different_conditions_raise():
    with pytest.raises(ValueError, match="other conditions"):
        mean_corruption_error(MODEL, BASELINE[BASELINE["corruption"] != "blur"])


def test_without_errors_of_the_baseline_the_value_is_undefined_or_infinite():
    perfect = table([1, 1, 1, 1, 1])
    assert np.isnan(mean_corruption_error(perfect, perfect))
    assert mean_corruption_error(table([0.5] * 5), perfect) == np.inf


@pytest.mark.parametrize("value", [-0.1, 1.5, 80.0])
def test_values_that_are_not_shares_are_refused(value):
    with pytest.raises(ValueError, match=r"values outside 0\.\.1; pass a metric that is a share"):
        mean_corruption_error(MODEL.assign(value=value), BASELINE)


def test_two_values_of_a_case_under_one_condition_are_refused():
    with pytest.raises(ValueError, match="a case has two values under one condition"):
        mean_corruption_error(pd.concat([MODEL, MODEL.head(1)]), BASELINE)


def test_without_a_shared_case_or_a_corruption_the_value_is_undefined():
    assert np.isnan(mean_corruption_error(MODEL, table([0.8] * 5, cases="z")))
    clean = MODEL[MODEL["corruption"] == "none"]
    assert np.isnan(mean_corruption_error(clean, clean))
