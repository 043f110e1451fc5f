"""Surface distances against MedPy and MONAI, which implement the two definitions."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from spectralseg.metrics import hausdorff95

medpy = pytest.importorskip("medpy.metric.binary")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    monai = pytest.importorskip("monai.metrics")


def blob(rng, shape):
    """A random mask of a few smooth parts; never empty."""
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


sizes = st.one_of(
    st.tuples(*[st.integers(4, 40)] * 2),
    st.tuples(*[st.integers(3, 14)] * 3),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(shape=sizes, seed=st.integers(0, 2**32 - 1), data=st.data())
def test_both_definitions_agree_with_their_reference_on_random_masks(shape, seed, data):
    rng = np.random.default_rng(seed)
    prediction, reference = blob(rng, shape), blob(rng, shape)
    spacing = data.draw(st.none() | st.tuples(*[st.floats(0.25, 8)] * len(shape)))
    pooled = hausdorff95(prediction, reference, spacing, "pooled")
    assert pooled == pytest.approx(medpy.hd95(prediction, reference, spacing or 1), rel=1e-9, abs=1e-9)
    larger = hausdorff95(prediction, reference, spacing, "max")
    assert larger == pytest.approx(monai_distance(prediction, reference, spacing), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("spacing", [None, (3.0, 0.8, 0.7)])
def test_organs_that_touch_the_border_of_a_volume_agree(spacing):
    masks = np.zeros((2, 12, 24, 24), bool)
    masks[0, :7, 5:, :11] = masks[1, 2:, 3:20, 2:] = True
    assert hausdorff95(*masks, spacing, "pooled") == pytest.approx(medpy.hd95(*masks, spacing or 1))
    assert hausdorff95(*masks, spacing) == pytest.approx(monai_distance(*masks, spacing), rel=1e-5)


def test_the_published_reference_values_hold():
    """A perfect mask with a far false island of radius 4: the pooled definition does not see it."""
    rows, columns = np.mgrid[:224, :224]
    reference = np.hypot(rows - 70, columns - 70) <= 40
    prediction = reference | (np.hypot(rows - 180, columns - 180) <= 4)
    assert hausdorff95(prediction, reference, definition="pooled") == medpy.hd95(prediction, reference) == 0
    larger = hausdorff95(prediction, reference)
    assert larger == pytest.approx(monai_distance(prediction, reference, None))
    assert larger > 70
