from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from spectralseg.data.resize import resize_labels
from spectralseg.evaluation import label_maps
from spectralseg.evaluation.label_maps import native_labels, to_labels
from spectralseg.evaluation.predict import Predictor
from spectralseg.evaluation.score import reliabilities, score_reliabilities, score_segmentation
from spectralseg.metrics import Reliability, adaptive_calibration_error, slice_counts
from spectralseg.metrics.averaging import over_units
from spectralseg.metrics.policy import FALSE_STRUCTURE, LESIONS, POLICY
from spectralseg.metrics.surface import boundary_iou, diagonal


def one_hot(masks, classes):
    """One-hot probabilities (N, C, S, S) of labels (N, S, S)."""
    if classes == 1:
        return (masks[:, None] == 1).astype(np.float32)
    return np.moveaxis(np.eye(classes + 1, dtype=np.float32)[masks], -1, 1)


def table(scores):
    return {(score.label, score.protocol, score.metric): (score.value, score.flag) for score in scores}


def scored(prediction, masks, native, spacing=None, classes=1):
    return table(score_segmentation(one_hot(prediction, classes), masks, native, spacing, classes))


def disc(side, row, column, radius):
    rows, columns = np.mgrid[:side, :side]
    return (np.hypot(rows - row, columns - column) <= radius).astype(np.uint8)


class TestNativeGeometry:
    @pytest.mark.parametrize("shape", [(48, 48), (40, 60), (200, 150)])
    def test_an_exact_prediction_is_nearly_perfect_in_native_geometry(self, shape):
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        native = (np.hypot(rows / shape[0] - 0.45, columns / shape[1] - 0.55) < 0.25).astype(np.uint8)
        masks = resize_labels(native, (96, 96))[None]
        scores = scored(masks, masks, native)
        assert scores[1, "sound", "dsc"][0] > 0.97
        assert scores[1, "published", "dsc"] == (1, "")
        back = native_labels(one_hot(masks, 1), shape)
        centres = [ndimage.center_of_mass(mask) for mask in (back, native)]
        assert centres[0] == pytest.approx(centres[1], abs=0.15 * max(1, shape[0] / 96))

    def test_an_exact_prediction_of_native_size_is_perfect(self):
        native = np.random.default_rng(0).integers(0, 4, (5, 32, 32)).astype(np.uint8)
        scores = scored(native, native, native, (5, 1, 1), 3)
        assert all(scores[k, p, "dsc"] == (1, "") for k in (1, 2, 3) for p in ("published", "sound"))
        assert all(scores[k, p, "hd95"] == (0, "") for k in (1, 2, 3) for p in ("published", "sound"))

    def test_prepared_phantoms_predicted_exactly_are_nearly_perfect_in_native_geometry(self, prepared_phantom):
        for name, least in (("acdc", 0.9), ("kvasir_seg", 0.97), ("monuseg", 0.85)):
            data = prepared_phantom(name, 96)
            row = data.cases[data.cases["part"] == "test"].iloc[0]
            masks = np.asarray(data.masks[row["first"] : row["first"] + row["slices"]])
            native, classes = data.native_labels(row["case"]), len(data.classes)
            scores = scored(masks, masks, native, data.spacing(row["case"]), classes)
            assert all(scores[k, "sound", "dsc"][0] > least for k in range(1, classes + 1)), name
            assert all(scores[k, "sound", "hd95"][1] == "" for k in range(1, classes + 1)), name

    def test_labels_are_decided_after_interpolation(self):
        probabilities = np.array([[0.0, 0.9], [0.0, 0.9]], np.float32)[None, None]
        labels = native_labels(probabilities, (2, 8))
        positions = (np.arange(8) + 0.5) / 4 - 0.5
        expected = np.interp(positions, [0, 1], [0, 0.9]) > 0.5
        assert labels.tolist() == [expected.astype(int).tolist()] * 2

    def test_slices_are_interpolated_independently(self):
        masks = np.zeros((3, 16, 16), np.uint8)
        masks[1] = 1
        assert native_labels(one_hot(masks, 1), (3, 24, 20)).sum((1, 2)).tolist() == [0, 480, 0]

    @settings(max_examples=60, derandomize=True)
    @given(
        seed=st.integers(0, 2**32 - 1),
        channels=st.sampled_from([1, 2, 5]),
        side=st.integers(1, 24),
        shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
        smooth=st.floats(0, 4),
        block=st.sampled_from([7, 100, 1 << 20]),
    )
    def test_interpolating_boundaries_only_gives_the_same_labels(self, seed, channels, side, shape, smooth, block):
        rng = np.random.default_rng(seed)
        drawn = ndimage.gaussian_filter(rng.random((2, channels, side, side)), (0, 0, smooth, smooth))
        drawn = ((drawn - drawn.min()) / np.ptp(drawn)).astype(np.float32) if drawn.size > 1 else drawn
        whole = torch.nn.functional.interpolate(torch.from_numpy(drawn), shape, mode="bilinear").numpy()
        # Near ties, rounding decides.
        ranked = np.sort(whole, 1)
        margin = abs(whole[:, 0] - 0.5) if channels == 1 else ranked[:, -1] - ranked[:, -2]
        with patch.object(label_maps, "_BLOCK", block):
            labels = native_labels(drawn.astype(np.float32), (2, *shape))
        assert np.array_equal(labels[margin > 1e-5], to_labels(whole)[margin > 1e-5])

    def test_labels_are_thresholded_or_the_most_probable_class(self):
        assert to_labels(np.array([0.5, 0.51], np.float32).reshape(1, 1, 1, 2)).tolist() == [[[0, 1]]]
        probabilities = np.array([[0.4, 0.2], [0.35, 0.5], [0.25, 0.3]], np.float32).reshape(1, 3, 1, 2)
        assert to_labels(probabilities).tolist() == [[[0, 1]]]
        ties = np.array([[0.4, 0.2, 0.1], [0.4, 0.4, 0.1], [0.2, 0.4, 0.8]], np.float32).reshape(1, 3, 1, 3)
        assert to_labels(ties).tolist() == [[[0, 1, 2]]]


