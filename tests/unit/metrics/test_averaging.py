import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectralseg.metrics import Counts, averages, averaging, slice_counts

# Four images of two cases: good, missed, spurious, absent.
TP, FP, FN, TN = ([[8], [0], [0], [0]], [[2], [0], [5], [0]], [[2], [4], [0], [0]], [[88], [96], [95], [100]])
IMAGES = Counts(*(np.array(part) for part in (TP, FP, FN, TN)))
CASES = np.array(["b", "b", "a", "a"])


def result(metric, protocol="sound"):
    return averages(IMAGES, CASES, metric, protocol)


def test_hand_computed_averagings():
    values = {name: mean.value[0] for name, mean in result("dsc").items()}
    assert values == pytest.approx(
        {
            "per_image": (0.8 + 0 + 0 + 1) / 4,
            "per_case": (16 / (16 + 2 + 6) + 0) / 2,
            "pooled": 16 / (16 + 7 + 6),
            "foreground_background": (16 / 29 + 2 * 379 / (2 * 379 + 13)) / 2,
        }
    )


def test_units_without_a_value_are_counted_by_reason():
    assert result("dsc")["per_image"].units.tolist() == [4]
    assert result("dsc")["per_image"].undefined == ({},)
    sensitivity = result("sensitivity")
    assert sensitivity["per_image"].value == pytest.approx([0.4])
    assert sensitivity["per_image"].undefined == ({"spurious": 1, "absent": 1},)
    assert sensitivity["per_case"].undefined == ({"spurious": 1},)
    assert sensitivity["pooled"].undefined == ({},)


def test_published_policy():
    mean = result("dsc", "published")["per_image"]
    assert mean.value == pytest.approx([(0.8 + 0 + 1 + 0) / 4])
    assert mean.undefined == ({},)


NOTHING = Counts(*(np.array([[0], [0]]),) * 3, np.array([[9], [9]]))


def test_a_correctly_absent_class_scores_1():
    for name, mean in averages(NOTHING, np.array([0, 1]), "iou").items():
        assert mean.value == [1], name
    for mean in averages(NOTHING, np.array([0, 1]), "sensitivity").values():
        assert np.isnan(mean.value[0])
    assert averages(NOTHING, np.array([0, 1]), "sensitivity")["per_image"].undefined == ({"absent": 2},)


def test_empty_units_can_be_excluded_and_are_counted():
    mean = averaging.over_units(IMAGES, "dsc", empty=False)
    assert mean.value == pytest.approx([(0.8 + 0 + 0) / 3])
    assert (mean.units.tolist(), mean.undefined) == ([3], ({"absent": 1},))
    nothing = averaging.over_units(NOTHING, "dsc", empty=False)
    assert np.isnan(nothing.value[0])
    assert nothing.undefined == ({"absent": 2},)
    assert averaging.over_units(IMAGES, "accuracy", empty=False).units.tolist() == [4]


def test_specificity_without_background_is_flagged():
    full = Counts(np.array([[9]]), np.array([[0]]), np.array([[0]]), np.array([[0]]))
    assert averaging.over_units(full, "specificity").undefined == ({"no background": 1},)


def test_unknown_protocols_and_metrics_are_refused():
    for metric, protocol, complaint in (
        ("dsc", "soundly", "protocol 'soundly' is unknown; valid: published, sound"),
        ("dice", "sound", "metric 'dice' is unknown; valid: dsc, iou, sensitivity, specificity, accuracy"),
    ):
        for counts in (IMAGES, Counts(*(part[:0] for part in IMAGES))):
            with pytest.raises(KeyError, match=complaint):
                averaging.over_units(counts, metric, protocol)


@pytest.mark.parametrize("metric", averaging.OVERLAP)
@pytest.mark.parametrize("protocol", ["published", "sound"])
def test_without_units_the_mean_is_nan(metric, protocol):
    empty = np.zeros((0, 4, 4), int)
    for name, mean in averages(slice_counts(empty, empty, 2), [], metric, protocol).items():
        assert np.isnan(mean.value).tolist() == [True, True], name
        assert mean.units.tolist() == [0, 0], name


def test_counts_without_an_image_axis_are_refused():
    counts = Counts(*(part[0] for part in IMAGES))
    for use in (lambda: averages(counts, CASES, "dsc"), lambda: averaging.over_units(counts, "dsc")):
        with pytest.raises(ValueError, match=r"counts have the shape \(1,\); pass \(n, K\), one row for each image"):
            use()


@pytest.mark.parametrize(
    ("cases", "complaint"),
    [
        (None, "groups have the shape"),
        (CASES[:, None], "groups have the shape"),
        ([0, 0, 1, np.nan], "a group is None or NaN"),
        (["a", None, "b", "b"], "a group is None or NaN"),
    ],
)
def test_invalid_cases_are_refused(cases, complaint):
    with pytest.raises(ValueError, match=complaint):
        averages(IMAGES, cases, "dsc")


def test_the_number_of_groups_must_match():
    with pytest.raises(ValueError, match="groups for"):
        averaging.merged(IMAGES, CASES[:1])


def test_merged_sums_groups_in_the_order_of_their_names():
    merged = averaging.merged(IMAGES, CASES)
    assert merged.tp.tolist() == [[0], [8]]
    assert merged.fn.tolist() == [[0], [6]]
    assert [part.tolist() for part in averaging.merged(merged, np.zeros(2))] == [
        part.tolist() for part in averaging.pooled(IMAGES)
    ]


@settings(max_examples=100, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), units=st.integers(1, 30), classes=st.integers(1, 4))
def test_dice_and_iou_of_any_one_averaging_satisfy_jensen(seed, units, classes):
    rng = np.random.default_rng(seed)
    counts = Counts(*(rng.integers(0, 20, (units, classes)) * (rng.random((units, classes)) < 0.7) for _ in range(4)))
    cases = rng.integers(0, 5, units)
    dsc, iou = (averages(counts, cases, metric) for metric in ("dsc", "iou"))
    for name in ("per_image", "per_case", "pooled", "foreground_background"):
        assert np.array_equal(dsc[name].units, iou[name].units)
        least = dsc[name].value / (2 - dsc[name].value)
        assert np.all((iou[name].value >= least - 1e-12) | np.isnan(least))
    assert dsc["pooled"].value == pytest.approx(2 * iou["pooled"].value / (1 + iou["pooled"].value), nan_ok=True)
