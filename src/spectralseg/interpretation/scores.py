"""Scores of activation maps and spectra of a case, for the metric records. See ``docs/interpretation.md``."""

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
_SUFFIXES = ("", "_soft")  # of metrics of the label map and of the probabilities

CAM_METRICS = tuple(f"{prefix}_{name}" for prefix in _MAPS for name in (*_LOCALISATION, *_PERTURBATION))
SPECTRAL_METRICS = (
    "spectral_correlation",
    "spectral_correlation_detrended",
    "spectral_similarity",
    *(f"frc_{band}" for band in spectra.BANDS),
)


def name_of(metric: str, layer: str) -> str:
    """Name of a metric of :data:`CAM_METRICS` for the map of this layer."""
    return metric if layer == "deepest" else metric.replace("cam", f"cam_{layer}", 1)


class Score(NamedTuple):
    """A value of a metric; see :mod:`spectralseg.metrics.records`. Label 0 is the whole foreground."""

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
    """Localisation and faithfulness of the class activation map of an image, and of a random map for comparison.

    The foreground counts as a whole. Scores are undefined if the model predicts no foreground or its map is constant;
    localisation is also undefined if the reference is empty. Scores of the random map are then undefined too, so that
    both means are over the same images.

    Args:
        model: a model in evaluation mode with a ``decoder``.
        image: standardised image (channels, H, W) on the model's device.
        mask: reference labels (H, W), 0 is background.
        rng: draws the random map and breaks ties; seed it by the case to get the same for every model.
        layer: see :func:`spectralseg.interpretation.cam.seg_grad_cam`.
        method: likewise.
        steps: steps of insertion and deletion, which take nearly all of the time; 0 omits both.
        batch_size: images per forward pass of insertion and deletion, which take 4 × (steps + 1) images.

    Returns:
        A score with label 0 for each of :data:`CAM_METRICS`; for the layer ``decoder``, names start with
        ``cam_decoder`` instead of ``cam``. The flag of a NaN is the situation of the foreground (``missed``,
        ``spurious`` or ``absent``), ``not finite`` or ``constant map``.

    Raises:
        InputError: the layer or the method is unknown, or the model has no decoder.
    """
    coarse, (labels,) = coarse_maps(model, image[None], layer=layer, method=method)
    cam = enlarge(coarse, mask.shape)[0].double().cpu().numpy()
    maps = np.stack([cam, random_map(coarse.shape[1:], mask.shape, rng).numpy()])
    region, case = mask > 0, situation(int(labels.any()), int(mask.any()))
    defect = "not finite" if not np.isfinite(cam).all() else "constant map" if np.ptp(cam) == 0 else ""
    not_localised = defect if case == "present" else case
    not_perturbed = case if case in ("missed", "absent") else defect
    values: dict[str, float] = {}
    if not not_localised:
        for prefix, activation in zip(_MAPS, maps, strict=True):
            values |= {f"{prefix}_{name}": function(activation, region) for name, function in _LOCALISATION.items()}
    if steps and not not_perturbed:
        ranks = np.stack([pixel_ranks(activation, rng) for activation in maps])
        curves = perturbation_curves(model, image, labels, ranks, steps=steps, batch_size=batch_size)
        for prefix, pair in zip(_MAPS, curves, strict=True):
            values |= {f"{prefix}_{name}": area(curve) for name, curve in zip(_PERTURBATION, pair, strict=True)}
    return [
        Score(0, name_of(metric, layer), values[metric], "")
        if metric in values
        else Score(
            0, name_of(metric, layer), float("nan"), not_perturbed if metric.endswith(_PERTURBATION) else not_localised
        )
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
    for probability, predicted, mask in zip(probabilities, labels, masks, strict=True):
        foreground = probability if len(probability) == 1 else probability[1:]
        hard, reference = (spectra.one_hot(labels, len(foreground)) for labels in (predicted, mask))
        yield np.stack([hard, foreground.astype(np.float64)]), reference[None]


def spectral_scores(
    probabilities: NDArray[np.float32], labels: NDArray[np.uint8], masks: NDArray[np.uint8]
) -> list[Score]:
    """Agreement of prediction and reference in the frequency domain, for each class of a case of N slices.

    If prediction or reference is empty and the formula is undefined, the score is 0. If both are empty (by the hard
    labels), the score is undefined.

    Args:
        probabilities: as in :func:`case_spectra`.
        labels: likewise.
        masks: likewise.

    Returns:
        A score for each class and each of :data:`SPECTRAL_METRICS`, of the hard labels and, with the suffix ``_soft``,
        of the probabilities. Bands above the highest frequency of the image, S/2, are omitted.

    Raises:
        ValueError: there is no slice.
    """
    cross = case_spectra(probabilities, labels, masks)
    bands = spectra.band_means(spectra.fourier_ring_correlation(cross))
    values = {
        "spectral_correlation": spectra.magnitude_correlation(cross),
        "spectral_correlation_detrended": spectra.magnitude_correlation(cross, detrended=True),
        "spectral_similarity": spectra.similarity(cross),
        **{
            f"frc_{band}": bands[..., number]
            for number, (band, (low, _)) in enumerate(spectra.BANDS.items())
            if low <= masks.shape[-1] // 2
        },
    }
    cases = [situation(int((labels == k + 1).sum()), int((masks == k + 1).sum())) for k in range(bands.shape[1])]
    return [
        Score(k + 1, f"{metric}{suffix}", *_with_policy(float(value[kind, k]), case))
        for metric, value in values.items()
        for kind, suffix in enumerate(_SUFFIXES)
        for k, case in enumerate(cases)
    ]


def _with_policy(value: float, case: Situation) -> tuple[float, str]:
    """Value and flag under the policy for structures that are missing in prediction, reference or both."""
    if case == "absent":
        return float("nan"), case
    if np.isnan(value):
        return (float("nan"), "not defined") if case == "present" else (0.0, case)
    return value, ""
