"""Equivalence margins: the largest differences that do not matter, by metric and test dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MARGIN = 0.005  # half a percentage point of Dice


@dataclass(frozen=True)
class Margins:
    """Margins of a study, in the units of metric records: 0.005 of a share is half a percentage point.

    Attributes:
        shares: default margin of shares, metrics between 0 and 1.
        own: metric → margin, or metric → test dataset → margin.

    Examples:
        >>> from spectralseg.statistics import Margins
        >>> margins = Margins(own={"hd95": 1.0, "dsc": {"acdc": 0.01}})
        >>> margins.of_share("dsc", "acdc"), margins.of_share("dsc", "synapse")
        (0.01, 0.005)
        >>> margins.of("hd95", "acdc", "sound", share=False)  # millimetres
        1.0
        >>> print(margins.of("assd", "acdc", "sound", share=False))
        None
    """

    shares: float = MARGIN
    own: Mapping[str, float | Mapping[str, float]] = field(default_factory=dict)

    def of(self, metric: str, test_dataset: str, protocol: str, *, share: bool) -> float | None:
        """The margin of a metric on a test dataset, or None.

        Metrics other than shares have no default. Their margins apply to the protocol ``sound`` only, where distances
        are in millimetres (native pixels if the spacing is unknown); under ``published`` they are in pixels of the
        prepared images.
        """
        if share:
            return self.of_share(metric, test_dataset)
        return self._own(metric, test_dataset) if protocol == "sound" else None

    def of_share(self, metric: str, test_dataset: str) -> float:
        """The margin of a metric that is a share, on a test dataset."""
        own = self._own(metric, test_dataset)
        return self.shares if own is None else own

    def _own(self, metric: str, test_dataset: str) -> float | None:
        own = self.own.get(metric)
        return own.get(test_dataset) if isinstance(own, Mapping) else own
