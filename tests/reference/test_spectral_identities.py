"""Identities of Eq. (2) of the paper, in double precision."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tests.conftest import REPOSITORY

from spectralseg.building import objective_of
from spectralseg.config import Objective as ObjectiveChoice
from spectralseg.objectives import build_objective, spectral_similarity

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    monai = pytest.importorskip("monai.losses")
smp = pytest.importorskip("segmentation_models_pytorch.losses")

SHAPES = [(2, 1, 32, 32), (3, 2, 31, 45), (1, 4, 24, 65), (1, 1, 33, 20)]


def masks_and_logits(shape, seed=0):
    """Random masks and logits in double precision."""
    generator = torch.Generator().manual_seed(seed)
    masks = (torch.rand(*shape, generator=generator) < 0.3).double()
    return masks, torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def labelled(channels, shape=(2, 40, 52), seed=0):
    """Random logits in double precision and masks with smooth boundaries."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal((shape[0], max(2, channels), *shape[1:])), (0, 0, 3, 3))
    logits = torch.from_numpy(rng.standard_normal((shape[0], channels, *shape[1:]))).requires_grad_()
    return logits, torch.from_numpy(smooth.argmax(1))


def foreground(logits, masks):
    """Probabilities and targets of the foreground classes."""
    if logits.shape[1] == 1:
        return logits.sigmoid(), (masks > 0)[:, None].double()
    return logits.softmax(1)[:, 1:], torch.stack([masks == c for c in range(1, logits.shape[1])], 1).double()


def whole_radius(height, width):
    rows, columns = (
        np.rint(np.fft.fftfreq(n) * n) * max(height, width) / n  # exact whole numbers on the longer side
        for n in (height, width)
    )
    return torch.from_numpy(np.hypot(rows[:, None], columns[None]))


def value_and_gradient(function, logits):
    value = function(logits.sigmoid())
    return value.detach(), torch.autograd.grad(value, logits)[0]


def roots_of_unity(size):
    """Matrix of the discrete Fourier transform."""
    index = torch.arange(size, dtype=torch.float64)
    return torch.exp(-2j * torch.pi * torch.outer(index, index) / size)


def squared_dice(probabilities, masks):
    return 2 * (probabilities * masks).sum() / (probabilities.square() + masks.square()).sum()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
