"""The catalogue covers all metrics of records and tables."""

import pytest

from spectralseg.errors import InputError
from spectralseg.interpretation.scores import CAM_METRICS, SPECTRAL_METRICS, name_of
from spectralseg.metrics.catalogue import CATALOGUE, COMPARED, DISTANCES, HEADINGS, label_of, metric_of
from spectralseg.metrics.policy import FALSE_STRUCTURE, POLICY

MAPS = {name_of(name, layer) for name in CAM_METRICS for layer in ("deepest", "decoder")}


def test_every_recorded_metric_is_in_the_catalogue():
    scored = {name for protocol in POLICY.values() for name in protocol} | {FALSE_STRUCTURE}
    calibration = {"ece", "mce", "ace", "brier", "nll"}
    spectra = {f"{name}{suffix}" for name in SPECTRAL_METRICS for suffix in ("", "_soft")}
    recorded = scored | calibration | MAPS | spectra
    assert recorded == set(CATALOGUE)


def test_labels_and_headings_are_unique():
    labels = [metric.label for metric in CATALOGUE.values()]
    assert len(set(labels)) == len(labels)
    headings = [heading for names in HEADINGS.values() for heading in names]
    assert len(set(headings)) == len(headings)
    assert all(heading == heading.lower() and heading.isalnum() for heading in headings)


def test_directions():
    lower = {"hd95", "assd", "false_structure", "ece", "mce", "ace", "brier", "nll"}
    lower |= {"lesion_count_difference", "volume_difference", "agatston_difference"}
    assert {name for name, metric in CATALOGUE.items() if not metric.higher_is_better} == lower | {
        name for name in MAPS if name.endswith("deletion")
    }
    assert {metric.sign for metric in CATALOGUE.values()} == {1, -1}


def test_lesion_detection_is_compared():
    assert {"lesion_f1", "lesion_sensitivity", "lesion_precision"} <= set(COMPARED)
    assert metric_of("volume_difference").limits == (0.0, float("inf"))


def test_distances():
    assert set(DISTANCES) == {name for name in COMPARED if not metric_of(name).share} == {"hd95", "assd"}
    assert metric_of("hd95").limits == (0.0, float("inf"))
    assert metric_of("dsc").limits == (0.0, 100.0)
    assert metric_of("frc_mid").limits == (float("-inf"), float("inf"))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("dsc", "DSC"),
        ("pooled_ece", "ECE of all pixels"),
        ("band_mce", "MCE near boundaries"),
        ("slice_dsc", "DSC of slices"),
        ("pooled_band_ece", "ECE of all pixels near boundaries"),
    ],
)
def test_labels_of_pooled_boundary_and_slice_metrics(name, label):
    assert label_of(name) == label
    assert metric_of(name).label in label


def test_unknown_metrics_raise_with_the_valid_ones():
    with pytest.raises(InputError, match=r"metric 'dise' is unknown; known metrics are accuracy, ace, .*dsc"):
        metric_of("dise")
