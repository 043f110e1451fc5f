import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectralseg import metrics
from spectralseg.metrics import overlap_counts, slice_counts


def counts(tp, fp, fn, tn):
    return metrics.Counts(*(np.atleast_1d(np.asarray(value, np.int64)) for value in (tp, fp, fn, tn)))


def test_counts_equal_a_pixel_by_pixel_count():
    rng = np.random.default_rng(0)
    prediction, reference = rng.integers(0, 4, (2, 5, 6, 7)).astype(np.uint8)
    result = overlap_counts(prediction, reference, 3)
    for k in (1, 2, 3):
        pairs = [(p == k, r == k) for p, r in zip(prediction.flat, reference.flat, strict=True)]
        assert result.tp[k - 1] == pairs.count((True, True))
        assert result.fp[k - 1] == pairs.count((True, False))
        assert result.fn[k - 1] == pairs.count((False, True))
        assert result.tn[k - 1] == pairs.count((False, False))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_a_binary_mask_may_be_of_any_integer_type(dtype):
    prediction, reference = np.array([1, 1, 0, 0], dtype), np.array([1, 0, 1, 0], dtype)
    assert [int(value[0]) for value in overlap_counts(prediction, reference, 1)] == [1, 1, 1, 1]


def test_many_pixels_do_not_overflow_small_types():
    ones = np.ones((300, 300), np.uint8)
    assert overlap_counts(ones * 8, ones * 8, 8).tp[7] == 90_000


@pytest.mark.parametrize(("prediction", "reference"), [([3], [0]), ([0], [3]), ([-1], [0]), ([0], [-1])])
def test_labels_outside_the_classes_are_refused(prediction, reference):
    with pytest.raises(ValueError, match=r"labels outside 0\.\.2"):
        overlap_counts(np.array(prediction), np.array(reference), 2)


def test_probabilities_are_refused_as_labels():
    with pytest.raises(ValueError, match="labels are float64, not integers"):
        overlap_counts(np.array([0.4, 0.9]), np.array([0, 1]), 1)


def test_counts_without_slices_are_empty():
    assert [count.shape for count in slice_counts(*np.zeros((2, 0, 5, 5), int), 3)] == [(0, 3)] * 4


@settings(max_examples=60, derandomize=True)
@given(
    shape=st.lists(st.integers(0, 7), min_size=1, max_size=4),
    classes=st.sampled_from([1, 2, 8, 15, 16, 255, 300]),
    seed=st.integers(0, 2**32 - 1),
    background=st.floats(0, 1),
    kinds=st.tuples(*[st.sampled_from([np.uint16, np.int32, np.int64])] * 2),
)
def test_counts_equal_those_of_single_classes(shape, classes, seed, background, kinds):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes + 1, (2, *shape)) * (rng.random((2, *shape)) >= background)
    prediction, reference = (part.astype(kind) for part, kind in zip(labels, kinds, strict=True))
    result = overlap_counts(prediction, reference, classes)
    k = np.arange(1, classes + 1)
    p, r = (part.ravel()[:, None] == k for part in (prediction, reference))
    expected = (p & r).sum(0), (p & ~r).sum(0), (~p & r).sum(0), (~p & ~r).sum(0)
    assert all(np.array_equal(a, b) for a, b in zip(result, expected, strict=True))
    if shape[0]:
        slices = slice_counts(prediction, reference, classes)
        for i in range(shape[0]):
            one = overlap_counts(prediction[i : i + 1], reference[i : i + 1], classes)
            assert all(np.array_equal(many[i], own) for many, own in zip(slices, one, strict=True))


def test_counts_over_several_chunks():
    labels = np.tile(np.arange(4, dtype=np.uint8), 700_000)
    result = overlap_counts(labels, np.roll(labels, 1), 3)
    assert result.fp.tolist() == result.fn.tolist() == [700_000] * 3
    assert result.tn.tolist() == [1_400_000] * 3


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shapes differ"):
        overlap_counts(np.zeros((2, 3), int), np.zeros((3, 2), int), 1)