class TestParseval:
    def test_transform_closed_form_and_squared_dice_agree(self, shape, seed):
        masks, logits = masks_and_logits(shape, seed)
        expected, slope = value_and_gradient(lambda p: squared_dice(p, masks), logits)
        for method in ("auto", "fft"):
            value, gradient = value_and_gradient(lambda p: spectral_similarity(p, masks, method=method), logits)  # noqa: B023
            assert abs(value - expected) < 1e-10
            assert (gradient - slope).abs().max() < 1e-10

    def test_literal_formula_with_an_explicit_transform_agrees(self, shape, seed):
        masks, logits = masks_and_logits(shape, seed)

        def literal(p):
            rows, columns = (roots_of_unity(size) for size in shape[-2:])
            big_p, big_y = (rows @ x.to(torch.complex128) @ columns for x in (p, masks))
            cross = (big_y.real * big_p.real + big_y.imag * big_p.imag).sum()
            return 2 * cross / (big_y.abs().square() + big_p.abs().square()).sum()

        expected, slope = value_and_gradient(literal, logits)
        value, gradient = value_and_gradient(lambda p: spectral_similarity(p, masks, method="fft"), logits)
        assert abs(value - expected) < 1e-10
        assert (gradient - slope).abs().max() < 1e-10

    @pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
    @pytest.mark.parametrize("shifted", [False, True])
    @pytest.mark.parametrize("axes", [(-1,), (-2, -1), (0, 1, 2, 3)])
    def test_any_normalisation_of_the_transform_agrees(self, shape, seed, norm, shifted, axes):
        masks, logits = masks_and_logits(shape, seed)

        def reading(p):
            big_p, big_y = (torch.fft.fftn(x, dim=axes, norm=norm) for x in (p, masks))
            if shifted:
                big_p, big_y = torch.fft.fftshift(big_p), torch.fft.fftshift(big_y)
            energy = (big_y.abs().square() + big_p.abs().square()).sum()
            return 2 * (big_y.real * big_p.real + big_y.imag * big_p.imag).sum() / energy

        expected, slope = value_and_gradient(reading, logits)
        value, gradient = value_and_gradient(lambda p: spectral_similarity(p, masks, method="fft"), logits)
        assert abs(value - expected) < 1e-10
        assert (gradient - slope).abs().max() < 1e-10

    def test_half_a_spectrum_without_hermitian_weights_differs(self, shape, seed):
        """The columns of frequency 0 and Nyquist have twice the weight of the others."""
        masks, logits = masks_and_logits(shape, seed)
        big_p, big_y = (torch.fft.rfft2(x) for x in (logits.sigmoid(), masks))
        cross, energy = (big_y * big_p.conj()).real, big_y.abs().square() + big_p.abs().square()
        result = spectral_similarity(logits.sigmoid(), masks, method="fft")
        assert abs(result - 2 * cross.sum() / energy.sum()) > 1e-3
        weights = torch.full((shape[-1] // 2 + 1,), 2.0, dtype=torch.float64)
        weights[[0] if shape[-1] % 2 else [0, -1]] = 1
        assert abs(result - 2 * (weights * cross).sum() / (weights * energy).sum()) < 1e-10

    def test_it_equals_monai_dice_with_squared_denominator_pooled_over_the_batch(self, shape, seed):
        masks, logits = masks_and_logits((shape[0], 1, *shape[2:]), seed)
        loss = monai.DiceLoss(squared_pred=True, batch=True, smooth_nr=0, smooth_dr=0)
        expected, slope = value_and_gradient(lambda p: 1 - loss(p, masks), logits)
        value, gradient = value_and_gradient(lambda p: spectral_similarity(p, masks, method="fft"), logits)
        assert abs(value - expected) < 1e-10
        assert (gradient - slope).abs().max() < 1e-10


@given(st.tuples(*(st.integers(1, largest) for largest in (3, 3, 24, 24))), st.integers(0, 99))
@settings(max_examples=60)
def test_half_plane_equals_full_plane(shape, seed):
    masks, logits = masks_and_logits(shape, seed)
    expected, slope = value_and_gradient(lambda p: squared_dice(p, masks), logits)
    value, gradient = value_and_gradient(lambda p: spectral_similarity(p, masks, method="fft"), logits)
    assert abs(value - expected) < 1e-10
    assert (gradient - slope).abs().max() < 1e-10


@pytest.mark.parametrize("shape", [(2, 1, 96, 96), (1, 3, 95, 81), (1, 1, 64, 90)])
@pytest.mark.parametrize("limits", [(0, 8, 32, math.inf), (0, 0.5, 4, 9.5, 17, 1e9)])
def test_bands_weighted_by_energy_sum_to_the_whole(shape, limits):
    masks, logits = masks_and_logits(shape)
    p = logits.sigmoid()
    energy = (torch.fft.fft2(p).abs().square() + torch.fft.fft2(masks).abs().square()).sum((0, 1)).detach()
    parts = []
    for low, high in itertools.pairwise(limits):
        inside = (whole_radius(*shape[-2:]) >= low) & (whole_radius(*shape[-2:]) < high)
        parts.append(energy[inside].sum() / energy.sum() * spectral_similarity(p, masks, band=(low, high)))
    assert abs(sum(parts) - spectral_similarity(p, masks)) < 1e-10


@pytest.mark.parametrize("shape", [(2, 1, 24, 24), (1, 3, 21, 34)])
def test_weights_4_sin_squared_give_the_squared_dice_of_differences(shape):
    """The symbol of finite differences with wrapped borders, in place of |k|²."""
    masks, logits = masks_and_logits(shape)
    p = logits.sigmoid().detach()
    symbol = sum(
        4 * torch.sin(torch.pi * torch.fft.fftfreq(size, dtype=torch.float64)).square().reshape(lines)
        for size, lines in zip(shape[-2:], [(-1, 1), (1, -1)], strict=True)
    )
    big_p, big_y = torch.fft.fft2(p), torch.fft.fft2(masks)
    weighted = 2 * (symbol * (big_y * big_p.conj()).real).sum()
    weighted = weighted / (symbol * (big_y.abs().square() + big_p.abs().square())).sum()
    differences = [torch.stack([x - x.roll(1, -1), x - x.roll(1, -2)]) for x in (p, masks)]
    assert abs(weighted - squared_dice(*differences)) < 1e-10


def test_squared_frequency_weights_approach_the_squared_dice_of_gradients_on_smooth_maps():
    """|k|² is the symbol of the exact derivative; finite differences have 4 sin²(πk/n), equal for low frequencies only.

    So the identity is exact for trigonometric polynomials with exact derivatives, and approximate with differences.
    """
    grid = torch.arange(64, dtype=torch.float64) * 2 * torch.pi / 64
    rows, columns = grid[:, None], grid[None, :]
    y = torch.cos(2 * rows) + torch.sin(rows + 3 * columns)
    p = 0.7 * torch.cos(2 * rows) + 0.4 * torch.cos(rows + 3 * columns) + 0.2 * torch.sin(4 * columns)
    slopes_y = torch.stack(
        [-2 * torch.sin(2 * rows) + torch.cos(rows + 3 * columns), 3 * torch.cos(rows + 3 * columns)]
    )
    slopes_p = torch.stack(
        [
            -1.4 * torch.sin(2 * rows) - 0.4 * torch.sin(rows + 3 * columns),
            -1.2 * torch.sin(rows + 3 * columns) + 0.8 * torch.cos(4 * columns) + 0 * rows,
        ]
    )
    result = spectral_similarity(p[None, None], y[None, None], weighting=2.0)
    assert abs(result - squared_dice(slopes_p, slopes_y)) < 1e-10
    differences = [torch.stack([x - x.roll(1, 0), x - x.roll(1, 1)]) for x in (p, y)]
    assert 1e-10 < abs(result - squared_dice(*differences)) < 0.02


class TestSpatialObjective:
    """Cross-entropy + 1 - Dice against torch and segmentation-models-pytorch, whose Dice is linear and pooled.

    Its smoothing enters a Tversky index, (I + s) / (I + FP/2 + FN/2 + s), and so counts twice in the terms of Dice.
    """

    @pytest.mark.parametrize("smooth", [0.0, 1.0, 10.0])
    def test_binary_tasks_agree(self, smooth):
        masks, logits = masks_and_logits((3, 1, 20, 24))
        logits = logits.detach().float().requires_grad_()
        result = build_objective("bce_dice", smooth=smooth)(logits, masks[:, 0].long())
        dice = smp.DiceLoss("binary", from_logits=True, smooth=smooth / 2)
        expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, masks.float()) + dice(logits, masks)
        assert result.item() == pytest.approx(expected.item(), abs=1e-6)
        slopes = [torch.autograd.grad(value, logits)[0] for value in (result, expected)]
        assert torch.allclose(*slopes, atol=1e-7)

    @pytest.mark.parametrize("smooth", [0.0, 1.0, 10.0])
    def test_multi_class_tasks_agree_over_the_foreground_classes(self, smooth):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(3, 5, 20, 24, generator=generator, requires_grad=True)
        masks = torch.randint(0, 5, (3, 20, 24), generator=generator)
        result = build_objective("bce_dice", smooth=smooth)(logits, masks)
        dice = smp.DiceLoss("multiclass", classes=[1, 2, 3, 4], from_logits=True, smooth=smooth / 2)
        expected = torch.nn.functional.cross_entropy(logits, masks) + dice(logits, masks)
        assert result.item() == pytest.approx(expected.item(), abs=1e-6)
        slopes = [torch.autograd.grad(value, logits)[0] for value in (result, expected)]
        assert torch.allclose(*slopes, atol=1e-7)

    def test_an_absent_class_is_smoothed_here_and_left_out_by_smp(self):
        """The definitions differ on purpose: here, false positives of an absent class have a cost."""
        logits = torch.zeros(1, 1, 8, 8)
        empty = torch.zeros(1, 8, 8, dtype=torch.long)
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, empty[:, None].float()).item()
        assert build_objective("bce_dice")(logits, empty).item() == pytest.approx(entropy + 1 - 1 / 33)
        assert smp.DiceLoss("binary", smooth=1.0)(logits, empty[:, None]).item() == 0


