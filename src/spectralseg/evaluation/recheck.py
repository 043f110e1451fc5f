"""Independent check of metrics: score a sample of cases with medpy and MONAI, and compare with the records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spectralseg.errors import InputError
from spectralseg.metrics.surface import bounding_box

Mask = NDArray[np.bool_]

TOLERANCE = 1e-4


class Labelled(NamedTuple):
    """A case to check.

    Attributes:
        case: its id.
        prediction: integer labels (H, W) or (D, H, W).
        reference: reference labels of the same shape.
        spacing: millimetres per axis, or None.
        recorded: recorded values by label and metric, ``dsc``, ``hd95 max`` or ``hd95 pooled``.
    """

    case: str
    prediction: NDArray[Any]
    reference: NDArray[Any]
    spacing: Sequence[float] | None
    recorded: Mapping[tuple[int, str], float]


class Disagreement(NamedTuple):
    """Values of a metric of one class of one case: recorded, and computed by another package."""

    case: str
    label: int
    metric: str
    package: str
    recorded: float
    independent: float

    @property
    def size(self) -> float:
        """Absolute difference, relative if the recorded value is above 1; infinity if either value is undefined."""
        difference = abs(self.recorded - self.independent) / max(1.0, abs(self.recorded))
        return difference if math.isfinite(difference) else math.inf


def recheck(cases: Iterable[Labelled], classes: int, tolerance: float = TOLERANCE) -> Disagreement | None:
    """Compare Dice and HD95 with medpy (pooled percentile) and MONAI (larger directed percentile).

    Masks are cropped to the labelled region with a margin, which changes no value and saves most of medpy's time.
    Classes that are missing from prediction or reference are skipped: the policy defines their values.

    Args:
        cases: the cases to check.
        classes: number of foreground classes.
        tolerance: largest :attr:`Disagreement.size` to accept as rounding; MONAI computes in single precision.

    Returns:
        The largest disagreement, or None if there was nothing to compare.

    Raises:
        InputError: a disagreement exceeds the tolerance, or medpy or MONAI is not installed.
    """
    cases, largest = list(cases), None
    packages = _packages() if cases else {}
    for current in (disagreement for case in cases for disagreement in _disagreements(case, classes, packages)):
        if current.size > tolerance:
            raise InputError(
                f"case '{current.case}', class {current.label}: {current.metric} is {current.recorded:.6g} here and "
                f"{current.independent:.6g} in {current.package}; please report this with the two label maps"
            )
        largest = current if largest is None or current.size > largest.size else largest
    return largest


def _packages() -> dict[tuple[str, str], Callable[..., float]]:
    """For each package and metric a function of two non-empty masks and the spacing."""
    try:
        import torch
        from medpy.metric import binary  # GPL-3: no other module may import it
        from monai.metrics.hausdorff_distance import compute_hausdorff_distance
        from monai.metrics.meandice import compute_dice
    except ImportError as error:
        raise InputError(
            f"{error.name} is not installed; install the extra 'reference' or set 'evaluation.recheck: 0'"
        ) from None

    def one_hot(mask: Mask) -> torch.Tensor:
        return torch.from_numpy(np.stack([~mask, mask])[None]).float()

    def monai_distance(prediction: Mask, reference: Mask, spacing: list[float] | None) -> float:
        return compute_hausdorff_distance(
            one_hot(prediction), one_hot(reference), include_background=False, percentile=95, spacing=spacing
        ).item()

    def monai_dice(prediction: Mask, reference: Mask, _: Any) -> float:
        return compute_dice(one_hot(prediction), one_hot(reference), include_background=False).item()

    return {
        ("medpy", "hd95 pooled"): binary.hd95,
        ("monai", "hd95 max"): monai_distance,
        ("monai", "dsc"): monai_dice,
    }


def _disagreements(
    labelled: Labelled, classes: int, packages: Mapping[tuple[str, str], Callable[..., float]]
) -> Iterator[Disagreement]:
    spacing = None if labelled.spacing is None else [float(step) for step in labelled.spacing]
    for label in range(1, classes + 1):
        masks = labelled.prediction == label, labelled.reference == label
        # For empty masks the other packages raise errors or disagree with each other.
        if all(mask.any() for mask in masks):
            box = bounding_box(masks[0] | masks[1])
            cropped = [np.pad(mask[box], 1) for mask in masks]
            for (package, metric), function in packages.items():
                if (recorded := labelled.recorded.get((label, metric))) is not None:
                    independent = float(function(*cropped, spacing))
                    yield Disagreement(labelled.case, label, metric, package, recorded, independent)
