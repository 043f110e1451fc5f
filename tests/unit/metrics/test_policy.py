import math

import pytest

from spectralseg.metrics import policy

OWN, WORST = 0.37, 123.0
UNDEFINED = math.nan
STRATA = [f"lesion_sensitivity_{size}" for size in ("small", "medium", "large")]
# For missed, spurious and absent. TransUNet: Dice 1 and distance 0 for a false structure, else 0 and 0.
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
        "lesion_f1": (0, 0, 1),
        **dict.fromkeys(("lesion_sensitivity", *STRATA), (OWN, UNDEFINED, UNDEFINED)),
        **dict.fromkeys(("lesion_precision", "precision"), (UNDEFINED, OWN, UNDEFINED)),
        **dict.fromkeys(
            ("lesion_count_difference", "volume_difference", "agatston_difference", "risk_agreement"), (OWN, OWN, OWN)
        ),
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
def test_value_and_flag_of_every_table_entry(protocol, metric, case, expected):
    value, flag = policy.apply(protocol, metric, case, OWN, WORST)
    assert value == pytest.approx(expected, nan_ok=True)
    assert flag == ("" if expected == OWN else case)


@pytest.mark.parametrize(("protocol", "metric"), [(p, m) for p, rows in TABLE.items() for m in rows])
def test_a_present_structure_keeps_its_value(protocol, metric):
    assert policy.apply(protocol, metric, "present", OWN, WORST) == (OWN, "")


def test_table_entries():
    result = {(p, m, c) for p, rows in policy.POLICY.items() for m, row in rows.items() for c in row}
    assert result == {cell[:3] for cell in CELLS}
    assert set(policy.PROTOCOLS) == set(policy.POLICY)


@pytest.mark.parametrize(
    ("predicted", "present", "expected"), [(3, 4, "present"), (0, 4, "missed"), (3, 0, "spurious"), (0, 0, "absent")]
)
def test_the_situation_follows_from_the_pixels(predicted, present, expected):
    assert policy.situation(predicted, present) == expected


def test_undefined_values_of_present_structures_are_flagged():
    value, flag = policy.apply("sound", "specificity", "present", UNDEFINED, WORST)
    assert math.isnan(value)
    assert flag == "no background"


def test_lesion_metrics_are_those_of_the_sound_protocol_only():
    assert policy.LESIONS.items() <= policy.POLICY["sound"].items()
    assert not policy.LESIONS.keys() & policy.POLICY["published"].keys()


@pytest.mark.parametrize(
    ("metric", "flag"),
    [("volume_difference", "no volume"), ("risk_agreement", "no spacing"), (STRATA[0], "no lesion of this size")],
)
def test_undefined_lesion_metrics_have_their_reason_as_flag(metric, flag):
    value, reason = policy.apply("sound", metric, "missed", UNDEFINED, WORST)
    assert math.isnan(value)
    assert reason == flag


def test_an_unknown_metric_is_an_error():
    with pytest.raises(KeyError):
        policy.apply("sound", "dice", "missed", OWN, WORST)
