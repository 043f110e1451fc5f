"""Lesion metrics of a case, for datasets whose specification has ``lesions``."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from spectralseg.data import PreparedDataset
from spectralseg.data.fit import crop_or_pad
from spectralseg.errors import InputError
from spectralseg.metrics import policy
from spectralseg.metrics.lesions import agatston_score, match_lesions, pixel_size, risk_category, volume
from spectralseg.metrics.surface import bounding_box

_log = logging.getLogger(__name__)


class LesionScore(NamedTuple):
    """A value under ``sound``; label 0 is the foreground as a whole."""

    label: int
    metric: str
    value: float
    flag: str


@dataclass(frozen=True)
class LesionRule:
    """How lesions of a case are scored.

    Attributes:
        connectivity: neighbours of a pixel within a lesion; None for all.
        size_limits: largest size of a small and of a medium lesion, in mm² or mm³, or in pixels.
        in_mm: whether the limits are in mm² or mm³.
        hu: Hounsfield units of the case, float32 (D, H, W); None without Agatston scores.
    """

    connectivity: int | None
    size_limits: tuple[float, float]
    in_mm: bool
    hu: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, data: PreparedDataset) -> Self | None:
        """The rule of a dataset, without Hounsfield units; None for a dataset without lesion metrics.

        Warns if the dataset asks for Agatston scores but was resampled, as Hounsfield units are then lost.
        """
        lesions = data.info.get("lesions")
        if lesions is None:
            return None
        if lesions["agatston"] and not all(_kept_pixels(data, case) for case in _test_cases(data)):
            _log.warning("%s: slices were resampled, so there are no Agatston scores of these cases", data.name)
        return cls(lesions["connectivity"], tuple(lesions["size_limits"]), lesions["size_unit"] == "mm")

    def of_case(self, data: PreparedDataset, case: str) -> Self:
        """The rule with the Hounsfield units of a test case, where the dataset has Agatston scores.

        Raises:
            InputError: the arrays of the case do not match its native labels.
        """
        scored = data.info["lesions"]["agatston"] and _kept_pixels(data, case)
        return replace(self, hu=native_hounsfield(data, case)) if scored else self


def native_hounsfield(data: PreparedDataset, case: str) -> NDArray[np.float32]:
    """Hounsfield units of a test case in native geometry, from the prepared images, which hold them clipped and scaled.

    Values are rounded to whole units, which undoes the rounding of the stored integers. Pixels outside of the window
    have its nearest limit, those outside of the crop its lower limit.

    Args:
        data: dataset with an intensity window, whose slices were cropped or padded around the centre.
        case: id of a test case.

    Returns:
        float32 (D, H, W).

    Raises:
        InputError: the arrays of the case do not match its native labels.
    """
    row = data.cases[data.cases["case"] == case].iloc[0]
    rows, shape = slice(row["first"], row["first"] + row["slices"]), data.native_shape(case)
    labels = _uncropped(np.asarray(data.masks[rows]), shape)
    if not np.array_equal(labels, data.native_labels(case)):
        raise InputError(
            f"{data.path}: case '{case}' has other masks than native labels, so its slices were not only cropped; "
            "prepare the dataset again"
        )
    low, high = data.info["intensity"]["window"]
    stored = _uncropped(np.asarray(data.images[rows, ..., 0]), shape)
    scaled = stored.astype(np.float32) / np.float32(np.iinfo(stored.dtype).max)
    hu: NDArray[np.float32] = np.rint(np.float32(low) + scaled * np.float32(high - low))
    return hu


def _test_cases(data: PreparedDataset) -> list[str]:
    return data.cases.loc[data.cases["part"] == "test", "case"].tolist()


def _kept_pixels(data: PreparedDataset, case: str) -> bool:
    """Whether the slices of a case were cropped or padded, not resampled."""
    size = data.info["image_size"]
    return data.fit == "crop" or data.native_shape(case)[1:] == (size, size)


def _uncropped(planes: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Slices (D, S, S) in native geometry (D, H, W), 0 outside; the inverse of cropping or padding to S."""
    return np.stack([crop_or_pad(plane, (shape[1], shape[2])) for plane in planes])


def score_lesions(
    prediction: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    spacing: Sequence[float] | None,
    classes: int,
    rule: LesionRule,
) -> Iterator[LesionScore]:
    """Lesion metrics of each class, and Agatston scores of the foreground as a whole.

    Args:
        prediction: labels in native geometry, (H, W) or (D, H, W).
        reference: labels of the same shape.
        spacing: millimetres per axis; None if unknown.
        classes: number of foreground classes.
        rule: of the case.
    """
    box = bounding_box(prediction | reference)
    hu = None if rule.hu is None else rule.hu[box]
    prediction, reference = prediction[box], reference[box]
    for label in range(1, classes + 1):
        masks = prediction == label, reference == label
        case = policy.situation(*(int(np.count_nonzero(mask)) for mask in masks))
        match = match_lesions(*masks, rule.connectivity)
        volumes = [volume(mask, spacing) for mask in masks]
        yield from (
            LesionScore(label, f"lesion_{name}", float(getattr(match, name)), "") for name in ("tp", "fp", "fn")
        )
        for name, value in zip(("volume", "volume_reference"), volumes, strict=True):
            yield LesionScore(label, name, value, policy.NO_VOLUME if math.isnan(value) else "")
        strata = match.sensitivity_by_size(rule.size_limits, pixel_size(spacing) if rule.in_mm and spacing else 1)
        hits, predicted = (int(np.count_nonzero(mask)) for mask in (masks[0] & masks[1], masks[0]))
        values = {
            "lesion_f1": match.f1,
            "lesion_sensitivity": match.sensitivity,
            "lesion_precision": match.precision,
            **{f"lesion_sensitivity_{stratum}": value for stratum, value in strata.items()},
            "lesion_count_difference": float(match.count_difference),
            "volume_difference": abs(volumes[0] - volumes[1]),
            "precision": hits / predicted if predicted else math.nan,
        }
        yield from _by_policy(label, values, case)
    if hu is not None:
        yield from _score_agatston(prediction > 0, reference > 0, hu, spacing, rule.connectivity)


def _score_agatston(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    hu: NDArray[np.float32],
    spacing: Sequence[float] | None,
    connectivity: int | None,
) -> Iterator[LesionScore]:
    masks = prediction, reference
    scores = [agatston_score(mask, hu, spacing, connectivity=connectivity) if spacing else math.nan for mask in masks]
    for name, score in zip(("agatston", "agatston_reference"), scores, strict=True):
        yield LesionScore(0, name, score, "" if spacing else policy.NO_SPACING)
    categories = [risk_category(score) for score in scores] if spacing else []
    values = {
        "agatston_difference": abs(scores[0] - scores[1]),
        "risk_agreement": float(len(set(categories)) == 1) if categories else math.nan,
    }
    yield from _by_policy(0, values, policy.situation(*(int(np.count_nonzero(mask)) for mask in masks)))


def _by_policy(label: int, values: dict[str, float], case: policy.Situation) -> Iterator[LesionScore]:
    for name, value in values.items():
        yield LesionScore(label, name, *policy.apply("sound", name, case, value, math.nan))
