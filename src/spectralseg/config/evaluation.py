"""Section ``evaluation``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spectralseg.config.values import Name, QuotedNumber, Section, Unique


class Noise(Section):
    """Corruptions of the test images of some datasets; see docs/corruptions.md."""

    datasets: list[Name] = Field([], description="datasets that are evaluated with `corruptions`")
    corruptions: dict[Name, Annotated[list[QuotedNumber], Unique]] = Field(
        {}, description="corruption -> severities as quoted strings"
    )
    sweep: list[Name] = Field(
        [], description="datasets that are evaluated with every corruption of their modality at severities 1 to 5"
    )


class Interpretation(Section):
    """Evaluation of class activation maps; see docs/interpretation.md."""

    cases: int = Field(24, ge=1, le=10_000, description="test cases per dataset, at even quantiles of foreground area")
    layers: Annotated[list[Literal["deepest", "decoder"]], Unique] = Field(
        ["deepest"], description="deepest: maps that enter the decoder; decoder: maps that leave it"
    )
    steps: int = Field(
        16, ge=0, le=1000, description="steps of insertion and deletion, the slowest part; 0 leaves them out"
    )


class Evaluation(Section):
    """Evaluation of a trained run."""

    checkpoint: Literal["best", "last"] = Field("best", description="best on validation, or after the last iteration")
    suites: list[Literal["iid", "ood", "noise", "calibration", "interpretation"]] = Field(
        ["iid", "ood", "noise", "calibration", "interpretation"]
    )
    noise: Noise = Noise()
    batch_size: int = Field(16, ge=1, le=4096)
    examples: int = Field(
        8, ge=1, le=100, description="test cases per dataset with stored predictions; figures use up to three of them"
    )
    interpretation: Interpretation = Interpretation()
    recheck: int = Field(
        2, ge=0, le=10_000, description="random test cases per dataset that are also scored by medpy and MONAI"
    )
