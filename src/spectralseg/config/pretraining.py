"""Section ``pretraining``."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from spectralseg.config.training import Training
from spectralseg.config.values import LARGEST_SEED, Section
from spectralseg.errors import InputError
from spectralseg.patches import Sizes

_SIZES = tuple(Sizes.__dataclass_fields__)


class Pretraining(Section):
    """A masked autoencoder that is trained on all images of the training part of each dataset, without labels.

    Flips, rotation, precision, validations and checkpoints are those of `training`.
    """

    mask_ratio: float = Field(0.75, gt=0, lt=1, description="share of hidden patches, 0.5 or 0.75")
    patch: int = Field(16, ge=1, le=1024, description="side of a patch in pixels")
    width: int = Field(384, ge=4, le=65536, description="width of the encoder")
    layers: int = Field(12, ge=1, le=1024)
    heads: int = Field(6, ge=1, le=1024)
    decoder_width: int = Field(256, ge=4, le=65536)
    decoder_layers: int = Field(4, ge=1, le=1024)
    decoder_heads: int = Field(8, ge=1, le=1024)
    iterations: int = Field(20000, ge=0, le=10_000_000, description="optimizer steps; 0: an untrained autoencoder")
    batch_size: int = Field(64, ge=1, le=65536)
    learning_rate: float = Field(0.001, gt=0, le=100, description="highest rate of AdamW, after the warm-up")
    weight_decay: float = Field(0.05, ge=0, le=100)
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the iterations in which the rate rises from 0")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="of weights, order, augmentation and masks")

    @field_validator("mask_ratio")
    @classmethod
    def _partitions(cls, ratio: float) -> float:
        try:
            Sizes(ratio).check()
        except InputError as error:
            raise ValueError(str(error)) from None
        return ratio

    @property
    def sizes(self) -> Sizes:
        """Sizes of the networks."""
        return Sizes(**{name: getattr(self, name) for name in _SIZES})

    def training(self, training: Training) -> Training:
        """Hyper-parameters of the pretraining, in place of those of the runs on a dataset."""
        own: dict[str, Any] = {
            "iterations": self.iterations,
            "epochs": None,
            "foreground_share": None,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "schedule": "cosine",
            "cuda_graph": False,
        }
        return training.model_copy(update=own)
