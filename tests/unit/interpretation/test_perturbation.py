import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from spectralseg.interpretation.cam import labels_of
from spectralseg.interpretation.perturbation import area, blur, perturbation_curves, pixel_ranks


class Brightness(nn.Module):
    """Classifies every pixel separately: foreground, or one of two classes, where channel 0 (or 1) is bright."""

    def __init__(self, classes=1):
        super().__init__()
        self.classes = classes
        self.batch_sizes = []

    def forward(self, images):
        self.batch_sizes.append(len(images))
        if self.classes == 1:
            return 6 * images[:, :1] - 3
        return torch.cat([torch.full_like(images[:, :1], 3.0), 6 * images[:, :2]], 1)


def scene(side=32):
    """A square in channel 0, another in channel 1."""
    image = torch.zeros(2, side, side)
    image[0, 8:16, 8:16] = 1
    image[1, 20:26, 20:26] = 1
    return image


def curves(model, image, cams, seed=0, **options):
    rng = np.random.default_rng(seed)
    labels = labels_of(model(image[None]))[0]
    ranks = np.stack([pixel_ranks(np.asarray(cam, float), rng) for cam in cams])
    return perturbation_curves(model, image, labels, ranks, **options)


def brute_force(model, image, ranks, steps):
    """Reference implementation, one image and one pixel at a time."""
    blurred = torch.from_numpy(blur(image.numpy()))
    labels = labels_of(model(image[None]))[0]
    curves = np.zeros((2, steps + 1))
    for way in range(2):
        for step in range(steps + 1):
            perturbed = (blurred if way == 0 else image).clone()
            for row, column in np.argwhere(ranks < step / steps * ranks.size):
                perturbed[:, row, column] = (image if way == 0 else blurred)[:, row, column]
            logits = model(perturbed[None])[0]
            if len(logits) == 1:
                logits = torch.cat([torch.zeros_like(logits), logits])
            probability = logits.softmax(0)
            values = [probability[labels[r, c], r, c].item() for r, c in torch.nonzero(labels > 0).tolist()]
            curves[way, step] = np.mean(values)
    return curves


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("steps", [1, 4, 7])
def test_curves_equal_a_brute_force_implementation(classes, steps):
    model, image = Brightness(classes), scene(28)
    rng = np.random.default_rng(3)
    ranks = np.stack([pixel_ranks(rng.random((28, 28)), rng) for _ in range(2)])
    result = perturbation_curves(model, image, labels_of(model(image[None]))[0], ranks, steps=steps, batch_size=3)
    assert result.shape == (2, 2, steps + 1)
    for m in range(2):
        assert np.allclose(result[m], brute_force(model, image, ranks[m], steps), atol=1e-6)


@pytest.mark.parametrize("classes", [1, 2])
def test_curves_start_and_end_with_the_blurred_and_the_original_image(classes):
    model, image = Brightness(classes), scene()
    insertion, deletion = curves(model, image, [scene().sum(0)], steps=5)[0]
    assert insertion[0] == pytest.approx(deletion[-1], abs=1e-6)
    assert insertion[-1] == pytest.approx(deletion[0], abs=1e-6)
    assert insertion[-1] > insertion[0]


def test_a_perfect_order_has_the_best_areas():
    """Better than a random order, which is better than the reverse order."""
    model, image = Brightness(), scene()
    perfect = scene()[0]
    result = curves(model, image, [perfect, np.random.default_rng(0).random((32, 32)), 1 - perfect])
    insertion, deletion = ([area(curve) for curve in result[:, way]] for way in range(2))
    assert insertion[0] >= deletion[0]
    assert insertion[0] > insertion[1] > insertion[2]
    assert deletion[0] < deletion[1] < deletion[2]


def test_insertion_and_deletion_are_complementary_for_a_pixelwise_model():
    model, image = Brightness(), scene()
    rng = np.random.default_rng(0)
    ranks = pixel_ranks(rng.random((32, 32)), rng)
    labels = labels_of(model(image[None]))[0]
    both = perturbation_curves(model, image, labels, np.stack([ranks, ranks.size - 1 - ranks]))
    assert np.allclose(both[0, 1], both[1, 0][::-1], atol=1e-6)


def test_results_do_not_depend_on_the_batch_size():
    model, image = Brightness(), scene()
    ways = [curves(model, image, [scene().sum(0)], steps=4, batch_size=size) for size in (1, 3, 64)]
    assert np.allclose(ways[0], ways[1], atol=1e-7)
    assert np.allclose(ways[0], ways[2], atol=1e-7)
    assert max(model.batch_sizes) == 10


def test_without_foreground_confidence_is_nan():
    assert np.isnan(curves(Brightness(), -scene(), [scene()[0]], steps=2)).all()


def test_the_area_follows_the_trapezoidal_rule():
    assert area(np.array([0.0, 1.0])) == 0.5
    assert area(np.full(17, 0.3)) == pytest.approx(0.3)
    assert area(np.array([0.0, 1.0, 1.0, 1.0, 1.0])) == pytest.approx(0.875)


def test_ranks_are_an_order_of_the_pixels():
    cam = np.random.default_rng(0).integers(0, 4, (9, 7)).astype(float)
    ranks = pixel_ranks(cam, np.random.default_rng(0))
    assert (np.sort(ranks.ravel()) == np.arange(63)).all()
    assert (np.diff(cam.ravel()[ranks.ravel().argsort()]) <= 0).all()


def test_ties_are_broken_at_random_and_by_seed():
    flat = np.zeros((20, 20))
    first, again, other = (pixel_ranks(flat, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    top = first < 200
    assert 60 < top[:10].sum() < 140  # not row by row


def test_the_blur_is_the_separable_gaussian():
    image = np.random.default_rng(0).random((3, 56, 56)).astype(np.float32)
    expected = np.stack([ndimage.gaussian_filter(channel, 2.5) for channel in image])
    assert np.allclose(blur(image), expected, atol=1e-6)
    assert blur(image).std() < 0.3 * image.std()