def test_the_intended_sum_with_squared_dice_is_a_rescaled_dice_weight():
    """L + λ(1 - S) only adds λ to the weight of a squared Dice, in value and gradient."""
    masks, logits = masks_and_logits((2, 1, 32, 32))
    labels = masks[:, 0].long()
    result = build_objective("spectral", method="fft")(logits, labels)
    expected = build_objective("dice", denominator="squared", smooth=1e-6 * 32 * 32)(logits, labels)
    assert result.item() == pytest.approx(expected.item(), abs=1e-12)
    slopes = [torch.autograd.grad(value, logits)[0] for value in (result, expected)]
    assert torch.allclose(*slopes, rtol=0, atol=1e-12)


class TestMatching:
    @pytest.mark.parametrize("channels", [1, 4])
    @pytest.mark.parametrize("options", [{"band": [8, 16]}, {"weighting": 1.0}, {"band": [2, None], "weighting": 0.5}])
    def test_factor_equals_automatic_differentiation(self, channels, options):
        logits, masks = labelled(channels)
        p, y = foreground(logits.detach(), masks)
        p.requires_grad_()
        epsilon = 1e-6 * 40 * 52
        low, high = options.get("band", [0, None])
        band = (low, math.inf if high is None else high)
        ratios = []
        for c in range(p.shape[1]):
            full, limited = (
                torch.autograd.grad(spectral_similarity(p[:, [c]], y[:, [c]], epsilon=epsilon, **more), p)[0].norm()
                for more in ({}, {"band": band, "weighting": options.get("weighting", 0.0)})
            )
            ratios.append((full / limited).item())
        components = build_objective("spectral", matched=True, **options).components(logits, masks)
        assert components["matching"].item() == pytest.approx(np.mean(ratios), rel=1e-10)

    @pytest.mark.parametrize("channels", [1, 4])
    def test_matched_gradient_norm_equals_that_of_the_full_band(self, channels, monkeypatch):
        logits, masks = labelled(channels)
        p, y = foreground(logits.detach(), masks)
        p.requires_grad_()
        monkeypatch.setattr("spectralseg.objectives.spectral.probabilities_and_targets", lambda *_: (p, y))
        norms = [
            torch.autograd.grad(build_objective("spectral", **options)(logits, masks), p)[0]
            .square()
            .sum((0, 2, 3))
            .sqrt()
            for options in ({}, {"band": [8, 16], "matched": True}, {"band": [8, 16]})
        ]
        assert torch.allclose(norms[0], norms[1], rtol=1e-10)
        assert (norms[2] > 2 * norms[0]).all()

    def test_matching_only_scales_value_and_gradient(self):
        logits, masks = labelled(1)
        objectives = [build_objective("spectral", band=[8, 16], matched=m) for m in (False, True)]
        plain, matched = (objective(logits, masks) for objective in objectives)
        components, more = (objective.components(logits, masks) for objective in objectives)
        assert more["spectral"] == components["spectral"]
        assert matched.item() == pytest.approx((more["matching"] * plain).item(), rel=1e-12)
        slopes = [torch.autograd.grad(value, logits)[0] for value in (matched, more["matching"] * plain)]
        assert torch.allclose(*slopes, rtol=1e-10, atol=0)

    @pytest.mark.parametrize("channels", [1, 4])
    def test_the_full_band_matches_itself(self, channels):
        logits, masks = labelled(channels)
        values = [build_objective("spectral", matched=m)(logits, masks).item() for m in (False, True)]
        assert values[0] == values[1]


