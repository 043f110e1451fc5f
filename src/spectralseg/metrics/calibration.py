"""Calibration errors of foreground probabilities per pixel.

All but the exact adaptive error are computed from :class:`Reliability`. Its sums can be added over cases, so that
memory does not grow with the test set.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectralseg.metrics import _arguments

BINS = 15
LEAST_SHARE = 0.001
# A multiple of the number of bins, so that every cell lies in one bin.
CELLS = BINS * 1024
# Lower bound of the probability of the true class in logarithms: the resolution of single precision below 1.
LEAST_PROBABILITY = 2.0**-24
_CHUNK = 1 << 18
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Reliability:
    """Sufficient statistics of the calibration errors of a set of pixels; ``+`` joins two sets.

    Attributes:
        pixels: number of pixels of label 0 and 1 in each of F equal cells of probability, int64 (2, F). The last cell
            holds probability 1; a probability on an edge belongs to the cell above.
        probability: sum of their probabilities, float64 (2, F).
        squared: sum of squared differences of probability and label.
        logarithmic: sum of the negative logarithms of the probability of the true class.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import Reliability
        >>> first = Reliability.of(np.array([0.9, 0.8, 0.1]), np.array([1, 1, 0]))
        >>> second = Reliability.of(np.array([0.7, 0.2]), np.array([0, 0]))
        >>> total = first + second  # of two cases
        >>> round(total.expected_error(bins=15), 4), round(total.brier(), 4)
        (0.26, 0.118)
        >>> Reliability.empty().expected_error()
        nan
    """

    pixels: NDArray[np.int64]
    probability: NDArray[np.float64]
    squared: float = 0.0
    logarithmic: float = 0.0

    @classmethod
    def empty(cls, cells: int = CELLS) -> Reliability:
        """The statistics of no pixels, the start of a sum."""
        cells = _arguments.count("cells", cells)
        return cls(np.zeros((2, cells), np.int64), np.zeros((2, cells)))

    @classmethod
    def of(cls, probabilities: ArrayLike, labels: ArrayLike, cells: int = CELLS) -> Reliability:
        """Statistics of some pixels.

        Args:
            probabilities: foreground probabilities in [0, 1], any shape.
            labels: 0 or 1, or booleans, the same shape.
            cells: number of cells F over [0, 1].

        Raises:
            ValueError: the shapes differ, a probability is NaN or outside [0, 1] by more than rounding, a label is
                neither 0 nor 1, or ``cells`` is not a whole number of 1 or more.
        """
        p, y = _pixels(probabilities, labels)
        total = cls.empty(cells)
        for start in range(0, p.size, _CHUNK):
            chunk = slice(start, start + _CHUNK)
            total += cls._of_chunk(p[chunk].astype(np.float64), y[chunk], cells)
        return total

    @classmethod
    def _of_chunk(cls, p: NDArray[np.float64], y: NDArray[np.bool_], cells: int) -> Reliability:
        # Exact for single precision: its 24 bits times the number of cells fit into the 53 of double precision.
        cell = np.minimum((p * cells).astype(np.intp), cells - 1)
        cell += y * cells
        true = np.where(y, p, 1 - p)
        probability: NDArray[Any] = np.bincount(cell, p, minlength=2 * cells)
        return cls(
            np.bincount(cell, minlength=2 * cells).reshape(2, cells),
            probability.reshape(2, cells),
            float(np.square(1 - true).sum()),
            float(-np.log(np.maximum(true, LEAST_PROBABILITY)).sum()),
        )

    def __add__(self, other: Reliability) -> Reliability:
        if self.pixels.shape != other.pixels.shape:
            raise ValueError(f"{self.pixels.shape[1]} and {other.pixels.shape[1]} cells cannot be added up")
        return Reliability(
            self.pixels + other.pixels,
            self.probability + other.probability,
            self.squared + other.squared,
            self.logarithmic + other.logarithmic,
        )

    def binned(self, bins: int = BINS) -> NDArray[np.float64]:
        """Pixels, sum of probabilities and number of foreground pixels per equal-width bin, float64 (3, bins).

        Raises:
            ValueError: ``bins`` is not a whole number of 1 or more, or the cells do not make up that many bins.
        """
        cells = self.pixels.shape[1]
        if cells % _arguments.count("bins", bins):
            raise ValueError(f"{cells} cells do not make {bins} bins")
        rows = np.stack([self.pixels.sum(0), self.probability.sum(0), self.pixels[1]])
        summed: NDArray[np.float64] = rows.reshape(3, bins, -1).sum(2)
        return summed

    def expected_error(self, bins: int = BINS) -> float:
        """See :func:`expected_calibration_error`."""
        return _expected(*self.binned(bins))

    def maximum_error(self, bins: int = BINS, least_share: float = LEAST_SHARE) -> float:
        """See :func:`maximum_calibration_error`."""
        if not isinstance(least_share, Real) or not 0 <= least_share <= 1:
            raise ValueError(f"least_share {least_share!r} is not between 0 and 1")
        count, probability, positive = self.binned(bins)
        kept = (count > 0) & (count >= least_share * count.sum())
        gaps = np.abs(probability[kept] - positive[kept]) / count[kept]
        return float(gaps.max()) if gaps.size else float("nan")

    def adaptive_error(self, bins: int = BINS) -> float:
        """As :func:`adaptive_calibration_error`, with bins that end where cells end.

        A bin includes the whole cell that its quantile lies in, so that the error is at most twice the share of pixels
        in such cells. The first and the last cell, which can hold most pixels, add at most 2/F, because gaps within
        them have one sign. For smooth distributions the error is below 0.001.
        """
        bins = _arguments.count("bins", bins)
        count, probability, positive = self.binned(self.pixels.shape[1])
        cumulative = count.cumsum()
        ends = np.searchsorted(cumulative, cumulative[-1] * np.arange(1, bins) / bins) + 1
        starts = np.unique([0, *ends[ends < len(count)]])
        return _expected(*(np.add.reduceat(row, starts) for row in (count, probability, positive)))

    def brier(self) -> float:
        """Mean squared difference of probability and label, in [0, 1] (Brier 1950); NaN without pixels."""
        return self._mean(self.squared)

    def negative_log_likelihood(self) -> float:
        """Mean negative natural logarithm of the probability of the true class, at least 2^-24; NaN without pixels."""
        return self._mean(self.logarithmic)

    def two_class(self) -> tuple[float, float]:
        """Mean and maximum over the two true classes of 1 - mean probability of that class; NaN if a class is absent.

        The only simple reading that gives the nearly constant ratio of the paper's MCE and ECE (1.84 to 1.96 in all
        sixteen cells of its Table 4).
        """
        (background, foreground), (low, high) = self.pixels.sum(1), self.probability.sum(1)
        if not background or not foreground:
            return float("nan"), float("nan")
        errors = (1 - high / foreground, low / background)
        return float(np.mean(errors)), float(max(errors))

    def _mean(self, total: float) -> float:
        return total / int(self.pixels.sum()) if self.pixels.any() else float("nan")


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> float:
    """Mean gap between predicted probability and observed frequency over equal-width bins, weighted by pixels.

    Args:
        probabilities: foreground probabilities in [0, 1], any shape.
        labels: 0 or 1, or booleans, the same shape.
        bins: number of bins over [0, 1]; the last one holds probability 1.

    Returns:
        ECE in [0, 1] (Naeini et al. 2015); NaN without pixels.

    Raises:
        ValueError: as for :meth:`Reliability.of`, or ``bins`` is not a whole number of 1 or more.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import expected_calibration_error
        >>> probabilities = np.full(100, 0.8)
        >>> labels = np.arange(100) < 60
        >>> round(expected_calibration_error(probabilities, labels), 4)  # predicts 80 % where 60 % are foreground
        0.2
        >>> expected_calibration_error(np.empty(0), np.empty(0, int))
        nan
    """
    return Reliability.of(probabilities, labels, _arguments.count("bins", bins)).expected_error(bins)


def maximum_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS, least_share: float = LEAST_SHARE
) -> float:
    """Largest gap over equal-width bins that hold at least ``least_share`` of the pixels, in [0, 1]; NaN if none does.

    Arguments and errors as for :func:`expected_calibration_error`.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import expected_calibration_error, maximum_calibration_error
        >>> probabilities = np.r_[np.full(900, 0.05), np.full(100, 0.8)]
        >>> labels = np.r_[np.arange(900) < 45, np.arange(100) < 60]
        >>> round(expected_calibration_error(probabilities, labels), 4)
        0.02
        >>> round(maximum_calibration_error(probabilities, labels), 4)
        0.2
    """
    return Reliability.of(probabilities, labels, _arguments.count("bins", bins)).maximum_error(bins, least_share)


def adaptive_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> float:
    """As :func:`expected_calibration_error`, with quantile bins of equally many pixels (Nguyen and O'Connor 2015).

    Equal probabilities are in one bin.

    Examples:
        >>> import numpy as np
        >>> from spectralseg.metrics import adaptive_calibration_error, expected_calibration_error
        >>> probabilities = np.linspace(0, 0.06, 1000)  # all in the first of 15 bins of equal width
        >>> labels = np.zeros(1000, int)
        >>> labels[:30] = 1  # as many as expected, at the wrong pixels
        >>> round(expected_calibration_error(probabilities, labels), 4)
        0.0
        >>> round(adaptive_calibration_error(probabilities, labels), 4)
        0.0597
    """
    bins = _arguments.count("bins", bins)
    p, y = _pixels(probabilities, labels)
    p = p.astype(np.float64)
    if not p.size:
        return float("nan")
    edges = np.unique(np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1]))
    bin_of = np.searchsorted(edges, p, side="right")
    return _expected(*(np.bincount(bin_of, weights, len(edges) + 1) for weights in (None, p, y)))


def _pixels(probabilities: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Probabilities (n,) of unchanged type, and the foreground mask (n,)."""
    p, y = _arguments.as_array("probabilities", probabilities), _arguments.as_array("labels", labels)
    if p.shape != y.shape:
        raise ValueError(f"shapes differ: {p.shape} and {y.shape}")
    if p.dtype.kind not in "biuf":
        raise ValueError(f"probabilities are {p.dtype}, not numbers")
    if p.size and not -_ROUNDING <= p.min() <= p.max() <= 1 + _ROUNDING:
        raise ValueError("there are probabilities outside 0..1; pass foreground probabilities, not logits")
    return p.ravel(), _arguments.binary_labels(y).ravel()


def _expected(count: NDArray[Any], probability: NDArray[Any], positive: NDArray[Any]) -> float:
    """Sum of absolute gaps per pixel over all bins."""
    return float(np.abs(probability - positive).sum() / count.sum()) if count.any() else float("nan")
