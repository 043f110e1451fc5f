"""Section ``training``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer

from spectralseg.config.values import Section

NOT_LEARNED = ("save_every", "tensorboard", "workers")  # settings that do not affect the weights


def _off(value: Any) -> Any:
    """YAML reads an unquoted ``off`` as false."""
    return "off" if value is False else value


class Training(Section):
    """Hyper-parameters of all runs; a dataset may set its own `iterations` and `foreground_share`."""

    iterations: int = Field(14000, ge=1, le=10_000_000, description="optimizer steps")
    epochs: float | None = Field(
        None, gt=0, le=100_000, description="passes over the training images; if given, it determines `iterations`"
    )
    batch_size: int = Field(8, ge=1, le=4096)
    learning_rate: float = Field(0.01, gt=0, le=100)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0, le=100)
    schedule: Literal["poly", "cosine", "constant"] = Field(
        "poly", description="learning rate times (1 - t/T)^0.9, (1 + cos(π t/T)) / 2 or 1 at iteration t of T"
    )
    gradient_clip: float | None = Field(None, gt=0, le=1e6, description="maximum gradient norm; null: no clipping")
    foreground_share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="share of training images that show a foreground class: in every epoch, others are left out at "
        "random until it is reached; null: all images",
    )
    flip: bool = Field(True, description="random horizontal and vertical flips")
    rotate: float = Field(20, ge=0, le=180, description="random rotation within ± this many degrees")
    validate_every: int = Field(500, ge=1, le=10_000_000, description="iterations between validations")
    save_every: int = Field(
        500, ge=1, le=10_000_000, description="iterations between checkpoints; does not affect the weights"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "fp32",
        description="precision of the forward pass; bf16 and fp16: autocast; auto: bf16 if the device supports it, "
        "else fp32",
    )
    channels_last: bool = Field(True, description="channels-last memory layout, which is faster on most devices")
    resident: bool = Field(
        True, description="on CUDA: keep the training images in GPU memory and augment there; else load and copy"
    )
    fused: bool = Field(True, description="on CUDA: update all weights with one kernel")
    cuda_graph: bool = Field(
        True,
        description="on CUDA: launch the kernels of a step as one graph if the objective allows it; needs `fused`",
    )
    deterministic: Annotated[Literal["off", "warn", "strict"], BeforeValidator(_off)] = Field(
        "warn",
        description="warn: deterministic algorithms where available; strict: an error where not available; "
        "off: the fastest algorithms",
    )
    tensorboard: bool = Field(False, description="write event files to <run>/tensorboard")
    workers: int = Field(
        0, ge=0, le=256, description="processes that load and augment images; does not affect the weights"
    )

    @model_serializer(mode="wrap")
    def _without_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave ``foreground_share`` out where it is not set, so that no run of an earlier version is outdated."""
        values: dict[str, Any] = handler(self)
        return {key: value for key, value in values.items() if key != "foreground_share" or value is not None}

    def learned(self) -> dict[str, Any]:
        """Settings that affect the weights, as plain values; the others may change without retraining."""
        return self.model_dump(mode="json", exclude=set(NOT_LEARNED))
