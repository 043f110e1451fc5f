"""Section ``objectives``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from spectralseg.config.values import Name, Section


class Objective(Section):
    """A base objective L and, optionally, an auxiliary objective A with weight λ."""

    base: Name = Field(description="name in the objective registry")
    auxiliary: Name | None = Field(None, description="name in the objective registry; its weight is λ")
    form: Literal["add", "printed", "convex"] = Field(
        "add", description="add: L + λA; printed: L + λ(1 - A), the sign of the paper; convex: (1 - λ)L + λA"
    )
    base_options: dict[str, Any] = Field({}, description="options of the base objective")
    auxiliary_options: dict[str, Any] = Field({}, description="options of the auxiliary objective")

    @model_validator(mode="after")
    def _options_belong_to_an_objective(self) -> Objective:
        if self.auxiliary_options and self.auxiliary is None:
            raise ValueError("'auxiliary_options' needs 'auxiliary'; name the objective or remove its options")
        return self
