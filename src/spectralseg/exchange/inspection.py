"""Checks of external predictions for anomalies: permuted labels, mirrored axes, swapped files, copied references.

Scores alone cannot distinguish these from a bad or a perfect model. A finding is a reason to look, not a proof.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

MIN_GAIN = 0.2  # gain in Dice from which another interpretation of the predictions is reported
_Labels = NDArray[np.uint8]
_TRANSFORMS: Mapping[str, Callable[[_Labels], _Labels]] = {
    "mirrored left to right": lambda labels: labels[..., ::-1],
    "mirrored top to bottom": lambda labels: labels[..., ::-1, :],
    "turned by 180 degrees": lambda labels: labels[..., ::-1, ::-1],
    "turned by 90 degrees to the left": lambda labels: labels.swapaxes(-1, -2)[..., ::-1, :],
    "turned by 90 degrees to the right": lambda labels: labels.swapaxes(-1, -2)[..., ::-1],
    "with rows and columns exchanged": lambda labels: labels.swapaxes(-1, -2),
    "with slices in reverse order": lambda labels: labels[::-1],
}


class Inspection:
    """Anomalies in the predictions of a test set, collected case by case.

    Args:
        classes: names of the foreground classes, labels 1..K.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = list(classes)
        self._overlap = np.zeros((len(classes) + 1,) * 2, np.int64)  # pixels by predicted and reference label
        # For each transform, pixels that agree with the reference: unchanged and transformed.
        self._agreement = {name: np.zeros(2, np.int64) for name in _TRANSFORMS}
        self._cases, self._empty, self._copies = 0, 0, 0
        self._digests: dict[bytes, str] = {}
        self._duplicates: list[tuple[str, str]] = []

    def add(self, case: str, prediction: _Labels, reference: _Labels) -> None:
        """Inspect a case; both label maps are (H, W) or (D, H, W)."""
        self._cases += 1
        size = len(self._overlap)
        pairs = prediction.ravel().astype(np.intp) * size + reference.ravel()
        self._overlap += np.bincount(pairs, minlength=size**2).reshape(size, size)
        foreground = reference > 0
        if not foreground.any():
            return
        self._copies += bool(np.array_equal(prediction, reference))
        if not prediction.any():
            self._empty += 1
            return
        digest = hashlib.sha256(repr(prediction.shape).encode() + np.ascontiguousarray(prediction).tobytes()).digest()
        if self._digests.setdefault(digest, case) != case:
            self._duplicates.append((self._digests[digest], case))
        agreeing = np.count_nonzero((prediction == reference) & foreground)
        for name, transform in _TRANSFORMS.items():
            transformed = transform(prediction)
            if transformed.shape == reference.shape and (transformed.ndim == 3 or "slices" not in name):
                self._agreement[name] += agreeing, np.count_nonzero((transformed == reference) & foreground)

    def findings(self) -> Iterator[str]:
        """One sentence for each anomaly."""
        if self._copies:
            yield f"{self._copies} of {self._cases} predictions equal the reference in every pixel"
        if self._duplicates:
            first, second = self._duplicates[0]
            count = len(self._duplicates)
            yield f"{count} predictions equal the prediction of another case, e.g. '{first}' and '{second}'"
        if self._empty:
            yield f"{self._empty} of {self._cases} predictions are empty where the reference is not"
        unchanged = self._dice(np.arange(len(self._overlap)))
        # Several may apply: in a mirrored body, left and right kidney are swapped too. Only the best one is reported.
        explanations = [*self._relabelled(), *self._moved()]
        explanation, dice = max(explanations, key=lambda candidate: candidate[1])  # labels first if equal
        if dice - unchanged > MIN_GAIN:
            yield (
                f"{explanation}, the predictions would agree with the reference far better: "
                f"Dice over all classes and cases {dice:.2f} instead of {unchanged:.2f}"
            )

    def _relabelled(self) -> Iterator[tuple[str, float]]:
        """The best permutations of the labels, with their Dice coefficients."""
        from scipy.optimize import linear_sum_assignment  # imported here, as few commands need it

        names = ["background", *self._classes]
        several = np.count_nonzero(self._overlap.sum(axis=1)) > 1  # background alone cannot be permuted
        for first in (1, 0) if several else (1,):  # permutations without and with the background
            _, actual = linear_sum_assignment(self._overlap[first:, first:], maximize=True)
            order = np.concatenate([np.arange(first), actual + first])
            meaning = ", ".join(f"{label} is {names[order[label]]}" for label in range(first, len(names)))
            explanation = "with labels in another order" if len(names) > 2 else "with background and object exchanged"
            yield f"{explanation} ({meaning})", self._dice(order)

    def _moved(self) -> Iterator[tuple[str, float]]:
        """Other orientations, with their Dice coefficients."""
        marked = self._overlap[1:].sum() + self._overlap[:, 1:].sum()
        agreeing = np.trace(self._overlap[1:, 1:])
        for name, (unchanged, transformed) in self._agreement.items():
            yield name, 2 * float(agreeing + transformed - unchanged) / max(1, int(marked))

    def _dice(self, order: NDArray[np.intp]) -> float:
        """Dice coefficient over all classes and cases if each label means ``order[label]``; 0 without foreground."""
        overlap = np.zeros_like(self._overlap)
        overlap[order] = self._overlap
        marked = overlap[1:].sum() + overlap[:, 1:].sum()
        return 2 * float(np.trace(overlap[1:, 1:])) / max(1, int(marked))