def surface(mask):
    return np.argwhere(mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(mask.ndim, 1)))


class TestValues:
    """All values against a reference implementation, on volumes with three classes and anisotropic spacing."""

    spacing = (4.0, 0.7, 0.9)

    @pytest.fixture
    def volume(self):
        rng = np.random.default_rng(0)
        probabilities = ndimage.gaussian_filter(rng.random((5, 4, 24, 24)), (0.7, 0, 3, 3)).astype(np.float32)
        native = ndimage.gaussian_filter(rng.random((4, 5, 32, 40)), (0, 0.7, 3, 3)).argmax(0).astype(np.uint8)
        masks = rng.integers(0, 4, (5, 24, 24)).astype(np.uint8)
        return probabilities, masks, native

    @pytest.fixture
    def scores(self, volume):
        return table(score_segmentation(*volume, self.spacing, 3))

    def prediction(self, protocol, volume):
        probabilities, _, native = volume
        if protocol == "published":
            rows, columns = (((np.arange(n) + 0.5) * 24 / n).astype(int) for n in native.shape[1:])
            return probabilities.argmax(1)[:, rows][:, :, columns]
        zoomed = np.empty((5, 4, *native.shape[1:]))
        for index in np.ndindex(5, 4):
            zoomed[index] = bilinear(probabilities[index], native.shape[1:])
        return zoomed.argmax(1)

    @pytest.mark.parametrize("protocol", ["published", "sound"])
    def test_overlap_is_that_of_the_native_masks(self, volume, scores, protocol):
        prediction, native = self.prediction(protocol, volume), volume[2]
        for k in (1, 2, 3):
            p, r = prediction == k, native == k
            tp, fp, fn, tn = (p & r).sum(), (p & ~r).sum(), (~p & r).sum(), (~p & ~r).sum()
            assert min(tp, fp, fn, tn) > 0
            expected = {
                "tp": tp,
                "fp": fp,
                "fn": fn,
                "tn": tn,
                "dsc": 2 * tp / (p.sum() + r.sum()),
                "iou": tp / (p | r).sum(),
                "sensitivity": tp / r.sum(),
                "specificity": tn / (~r).sum(),
                "accuracy": (p == r).mean(),
            }
            for name, value in expected.items():
                assert scores[k, protocol, name] == (pytest.approx(value), ""), name

    def test_published_distance_is_pooled_in_pixels_and_sound_is_directed_in_millimetres(self, volume, scores):
        for k in (1, 2, 3):
            for protocol, scale in (("published", (1, 1, 1)), ("sound", self.spacing)):
                points = [surface(mask == k) * scale for mask in (self.prediction(protocol, volume), volume[2])]
                distances = cdist(*points)
                directed = distances.min(1), distances.min(0)
                expected = {
                    "published": np.percentile(np.concatenate(directed), 95),
                    "sound": max(np.percentile(part, 95) for part in directed),
                }
                assert scores[k, protocol, "hd95"] == (pytest.approx(expected[protocol]), "")
                if protocol == "sound":
                    both = np.concatenate(directed)
                    assert scores[k, protocol, "assd"] == (pytest.approx(both.mean()), "")
                    assert scores[k, protocol, "nsd"] == (pytest.approx((both <= 2).mean()), "")

    def test_boundary_iou_has_a_band_of_two_percent_of_the_whole_image(self, volume, scores):
        prediction, native = self.prediction("sound", volume), volume[2]
        for k in (1, 2, 3):
            expected = boundary_iou(prediction == k, native == k, self.spacing)
            assert 0 < expected < scores[k, "sound", "iou"][0]
            assert scores[k, "sound", "boundary_iou"] == (pytest.approx(expected), "")

    def test_means_over_slices_come_with_the_number_of_slices(self, volume, scores):
        prediction, native = self.prediction("sound", volume).copy(), volume[2].copy()
        native[:2][native[:2] == 2] = 0
        counts = slice_counts(prediction, native, 3)
        for metric, number in (("dsc", [5, 5, 5]), ("sensitivity", [5, 3, 5]), ("accuracy", [5, 5, 5])):
            mean = over_units(counts, metric, empty=False)
            changed = table(score_segmentation(volume[0], volume[1], native, self.spacing, 3))
            assert mean.units.tolist() == number
            for k in (1, 2, 3):
                assert changed[k, "sound", f"slice_{metric}"] == (pytest.approx(mean.value[k - 1]), "")
                assert changed[k, "sound", f"slices_{metric}"] == (number[k - 1], "")

    def test_a_class_without_slices_has_an_undefined_mean_with_a_flag(self):
        labels = np.zeros((2, 16, 16), np.uint8)
        labels[:, 2:9, 2:9] = 1
        scores = scored(labels, labels, labels, None, 2)
        assert scores[1, "sound", "slice_dsc"] == (1, "")
        assert scores[2, "sound", "slice_dsc"] == (pytest.approx(np.nan, nan_ok=True), "absent")
        assert scores[2, "sound", "slices_dsc"] == (0, "")

    def test_each_class_metric_and_protocol_is_reported_once(self, volume, scores):
        rows = list(score_segmentation(*volume, self.spacing, 3))
        assert len(rows) == len(scores) == 3 * ((4 + 6) + (4 + 9) + 2 * 5)

    def test_the_metrics_are_those_of_the_policy(self, scores):
        for protocol, rows in POLICY.items():
            names = {metric for k, p, metric in scores if p == protocol and not metric.startswith("slice")}
            names.discard(FALSE_STRUCTURE)
            assert names == (rows.keys() - LESIONS.keys()) | {"tp", "fp", "fn", "tn"}


