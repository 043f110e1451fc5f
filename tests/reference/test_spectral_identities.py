"""Identities of Eq. (2) of the paper, in double precision."""

import itertools
import warnings

import pytest
import torch

from spectralseg.objectives import build_objective, spectral_similarity

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    monai = pytest.importorskip("monai.losses")
smp = pytest.importorskip("segmentation_models_pytorch.losses")

SHAPES = [(2, 1, 32, 32), (3, 2, 31, 45), (1, 4, 24, 64)]


def masks_and_logits(shape, seed=0):
    """Random masks and logits in double precision."""
    generator = torch.Generator().manual_seed(seed)
    masks = (torch.rand(*shape, generator=generator) < 0.3).double()
    return masks, torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


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
    def test_transform_closed_form_and_squared_dice_are_one_number_with_one_gradient(self, shape, seed):
        masks, logits = masks_and_logits(shape, seed)
        expected, slope = value_and_gradient(lambda p: squared_dice(p, masks), logits)
        for method in ("auto", "fft"):
            value, gradient = value_and_gradient(lambda p: spectral_similarity(p, masks, method=method), logits)  # noqa: B023
            assert abs(value - expected) < 1e-10
            assert (gradient - slope).abs().max() < 1e-10

    def test_the_literal_formula_with_an_explicit_transform_is_the_same(self, shape, seed):
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

    def test_it_equals_monai_dice_with_squared_denominator_pooled_over_the_batch(self, shape, seed):
        masks, logits = masks_and_logits((shape[0], 1, *shape[2:]), seed)
        loss = monai.DiceLoss(squared_pred=True, batch=True, smooth_nr=0, smooth_dr=0)
        expected, slope = value_and_gradient(lambda p: 1 - loss(p, masks), logits)
        value, gradient = value_and_gradient(lambda p: spectral_similarity(p, masks, method="fft"), logits)
        assert abs(value - expected) < 1e-10
        assert (gradient - slope).abs().max() < 1e-10

    def test_bands_weighted_by_their_energy_add_up_to_the_whole(self, shape, seed):
        masks, logits = masks_and_logits(shape, seed)
        p = logits.sigmoid().detach()
        limits = [0, 0.5, 4, 8, 16, 1e9]
        radius = max(shape[-2:]) * torch.hypot(
            torch.fft.fftfreq(shape[-2], dtype=torch.float64)[:, None],
            torch.fft.fftfreq(shape[-1], dtype=torch.float64)[None],
        )
        energy = (torch.fft.fft2(p).abs().square() + torch.fft.fft2(masks).abs().square()).sum((0, 1))
        total = 0.0
        for low, high in itertools.pairwise(limits):
            share = energy[(radius >= low) & (radius < high)].sum() / energy.sum()
            total += share * spectral_similarity(p, masks, band=(low, high))
        assert abs(total - spectral_similarity(p, masks)) < 1e-10


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
    found = spectral_similarity(p[None, None], y[None, None], weighting=2.0)
    assert abs(found - squared_dice(slopes_p, slopes_y)) < 1e-10
    differences = [torch.stack([x - x.roll(1, 0), x - x.roll(1, 1)]) for x in (p, y)]
    assert 1e-10 < abs(found - squared_dice(*differences)) < 0.02


class TestSpatialObjective:
    """Cross-entropy + 1 - Dice against torch and segmentation-models-pytorch, whose Dice is linear and pooled.

    Its smoothing enters a Tversky index, (I + s) / (I + FP/2 + FN/2 + s), and so counts twice in the terms of Dice.
    """

    @pytest.mark.parametrize("smooth", [0.0, 1.0, 10.0])
    def test_binary_tasks_agree(self, smooth):
        masks, logits = masks_and_logits((3, 1, 20, 24))
        logits = logits.detach().float().requires_grad_()
        found = build_objective("bce_dice", smooth=smooth)(logits, masks[:, 0].long())[0]
        dice = smp.DiceLoss("binary", from_logits=True, smooth=smooth / 2)
        expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, masks.float()) + dice(logits, masks)
        assert found.item() == pytest.approx(expected.item(), abs=1e-6)
        slopes = [torch.autograd.grad(value, logits)[0] for value in (found, expected)]
        assert torch.allclose(*slopes, atol=1e-7)

    @pytest.mark.parametrize("smooth", [0.0, 1.0, 10.0])
    def test_multi_class_tasks_agree_over_the_foreground_classes(self, smooth):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(3, 5, 20, 24, generator=generator, requires_grad=True)
        masks = torch.randint(0, 5, (3, 20, 24), generator=generator)
        found = build_objective("bce_dice", smooth=smooth)(logits, masks)[0]
        dice = smp.DiceLoss("multiclass", classes=[1, 2, 3, 4], from_logits=True, smooth=smooth / 2)
        expected = torch.nn.functional.cross_entropy(logits, masks) + dice(logits, masks)
        assert found.item() == pytest.approx(expected.item(), abs=1e-6)
        slopes = [torch.autograd.grad(value, logits)[0] for value in (found, expected)]
        assert torch.allclose(*slopes, atol=1e-7)

    def test_an_absent_class_is_smoothed_here_and_left_out_by_smp(self):
        """The definitions differ on purpose: here an absent class still costs false positives."""
        logits = torch.zeros(1, 1, 8, 8)
        empty = torch.zeros(1, 8, 8, dtype=torch.long)
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, empty[:, None].float()).item()
        assert build_objective("bce_dice")(logits, empty)[0].item() == pytest.approx(entropy + 1 - 1 / 33)
        assert smp.DiceLoss("binary", smooth=1.0)(logits, empty[:, None]).item() == 0


def test_the_intended_sum_with_squared_dice_is_a_rescaled_dice_weight():
    """L + λ(1 - S) adds λ to the weight of a squared Dice, nothing else, in value and gradient."""
    masks, logits = masks_and_logits((2, 1, 32, 32))
    spectral = build_objective("spectral", method="fft")
    single = logits.detach().float().requires_grad_()
    found = spectral(single, masks[:, 0].long())[0]
    expected = 1 - squared_dice(single.sigmoid(), masks.float())
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    slopes = [torch.autograd.grad(value, single)[0] for value in (found, expected)]
    assert torch.allclose(*slopes, atol=1e-8)