class TestRings:
    @pytest.mark.parametrize("channels", [1, 4])
    def test_equals_the_formula_per_ring(self, channels):
        logits, masks = labelled(channels)
        p, y = foreground(logits, masks)
        big_p, big_y = torch.fft.fft2(p, norm="ortho"), torch.fft.fft2(y, norm="ortho")
        radius, floor = whole_radius(40, 52), 0.5e-6 * 40 * 52
        correlations = []
        for c, r in itertools.product(range(p.shape[1]), range(3, 20)):
            one, other = (x[:, c, (radius >= r) & (radius < r + 1)] for x in (big_p, big_y))
            cross = (one * other.conj()).real.sum() + floor
            correlations.append(
                cross / ((one.abs() ** 2).sum() + floor).sqrt() / ((other.abs() ** 2).sum() + floor).sqrt()
            )
        expected = 1 - torch.stack(correlations).mean()
        result = build_objective("frc", band=[3, 20])(logits, masks)
        assert result.item() == pytest.approx(expected.item(), abs=1e-10)
        slopes = [torch.autograd.grad(value, logits)[0] for value in (result, expected)]
        assert torch.allclose(*slopes, rtol=0, atol=1e-10)

    def test_sorensen_is_the_correlation_times_the_ratio_of_the_means(self):
        logits, masks = labelled(1)
        p, y = foreground(logits, masks)
        for r in (1, 5, 17):
            inside = (whole_radius(40, 52) >= r) & (whole_radius(40, 52) < r + 1)
            energies = [(torch.fft.fft2(x, norm="ortho")[..., inside].abs() ** 2).sum() for x in (p, y)]
            a, b = (energy.item() + 0.5e-6 * 40 * 52 for energy in energies)
            correlation, sorensen = (
                1 - build_objective("frc", band=[r, r + 1], normalisation=n)(logits, masks).item()
                for n in ("correlation", "sorensen")
            )
            assert sorensen == pytest.approx(correlation * 2 * math.sqrt(a * b) / (a + b), abs=1e-10)
            assert abs(sorensen) < abs(correlation)

    @pytest.mark.parametrize("channels", [1, 4])
    def test_one_ring_of_sorensen_is_a_band_of_the_spectral_objective(self, channels):
        logits, masks = labelled(channels)
        result = build_objective("frc", band=[6, 7], normalisation="sorensen")(logits, masks).item()
        assert result == pytest.approx(build_objective("spectral", band=[6, 7])(logits, masks).item(), abs=1e-10)


