"""Section ``grid``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from spectralseg.config.values import LARGEST_SEED, Name, QuotedNumber, Section


class Block(Section):
    """A part of the grid: every combination of its lists. λ applies to objectives with an auxiliary term."""

    datasets: list[Name] = Field(min_length=1)
    architectures: list[Name] = Field(min_length=1)
    objectives: list[Name] = Field(min_length=1)
    lambdas: list[QuotedNumber] = Field([], description='quoted strings such as "0.2"')
    seeds: list[Annotated[int, Field(ge=0, le=LARGEST_SEED)]] = Field(min_length=1)
