"""Section ``architectures``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from spectralseg.config.values import PLAIN_NAME, Name, PathText, Section
from spectralseg.registry import weights_file


class Architecture(Section):
    """A model and its options."""

    model: Name = Field(description="name in the model registry")
    encoder: Annotated[str, Field(pattern=f"^{PLAIN_NAME.pattern}$", max_length=128)] = Field(
        "resnet50", description="encoder of segmentation-models-pytorch"
    )
    encoder_weights: PathText | None = Field(
        "imagenet", description="pretrained weights of the encoder: name, file or null; see docs/train-a-run.md"
    )
    options: dict[str, Any] = Field({}, description="options of the model, by parameter name")

    @field_validator("encoder_weights")
    @classmethod
    def _name_or_file(cls, weights: str | None) -> str | None:
        if weights is not None and not weights_file(weights) and not PLAIN_NAME.fullmatch(weights):
            raise ValueError("must be the name of published weights (letters, digits, '_', '.' and '-') or a file")
        return weights