def bilinear(plane, shape):
    """Reference implementation of bilinear interpolation with half-pixel centres."""

    def axis(size, target):
        place = np.clip((np.arange(target) + 0.5) * size / target - 0.5, 0, size - 1)
        low = np.floor(place).astype(int)
        return low, np.minimum(low + 1, size - 1), place - low

    (r0, r1, fr), (c0, c1, fc) = axis(plane.shape[0], shape[0]), axis(plane.shape[1], shape[1])
    top = plane[r0][:, c0] * (1 - fc) + plane[r0][:, c1] * fc
    bottom = plane[r1][:, c0] * (1 - fc) + plane[r1][:, c1] * fc
    return top * (1 - fr[:, None]) + bottom * fr[:, None]


class TestImages:
    def test_published_scores_images_at_network_resolution_and_sound_in_native_geometry(self):
        native, masks = disc(60, 30, 30, 15), disc(32, 16, 16, 8)[None]
        prediction = disc(32, 16, 18, 8)[None]
        scores = scored(prediction, masks, native)
        tp = (prediction & masks).sum()
        assert scores[1, "published", "dsc"][0] == pytest.approx(2 * tp / (prediction.sum() + masks.sum()))
        assert sum(scores[1, "published", c][0] for c in ("tp", "fp", "fn", "tn")) == 32 * 32
        assert sum(scores[1, "sound", c][0] for c in ("tp", "fp", "fn", "tn")) == 60 * 60
        assert scores[1, "published", "hd95"][0] == pytest.approx(2, abs=0.5)
        assert scores[1, "sound", "hd95"][0] == pytest.approx(2 * 60 / 32, abs=1)

    @pytest.mark.parametrize(
        ("predicted", "present", "case", "expected"),
        [
            (False, True, "missed", {"published": (0, 0), "sound": (0, "diagonal", "diagonal", 0, 0)}),
            (True, False, "spurious", {"published": (1, 0), "sound": (0, "diagonal", "diagonal", 0, 0)}),
            (False, False, "absent", {"published": (0, 0), "sound": (1, 0, 0, 1, 1)}),
        ],
    )
    def test_missing_structures_follow_the_policy(self, predicted, present, case, expected):
        native, spacing = disc(60, 30, 30, 15) * present, (0.5, 0.5)
        masks, prediction = disc(32, 16, 16, 8)[None] * present, disc(32, 16, 16, 8)[None] * predicted
        scores = scored(prediction, masks, native, spacing)
        for protocol, values in expected.items():
            metrics = ("dsc", "hd95", "assd", "nsd", "boundary_iou")[: len(values)]
            for metric, value in zip(metrics, values, strict=True):
                value = diagonal((60, 60), spacing) if value == "diagonal" else value
                assert scores[1, protocol, metric] == (pytest.approx(value, nan_ok=True), case)

    @pytest.mark.parametrize(
        ("predicted", "present", "expected"),
        [(True, False, 1), (False, False, 0), (True, True, None), (False, True, None)],
    )
    def test_a_false_structure_is_recorded_where_the_reference_is_empty(self, predicted, present, expected):
        native, masks = disc(60, 30, 30, 15) * present, disc(32, 16, 16, 8)[None] * present
        scores = scored(disc(32, 16, 16, 8)[None] * predicted, masks, native)
        assert scores.get((1, "sound", FALSE_STRUCTURE)) == (None if expected is None else (expected, ""))
        assert (1, "published", FALSE_STRUCTURE) not in scores

    def test_every_undefined_value_has_a_flag(self):
        full = np.ones((1, 16, 16), np.uint8)
        scores = scored(full, full, full[0])
        assert all(flag for value, flag in scores.values() if np.isnan(value))
        assert {key[1:]: flag for key, (_, flag) in scores.items() if flag} == {
            ("published", "specificity"): "no background",
            ("sound", "specificity"): "no background",
        }