@pytest.mark.parametrize("channels", [1, 4])
class TestFocalFrequency:
    @pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
    @pytest.mark.parametrize("size", [(40, 52), (31, 33)])
    def test_equals_the_formula_over_the_whole_spectrum(self, channels, alpha, size):
        logits, masks = labelled(channels, (2, *size))
        p, y = foreground(logits, masks)
        distance = (torch.fft.fft2(p, norm="ortho") - torch.fft.fft2(y, norm="ortho")).abs()
        weights = distance.detach() ** alpha
        expected = (weights / weights.amax((2, 3), keepdim=True) * distance.square()).mean()
        result = build_objective("focal_frequency", alpha=alpha)(logits, masks)
        assert result.item() == pytest.approx(expected.item(), abs=1e-12)
        slopes = [torch.autograd.grad(value, logits)[0] for value in (result, expected)]
        assert torch.allclose(*slopes, rtol=0, atol=1e-10)

    def test_without_weights_it_equals_the_mean_squared_error(self, channels):
        logits, masks = labelled(channels)
        p, y = foreground(logits, masks)
        result = build_objective("focal_frequency", alpha=0)(logits, masks)
        assert result.item() == pytest.approx((p - y).square().mean().item(), abs=1e-12)


@pytest.mark.parametrize("side", [32, 128, 224, 256])
def test_the_control_of_the_study_equals_the_spectral_term_bit_for_bit(side):
    """In single precision for one class, without rounding of a mean over classes: training is bit-identical."""
    objectives = yaml.safe_load((REPOSITORY / "config" / "objectives.yaml").read_text(encoding="utf-8"))["objectives"]
    result = []
    for name in ("spatial_spectral", "squared_dice"):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(8, 1, side, side, generator=generator).requires_grad_()
        masks = torch.randint(0, 2, (8, side, side), generator=generator)
        loss = objective_of(ObjectiveChoice.model_validate(objectives[name]), "0.2")(logits, masks)
        result.append((loss.detach(), torch.autograd.grad(loss, logits)[0]))
    assert all(torch.equal(*pair) for pair in zip(*result, strict=True))
