"""The configuration of a study, which holds all sections."""

from __future__ import annotations

import itertools
from typing import Annotated, Any

from pydantic import Field

from spectralseg.config.architecture import Architecture
from spectralseg.config.block import Block
from spectralseg.config.comparison import Comparison
from spectralseg.config.dataset import Dataset
from spectralseg.config.evaluation import Evaluation
from spectralseg.config.external import External
from spectralseg.config.objective import Objective
from spectralseg.config.pretraining import Pretraining
from spectralseg.config.training import Training
from spectralseg.config.values import ImageSize, Name, PathText, Removable, Section

_FILLED = "null: those that show a run of the study"


class Config(Section):
    """A study: datasets, architectures, objectives, the grid of runs, and how they are trained and evaluated."""

    name: Name = Field(description="results are written to results/<name>")
    image_size: ImageSize = Field(224, description="side of the prepared images in pixels")
    fail_on_leakage: bool = Field(False, description="train no run if test cases match training or validation data")
    validation: float = Field(0.1, gt=0, lt=1, description="share of training groups held out for model selection")
    reduced_decoding: bool = Field(
        True,
        description="decode JPEG images, never masks, at 1/2, 1/4 or 1/8 of their size if at least twice `image_size` "
        "remains: faster, and on average within one of 255 grey levels; see benchmarks/README.md",
    )
    runs_per_gpu: int = Field(
        1,
        ge=1,
        le=64,
        description="trainings or evaluations that share a GPU of this machine; under SLURM, each has its own",
    )
    downloads: PathText = Field("results/downloads", description="folder of official archives, shared by studies")
    datasets: Annotated[dict[Name, Dataset], Removable] = Field(min_length=1)
    architectures: Annotated[dict[Name, Architecture], Removable] = Field(min_length=1)
    pretraining: Annotated[dict[Name, Pretraining], Removable] = Field(
        {}, description="masked autoencoders that architectures use"
    )
    objectives: Annotated[dict[Name, Objective], Removable] = Field(min_length=1)
    grid: Annotated[dict[Name, Block], Removable] = Field(
        min_length=1, description="the runs are the union of these blocks"
    )
    external: Annotated[dict[Name, External], Removable] = Field(
        {}, description="external methods; see docs/external-methods.md"
    )
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    comparison: Comparison = Comparison()
    tables: list[Name] | None = Field(
        None, description="modules of spectralseg.reporting.tables, published tables, or your own notebooks; " + _FILLED
    )
    figures: list[Name] | None = Field(
        None, description="modules of spectralseg.reporting.figures, or your own notebooks; " + _FILLED
    )
    studies: list[Name] | None = Field(
        None, description="modules of spectralseg.reporting.studies, or your own notebooks; " + _FILLED
    )

    def size_of(self, dataset: str) -> int:
        """Side of the prepared images of a dataset in pixels."""
        return self.datasets[dataset].image_size or self.image_size

    def training_of(self, dataset: str) -> Training:
        """Hyper-parameters of the runs on a dataset."""
        own: dict[str, Any] = {}
        if (iterations := self.datasets[dataset].iterations) is not None:
            own |= {"iterations": iterations, "epochs": None}
        if (share := self.datasets[dataset].foreground_share) is not None:
            own["foreground_share"] = share
        return self.training.model_copy(update=own)

    @property
    def pretrainings(self) -> list[tuple[str, str]]:
        """Dataset and name of each masked autoencoder that the runs of the grid use, without duplicates."""
        used = {
            (dataset, name): None
            for block in self.grid.values()
            for dataset, architecture in itertools.product(block.datasets, block.architectures)
            for name in self.architectures[architecture].pretrained
        }
        return list(used)

    @property
    def training_datasets(self) -> list[str]:
        """Datasets that runs of the grid and external methods are trained on, without duplicates."""
        grid = (name for block in self.grid.values() for name in block.datasets)
        external = (name for method in self.external.values() for name in method.datasets)
        return list(dict.fromkeys((*grid, *external)))

    @property
    def baseline(self) -> str:
        """The objective that the others are compared with."""
        return self.comparison.baseline or next(iter(self.objectives))
