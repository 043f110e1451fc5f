"""Section ``architectures``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

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
    pretrained: list[Name] = Field(
        [], description="names under `pretraining`, one per residual map of a model such as `grcsf`"
    )

    @model_serializer(mode="wrap")
    def _without_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave ``pretrained`` out where it is empty, so that no run of an earlier version is outdated."""
        values: dict[str, Any] = handler(self)
        return {key: value for key, value in values.items() if key != "pretrained" or value}

    @field_validator("encoder_weights")
    @classmethod
    def _name_or_file(cls, weights: str | None) -> str | None:
        if weights is not None and not weights_file(weights) and not PLAIN_NAME.fullmatch(weights):
            raise ValueError("must be the name of published weights (letters, digits, '_', '.' and '-') or a file")
        return weights
