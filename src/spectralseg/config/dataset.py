"""Section ``datasets``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from spectralseg.config.values import LARGEST_SEED, ImageSize, PathText, Section


class Phantom(Section):
    """Size of a synthetic dataset."""

    cases: int = Field(12, ge=3, le=10_000, description="approximate number of training cases")
    side: int = Field(128, ge=32, le=4096, description="typical native image side in pixels")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="seed of the synthetic images")


class Dataset(Section):
    """Source and preparation of a dataset."""

    source: Literal["official", "phantom", "path"] = Field("official", description="source of the raw files")
    path: PathText | None = Field(None, description="for source 'path': folder or archive in the official layout")
    split: PathText | None = Field(
        None, description="alternative split of the dataset file, or a .csv file; null: the dataset's own split"
    )
    mirrors: list[Annotated[str, Field(pattern=r"^https?://[^@?\s]+$")]] = Field(
        [], description="for source 'official': addresses of folders with the same files, tried first"
    )
    allow_partial: bool = Field(
        False, description="accept a subset of the official cases and record it; always so for source 'phantom'"
    )
    image_size: ImageSize | None = Field(
        None,
        description="side of the prepared images in pixels, which its partners must share; null: that of the study",
    )
    iterations: int | None = Field(
        None, ge=1, le=10_000_000, description="optimizer steps of runs on this dataset; null: those of `training`"
    )
    foreground_share: float | None = Field(
        None, gt=0, le=1, description="share of training images with foreground on this dataset; null: as in `training`"
    )
    phantom: Phantom = Field(Phantom(), description="for source 'phantom'")

    @model_validator(mode="after")
    def _path_belongs_to_source(self) -> Dataset:
        if (self.source == "path") != (self.path is not None):
            raise ValueError("'path' is required for source 'path' and not allowed for others; correct one of the two")
        return self
