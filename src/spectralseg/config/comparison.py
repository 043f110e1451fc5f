"""Section ``comparison``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from spectralseg.config.values import Name, Section

SHARE_MARGIN = "the margin of a share is between 0 and 1, where 0.005 is half a percentage point"
_LARGEST_MARGIN = 1e4


def _margin(value: Any) -> Any:
    """Check both forms of a margin with one message; pydantic would report one error per form."""
    for margin in value.values() if isinstance(value, dict) else [value]:
        if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin <= _LARGEST_MARGIN:
            raise ValueError(
                f"must be a positive number of at most {_LARGEST_MARGIN:,.0f}, or a mapping of test datasets to such "
                "numbers"
            )
    return value


Positive = Annotated[float, Field(gt=0, le=_LARGEST_MARGIN)]
Margin = Annotated[
    Positive | dict[Name, Positive], BeforeValidator(_margin, json_schema_input_type=Positive | dict[Name, Positive])
]


class Comparison(Section):
    """Baseline and equivalence margins of the comparison of objectives; see docs/statistics.md."""

    baseline: Name | None = Field(None, description="objective that the others are compared with; null: the first")
    margin: float = Field(
        0.005,
        gt=0,
        lt=1,
        description="equivalence margin of shares, metrics between 0 and 1; 0.005 is half a percentage point",
    )
    margins: dict[Name, Margin] = Field(
        {},
        description="metric -> its own margin, or metric -> test dataset -> margin, in the unit of the metric records: "
        "shares as `margin`; distances in mm, or in pixels where the spacing is unknown, for protocol `sound` only; "
        "a distance without an entry has no margin",
    )
