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
        marked = self._overlap[1:].sum() + self._overlap[:, 1:].sum()
        if not marked:
            return
        # A mirrored body has its left kidney where the right one was: only the best explanation is given.
        gains = {name: (int(turned - plain), int(turned)) for name, (plain, turned) in self._turned.items()}
        order, gain = self._best_order()
        explanations = {f"{name}, the predictions": one for name, one in gains.items()}
        explanations[f"with labels in another order ({order}), the predictions"] = gain
        what, (more, agreeing) = max(explanations.items(), key=lambda one: one[1][0])
        if 2 * more / marked > CLEAR:
            yield (
                f"{what} would agree with the reference far better: Dice over all classes and cases "
                f"{2 * agreeing / marked:.2f} instead of {2 * (agreeing - more) / marked:.2f}"
            )

    def _best_order(self) -> tuple[str, tuple[int, int]]:
        """The order of labels that agrees best, by how many pixels it does so better, and in how many."""
        from scipy.optimize import linear_sum_assignment  # late, as few other parts of the command need it

        foreground = self._overlap[1:, 1:]
        predicted, actual = linear_sum_assignment(foreground, maximize=True)
        best = int(foreground[predicted, actual].sum())
        order = ", ".join(f"{one + 1} is {self._classes[other]}" for one, other in zip(predicted, actual, strict=True))
        return order, (best - int(np.trace(foreground)), best)
