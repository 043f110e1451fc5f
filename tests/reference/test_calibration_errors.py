"""Calibration errors against torchmetrics, MONAI, scikit-learn and a loop over bins."""

import numpy as np
import pytest
import torch

from spectralseg.metrics import (
    Reliability,
    adaptive_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
)

torchmetrics = pytest.importorskip("torchmetrics.classification")
monai = pytest.importorskip("monai.metrics")
sklearn = pytest.importorskip("sklearn.metrics")


def draws():
    for seed in range(12):
        rng = np.random.default_rng(seed)
        p = rng.beta(*[(1, 1), (0.3, 0.6), (8, 2)][seed % 3], 4000)
        yield p.astype(np.float32), rng.random(4000) < np.clip(p * rng.uniform(0.6, 1.4), 0, 1)


@pytest.mark.parametrize("bins", [5, 10, 15])
@pytest.mark.parametrize(("probabilities", "labels"), list(draws()))
class TestBins:
    def test_expected_error_equals_torchmetrics_and_a_loop(self, probabilities, labels, bins):
        result = expected_calibration_error(probabilities, labels, bins)
        reference = torchmetrics.BinaryCalibrationError(n_bins=bins, norm="l1")
        expected = reference(torch.from_numpy(probabilities), torch.from_numpy(labels).long()).item()
        assert result == pytest.approx(expected, abs=1e-5)
        assert result == pytest.approx(sum(share * gap for share, gap in loop(probabilities, labels, bins)), abs=1e-9)

    def test_maximum_error_over_all_bins_equals_torchmetrics(self, probabilities, labels, bins):
        result = maximum_calibration_error(probabilities, labels, bins, least_share=0)
        reference = torchmetrics.BinaryCalibrationError(n_bins=bins, norm="max")
        expected = reference(torch.from_numpy(probabilities), torch.from_numpy(labels).long()).item()
        assert result == pytest.approx(expected, abs=1e-5)

    def test_both_errors_equal_monai(self, probabilities, labels, bins):
        batch = [torch.from_numpy(part.astype(np.float32))[None, None] for part in (probabilities, labels)]
        for reduction, result in (
            ("expected", expected_calibration_error(probabilities, labels, bins)),
            ("maximum", maximum_calibration_error(probabilities, labels, bins, least_share=0)),
        ):
            metric = monai.CalibrationErrorMetric(num_bins=bins, calibration_reduction=reduction)
            metric(y_pred=batch[0], y=batch[1])
            assert result == pytest.approx(metric.aggregate().item(), abs=1e-5)

    def test_sums_over_cases_give_pooled_errors(self, probabilities, labels, bins):
        parts = zip(np.array_split(probabilities, 7), np.array_split(labels, 7), strict=True)
        sums = sum((Reliability.of(*part, cells=bins * 64) for part in parts), Reliability.empty(bins * 64))
        reference = torchmetrics.BinaryCalibrationError(n_bins=bins, norm="l1")
        expected = reference(torch.from_numpy(probabilities), torch.from_numpy(labels).long()).item()
        assert sums.expected_error(bins) == pytest.approx(expected, abs=1e-5)
        exact = probabilities.astype(float)
        assert sums.brier() == pytest.approx(sklearn.brier_score_loss(labels, exact), rel=1e-9)
        assert sums.negative_log_likelihood() == pytest.approx(sklearn.log_loss(labels, exact), rel=1e-6)

    def test_maximum_error_ignores_small_bins(self, probabilities, labels, bins):
        gaps = [gap for share, gap in loop(probabilities, labels, bins) if share >= 0.02]
        assert maximum_calibration_error(probabilities, labels, bins, least_share=0.02) == pytest.approx(max(gaps))

    def test_the_adaptive_error_is_a_mean_over_equal_shares(self, probabilities, labels, bins):
        order = np.argsort(probabilities)
        parts = np.array_split(order, bins)
        gaps = [abs(probabilities[part].astype(float).mean() - labels[part].mean()) for part in parts]
        assert adaptive_calibration_error(probabilities, labels, bins) == pytest.approx(np.mean(gaps), abs=2e-3)


def loop(probabilities, labels, bins):
    """Share of pixels and gap of every non-empty bin; the last bin includes 1."""
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = [
            (float(p), bool(y))
            for p, y in zip(probabilities, labels, strict=True)
            if low <= float(p) and (float(p) < high or b == bins - 1)
        ]
        if inside:
            p, y = zip(*inside, strict=True)
            yield len(inside) / len(labels), abs(sum(p) / len(p) - sum(y) / len(y))
