"""What the maps of one case are worth, as values for the metric records. See ``docs/interpretation.md``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from spectralseg.interpretation import localisation, spectra
from spectralseg.interpretation.cam import coarse_maps, enlarge, random_map
from spectralseg.interpretation.perturbation import area, perturbation_curves, pixel_ranks
from spectralseg.metrics.policy import Situation, situation

_LOCALISATION = {
    "energy": localisation.energy_share,
    "energy_relative": localisation.relative_energy,
    "pointing": localisation.pointing,
    "iou": localisation.area_matched_iou,
}
_PERTURBATION = ("insertion", "deletion")
_MAPS = ("cam", "cam_random")
_SHAPES = ("", "_soft")  # the hard label map, the probabilities

CAM_METRICS = tuple(f"{prefix}_{name}" for prefix in _MAPS for name in (*_LOCALISATION, *_PERTURBATION))
SPECTRAL_METRICS = (
    "spectral_correlation",
    "spectral_correlation_detrended",
    "spectral_similarity",
    *(f"frc_{band}" for band in spectra.BANDS),
)


def name_of(metric: str, layer: str) -> str:
    """Name of one of :data:`CAM_METRICS` where it comes from the map of this layer."""
    return metric if layer == "deepest" else metric.replace("cam", f"cam_{layer}", 1)


class Score(NamedTuple):
    """One value; see :mod:`spectralseg.metrics.records`. Label 0 is the whole foreground."""

    label: int
    metric: str
    value: float
    flag: str


def cam_scores(
    model: nn.Module,
    image: Tensor,
    mask: NDArray[np.uint8],
    rng: np.random.Generator,
    *,
    layer: str = "deepest",
    method: str = "grad_cam",
    steps: int = 16,
    batch_size: int = 8,
) -> list[Score]:
    """Localisation and faithfulness of the class activation map of an image, and of a random map beside it.

    The foreground counts as a whole. Nothing is claimed where the model marks nothing or its map is constant, nor about
    places where the reference is empty. The random map is then undefined as well: both speak of the same images.

    Args:
        model: a model in evaluation mode with a ``decoder``.
        image: standardised image (channels, H, W) on the model's device.
        mask: reference labels (H, W), 0 is background.
        rng: draws the random map and breaks ties; seed it by the case, so that every model meets the same.
        layer: see :func:`spectralseg.interpretation.cam.seg_grad_cam`.
        method: see there.
        steps: steps of insertion and deletion, which cost nearly all of the time; 0 leaves them out.
        batch_size: images per forward pass of insertion and deletion, which take 4 × (steps + 1) images.

    Returns:
        A score for each of :data:`CAM_METRICS` that is asked for, with label 0; for the layer ``decoder`` the names
        start with ``cam_decoder`` instead of ``cam``. The flag of a NaN is the situation of
        the foreground (``missed``, ``spurious`` or ``absent``), ``not finite`` or ``constant map``.

    Raises:
        InputError: the layer or the method is unknown, or the model has no decoder.
    """
    coarse, (labels,) = coarse_maps(model, image[None], layer=layer, method=method)
    cam = enlarge(coarse, mask.shape)[0].double().cpu().numpy()
    maps = np.stack([cam, random_map(coarse.shape[1:], mask.shape, rng).numpy()])
    region, case = mask > 0, situation(int(labels.any()), int(mask.any()))
    useless = "not finite" if not np.isfinite(cam).all() else "constant map" if np.ptp(cam) == 0 else ""
    unplaced = useless if case == "present" else case
    unexplained = case if case in ("missed", "absent") else useless
    values: dict[str, float] = {}
    if not unplaced:
        for prefix, one in zip(_MAPS, maps, strict=True):
            values |= {f"{prefix}_{name}": function(one, region) for name, function in _LOCALISATION.items()}
    if steps and not unexplained:
        ranks = np.stack([pixel_ranks(one, rng) for one in maps])
        curves = perturbation_curves(model, image, labels, ranks, steps=steps, batch_size=batch_size)
        for prefix, pair in zip(_MAPS, curves, strict=True):
            values |= {f"{prefix}_{name}": area(curve) for name, curve in zip(_PERTURBATION, pair, strict=True)}
    return [
        Score(0, name_of(metric, layer), values[metric], "")
        if metric in values
        else Score(0, name_of(metric, layer), float("nan"), unexplained if metric.endswith(_PERTURBATION) else unplaced)
        for metric in CAM_METRICS
        if steps or not metric.endswith(_PERTURBATION)
    ]


def case_spectra(
    probabilities: NDArray[np.float32], labels: NDArray[np.uint8], masks: NDArray[np.uint8]
) -> spectra.CrossSpectra:
    """Cross-spectra of prediction and reference of a case, summed over its slices.

    Args:
        probabilities: (N, C, S, S), one row per slice; channel 0 is the background where C > 1.
        labels: predicted labels (N, S, S).
        masks: reference labels (N, S, S).

    Returns:
        Spectra of the prediction (first) and the reference (second): (2, K, S, S) with the hard labels at 0 and the
        probabilities at 1, for each of the K foreground classes; the reference has a leading axis of 1.

    Raises:
        ValueError: there is no slice.
    """
    return spectra.cross_spectra(_slices(probabilities, labels, masks))


def _slices(
    probabilities: NDArray[np.float32], labels: NDArray[np.uint8], masks: NDArray[np.uint8]
) -> Iterator[tuple[spectra.Real, spectra.Real]]:
    for probability, label, mask in zip(probabilities, labels, masks, strict=True):
        foreground = probability if len(probability) == 1 else probability[1:]
        hard, reference = (spectra.one_hot(one, len(foreground)) for one in (label, mask))
        yield np.stack([hard, foreground.astype(np.float64)]), reference[None]


def spectral_scores(
    probabilities: NDArray[np.float32], labels: NDArray[np.uint8], masks: NDArray[np.uint8]
) -> list[Score]:
    """Agreement of prediction and reference in the frequency domain, class by class, of a case of N slices.

    Where one of the two is empty they have nothing in common, which scores 0 where the formula leaves it open; where
    both are (by the hard labels), nothing is claimed.

    Args:
        probabilities: see :func:`case_spectra`.
        labels: see there.
        masks: see there.

    Returns:
        A score for each class, each of :data:`SPECTRAL_METRICS`, of the hard labels and, with the suffix ``_soft``, of
        the probabilities. Bands beyond the highest frequency of the image, S/2, are left out.

    Raises:
        ValueError: there is no slice.
    """
    found = case_spectra(probabilities, labels, masks)
    bands = spectra.band_means(spectra.fourier_ring_correlation(found))
    values = {
        "spectral_correlation": spectra.magnitude_correlation(found),
        "spectral_correlation_detrended": spectra.magnitude_correlation(found, detrended=True),
        "spectral_similarity": spectra.similarity(found),
        **{
            f"frc_{band}": bands[..., number]
            for number, (band, (low, _)) in enumerate(spectra.BANDS.items())
            if low <= masks.shape[-1] // 2
        },
    }
    cases = [situation(int((labels == k + 1).sum()), int((masks == k + 1).sum())) for k in range(bands.shape[1])]
    return [
        Score(k + 1, f"{metric}{suffix}", *_completed(float(value[shape, k]), case))
        for metric, value in values.items()
        for shape, suffix in enumerate(_SHAPES)
        for k, case in enumerate(cases)
    ]


def _completed(value: float, case: Situation) -> tuple[float, str]:
    """Value and flag after the rule for structures that are missing on one side or both."""
    if case == "absent":
        return float("nan"), case
    if np.isnan(value):
        return (float("nan"), "not defined") if case == "present" else (0.0, case)
    return value, ""
