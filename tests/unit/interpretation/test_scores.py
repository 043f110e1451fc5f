import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from spectralseg import metrics
from spectralseg.evaluation.label_maps import to_labels
from spectralseg.interpretation import spectra
from spectralseg.interpretation.scores import (
    CAM_METRICS,
    SPECTRAL_METRICS,
    cam_scores,
    case_spectra,
    name_of,
    spectral_scores,
)
from spectralseg.metrics.catalogue import metric_of


class Enlarge(nn.Module):
    def forward(self, features):
        return functional.interpolate(features[-1], scale_factor=4, mode="nearest")


class Bright(nn.Module):
    """Predicts foreground where channel 0 is bright, at a quarter of the resolution; one class per output."""

    def __init__(self, classes=1, gain=1.0):
        super().__init__()
        self.decoder = Enlarge()
        self.classes, self.gain = classes, gain
        self.images = 0

    def forward(self, images):
        self.images += len(images)
        logits = self.gain * self.decoder([functional.avg_pool2d(images[:, : self.classes], 4)]) - 0.5
        return logits if self.classes == 1 else torch.cat([torch.zeros_like(logits[:, :1]), logits], 1)


def scene():
    image = torch.zeros(2, 32, 32)
    image[0, 8:16, 8:16] = 1
    image[1, 20:28, 20:28] = 1
    return image


def scored(model, image, mask, seed=0, **options):
    scores = cam_scores(model.eval(), image, mask, np.random.default_rng(seed), **options)
    assert [score.metric for score in scores] == [
        name_of(metric, options.get("layer", "deepest")) for metric in CAM_METRICS
    ]
    assert all(score.label == 0 for score in scores)
    assert all(bool(score.flag) == math.isnan(score.value) for score in scores)
    return {score.metric: score for score in scores}


def values(scores):
    return {name: score.value for name, score in scores.items()}


def flags(scores):
    """Flag of localisation, and flag of insertion and deletion; equal for the map and the random map."""
    place = {score.flag for name, score in scores.items() if not name.endswith(("insertion", "deletion"))}
    effect = {score.flag for name, score in scores.items() if name.endswith(("insertion", "deletion"))}
    return (*place, *effect)


class TestMaps:
    def test_a_model_that_uses_the_object_has_good_scores(self):
        values_by_name = values(scored(Bright(), scene(), (scene()[0] > 0).numpy().astype(np.uint8)))
        assert values_by_name["cam_energy"] > 0.6
        assert values_by_name["cam_energy_relative"] == pytest.approx(values_by_name["cam_energy"] / (64 / 1024))
        assert values_by_name["cam_pointing"] == 1
        assert values_by_name["cam_iou"] > 0.9
        assert values_by_name["cam_insertion"] > values_by_name["cam_random_insertion"]
        assert values_by_name["cam_deletion"] < values_by_name["cam_random_deletion"]
        assert values_by_name["cam_random_energy"] == pytest.approx(64 / 1024, abs=0.05)

    def test_classes_count_as_one_foreground(self):
        mask = ((scene()[0] > 0) + 2 * (scene()[1] > 0)).numpy().astype(np.uint8)
        values_by_name = values(scored(Bright(2), scene(), mask))
        assert values_by_name["cam_energy"] > 0.6
        assert values_by_name["cam_iou"] > 0.9

    @pytest.mark.parametrize(
        ("sign", "mask", "expected"),
        [
            (1, np.zeros((32, 32), np.uint8), ("spurious", "")),
            (-1, np.ones((32, 32), np.uint8), ("missed", "missed")),
            (-1, np.zeros((32, 32), np.uint8), ("absent", "absent")),
        ],
    )
    def test_undefined_scores_have_a_flag(self, sign, mask, expected):
        assert flags(scored(Bright(), sign * scene(), mask)) == expected

    def test_a_constant_map_is_undefined(self):
        assert flags(scored(Bright(), torch.ones(2, 32, 32), np.ones((32, 32), np.uint8))) == ("constant map",) * 2

    def test_a_map_that_is_not_finite_is_undefined(self):
        image = scene()
        image[0, 0, 0] = float("nan")
        assert flags(scored(Bright(), image, np.ones((32, 32), np.uint8))) == ("not finite",) * 2

    def test_undefined_scores_cost_no_forward_pass(self):
        model = Bright()
        scored(model, -scene(), np.ones((32, 32), np.uint8))
        assert model.images == 1

    def test_the_number_of_forward_passes_is_as_documented(self):
        model = Bright()
        scored(model, scene(), np.ones((32, 32), np.uint8), steps=5)
        assert model.images == 4 * (5 + 1) + 1

    def test_insertion_and_deletion_can_be_omitted(self):
        model, mask = Bright(), (scene()[0] > 0).numpy().astype(np.uint8)
        all_scores = scored(model, scene(), mask)
        model.images = 0
        scores = cam_scores(model, scene(), mask, np.random.default_rng(0), steps=0)
        assert model.images == 1
        assert [score.metric for score in scores] == [
            m for m in CAM_METRICS if not m.endswith(("insertion", "deletion"))
        ]
        assert all(score == all_scores[score.metric] for score in scores)

    def test_the_random_map_depends_on_the_generator(self):
        mask = (scene()[0] > 0).numpy().astype(np.uint8)
        first, again, other = (values(scored(Bright(), scene(), mask, seed=seed, steps=2)) for seed in (0, 0, 1))
        assert first == again
        assert first["cam_random_energy"] != other["cam_random_energy"]
        assert first["cam_energy"] == other["cam_energy"]

    @pytest.mark.parametrize("outputs", [1, 4])
    @pytest.mark.parametrize("name", ["unet", "transunet"])
    def test_every_score_of_a_real_model_is_in_its_range(self, small_model, name, outputs):
        image = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
        mask = np.zeros((64, 64), np.uint8)
        mask[10:30, 20:40] = 1
        for layer in ("deepest", "decoder"):
            values_by_name = values(scored(small_model(name, outputs=outputs), image, mask, layer=layer, steps=2))
            for metric, value in values_by_name.items():
                assert 0 <= value <= (64 * 64 / 400 if metric.endswith("relative") else 1), metric


