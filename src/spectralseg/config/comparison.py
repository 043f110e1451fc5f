"""Section ``comparison``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

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


class Question(Section):
    """Architectures that are compared with a reference under the same objective, in the table `questions`."""

    title: str = Field(min_length=1, max_length=200, description="the question, a heading of the table")
    reference: Name = Field(description="architecture that the others are compared with")
    methods: list[Name] = Field(min_length=1, description="architectures")
    metrics: list[Name] = Field(
        ["dsc", "nsd", "lesion_f1", "lesion_sensitivity_small", "false_structure"],
        min_length=1,
        description="columns; one without metric records is left out",
    )

    @property
    def sides(self) -> list[tuple[str, str]]:
        """Key and name of each architecture."""
        return [("reference", self.reference), *(("methods", name) for name in self.methods)]

    @model_validator(mode="after")
    def _compares_different_architectures(self) -> Question:
        if self.reference in self.methods:
            raise ValueError(f"'{self.reference}' is compared with itself; remove it from 'methods'")
        return self


class Comparison(Section):
    """Baseline, questions and equivalence margins of the comparison of objectives; see docs/statistics.md."""

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
    questions: dict[Name, Question] = Field({}, description="comparisons of architectures, blocks of table `questions`")
