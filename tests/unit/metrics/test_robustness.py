import numpy as np
import pandas as pd
import pytest

from spectralseg.metrics.robustness import condition_means, mean_corruption_error, relative_degradation

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


def test_scores_by_hand():
    # clean 0.9; blur 0.8, 0.6; noise 0.85, 0.5
    assert relative_degradation(MODEL).to_dict() == pytest.approx({"blur": 0.4 / 1.8, "noise": 0.45 / 1.8})
    assert mean_corruption_error(MODEL, BASELINE) == pytest.approx((0.6 / 0.7 + 0.65 / 1.4) / 2)
    assert mean_corruption_error(MODEL, BASELINE, relative=True) == pytest.approx((0.4 / 0.3 + 0.45 / 1.0) / 2)


def test_a_model_is_as_robust_as_itself():
    assert mean_corruption_error(MODEL, MODEL) == pytest.approx(1)
    assert mean_corruption_error(MODEL, MODEL, relative=True) == pytest.approx(1)


def test_what_loses_nothing_has_no_degradation_and_what_loses_all_has_1():
    found = relative_degradation(table([0.7, 0.7, 0.7, 0, 0]))
    assert found["blur"] == pytest.approx(0)
    assert found["noise"] == pytest.approx(1)
    assert relative_degradation(table([0.5, 0.6, 0.6, 0.5, 0.5]))["blur"] == pytest.approx(-0.2)


def test_a_case_that_is_undefined_under_one_condition_counts_nowhere():
    spoilt = table([0.8, 0.6, 0.4, 0.8, 0.8], [1.0, 1.0, np.nan, 0.9, 0.2])
    assert condition_means(spoilt)["none", "0"] == pytest.approx(0.8)
    alone = table([0.8, 0.6, 0.4, 0.8, 0.8])
    assert mean_corruption_error(spoilt, BASELINE) == pytest.approx(mean_corruption_error(alone, BASELINE))
    assert mean_corruption_error(alone, BASELINE) == pytest.approx(mean_corruption_error(alone, BASELINE.head(5)))


def test_the_order_of_the_rows_does_not_matter():
    assert mean_corruption_error(MODEL.sample(frac=1, random_state=0), BASELINE) == pytest.approx(
        mean_corruption_error(MODEL, BASELINE)
    )


def test_classes_count_alike():
    both = pd.concat([MODEL, BASELINE.assign(**{"class": "other"})])
    assert condition_means(both)["blur", "2"] == pytest.approx((0.4 + 0.8 + 0.6 + 0.6) / 4)


def test_other_conditions_or_no_clean_values_are_refused():
    with pytest.raises(ValueError, match="other conditions"):
        mean_corruption_error(MODEL, BASELINE[BASELINE["corruption"] != "blur"])
    with pytest.raises(ValueError, match="no clean values"):
        relative_degradation(MODEL[MODEL["corruption"] != "none"])


def test_without_errors_of_the_baseline_nothing_can_be_compared():
    perfect = table([1, 1, 1, 1, 1])
    assert np.isnan(mean_corruption_error(perfect, perfect))
    assert mean_corruption_error(table([0.5] * 5), perfect) == np.inf


def test_only_defined_cases_and_corruptions_count():
    assert relative_degradation(table([0.5, 0.5, 0.5, 0.5, 0.5]).head(1)).empty
    assert condition_means(table([np.nan] * 5)).isna().all()
