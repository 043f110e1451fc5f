"""How each metric is printed: factor, digits, and which direction is better."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spectralseg.errors import InputError

SHARES = "pp"  # percentage points
DISTANCE = "mm or pixels"


@dataclass(frozen=True)
class Quantity:
    """Printing of one metric: stored values times ``factor``, with ``digits`` decimals; differences in ``unit``."""

    factor: float = 100.0
    higher_is_better: bool = True
    digits: int = 2
    unit: str = SHARES

    @property
    def arrow(self) -> str:
        """Up where higher values are better, down otherwise."""
        return "↑" if self.higher_is_better else "↓"

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest value that is possible, in printed units."""
        least = 0.0 if self.unit in (SHARES, DISTANCE) else float("-inf")
        return least, self.factor if self.unit == SHARES else float("inf")

    def text(self, value: float) -> str:
        """A value that is already in printed units, as text."""
        return f"{value:.{self.digits}f}"


_SHARE = Quantity()
_ERROR = Quantity(higher_is_better=False)
_DISTANCE = Quantity(factor=1.0, higher_is_better=False, unit=DISTANCE)
_TIMES = Quantity(factor=1.0, unit="")
_CORRELATION = Quantity(factor=1.0, digits=3, unit="")
_MAP = {
    "energy": _SHARE,
    "energy_relative": _TIMES,
    "pointing": _SHARE,
    "iou": _SHARE,
    "insertion": _SHARE,
    "deletion": _ERROR,
}
_SPECTRAL = (
    "spectral_correlation",
    "spectral_correlation_detrended",
    "spectral_similarity",
    "frc_low",
    "frc_mid",
    "frc_high",
)
_QUANTITIES = {
    "dsc": _SHARE,
    "iou": _SHARE,
    "sensitivity": _SHARE,
    "specificity": _SHARE,
    "accuracy": _SHARE,
    "precision": _SHARE,
    "nsd": _SHARE,
    "boundary_iou": _SHARE,
    "ece": _ERROR,
    "mce": _ERROR,
    "ace": _ERROR,
    "brier": _ERROR,
    "nll": Quantity(factor=1.0, higher_is_better=False, digits=3, unit=""),
    "false_structure": _ERROR,
    "hd95": _DISTANCE,
    "assd": _DISTANCE,
    **{
        f"{prefix}_{name}": rule
        for prefix in ("cam", "cam_random", "cam_decoder", "cam_decoder_random")
        for name, rule in _MAP.items()
    },
    **{f"{name}{suffix}": _CORRELATION for name in _SPECTRAL for suffix in ("", "_soft")},
}
METRICS = tuple(_QUANTITIES)


def quantity(metric: str) -> Quantity:
    """How a metric is printed: near the boundary, pooled or of slices as elsewhere.

    Raises:
        InputError: no rule is known for the metric.
    """
    try:
        return _QUANTITIES[re.sub("^(pooled_)?(band_|slice_)?", "", metric)]
    except KeyError:
        known = ", ".join(sorted(_QUANTITIES))
        raise InputError(f"metric '{metric}' has no printing rule; known are {known}") from None
