import math

import pytest

from spectralseg.metrics import policy

OWN, WORST = 0.37, 123.0
UNDEFINED = math.nan
# Of missed, spurious and absent. TransUNet: Dice 1 and distance 0 for a false structure, else 0 and 0.
COMMON = {
    "sensitivity": (OWN, UNDEFINED, UNDEFINED),
    "specificity": (OWN, OWN, OWN),
    "accuracy": (OWN, OWN, OWN),
}
TABLE = {
    "published": {"dsc": (0, 1, 0), "iou": (0, 1, 0), "hd95": (0, 0, 0), **COMMON},
    "sound": {
        **dict.fromkeys(("dsc", "iou", "nsd", "boundary_iou"), (0, 0, 1)),
        **dict.fromkeys(("hd95", "assd"), (WORST, WORST, 0)),
        **COMMON,
    },
}
CELLS = [
    (protocol, metric, case, value)
    for protocol, rows in TABLE.items()
    for metric, row in rows.items()
    for case, value in zip(("missed", "spurious", "absent"), row, strict=True)
]


@pytest.mark.parametrize(("protocol", "metric", "case", "expected"), CELLS)
def test_every_cell_of_the_table_gives_its_value_and_flag(protocol, metric, case, expected):
    value, flag = policy.apply(protocol, metric, case, OWN, WORST)
    assert value == pytest.approx(expected, nan_ok=True)
    assert flag == ("" if expected == OWN else case)


@pytest.mark.parametrize(("protocol", "metric"), [(p, m) for p, rows in TABLE.items() for m in rows])
def test_a_structure_that_is_there_keeps_its_own_value(protocol, metric):
    assert policy.apply(protocol, metric, "present", OWN, WORST) == (OWN, "")


def test_the_table_has_exactly_these_cells():
    found = {(p, m, c) for p, rows in policy.POLICY.items() for m, row in rows.items() for c in row}
    assert found == {cell[:3] for cell in CELLS}
    assert set(policy.PROTOCOLS) == set(policy.POLICY)


@pytest.mark.parametrize(
    ("predicted", "present", "expected"), [(3, 4, "present"), (0, 4, "missed"), (3, 0, "spurious"), (0, 0, "absent")]
)
def test_the_situation_follows_from_the_pixels(predicted, present, expected):
    assert policy.situation(predicted, present) == expected


def test_a_value_that_is_undefined_although_the_structure_is_there_says_why():
    value, flag = policy.apply("sound", "specificity", "present", UNDEFINED, WORST)
    assert math.isnan(value)
    assert flag == "no background"


def test_an_unknown_metric_is_an_error():
    with pytest.raises(KeyError):
        policy.apply("sound", "dice", "missed", OWN, WORST)
