"""One record per metric: its label, direction and unit, and the headings under which papers print it.

Formatting, comparisons, table headings and figure axes derive from these records.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from spectralseg.errors import InputError
from spectralseg.metrics.lesions import STRATA

PERCENTAGE_POINTS = "pp"
DISTANCE = "mm or pixels"


@dataclass(frozen=True)
class Metric:
    """One metric. Stored values times ``factor`` are displayed with ``digits`` decimals.

    Attributes:
        name: as in metric records.
        label: heading in tables and on axes.
        higher_is_better: whether larger values are better.
        factor: from stored to displayed values.
        digits: decimals of displayed values.
        unit: of displayed differences: :data:`PERCENTAGE_POINTS`, :data:`DISTANCE`, another unit of values that are
            not negative, or empty.
        compared: whether ``comparisons.parquet`` holds its differences.
        headings: of published tables, in lower case without spaces and punctuation.
    """

    name: str
    label: str
    higher_is_better: bool = True
    factor: float = 100.0
    digits: int = 2
    unit: str = PERCENTAGE_POINTS
    compared: bool = False
    headings: tuple[str, ...] = ()

    @property
    def sign(self) -> int:
        """1 where larger values are better, -1 otherwise."""
        return 1 if self.higher_is_better else -1

    @property
    def arrow(self) -> str:
        """Up where larger values are better, down otherwise."""
        return "↑" if self.higher_is_better else "↓"

    @property
    def share(self) -> bool:
        """Whether values lie between 0 and 1 and are displayed in percent."""
        return self.unit == PERCENTAGE_POINTS

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest possible value, in displayed units."""
        least = 0.0 if self.unit else float("-inf")
        return least, self.factor if self.share else float("inf")

    def text(self, value: float) -> str:
        """Format a value that is in displayed units."""
        return f"{value:.{self.digits}f}"


def _error(name: str, label: str, **facts: object) -> Metric:
    return Metric(name, label, higher_is_better=False, **facts)  # type: ignore[arg-type]


def _distance(name: str, label: str, *headings: str) -> Metric:
    return _error(name, label, factor=1.0, unit=DISTANCE, compared=True, headings=headings)


def _number(name: str, label: str) -> Metric:
    return Metric(name, label, factor=1.0, digits=3, unit="")


_DICE = ("dsc", "dice", "dicescore", "dicecoefficient", "mdsc", "mdice", "f1", "f1score")
_SEGMENTATION = (
    Metric("dsc", "DSC", compared=True, headings=_DICE),
    Metric("iou", "IOU", compared=True, headings=("iou", "jaccard", "jaccardindex", "jac", "miou")),
    Metric("sensitivity", "SE", compared=True, headings=("se", "sen", "sens", "sensitivity", "recall", "rec", "tpr")),
    Metric("specificity", "SP", compared=True, headings=("sp", "spe", "spec", "specificity", "tnr")),
    Metric("accuracy", "ACC", compared=True, headings=("acc", "accuracy")),
    Metric("precision", "Precision", headings=("pre", "prec", "precision", "ppv")),
    Metric("nsd", "NSD", compared=True, headings=("nsd",)),
    Metric("boundary_iou", "Boundary IOU", compared=True),
    _distance("hd95", "HD95", "hd", "hd95", "95hd", "hausdorff", "hausdorffdistance"),
    _distance("assd", "ASSD", "assd", "asd"),
    _error("false_structure", "False structures", compared=True),
)
_LESIONS = (
    Metric("lesion_f1", "Lesion F1", compared=True),
    Metric("lesion_sensitivity", "Lesion SE", compared=True),
    Metric("lesion_precision", "Lesion precision", compared=True),
    *(Metric(f"lesion_sensitivity_{stratum}", f"Lesion SE, {stratum}") for stratum in STRATA),
    _error("lesion_count_difference", "Lesion count difference", factor=1.0, unit="lesions"),
    _error("volume_difference", "Volume difference, ml", factor=1.0, unit="ml"),
    _error("agatston_difference", "Agatston difference", factor=1.0, digits=1, unit="Agatston units"),
    Metric("risk_agreement", "Risk category agreement"),
)
_CALIBRATION = (
    _error("ece", "ECE", compared=True, headings=("ece",)),
    _error("mce", "MCE", compared=True, headings=("mce",)),
    _error("ace", "ACE", compared=True),
    _error("brier", "Brier", compared=True),
    _error("nll", "NLL", factor=1.0, digits=3, unit=""),
)
_MAPS = {
    f"{prefix}_{name}": f"{label}{of}"
    for name, label in (
        *(("energy", "Energy inside"), ("energy_relative", "Energy inside / area"), ("pointing", "Pointing game")),
        *(("iou", "IOU of equal area"), ("insertion", "Insertion"), ("deletion", "Deletion")),
    )
    for prefix, of in (
        *(("cam", ""), ("cam_random", ", random map")),
        *(("cam_decoder", ", decoder"), ("cam_decoder_random", ", random map of the decoder")),
    )
}
_SPECTRA = {
    "spectral_correlation": "Correlation",
    "spectral_correlation_detrended": "without the decay",
    "spectral_similarity": "Similarity",
    "frc_low": "Ring correlation, low",
    "frc_mid": "Ring correlation, mid",
    "frc_high": "Ring correlation, high",
}


def _of_map(name: str, label: str) -> Metric:
    if name.endswith("energy_relative"):
        return Metric(name, label, factor=1.0, unit="")
    return Metric(name, label, higher_is_better=not name.endswith("deletion"))


CATALOGUE: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *_SEGMENTATION,
        *_LESIONS,
        *_CALIBRATION,
        *(_of_map(name, label) for name, label in _MAPS.items()),
        *(
            _number(f"{name}{suffix}", f"{label}{of}")
            for name, label in _SPECTRA.items()
            for suffix, of in (("", ""), ("_soft", ", probabilities"))
        ),
    )
}
"""The metrics by name."""
COMPARED = tuple(name for name, metric in CATALOGUE.items() if metric.compared)
"""Names of the metrics whose differences ``comparisons.parquet`` holds."""
HEADINGS = {name: metric.headings for name, metric in CATALOGUE.items() if metric.headings}
"""Headings of the metrics in published tables, by name."""
DISTANCES = tuple(name for name, metric in CATALOGUE.items() if metric.unit == DISTANCE)


def metric_of(name: str) -> Metric:
    """The metric of a name in metric records, which may have a prefix for pooled, boundary or slice values.

    Raises:
        InputError: the metric is unknown.
    """
    try:
        return CATALOGUE[_PREFIX.sub("", name)]
    except KeyError:
        valid = ", ".join(sorted(CATALOGUE))
        raise InputError(f"metric '{name}' is unknown; known metrics are {valid}") from None


_PREFIX = re.compile("^(pooled_)?(band_|slice_)?")
_PARTS = {"pooled_": "of all pixels", "band_": "near boundaries", "slice_": "of slices"}


def label_of(name: str) -> str:
    """Heading of a metric in metric records, such as ``ECE near boundaries``.

    Raises:
        InputError: the metric is unknown.
    """
    parts = (_PARTS[prefix] for prefix in _PREFIX.match(name).groups() if prefix)  # type: ignore[union-attr]
    return " ".join((metric_of(name).label, *parts))
