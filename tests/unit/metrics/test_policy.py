import math

import pytest

from spectralseg.metrics import policy

OWN, WORST = 0.37, 123.0
UNDEFINED = math.nan
# (published, sound) of missed, spurious, absent. TransUNet: dice 1 and distance 0 for a false structure, else 0 and 0.
TABLE = {
    "dsc": {"missed": (0, 0), "spurious": (1, 0), "absent": (0, UNDEFINED)},
    "iou": {"missed": (0, 0), "spurious": (1, 0), "absent": (0, UNDEFINED)},
    "hd95": {"missed": (0, WORST), "spurious": (0, WORST), "absent": (0, UNDEFINED)},
    "sensitivity": {"missed": (OWN, OWN), "spurious": (UNDEFINED,) * 2, "absent": (UNDEFINED,) * 2},
    "specificity": {"missed": (OWN, OWN), "spurious": (OWN, OWN), "absent": (OWN, OWN)},
    "accuracy": {"missed": (OWN, OWN), "spurious": (OWN, OWN), "absent": (OWN, OWN)},
}
CELLS = [
    (protocol, metric, case, values[place])
    for place, protocol in enumerate(("published", "sound"))
    for metric, row in TABLE.items()
    for case, values in row.items()
]


@pytest.mark.parametrize(("protocol", "metric", "case", "expected"), CELLS)
def test_every_cell_of_the_table_gives_its_value_and_flag(protocol, metric, case, expected):
    value, flag = policy.apply(protocol, metric, case, OWN, WORST)
    assert value == pytest.approx(expected, nan_ok=True)
    assert flag == ("" if expected == OWN else case)


@pytest.mark.parametrize("protocol", policy.PROTOCOLS)
@pytest.mark.parametrize("metric", TABLE)
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


def test_an_unknown_metric_is_an_error():
    with pytest.raises(KeyError):
        policy.apply("sound", "dice", "missed", OWN, WORST)
