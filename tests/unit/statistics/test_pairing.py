import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectralseg.errors import InputError
from spectralseg.statistics.pairing import Values, mean, pair


def records(values, classes=("disc",), seeds=(0, 1), cases=("a", "b", "c")):
    """Rows from an array of classes, seeds and cases; None for no record."""
    places = [(k, s, c) for k in range(len(classes)) for s in range(len(seeds)) for c in range(len(cases))]
    return pd.DataFrame(
        {"class": classes[k], "seed": seeds[s], "case": cases[c], "group": cases[c].upper(), "value": values[k][s][c]}
        for k, s, c in places
        if values[k][s][c] is not None
    )


@given(st.permutations(range(12)), st.sets(st.integers(0, 11), max_size=11))
def test_row_order_does_not_matter(order, missing):
    array = np.arange(12.0).reshape(2, 2, 3)
    frame = records(array, ("disc", "ring")).iloc[[row for row in order if row not in missing]]
    result = Values.of(frame)
    for row in frame.to_dict("records"):
        place = [
            list(labels).index(row[axis])
            for axis, labels in zip(
                ("class", "seed", "case"), (result.classes, result.seeds, result.cases), strict=True
            )
        ]
        assert result.values[tuple(place)] == row["value"]
        assert result.groups[place[2]] == row["group"]
    assert result.recorded.sum() == len(frame) == np.isfinite(result.values).sum()


def test_mixed_conditions_are_refused():
    frame = records([[[1, 2, 3], [4, 5, 6]]])
    with pytest.raises(InputError, match="12 records of 6 classes"):
        Values.of(pd.concat([frame, frame]))


def test_without_records_arrays_are_empty():
    empty = Values.of(records([[[1, 2, 3]]], seeds=(0,)).iloc[:0])
    assert empty.values.shape == (0, 0, 0)
    assert pair(empty, empty).values.size == 0
    assert np.isnan(empty.interval().estimate)


def test_classes():
    both = Values.of(records([[[1, 2, 3]], [[4, 5, 6]], [[0, 0, 0]]], ("disc", "ring", "all"), seeds=(0,)))
    assert list(both.of_class("mean").classes) == ["disc", "ring"]
    assert both.of_class("ring").values.ravel().tolist() == [4, 5, 6]
    assert both.of_class("none").values.size == 0
    alone = Values.of(records([[[7, 8, 9]]], ("all",), seeds=(0,)))
    assert list(alone.of_class("mean").classes) == ["all"]


def test_per_seed_gives_classes_equal_weight():
    result = Values.of(records([[[1, 2, 3], [np.nan] * 3], [[10, None, None], [5, 5, 5]]], ("disc", "ring")))
    assert result.per_seed.tolist() == [6, 5]


def test_seeds_stay_without_cases():
    result = Values.of(records([[[1, 2, 3], [None, 5, None]]])).without(np.array([False, True, False]))
    assert list(result.cases) == list("ac")
    assert list(result.groups) == list("AC")
    assert result.per_seed[0] == 2
    assert np.isnan(result.per_seed[1])


def test_partners_are_found_by_name():
    actual = Values.of(records([[[1, 2, 3], [4, np.nan, 6]]], seeds=(0, 1)))
    reference = Values.of(records([[[30, 10], [None, 60]]], seeds=(0, 1), cases=("c", "a")))
    result = pair(actual, reference)
    assert list(result.cases) == ["a", "c"]
    np.testing.assert_equal(result.values, [[[1 - 10, 3 - 30], [4 - 60, np.nan]]])
    assert (result.undefined, result.unpaired) == (0, 3)


def test_undefined_pairs_are_counted():
    one, other = ([[[1, np.nan, 3]]], [[[1, 1, np.nan]]])
    result = pair(*(Values.of(records(values, seeds=(0,))) for values in (one, other)))
    assert (result.undefined, result.unpaired) == (2, 0)
    assert result.over_classes[0, 0] == 0


def test_without_a_common_seed_there_is_no_pair():
    result = pair(Values.of(records([[[1, 2, 3]]], seeds=(0,))), Values.of(records([[[1, 2, 3]]], seeds=(1,))))
    assert result.values.size == 0
    assert result.unpaired == 6


def test_mean_ignores_undefined_values():
    values = np.array([[1, np.nan, 3], [np.nan] * 3])
    assert mean(values, 1)[0] == 2
    assert np.isnan(mean(values, 1)[1])


def test_a_case_with_two_groups_is_refused():
    actual, other = (Values.of(records([[[1, 2, 3]]], seeds=(0,))) for _ in range(2))
    other.groups[1] = "another"
    with pytest.raises(ValueError, match="has two groups"):
        pair(actual, other)