def spectral(probabilities, masks):
    probabilities, masks = np.asarray(probabilities, np.float32), np.asarray(masks, np.uint8)
    return {(s.label, s.metric): s for s in spectral_scores(probabilities, to_labels(probabilities), masks)}


def rectangles(*boxes, side=96):
    """Slices of label maps: (slice, label, rows, columns)."""
    masks = np.zeros((1 + max(box[0] for box in boxes), side, side), np.uint8)
    for n, label, rows, columns in boxes:
        masks[n, slice(*rows), slice(*columns)] = label
    return masks


def probabilities_of(masks, classes, sharpness=0.9):
    """Probabilities (N, K + 1, S, S) whose labels are the masks."""
    hot = np.moveaxis(np.eye(classes + 1)[masks], -1, 1)
    return sharpness * hot + (1 - sharpness) / (classes + 1)


class TestSpectra:
    masks = rectangles((0, 1, (10, 40), (20, 60)), (0, 2, (50, 80), (30, 50)), (1, 1, (15, 40), (25, 60)))

    def test_a_perfect_prediction_has_perfect_scores(self):
        scores = spectral(probabilities_of(self.masks, 2, 1.0), self.masks)
        assert set(scores) == {(k, m + s) for k in (1, 2) for m in SPECTRAL_METRICS for s in ("", "_soft")}
        assert all(score.value == pytest.approx(1) for score in scores.values())
        assert not any(score.flag for score in scores.values())

    def test_probabilities_of_binary_tasks_have_one_channel(self):
        masks = self.masks * (self.masks == 1)
        probabilities = 0.8 * masks[:, None].astype(float)
        scores = spectral(probabilities, masks)
        assert {label for label, _ in scores} == {1}
        assert scores[1, "spectral_similarity"].value == pytest.approx(1)
        assert scores[1, "spectral_similarity_soft"].value == pytest.approx(2 * 0.8 / 1.64)
        assert scores[1, "frc_mid_soft"].value == pytest.approx(1)  # independent of scale

    def test_the_similarity_of_label_maps_is_dice(self):
        prediction = np.roll(self.masks, 4, axis=2)
        scores = spectral(probabilities_of(prediction, 2), self.masks)
        dice = metrics.dice(metrics.overlap_counts(prediction, self.masks, 2))
        for k in range(2):
            assert scores[k + 1, "spectral_similarity"].value == pytest.approx(dice[k])

    def test_a_shift_lowers_high_frequencies_most_and_keeps_magnitudes(self):
        """The shift is one pixel; a larger one shifts the highest frequencies by more than half a period."""
        scores = spectral(probabilities_of(np.roll(self.masks, 1, axis=2), 2), self.masks)
        assert scores[1, "spectral_correlation"].value == pytest.approx(1)
        low, mid, high = (scores[1, f"frc_{band}"].value for band in ("low", "mid", "high"))
        assert 1 > low > mid > high

    @pytest.mark.parametrize(
        ("predicted", "present", "value", "flag"),
        [(0, 1, 0.0, "missed"), (1, 0, 0.0, "spurious"), (0, 0, None, "absent")],
    )
    def test_missing_structures_follow_the_policy(self, predicted, present, value, flag):
        full = rectangles((0, 1, (10, 40), (20, 60)))
        scores = spectral(probabilities_of(predicted * full, 1)[:, 1:], present * full)
        for metric in ("spectral_correlation", "spectral_correlation_detrended", "frc_low", "frc_mid", "frc_high"):
            score = scores[1, metric]
            assert score.flag == flag
            assert math.isnan(score.value) if value is None else score.value == value
        similarity = scores[1, "spectral_similarity"]
        assert math.isnan(similarity.value) if value is None else similarity == (1, "spectral_similarity", 0.0, "")

    def test_a_weak_prediction_of_the_right_shape_counts_softly(self):
        masks = rectangles((0, 1, (10, 40), (20, 60)))
        scores = spectral(0.4 * masks[:, None], masks)
        assert scores[1, "frc_mid"] == (1, "frc_mid", 0.0, "missed")
        assert scores[1, "frc_mid_soft"].value == pytest.approx(1)

    def test_bands_above_the_highest_frequency_are_omitted(self):
        small = rectangles((0, 1, (4, 12), (8, 20)), side=48)
        assert not any("high" in metric for _, metric in spectral(0.9 * small[:, None], small))

    def test_curves_of_a_case_for_figures(self):
        probabilities = probabilities_of(self.masks, 2).astype(np.float32)
        curve = spectra.fourier_ring_correlation(case_spectra(probabilities, to_labels(probabilities), self.masks))
        assert curve.shape == (2, 2, 49)
        assert np.allclose(curve[0], 1)


def test_every_metric_has_a_printing_rule():
    for metric in (*CAM_METRICS, *(name + suffix for name in SPECTRAL_METRICS for suffix in ("", "_soft"))):
        assert metric_of(metric).higher_is_better == ("deletion" not in metric)
