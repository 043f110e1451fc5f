"""Spatial objectives against other libraries and their formulas, in double precision."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from spectralseg.objectives import build_objective
from spectralseg.objectives._distances import signed_distances

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import monai.losses
smp = pytest.importorskip("segmentation_models_pytorch.losses")

TASKS = {"binary": 1, "multi-class": 4}


def batch(channels, shape=(3, 20, 25), seed=0):
    """Random logits and masks."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, max(2, channels), shape, generator=generator)
    logits = 3 * torch.randn(shape[0], channels, *shape[1:], generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), masks


def blobs(channels, size=32, seed=0):
    """Random logits and masks with smooth boundaries, of which one is empty and, for binary tasks, one full."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal((4, max(2, channels), size, size)), (0, 0, 3, 3))
    masks = torch.from_numpy(smooth.argmax(1))
    masks[1] = 0
    masks[2] = 1
    logits = torch.from_numpy(ndimage.gaussian_filter(rng.standard_normal((4, channels, size, size)), (0, 0, 2, 2)))
    return (20 * logits).requires_grad_(), masks


def two_classes(logits):
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits


def one_hot(masks, channels):
    return functional.one_hot(masks, max(2, channels)).movedim(-1, 1).double()


def foreground(logits, masks):
    """Probabilities and targets of the foreground classes."""
    return two_classes(logits).softmax(1)[:, 1:], one_hot(masks, logits.shape[1])[:, 1:]


def assert_equal(name, options, reference, logits, masks, tolerance=1e-10):
    """The same value and the same gradient."""
    result = build_objective(name, **options)(logits, masks)
    expected = reference(logits, masks)
    assert result.dtype == torch.float64
    assert result.item() == pytest.approx(expected.item(), rel=tolerance, abs=tolerance)
    slopes = [torch.autograd.grad(value, logits)[0] for value in (result, expected)]
    assert torch.allclose(*slopes, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("channels", TASKS.values(), ids=TASKS.keys())
class TestAgainstReferences:
    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_cross_entropy(self, channels, smoothing):
        def reference(logits, masks):
            return functional.cross_entropy(two_classes(logits), masks, label_smoothing=smoothing)

        assert_equal("cross_entropy", {"label_smoothing": smoothing}, reference, *batch(channels))

    @pytest.mark.parametrize(
        ("denominator", "per_image", "background", "smooth"),
        list(itertools.product(["linear", "squared"], [False, True], [False, True], [1e-5, 1.0])),
    )
    def test_dice(self, channels, denominator, per_image, background, smooth):
        loss = monai.losses.DiceLoss(
            squared_pred=denominator == "squared", batch=not per_image, smooth_nr=smooth, smooth_dr=smooth
        )

        def reference(logits, masks):
            first = 0 if background else 1
            return loss(two_classes(logits).softmax(1)[:, first:], one_hot(masks, channels)[:, first:])

        options = {"denominator": denominator, "per_image": per_image, "background": background, "smooth": smooth}
        assert_equal("dice", options, reference, *batch(channels))

    def test_transunet(self, channels):
        def reference(logits, masks):
            p, y = two_classes(logits).softmax(1), one_hot(masks, channels)
            losses = [
                1 - (2 * (p[:, c] * y[:, c]).sum() + 1e-5) / ((p[:, c] ** 2).sum() + (y[:, c] ** 2).sum() + 1e-5)
                for c in range(p.shape[1])
            ]
            return 0.5 * functional.cross_entropy(two_classes(logits), masks) + 0.5 * sum(losses) / len(losses)

        options = {"entropy_weight": 0.5, "dice_weight": 0.5, "denominator": "squared", "background": True}
        assert_equal("bce_dice", {**options, "smooth": 1e-5}, reference, *batch(channels))

    @pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.5])
    def test_focal(self, channels, gamma):
        loss = monai.losses.FocalLoss(gamma=gamma, use_softmax=True, reduction="mean")

        def reference(logits, masks):
            every = two_classes(logits)
            return every.shape[1] * loss(every, one_hot(masks, channels))

        assert_equal("focal", {"gamma": gamma}, reference, *batch(channels), tolerance=1e-6)

    @pytest.mark.parametrize(("alpha", "beta", "gamma"), [(0.3, 0.7, 1.0), (0.5, 0.5, 1.0), (0.3, 0.7, 0.75)])
    def test_tversky(self, channels, alpha, beta, gamma):
        def reference(logits, masks):
            losses = []
            for p, y in zip(*(x.movedim(1, 0) for x in foreground(logits, masks)), strict=True):
                true, positive, negative = (y * p).sum(), ((1 - y) * p).sum(), (y * (1 - p)).sum()
                losses.append((1 - (true + 1) / (true + alpha * positive + beta * negative + 1)) ** gamma)
            return sum(losses) / len(losses)

        assert_equal("tversky", {"alpha": alpha, "beta": beta, "gamma": gamma}, reference, *batch(channels))

    def test_hausdorff_also_where_masks_are_empty_or_full(self, channels):
        loss = monai.losses.HausdorffDTLoss(include_background=True)
        assert_equal("hausdorff", {}, lambda *x: loss(*foreground(*x)), *blobs(channels), tolerance=1e-6)

    def test_boundary_equals_monai_up_to_a_constant(self, channels):
        loss = monai.losses.BoundaryLoss()

        def reference(logits, masks):
            p, y = foreground(logits, masks)
            return loss(p, y) - loss(y, y)

        assert_equal("boundary", {}, reference, *blobs(channels), tolerance=1e-6)

    @pytest.mark.parametrize("per_image", [False, True])
    def test_lovasz_extends_the_jaccard_loss(self, channels, per_image):
        """Reference: in order of their errors, the weight of a pixel is its increment of the Jaccard loss."""

        def jaccard_loss(wrong, truth):
            return wrong.sum().double() / (truth | wrong).sum()

        def extension(errors, truth):
            order = errors.argsort(descending=True)
            wrong, before, total = torch.zeros_like(truth), 0.0, 0.0
            for pixel in order:
                wrong[pixel] = True
                after = jaccard_loss(wrong, truth)
                total += errors[pixel] * (after - before)
                before = after
            return total

        def one(logits, masks):
            if channels == 1:
                signs = 2 * masks.flatten() - 1
                return extension((1 - signs * logits.flatten()).relu(), masks.flatten() > 0)
            p, y = logits.softmax(1).movedim(1, 0).flatten(1), one_hot(masks, channels).movedim(1, 0).flatten(1)
            values = [extension((y[c] - p[c]).abs(), y[c] > 0) for c in range(channels) if y[c].any()]
            return sum(values) / len(values)

        def reference(logits, masks):
            if not per_image:
                return one(logits, masks)
            return sum(one(logits[[i]], masks[[i]]) for i in range(len(masks))) / len(masks)

        logits, masks = batch(channels, (2, 5, 6))
        masks[0][masks[0] == 2] = 0
        assert_equal("lovasz", {"per_image": per_image}, reference, logits, masks)

    @pytest.mark.parametrize("per_image", [False, True])
    def test_lovasz_equals_smp_up_to_single_precision(self, channels, per_image):
        loss = smp.LovaszLoss("binary" if channels == 1 else "multiclass", per_image=per_image)

        def reference(logits, masks):
            return loss(logits.float(), masks).double()

        logits, masks = batch(channels)
        masks[0][masks[0] == 2] = 0
        assert_equal("lovasz", {"per_image": per_image}, reference, logits, masks, tolerance=1e-5)

    @pytest.mark.slow
    @pytest.mark.parametrize("size", [32, 700])
    def test_distances_equal_scipy_in_double_precision(self, channels, size):
        logits, masks = blobs(channels, size)

        def reference(logits, masks):
            p, y = foreground(logits, masks)
            weights = torch.zeros_like(p)
            for side in (p > 0.5, y > 0.5):
                for place in itertools.product(*map(range, side.shape[:2])):
                    mask = side[place].numpy()
                    if mask.any() and not mask.all():
                        distances = ndimage.distance_transform_edt(mask) + ndimage.distance_transform_edt(~mask)
                        weights[place] += torch.from_numpy(distances) ** 1.5
            return ((p - y) ** 2 * weights).mean()

        assert_equal("hausdorff", {"alpha": 1.5}, reference, logits, masks)

    @pytest.mark.parametrize("margin", [0.0, 2.5, 10.0])
    def test_margin(self, channels, margin):
        def reference(logits, masks):
            every = two_classes(logits)
            pairs = [(every.max(1).values - every[:, c] - margin).clamp(min=0) for c in range(every.shape[1])]
            return torch.stack(pairs).mean()

        assert_equal("margin", {"margin": margin}, reference, *batch(channels))


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_unified_focal_of_two_classes_equals_monai(gamma):
    """MONAI applies no sigmoid, and averages its focal part over both classes."""
    logits, masks = batch(1)
    shared = {"delta": 0.6, "gamma": gamma}
    focal = monai.losses.unified_focal_loss.AsymmetricFocalLoss(**shared)
    tversky = monai.losses.unified_focal_loss.AsymmetricFocalTverskyLoss(**shared)

    def reference(logits, masks):
        p, y = two_classes(logits).softmax(1), one_hot(masks, 1)
        return 0.3 * 2 * focal(p, y) + 0.7 * tversky(p, y)

    options = {**shared, "weight": 0.3, "smooth": 1e-7}
    assert_equal("unified_focal", options, reference, logits, masks, tolerance=1e-5)


def test_unified_focal_of_several_classes_treats_each_foreground_class_as_rare():
    logits, masks = batch(4)
    p, y = logits.softmax(1), one_hot(masks, 4)
    weights = torch.where(masks > 0, 0.6, 0.4 * (1 - p[:, 0]) ** 0.5)
    focal = -(weights[:, None] * y * p.log()).sum(1).mean()
    index = torch.stack(
        [
            ((y * p).sum((2, 3)) + 1)[:, c]
            / ((y * p).sum((2, 3)) + 0.6 * (y * (1 - p)).sum((2, 3)) + 0.4 * ((1 - y) * p).sum((2, 3)) + 1)[:, c]
            for c in range(4)
        ]
    )
    tversky = torch.cat([1 - index[:1], (1 - index[1:]) ** 0.5]).mean()
    objective = build_objective("unified_focal")
    assert objective(logits, masks).item() == pytest.approx(0.5 * focal.item() + 0.5 * tversky.item())
    assert objective.components(logits, masks)["focal"].item() == pytest.approx(focal.item())


@pytest.mark.parametrize("size", [33, 224, 1000])
def test_distances_are_bit_identical_at_any_memory_address(size):
    """Needed for bit-identical weights of resumed trainings."""
    masks = torch.from_numpy(np.random.default_rng(0).random((1, 1, size, size)) < 1 - 10 / size**2)
    masks[..., 0, 0] = False
    plane = masks[0, 0].numpy()
    exact = ndimage.distance_transform_edt(~plane) - ndimage.distance_transform_edt(plane)
    held = []
    for dtype in (torch.float32, torch.float64):
        for offset in range(8):
            held.append(torch.empty(1000 + 8 * offset))  # changes the address of the next allocation
            result = signed_distances(masks, dtype)
            assert torch.equal(result, torch.from_numpy(exact).to(dtype)[None, None])


class TestReasonsAgainstLibraries:
    """If one of these fails, a library has changed, and may be used for the objective."""

    def test_smp_ignores_false_positives_of_absent_classes(self):
        logits, empty = torch.zeros(1, 1, 8, 8), torch.zeros(1, 8, 8, dtype=torch.long)
        assert smp.TverskyLoss("binary")(logits, empty[:, None]).item() == 0
        assert build_objective("tversky")(logits, empty).item() > 0.9

    def test_smp_focal_uses_sigmoids_for_several_classes(self):
        """A softmax does not change if a constant is added to all logits."""
        logits, masks = batch(4)
        shifted = logits + 1
        assert not torch.isclose(*(smp.FocalLoss("multiclass")(x, masks) for x in (logits, shifted)))
        assert torch.isclose(*(build_objective("focal")(x, masks) for x in (logits, shifted)))

    def test_monai_unified_focal_applies_no_sigmoid(self):
        loss = monai.losses.AsymmetricUnifiedFocalLoss()
        target = torch.ones(1, 1, 8, 8)
        assert loss(torch.full_like(target, 1.0), target).item() == pytest.approx(
            loss(torch.full_like(target, 9.0), target).item()
        )
