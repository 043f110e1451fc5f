"""Scores of folders of volumes against MONAI, medpy, SimpleITK and nnU-Net's definition of the Dice."""

import warnings

import numpy as np
import pytest
import torch
from scipy import ndimage

from spectralseg.evaluation.score import TOLERANCE
from spectralseg.exchange.class_labels import parse_labels
from spectralseg.exchange.folder_scoring import score_folders
from spectralseg.exchange.prediction_folders import prediction_folders
from spectralseg.exchange.references import open_references

medpy = pytest.importorskip("medpy.metric.binary")
sitk = pytest.importorskip("SimpleITK")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    monai = pytest.importorskip("monai.metrics")

SPACING = (3.0, 0.8, 0.6)  # z, y, x in millimetres
CLASSES = {1: "liver", 2: "spleen", 3: "gallbladder"}
CASES = 5


def write(path, labels):
    """A NIfTI file of another library, with an origin and a direction."""
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing(SPACING[::-1])
    image.SetOrigin((12.0, -30.5, 7.0))
    image.SetDirection((-1, 0, 0, 0, 0, 1, 0, 1, 0))
    sitk.WriteImage(image, str(path))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """The folders, and reference and prediction of each case; some classes are missed, spurious or absent."""
    folder, pairs = tmp_path_factory.mktemp("volumes"), {}
    for name in ("references", "theirs"):
        (folder / name).mkdir()
    for case in range(CASES):
        rng = np.random.default_rng(case)
        fields = ndimage.gaussian_filter(rng.random((3, 11, 26, 30)), (0, 1, 3, 3))
        moved = fields + ndimage.gaussian_filter(rng.normal(0, 0.05, fields.shape), (0, 1, 1, 1))
        pair = []
        for values in (fields, moved):
            labels = np.zeros(values.shape[1:], np.uint8)
            for label in CLASSES:
                labels[values[label - 1] > np.quantile(values[label - 1], 0.85)] = label
            pair.append(labels)
        for labels, absent in zip(pair, ([1, 2], [2, 3]), strict=True):
            if case in absent:
                labels[labels == 3] = 0
        write(folder / "references" / f"case_{case}.nii.gz", pair[0])
        write(folder / "theirs" / f"case_{case}.nii.gz", pair[1])
        pairs[f"case_{case}"] = pair
    return folder, pairs


@pytest.fixture(scope="module")
def scores(volumes):
    """Values and flags by protocol, metric, case and class."""
    folder, _ = volumes
    references = open_references(folder / "references", labels=parse_labels([f"{v}={n}" for v, n in CLASSES.items()]))
    folders = prediction_folders([folder / "theirs"])
    records = score_folders(references, folders, objective="external", lesions=True).records
    return records.set_index(["protocol", "metric", "case", "class"])[["value", "flag"]]


def structures(pairs):
    """Each case and class that both masks have, with the two masks."""
    for case, (reference, prediction) in pairs.items():
        for value, name in CLASSES.items():
            if (reference == value).any() and (prediction == value).any():
                yield case, name, prediction == value, reference == value


def batches(*masks):
    """One-hot tensors with the background, as MONAI wants them."""
    return [torch.from_numpy(np.stack([~mask, mask])[None]).float() for mask in masks]


def test_overlap_and_surface_metrics_equal_monai(volumes, scores):
    compared = 0
    for case, name, *masks in structures(volumes[1]):
        tensors, options = batches(*masks), {"include_background": False}
        expected = {
            "dsc": monai.compute_dice(*tensors, **options),
            "iou": monai.compute_iou(*tensors, **options),
            "nsd": monai.compute_surface_dice(*tensors, [TOLERANCE], spacing=SPACING, **options),
            "hd95": monai.compute_hausdorff_distance(*tensors, percentile=95, spacing=SPACING, **options),
            "assd": monai.compute_average_surface_distance(*tensors, symmetric=True, spacing=SPACING, **options),
        }
        for metric, value in expected.items():
            assert scores.loc[("sound", metric, case, name), "value"] == pytest.approx(value.item(), rel=1e-5), metric
        compared += 1
    assert compared == 3 * CASES - 3


def test_the_published_protocol_equals_medpy_in_voxels(volumes, scores):
    for case, name, *masks in structures(volumes[1]):
        assert scores.loc[("published", "hd95", case, name), "value"] == pytest.approx(medpy.hd95(*masks))
        assert scores.loc[("published", "dsc", case, name), "value"] == pytest.approx(medpy.dc(*masks))


def test_overlap_equals_simple_itk(volumes, scores):
    for case, pair in volumes[1].items():
        filter_ = sitk.LabelOverlapMeasuresImageFilter()
        filter_.Execute(*map(sitk.GetImageFromArray, pair))
        for value, name in CLASSES.items():
            if (pair[0] == value).any() and (pair[1] == value).any():
                dice = filter_.GetDiceCoefficient(value)
                assert scores.loc[("sound", "dsc", case, name), "value"] == pytest.approx(dice)


def test_volumes_equal_those_of_simple_itk(volumes, scores):
    folder, pairs = volumes
    for case in pairs:
        for metric, name in (("volume", "theirs"), ("volume_reference", "references")):
            shape = sitk.LabelShapeStatisticsImageFilter()
            shape.Execute(sitk.ReadImage(str(folder / name / f"{case}.nii.gz")))
            for value, label in CLASSES.items():
                expected = shape.GetPhysicalSize(value) / 1000 if shape.HasLabel(value) else 0
                assert scores.loc[("sound", metric, case, label), "value"] == pytest.approx(expected, rel=1e-5)


def test_dice_is_that_of_nnunet_except_where_nnunet_has_none(volumes, scores):
    """nnU-Net: 2 TP / (2 TP + FP + FN) for each class of a case, NaN where neither mask has it."""
    absent = 0
    for case, (reference, prediction) in volumes[1].items():
        for value, name in CLASSES.items():
            tp = np.sum((prediction == value) & (reference == value))
            fp, fn = np.sum(prediction == value) - tp, np.sum(reference == value) - tp
            score = scores.loc[("sound", "dsc", case, name)]
            if tp + fp + fn:
                assert score["value"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
            else:
                assert (score["value"], score["flag"]) == (1, "absent")
                absent += 1
    assert absent == 1


def test_planes_of_simple_itk_have_the_scores_of_images(tmp_path):
    """Two-dimensional NIfTI files, which have no third axis at all."""
    for case in range(3):
        rng = np.random.default_rng(case)
        for name in ("references", "theirs"):
            labels = (ndimage.gaussian_filter(rng.random((24, 30)), 2) > 0.5).astype(np.uint8)
            for folder, ending in ((f"{name}_nii", ".nii.gz"), (f"{name}_png", ".png")):
                (tmp_path / folder).mkdir(exist_ok=True)
                image = sitk.GetImageFromArray(labels)
                image.SetSpacing((0.7, 0.4))
                sitk.WriteImage(image, str(tmp_path / folder / f"{case}{ending}"))
    frames = []
    for kind, spacing in (("nii", []), ("png", [0.4, 0.7])):
        references = open_references(tmp_path / f"references_{kind}", name="planes", spacing=spacing)
        folders = prediction_folders([tmp_path / f"theirs_{kind}"], names=["theirs"])
        frames.append(score_folders(references, folders, objective="external").records)
    assert np.allclose(frames[0].pop("value"), frames[1].pop("value"), rtol=1e-5, equal_nan=True)
    assert frames[0].equals(frames[1])
