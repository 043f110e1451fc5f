"""Surface metrics against MedPy and MONAI, which implement the two definitions of HD95, and against brute force."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from spectralseg.metrics import (
    SurfaceDistances,
    average_surface_distance,
    boundary_iou,
    hausdorff95,
    normalized_surface_dice,
)

medpy = pytest.importorskip("medpy.metric.binary")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    monai = pytest.importorskip("monai.metrics")


def blob(rng, shape):
    """A random, non-empty mask of a few smooth parts."""
    noise = ndimage.gaussian_filter(rng.random(shape), rng.uniform(0.5, 2.5))
    mask = noise > np.quantile(noise, rng.uniform(0.4, 0.98))
    return mask if mask.any() else noise == noise.max()


def monai_distance(prediction, reference, spacing):
    """MONAI wants one-hot batches; background is left out."""
    batch = [torch.from_numpy(np.stack([~mask, mask])[None]).float() for mask in (prediction, reference)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return monai.compute_hausdorff_distance(
            *batch, include_background=False, percentile=95, directed=False, spacing=spacing
        ).item()


def islands(rng, shape):
    """Single pixels and boxes, also at the border."""
    mask = np.zeros(shape, bool)
    for _ in range(rng.integers(1, 6)):
        first = [rng.integers(0, size) for size in shape]
        mask[tuple(slice(start, start + rng.integers(1, 5)) for start in first)] = True
    return mask


def noise(rng, shape):
    """Independent random pixels, few or many."""
    mask = rng.random(shape) < rng.uniform(0.02, 1)
    mask.flat[rng.integers(0, mask.size)] = True
    return mask


def full(rng, shape):
    return np.ones(shape, bool)


def single(rng, shape):
    mask = np.zeros(shape, bool)
    mask.flat[rng.integers(0, mask.size)] = True
    return mask


KINDS = [blob, islands, noise, full, single]
sizes = st.one_of(
    st.tuples(*[st.integers(1, 40)] * 2),
    st.tuples(*[st.integers(1, 14)] * 3),
)


@st.composite
def masks(draw):
    """Two masks, none of them empty, and a spacing."""
    shape = draw(sizes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pair = [draw(st.sampled_from(KINDS))(rng, shape) for _ in range(2)]
    return *pair, draw(st.none() | st.tuples(*[st.floats(0.25, 8)] * len(shape)))


def surface_points(mask, spacing):
    """Pixels with a direct neighbour outside the mask or the image, by a loop."""
    padded = np.pad(mask, 1)
    kept = []
    for point in np.argwhere(padded):
        steps = [step * sign for step in np.eye(mask.ndim, dtype=int) for sign in (1, -1)]
        if not all(padded[tuple(point + step)] for step in steps):
            kept.append(point)
    return np.array(kept) * (spacing or (1,) * mask.ndim)


@settings(max_examples=150, derandomize=True)
@given(masks())
def test_distances_equal_brute_force(drawn):
    prediction, reference, spacing = drawn
    points = surface_points(prediction, spacing), surface_points(reference, spacing)
    table = cdist(*points)
    result = SurfaceDistances.between(prediction, reference, spacing)
    for distances, expected in ((result.forward, table.min(1)), (result.backward, table.min(0))):
        assert np.sort(distances) == pytest.approx(np.sort(expected), rel=1e-9, abs=1e-9)
    both = np.concatenate([table.min(1), table.min(0)])
    assert average_surface_distance(prediction, reference, spacing) == pytest.approx(both.mean())
    tolerance = float(np.median(both)) + 1e-6
    share = normalized_surface_dice(prediction, reference, tolerance, spacing)
    assert share == pytest.approx((both <= tolerance).mean())


@settings(max_examples=150, derandomize=True)
@given(masks())
def test_both_definitions_equal_their_reference(drawn):
    prediction, reference, spacing = drawn
    pooled = hausdorff95(prediction, reference, spacing, "pooled")
    # Squared distances are integers, so that both agree up to the last bit.
    assert pooled == pytest.approx(medpy.hd95(prediction, reference, spacing or 1), rel=1e-9, abs=1e-9)
    larger = hausdorff95(prediction, reference, spacing, "max")
    assert larger == pytest.approx(monai_distance(prediction, reference, spacing), rel=1e-5, abs=1e-5)


@settings(max_examples=60, derandomize=True)
@given(masks())
def test_average_and_surface_dice_equal_their_reference(drawn):
    prediction, reference, spacing = drawn
    result = SurfaceDistances.between(prediction, reference, spacing)
    directed = medpy.asd(prediction, reference, spacing or 1), medpy.asd(reference, prediction, spacing or 1)
    assert (result.forward.mean(), result.backward.mean()) == pytest.approx(directed, rel=1e-9, abs=1e-9)
    assert result.average() == pytest.approx(medpy.assd(prediction, reference, spacing or 1), rel=1e-9, abs=1e-9)
    batch = [torch.from_numpy(np.stack([~mask, mask])[None]).float() for mask in (prediction, reference)]
    options = {"include_background": False, "spacing": spacing}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        average = monai.compute_average_surface_distance(*batch, symmetric=True, **options).item()
        tolerance = float(np.median(result.both)) + 1e-3
        share = monai.compute_surface_dice(*batch, class_thresholds=[tolerance], **options).item()
    assert result.average() == pytest.approx(average, rel=1e-5, abs=1e-5)
    assert result.normalized_dice(tolerance) == pytest.approx(share, abs=1e-5)


@settings(max_examples=60, derandomize=True)
@given(masks(), st.integers(1, 12))
def test_boundary_iou_equals_repeated_erosion(drawn, steps):
    prediction, reference, _ = drawn
    neighbours = ndimage.generate_binary_structure(prediction.ndim, prediction.ndim)
    bands = [
        mask & ~ndimage.binary_erosion(mask, neighbours, iterations=steps, border_value=0)
        for mask in (prediction, reference)
    ]
    expected = (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()
    assert boundary_iou(prediction, reference, width=steps) == pytest.approx(expected)


def test_boundary_iou_with_anisotropic_spacing():
    rng = np.random.default_rng(0)
    fine = np.repeat(blob(rng, (12, 30, 30)), 3, 0), np.repeat(blob(rng, (12, 30, 30)), 3, 0)
    coarse = [mask[::3] for mask in fine]
    assert boundary_iou(*coarse, (3.0, 1.0, 1.0), 6) == pytest.approx(boundary_iou(*fine, None, 6))


@pytest.mark.parametrize("spacing", [None, (3.0, 0.8, 0.7)])
def test_organs_that_touch_the_border_of_a_volume_agree(spacing):
    masks = np.zeros((2, 12, 24, 24), bool)
    masks[0, :7, 5:, :11] = masks[1, 2:, 3:20, 2:] = True
    assert hausdorff95(*masks, spacing, "pooled") == pytest.approx(medpy.hd95(*masks, spacing or 1))
    assert hausdorff95(*masks, spacing) == pytest.approx(monai_distance(*masks, spacing), rel=1e-5)


def test_published_reference_values():
    """A perfect mask with a distant false positive of radius 4, which the pooled definition does not detect."""
    rows, columns = np.mgrid[:224, :224]
    reference = np.hypot(rows - 70, columns - 70) <= 40
    prediction = reference | (np.hypot(rows - 180, columns - 180) <= 4)
    assert hausdorff95(prediction, reference, definition="pooled") == medpy.hd95(prediction, reference) == 0
    larger = hausdorff95(prediction, reference)
    assert larger == pytest.approx(monai_distance(prediction, reference, None))
    assert larger > 70