class TestCalibration:
    def test_each_foreground_class_is_compared_with_the_rest(self):
        rng = np.random.default_rng(0)
        probabilities = rng.dirichlet(np.ones(4), (2, 16, 16)).transpose(0, 3, 1, 2).astype(np.float32)
        masks = rng.integers(0, 4, (2, 16, 16)).astype(np.uint8)
        scores = table(score_reliabilities(reliabilities(probabilities, masks, 3)))
        for k in (1, 2, 3):
            p, y = probabilities[:, k].astype(float).ravel(), masks.ravel() == k
            bins = np.minimum((p * 15).astype(int), 14)
            gaps = {b: abs(p[bins == b].mean() - y[bins == b].mean()) for b in set(bins)}
            shares = {b: (bins == b).mean() for b in gaps}
            assert scores[k, "sound", "ece"][0] == pytest.approx(sum(shares[b] * gaps[b] for b in gaps))
            assert scores[k, "sound", "mce"][0] == pytest.approx(max(gaps[b] for b in gaps if shares[b] >= 0.001))
            errors = 1 - p[y].mean(), p[~y].mean()
            assert scores[k, "published", "ece"][0] == pytest.approx(np.mean(errors))
            assert scores[k, "published", "mce"][0] == pytest.approx(max(errors))

    def test_a_binary_task_has_its_probability_in_the_only_channel(self):
        probabilities = np.full((1, 1, 4, 4), 0.25, np.float32)
        scores = table(score_reliabilities(reliabilities(probabilities, np.zeros((1, 4, 4), np.uint8), 1)))
        assert scores[1, "sound", "ece"] == (pytest.approx(0.25), "")
        value, flag = scores[1, "published", "ece"]
        assert np.isnan(value)
        assert flag == "one class"

    def test_the_band_holds_pixels_near_the_boundaries(self):
        rng = np.random.default_rng(0)
        masks = np.zeros((2, 64, 64), np.uint8)
        masks[0, 20:30, 20:30] = 1
        probabilities = (0.8 * masks[:, None] + 0.1 + 0.05 * rng.random((2, 1, 64, 64))).astype(np.float32)
        scores = table(score_reliabilities(reliabilities(probabilities, masks, 1)))
        away = ndimage.distance_transform_edt(~(masks[0] & ~ndimage.binary_erosion(masks[0])).astype(bool))
        band = np.stack([away <= 10, np.zeros((64, 64), bool)])
        p, y = probabilities[:, 0], masks
        for region, kept in (("", np.ones_like(band)), ("band_", band)):
            exact = p[kept].astype(float)
            assert scores[1, "sound", f"{region}brier"] == (pytest.approx(np.mean((exact - y[kept]) ** 2)), "")
            likelihood = np.log(np.where(y[kept], exact, 1 - exact))
            assert scores[1, "sound", f"{region}nll"] == (pytest.approx(-likelihood.mean()), "")
            error = adaptive_calibration_error(exact, y[kept])
            assert scores[1, "sound", f"{region}ace"] == (pytest.approx(error, abs=1e-3), "")
        assert scores[1, "sound", "band_ece"][0] != scores[1, "sound", "ece"][0]

    def test_without_a_boundary_there_is_no_band(self):
        scores = table(
            score_reliabilities(reliabilities(np.full((1, 1, 8, 8), 0.1, np.float32), np.zeros((1, 8, 8), np.uint8), 1))
        )
        for metric in ("ece", "mce", "ace", "brier", "nll"):
            assert scores[1, "sound", f"band_{metric}"] == (pytest.approx(np.nan, nan_ok=True), "no boundary")
            assert scores[1, "sound", metric][1] == ""

    def test_summed_cases_give_the_calibration_of_the_test_set(self):
        rng = np.random.default_rng(1)
        masks = (ndimage.gaussian_filter(rng.random((5, 32, 32)), (0, 4, 4)) > 0.5).astype(np.uint8)
        probabilities = np.clip(0.7 * masks + 0.3 * rng.random((5, 32, 32)), 0, 1).astype(np.float32)[:, None]
        total = {key: Reliability.empty() for key in ((1, "image"), (1, "band"))}
        for part in (slice(0, 2), slice(2, 5)):
            for key, sums in reliabilities(probabilities[part], masks[part], 1).items():
                total[key] += sums
        together, whole = (
            table(score_reliabilities(total)),
            table(score_reliabilities(reliabilities(probabilities, masks, 1))),
        )
        assert together.keys() == whole.keys()
        assert all(together[key] == (pytest.approx(value), flag) for key, (value, flag) in whole.items())


def test_probabilities_do_not_depend_on_the_batch_size(small_model):
    images = np.random.default_rng(0).random((5, 32, 32, 3)).astype(np.float32)
    for outputs in (1, 4):
        model = small_model("unet", outputs=outputs).eval()
        predictions = [
            Predictor(model, torch.full((3,), 0.4), torch.full((3,), 0.2), size)(images) for size in (1, 2, 8)
        ]
        assert predictions[0].shape == (5, outputs, 32, 32)
        assert np.allclose(predictions[0], predictions[2], atol=1e-5)
        assert np.allclose(predictions[1], predictions[2], atol=1e-5)
        logits = model(torch.from_numpy((images - 0.4) / 0.2).permute(0, 3, 1, 2).float())
        expected = logits.sigmoid() if outputs == 1 else logits.softmax(1)
        assert np.allclose(predictions[2], expected.detach().numpy(), atol=1e-5)
