"""Do predictions look like honest predictions of these cases, on their grid and with their labels?

Scores cannot tell a bad model from labels in another order, a mirrored axis or swapped files, and a perfect score from
a copy of the reference. What is found here is a reason to look, no proof.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

CLEAR = 0.2  # by how much another reading must be better in Dice before it is worth a word
_Labels = NDArray[np.uint8]
_TURNED: Mapping[str, Callable[[_Labels], _Labels]] = {
    "mirrored left to right": lambda labels: labels[..., ::-1],
    "mirrored top to bottom": lambda labels: labels[..., ::-1, :],
    "turned by 180 degrees": lambda labels: labels[..., ::-1, ::-1],
    "turned by 90 degrees to the left": lambda labels: labels.swapaxes(-1, -2)[..., ::-1, :],
    "turned by 90 degrees to the right": lambda labels: labels.swapaxes(-1, -2)[..., ::-1],
    "with rows and columns exchanged": lambda labels: labels.swapaxes(-1, -2),
    "with slices in reverse order": lambda labels: labels[::-1],
}


class Inspection:
    """What is conspicuous about the predictions of a test set, gathered case by case.

    Args:
        classes: names of the foreground classes, labels 1..K.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = list(classes)
        self._overlap = np.zeros((len(classes) + 1,) * 2, np.int64)  # pixels by predicted and actual label
        self._turned = {name: np.zeros(2, np.int64) for name in _TURNED}  # agreeing, as they are and turned
        self._cases, self._empty, self._copies = 0, 0, 0
        self._first: dict[bytes, str] = {}
        self._repeated: list[tuple[str, str]] = []

    def add(self, case: str, prediction: _Labels, reference: _Labels) -> None:
        """Look at a case; labels are (H, W) or (D, H, W), of one shape."""
        self._cases += 1
        size = len(self._overlap)
        pairs = prediction.ravel().astype(np.intp) * size + reference.ravel()
        self._overlap += np.bincount(pairs, minlength=size**2).reshape(size, size)
        shown = reference > 0
        if not shown.any():
            return
        self._copies += bool(np.array_equal(prediction, reference))
        if not prediction.any():
            self._empty += 1
            return
        digest = hashlib.sha256(repr(prediction.shape).encode() + np.ascontiguousarray(prediction).tobytes()).digest()
        if self._first.setdefault(digest, case) != case:
            self._repeated.append((self._first[digest], case))
        agreeing = np.count_nonzero((prediction == reference) & shown)
        for name, turn in _TURNED.items():
            turned = turn(prediction)
            if turned.shape == reference.shape and (turned.ndim == 3 or "slices" not in name):
                self._turned[name] += agreeing, np.count_nonzero((turned == reference) & shown)

    def findings(self) -> Iterator[str]:
        """One sentence for each thing that is worth a look."""
        if self._copies:
            yield f"{self._copies} of {self._cases} predictions are the reference itself, to the pixel"
        if self._repeated:
            one, other = self._repeated[0]
            yield f"{len(self._repeated)} predictions are the same as that of another case, e.g. '{one}' and '{other}'"
        if self._empty:
            yield f"{self._empty} of {self._cases} predictions are empty where the reference is not"
        plain = self._dice(np.arange(len(self._overlap)))
        # A mirrored body has its left kidney where the right one was: only the explanation that explains most is given.
        explanations = [*self._relabelled(), *self._moved()]
        what, dice = max(explanations, key=lambda one: one[1])  # the first of equals, and labels come before geometry
        if dice - plain > CLEAR:
            yield (
                f"{what}, the predictions would agree with the reference far better: Dice over all classes and cases "
                f"{dice:.2f} instead of {plain:.2f}"
            )

    def _relabelled(self) -> Iterator[tuple[str, float]]:
        """Other meanings of the labels, with the Dice coefficient that they would have."""
        from scipy.optimize import linear_sum_assignment  # late, as few other parts of the command need it

        names = ["background", *self._classes]
        several = np.count_nonzero(self._overlap.sum(axis=1)) > 1  # predictions of one label say nothing about it
        for first in (1, 0) if several else (1,):  # the classes among themselves, and with the background
            _, actual = linear_sum_assignment(self._overlap[first:, first:], maximize=True)
            order = np.concatenate([np.arange(first), actual + first])
            meaning = ", ".join(f"{label} is {names[order[label]]}" for label in range(first, len(names)))
            what = "with labels in another order" if len(names) > 2 else "with background and object exchanged"
            yield f"{what} ({meaning})", self._dice(order)

    def _moved(self) -> Iterator[tuple[str, float]]:
        """Other orientations, with the Dice coefficient that they would have."""
        marked = self._overlap[1:].sum() + self._overlap[:, 1:].sum()
        agreeing = np.trace(self._overlap[1:, 1:])
        for name, (plain, turned) in self._turned.items():
            yield name, 2 * float(agreeing + turned - plain) / max(1, int(marked))

    def _dice(self, order: NDArray[np.intp]) -> float:
        """Dice coefficient over all classes and cases if each label meant ``order[label]``; 0 where all is empty."""
        overlap = np.zeros_like(self._overlap)
        overlap[order] = self._overlap
        marked = overlap[1:].sum() + overlap[:, 1:].sum()
        return 2 * float(np.trace(overlap[1:, 1:])) / max(1, int(marked))