def test_metrics_equal_their_formulas():
    result = counts(3, 1, 2, 14)
    assert metrics.dice(result)[0] == pytest.approx(6 / 9)
    assert metrics.iou(result)[0] == pytest.approx(3 / 6)
    assert metrics.sensitivity(result)[0] == pytest.approx(3 / 5)
    assert metrics.specificity(result)[0] == pytest.approx(14 / 15)
    assert metrics.accuracy(result)[0] == pytest.approx(17 / 20)


@pytest.mark.parametrize(
    ("metric", "case"),
    [
        (metrics.dice, (0, 0, 0, 9)),
        (metrics.iou, (0, 0, 0, 9)),
        (metrics.sensitivity, (0, 5, 0, 4)),
        (metrics.specificity, (5, 0, 4, 0)),
        (metrics.accuracy, (0, 0, 0, 0)),
    ],
)
def test_a_zero_denominator_gives_nan_without_warning(metric, case):
    with np.errstate(all="raise"):
        assert np.isnan(metric(counts(*case))[0])


def test_a_missing_prediction_scores_zero():
    assert metrics.dice(counts(0, 0, 4, 5))[0] == metrics.iou(counts(0, 0, 4, 5))[0] == 0


def test_pooled_counts_equal_counts_of_the_concatenation():
    rng = np.random.default_rng(1)
    pairs = [rng.integers(0, 3, (2, 8, 8)) for _ in range(4)]
    pooled = metrics.Counts(*(sum(part) for part in zip(*(overlap_counts(*pair, 2) for pair in pairs), strict=True)))
    whole = overlap_counts(*(np.concatenate([pair[i] for pair in pairs]) for i in (0, 1)), 2)
    assert all(np.array_equal(a, b) for a, b in zip(pooled, whole, strict=True))
    assert np.allclose(metrics.iou(whole), metrics.dice(whole) / (2 - metrics.dice(whole)))


@pytest.mark.parametrize("classes", [0, -1, 1.5, 2.0, None])
def test_invalid_numbers_of_classes_are_refused(classes):
    labels = np.zeros((2, 2), int)
    for function in (overlap_counts, slice_counts):
        with pytest.raises(ValueError, match=r"classes .* is not a whole number of 1 or more"):
            function(labels, labels, classes)


@pytest.mark.parametrize("label", [-1, 3, 255])
def test_labels_out_of_range_in_lists_are_refused(label):
    assert overlap_counts([0, 1, 2], [0, 1, 1], 2).tp.tolist() == [1, 0]
    for pair in (([0, label], [0, 1]), ([0, 1], [0, label])):
        with pytest.raises(ValueError, match=r"labels outside 0\.\.2"):
            overlap_counts(*pair, 2)


METRICS = [metrics.dice, metrics.iou, metrics.sensitivity, metrics.specificity, metrics.precision, metrics.accuracy]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.float64])
def test_small_integer_types_do_not_overflow(metric, dtype):
    largest = min(np.iinfo(dtype).max, 2**31 - 1) if np.issubdtype(dtype, np.integer) else 2**31 - 1
    small = metrics.Counts(*(np.array([share * largest // 4], dtype) for share in (4, 3, 4, 2)))
    exact = metrics.Counts(*(part.astype(np.int64) for part in small))
    assert metric(small) == pytest.approx(metric(exact), rel=1e-12)
    assert 0 < metric(small)[0] < 1


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        (([-1], [1], [1], [1]), "a count of pixels is negative or NaN; pass the counts of overlap_counts"),
        (([1], [1], [1], [np.nan]), "a count of pixels is negative or NaN"),
        (([1, 1], [1], [1, 1], [1, 1]), r"counts have the shapes \(1,\), \(2,\); pass Counts of four equal shapes"),
    ],
)
def test_invalid_counts_are_refused(metric, parts, complaint):
    with pytest.raises(ValueError, match=complaint):
        metric(metrics.Counts(*map(np.array, parts)))


def test_labels_without_an_axis_have_no_slices():
    with pytest.raises(ValueError, match=r"labels have no axis; pass slices \(N, H, W\)"):
        slice_counts(1, 1, 1)


def test_masked_arrays_are_refused_as_labels():
    labels = np.ones((2, 2), int)
    for pair in ((np.ma.array(labels, mask=labels), labels), (labels, np.ma.array(labels))):
        with pytest.raises(ValueError, match="metrics ignore the mask of a masked array"):
            overlap_counts(*pair, 1)
