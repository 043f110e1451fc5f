"""Section ``architectures``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from spectralseg.config.values import PLAIN_NAME, ModelName, Name, PathText, Section
from spectralseg.registry import has_encoder, weights_file


class Architecture(Section):
    """A model and its options."""

    model: ModelName = Field(description="name of the model, e.g. `unet` or `monai:UNet`; see docs/train-a-run.md")
    encoder: Annotated[str, Field(pattern=f"^{PLAIN_NAME.pattern}$", max_length=128)] = Field(
        "resnet50", description="encoder of segmentation-models-pytorch, or of MONAI for `monai:FlexibleUNet`"
    )
    encoder_weights: PathText | None = Field(
        "imagenet", description="pretrained weights of the encoder: name, file or null; see docs/train-a-run.md"
    )
    options: dict[str, Any] = Field({}, description="options of the model, by parameter name")
    pretrained: list[Name] = Field(
        [], description="names under `pretraining`, one per residual map of a model such as `grcsf`"
    )

    @model_validator(mode="before")
    @classmethod
    def _no_weights_without_encoder(cls, values: Any) -> Any:
        """The default of ``encoder_weights`` is null for a model whose encoder cannot be chosen."""
        if isinstance(values, dict) and isinstance(model := values.get("model"), str) and not has_encoder(model):
            return {"encoder_weights": None, **values}
        return values

    @model_serializer(mode="wrap")
    def _without_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out ``encoder`` where the model has none to choose, and ``pretrained`` where it is empty.

        No run of an earlier version is outdated by an empty ``pretrained``.
        """
        values: dict[str, Any] = handler(self)
        left_out = {"pretrained": not self.pretrained, "encoder": not has_encoder(self.model)}
        return {key: value for key, value in values.items() if not left_out.get(key)}

    @field_validator("encoder_weights")
    @classmethod
    def _name_or_file(cls, weights: str | None) -> str | None:
        if weights is not None and not weights_file(weights) and not PLAIN_NAME.fullmatch(weights):
            raise ValueError("must be the name of published weights (letters, digits, '_', '.' and '-') or a file")
        return weights
