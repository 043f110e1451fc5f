"""The grid of runs. A run is identified by dataset, architecture, objective, λ and seed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from spectralseg.config import EXTERNAL, QUOTED_NUMBER, Config
from spectralseg.errors import InputError
from spectralseg.registry import suggest


@dataclass(frozen=True, order=True)
class Run:
    """Identity of a run; λ is the string of the configuration, ``"0"`` for objectives without an auxiliary term."""

    dataset: str
    architecture: str
    objective: str
    lam: str
    seed: int

    parent: ClassVar[str] = "runs"
    """Folder of all runs, below ``results/<name>``."""

    @classmethod
    def of(cls, keys: Mapping[str, Any]) -> Self:
        """The run with the given :attr:`keys`."""
        return cls(*(keys[name] for name in ("dataset", "architecture", "objective", "lambda", "seed")))

    @property
    def external(self) -> bool:
        """Whether the run is one of a method that this suite does not train, which is its architecture."""
        return self.objective == EXTERNAL

    @property
    def folder(self) -> str:
        """Folder of the run below ``results/<name>/runs``."""
        return f"{self.dataset}/{self.architecture}/{self.objective}/lambda{self.lam}/seed{self.seed}"

    @property
    def keys(self) -> dict[str, str | int]:
        """The identity as columns of the metric records."""
        return {
            "dataset": self.dataset,
            "architecture": self.architecture,
            "objective": self.objective,
            "lambda": self.lam,
            "seed": self.seed,
        }


@dataclass(frozen=True, order=True)
class Autoencoder:
    """Identity of a masked autoencoder: its dataset and its name under ``pretraining`` in the configuration."""

    dataset: str
    name: str

    parent: ClassVar[str] = "pretraining"
    """Folder of all masked autoencoders, below ``results/<name>``."""

    @property
    def folder(self) -> str:
        """Folder of the autoencoder below ``results/<name>/pretraining``."""
        return f"{self.dataset}/{self.name}"

    @property
    def keys(self) -> dict[str, str | int]:
        """The identity as recorded in ``run.json``."""
        return {"dataset": self.dataset, "pretraining": self.name}


def runs(config: Config) -> list[Run]:
    """All runs of a configuration, without duplicates, in a stable order: those of the grid, then those of external
    methods.
    """
    return [*grid_runs(config), *external_runs(config)]


def external_runs(config: Config) -> list[Run]:
    """The runs of methods that this suite does not train, in a stable order."""
    return [
        Run(dataset, name, EXTERNAL, "0", seed)
        for name, method in config.external.items()
        for dataset, seed in itertools.product(method.datasets, dict.fromkeys(method.seeds))
    ]


def grid_runs(config: Config) -> list[Run]:
    """The runs that this suite trains, without duplicates, in a stable order."""
    unique_runs: dict[Run, None] = {}
    for block in config.grid.values():
        for dataset, architecture, objective, seed in itertools.product(
            block.datasets, block.architectures, block.objectives, block.seeds
        ):
            lambdas = block.lambdas if config.objectives[objective].auxiliary else ["0"]
            unique_runs.update((Run(dataset, architecture, objective, lam, seed), None) for lam in lambdas)
    return list(unique_runs)


def autoencoders(config: Config) -> list[Autoencoder]:
    """Masked autoencoders that the runs of a configuration use, without duplicates, in a stable order."""
    return list(itertools.starmap(Autoencoder, config.pretrainings))


def folder_of(keys: Mapping[str, Any]) -> str:
    """Folder of a run or of a pretraining, of its keys, below the folder of its kind."""
    return Run.of(keys).folder if "objective" in keys else "/".join(map(str, keys.values()))


def lambda_of(config: Config, objective: str, given: str | None, file: str) -> str:
    """λ of a run: as given, or ``"0"`` for an objective without an auxiliary term.

    Raises:
        InputError: the objective has an auxiliary term and λ is None; the term would be ignored.
    """
    settings = config.objectives.get(objective)
    if given is None and settings is not None and settings.auxiliary is not None:
        lambdas = dict.fromkeys(lam for block in config.grid.values() for lam in block.lambdas)
        example = f", for example {next(iter(lambdas))}" if lambdas else ""
        raise InputError(
            f"{file}: objective '{objective}' has an auxiliary term; give its weight with --lambda{example}"
        )
    return given or "0"


def check_run(config: Config, run: Run, file: str) -> None:
    """Reject a run that does not fit the configuration.

    Raises:
        InputError: its architecture or objective is not in the configuration, or λ does not fit the objective.
    """
    for key, name in {"architectures": run.architecture, "objectives": run.objective}.items():
        valid = getattr(config, key)
        if name not in valid:
            raise InputError(f"{file}: '{name}' is not among its {key}; {suggest(name, valid)}")
    if not QUOTED_NUMBER.fullmatch(run.lam):
        raise InputError(f"--lambda '{run.lam}' is not a valid λ; give a decimal without trailing zeros, such as 0.2")
    if (run.lam != "0") and config.objectives[run.objective].auxiliary is None:
        raise InputError(f"{file}: objective '{run.objective}' has no auxiliary term, so --lambda must be 0")
