"""The configuration: one typed model, from which the JSON schema of the workflow is generated."""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from spectralseg import outputs, registry
from spectralseg.corruptions import CORRUPTIONS, conditions_of
from spectralseg.errors import InputError
from spectralseg.files import visible
from spectralseg.parsing import read_yaml, refuse_expanding

if TYPE_CHECKING:
    from spectralseg.data.specification import DatasetSpecification

QUOTED_NUMBER = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]*[1-9])?")
LARGEST_SEED = 2**63 - 1  # records hold seeds in 64 bits
_LARGEST_QUOTED, _LONGEST_QUOTED = 1e6, 16
_LARGEST_MARGIN = 1e4
_LONGEST_SHOWN = 200  # characters of a wrong value in a message


def _quoted_number(value: Any) -> Any:
    """Numbers that become part of a path travel as strings, one spelling for each: YAML would turn 1e-3 into text."""
    if not isinstance(value, str) or not QUOTED_NUMBER.fullmatch(value):
        raise ValueError('must be a quoted decimal without trailing zeros such as "0.2"')
    if len(value) > _LONGEST_QUOTED or float(value) > _LARGEST_QUOTED:
        raise ValueError(f"must be at most {_LARGEST_QUOTED:,.0f} and have at most {_LONGEST_QUOTED} characters")
    return value


def _off(value: Any) -> Any:
    """YAML takes an unquoted ``off`` for false."""
    return "off" if value is False else value


def _each_once(values: list[str]) -> list[str]:
    """What is measured twice would stand in the records twice."""
    if repeated := [value for value in values if values.count(value) > 1]:
        raise ValueError(f"'{repeated[0]}' is there twice; keep one")
    return values


def _margin(value: Any) -> Any:
    """Both kinds of a margin in one message, where pydantic would give one for each."""
    for one in value.values() if isinstance(value, dict) else [value]:
        if isinstance(one, bool) or not isinstance(one, int | float) or not 0 < one <= _LARGEST_MARGIN:
            raise ValueError(
                f"must be a positive number of at most {_LARGEST_MARGIN:,.0f}, or test datasets with such a number each"
            )
    return value


def _path(value: str) -> str:
    """A path with ``~`` expanded; braces would be wildcards of the workflow, and ``-`` an option of a command."""
    if not value.strip():
        raise ValueError("must not be empty")
    if any(c in "{}" or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in value) or value.startswith("-"):
        raise ValueError("must not hold braces or control characters, nor start with '-'; rename the file or folder")
    expanded = os.path.expanduser(value)
    if expanded.startswith("~"):
        raise ValueError("starts with '~' but names no home folder on this machine; write the whole path")
    return expanded


QuotedNumber = Annotated[str, BeforeValidator(_quoted_number, json_schema_input_type=str)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
EachOnce = AfterValidator(_each_once)
PathText = Annotated[str, AfterValidator(_path)]
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # of encoders and their weights: part of paths
Encoder = Annotated[str, Field(pattern=f"^{PLAIN_NAME.pattern}$", max_length=128)]
ImageSize = Annotated[int, Field(ge=32, le=4096, multiple_of=32)]
Positive = Annotated[float, Field(gt=0, le=_LARGEST_MARGIN)]
Margin = Annotated[
    Positive | dict[Name, Positive], BeforeValidator(_margin, json_schema_input_type=Positive | dict[Name, Positive])
]


NO_SHARE = "the margin of a share is between 0 and 1, where 0.005 is half a percentage point"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Phantom(_Strict):
    """Size of a synthetic dataset."""

    cases: int = Field(12, ge=3, le=10_000, description="about how many training cases")
    side: int = Field(128, ge=32, le=4096, description="typical native image side in pixels")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="seed of the drawings")


class Dataset(_Strict):
    """Where a dataset comes from."""

    source: Literal["official", "phantom", "path"] = Field("official", description="where the raw files come from")
    path: PathText | None = Field(None, description="for source 'path': folder or archive in the official layout")
    split: PathText | None = Field(
        None, description="an alternative split of the dataset file, or a .csv file; null for its own split"
    )
    mirrors: list[Annotated[str, Field(pattern=r"^https?://[^@?\s]+$")]] = Field(
        [], description="for source 'official': addresses of folders that hold the same files, tried first"
    )
    allow_partial: bool = Field(False, description="accept a subset of the official cases and record it")
    image_size: ImageSize | None = Field(
        None, description="side of the prepared images in pixels, the same for its partners; null: that of the study"
    )
    iterations: int | None = Field(
        None, ge=1, le=10_000_000, description="optimizer steps of runs on it; null: those of `training`"
    )
    phantom: Phantom = Field(Phantom(), description="for source 'phantom'")

    @model_validator(mode="after")
    def _path_belongs_to_source(self) -> Dataset:
        if (self.source == "path") != (self.path is not None):
            raise ValueError("'path' is needed for source 'path', and only there")
        return self


class Architecture(_Strict):
    """A model and its options."""

    model: Name = Field(description="name in the model registry")
    encoder: Encoder = Field("resnet50", description="encoder of segmentation-models-pytorch")
    encoder_weights: PathText | None = Field(
        "imagenet", description="pretrained weights of the encoder: name, file or null; see docs/train-a-run.md"
    )
    options: dict[str, Any] = Field({}, description="options of the model, by the names of its parameters")

    @field_validator("encoder_weights")
    @classmethod
    def _name_or_file(cls, weights: str | None) -> str | None:
        if weights is not None and not registry.weights_file(weights) and not PLAIN_NAME.fullmatch(weights):
            raise ValueError("is not the name of published weights, of letters, digits, '_', '.' and '-', nor a file")
        return weights


class Objective(_Strict):
    """A base objective L, and with weight λ an auxiliary one A."""

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


class Block(_Strict):
    """A part of the grid: every combination of its lists. λ applies to objectives with an auxiliary term."""

    datasets: list[Name] = Field(min_length=1)
    architectures: list[Name] = Field(min_length=1)
    objectives: list[Name] = Field(min_length=1)
    lambdas: list[QuotedNumber] = Field([], description='quoted strings such as "0.2"')
    seeds: list[Annotated[int, Field(ge=0, le=LARGEST_SEED)]] = Field(min_length=1)


NOT_LEARNED = ("save_every", "tensorboard", "workers")  # settings of training that change no weights


class Training(_Strict):
    """Hyper-parameters that all runs share, but for `iterations` of their dataset."""

    iterations: int = Field(14000, ge=1, le=10_000_000, description="optimizer steps")
    epochs: float | None = Field(
        None, gt=0, le=100_000, description="passes over the training images; if given, iterations follow"
    )
    batch_size: int = Field(8, ge=1, le=4096)
    learning_rate: float = Field(0.01, gt=0, le=100)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0, le=100)
    schedule: Literal["poly", "cosine", "constant"] = Field(
        "poly", description="learning rate times (1 - t/T)^0.9, (1 + cos(π t/T)) / 2 or 1 at iteration t of T"
    )
    gradient_clip: float | None = Field(None, gt=0, le=1e6, description="largest norm of the gradient; null: no limit")
    flip: bool = Field(True, description="random horizontal and vertical flips")
    rotate: float = Field(20, ge=0, le=180, description="random rotation within ± this many degrees")
    validate_every: int = Field(500, ge=1, le=10_000_000, description="iterations between validations")
    save_every: int = Field(
        500, ge=1, le=10_000_000, description="iterations between resumable states; changes no weights"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "fp32",
        description="of the forward pass; bf16 and fp16: autocast; auto: bf16 where the device computes it, else fp32",
    )
    channels_last: bool = Field(True, description="memory layout; faster on most devices")
    resident: bool = Field(
        True, description="on CUDA: keep the training images in its memory and augment there; else load and copy"
    )
    fused: bool = Field(True, description="on CUDA: all weights are updated by one kernel")
    cuda_graph: bool = Field(
        True, description="on CUDA: launch the kernels of a step at once, where the objective allows; needs `fused`"
    )
    deterministic: Annotated[Literal["off", "warn", "strict"], BeforeValidator(_off)] = Field(
        "warn",
        description="warn: deterministic algorithms where there are some; strict: an error where there are none; "
        "off: the fastest",
    )
    tensorboard: bool = Field(False, description="write event files into <run>/tensorboard")
    workers: int = Field(0, ge=0, le=256, description="processes that load and augment; changes no weights")

    def learned(self) -> dict[str, Any]:
        """All that weights depend on, as plain values: what else there is may change without training anew."""
        return self.model_dump(mode="json", exclude=set(NOT_LEARNED))


class Noise(_Strict):
    """Corruptions of the test images of some datasets; see docs/corruptions.md."""

    datasets: list[Name] = Field([], description="datasets on which `corruptions` are run")
    corruptions: dict[Name, Annotated[list[QuotedNumber], EachOnce]] = Field(
        {}, description="corruption -> severities as quoted strings"
    )
    sweep: list[Name] = Field(
        [], description="datasets on which every corruption of their modality is run at severities 1 to 5"
    )


class Interpretation(_Strict):
    """What class activation maps are scored on; see docs/interpretation.md."""

    cases: int = Field(24, ge=1, le=10_000, description="test cases per dataset, at even quantiles of foreground area")
    layers: Annotated[list[Literal["deepest", "decoder"]], EachOnce] = Field(
        ["deepest"], description="maps that enter or leave the decoder"
    )
    steps: int = Field(
        16, ge=0, le=1000, description="steps of insertion and deletion, which cost most; 0 leaves them out"
    )


class Evaluation(_Strict):
    """What one evaluation job does for a trained run."""

    checkpoint: Literal["best", "last"] = Field("best", description="best on validation, or after the last iteration")
    suites: list[Literal["iid", "ood", "noise", "calibration", "interpretation"]] = [
        "iid",
        "ood",
        "noise",
        "calibration",
        "interpretation",
    ]
    noise: Noise = Noise()
    batch_size: int = Field(16, ge=1, le=4096)
    examples: int = Field(3, ge=1, le=100, description="example cases per test dataset for the figures")
    interpretation: Interpretation = Interpretation()
    recheck: int = Field(
        2, ge=0, le=10_000, description="random test cases per dataset that medpy and MONAI score again"
    )


class Comparison(_Strict):
    """What all objectives are compared with; see docs/statistics.md."""

    baseline: Name | None = Field(None, description="objective that the others are compared with; null: the first")
    margin: float = Field(
        0.005,
        gt=0,
        lt=1,
        description="largest difference of a share that does not matter; 0.005 is half a percentage point",
    )
    margins: dict[Name, Margin] = Field(
        {},
        description="metric -> its own margin, or metric -> test dataset -> margin, in the unit of the metric records: "
        "shares as `margin`; distances in mm, in pixels where the spacing is unknown, for protocol `sound` alone; "
        "a distance without an entry has no margin",
    )


class Config(_Strict):
    """A study: datasets, what is compared on them, and how."""

    name: Name = Field(description="results go to results/<name>")
    image_size: ImageSize = Field(224, description="side of the prepared images in pixels")
    fail_on_leakage: bool = Field(False, description="train nothing where test cases match training or validation data")
    validation: float = Field(0.1, gt=0, lt=1, description="share of training groups held out for model selection")
    reduced_decoding: bool = Field(
        True,
        description="decode JPEG images, never masks, at a half, a quarter or an eighth of their size where at least "
        "twice image_size is left: faster, and on average within one of 255 grey levels; see benchmarks/README.md",
    )
    runs_per_gpu: int = Field(
        1,
        ge=1,
        le=64,
        description="trainings or evaluations that share a GPU of this machine; SLURM gives each its own",
    )
    downloads: PathText = Field("results/downloads", description="folder of official archives, shared by studies")
    datasets: dict[Name, Dataset] = Field(min_length=1)
    architectures: dict[Name, Architecture] = Field(min_length=1)
    objectives: dict[Name, Objective] = Field(min_length=1)
    grid: dict[Name, Block] = Field(min_length=1, description="the runs are the union of these blocks")
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    comparison: Comparison = Comparison()
    tables: list[Name] = Field(
        [*(f"table_{number}" for number in range(1, 7)), *outputs.names("tables")],
        description="modules of spectralseg.reporting.tables, published tables, or own notebooks",
    )
    figures: list[Name] = Field(
        outputs.names("figures"), description="modules of spectralseg.reporting.figures, or own notebooks"
    )
    studies: list[Name] = Field(
        outputs.names("studies"), description="modules of spectralseg.reporting.studies, or own notebooks"
    )

    def size_of(self, dataset: str) -> int:
        """Side of the prepared images of a dataset in pixels."""
        return self.datasets[dataset].image_size or self.image_size

    def training_of(self, dataset: str) -> Training:
        """Hyper-parameters of the runs on a dataset."""
        own = self.datasets[dataset].iterations
        return self.training if own is None else self.training.model_copy(update={"iterations": own, "epochs": None})

    @property
    def baseline(self) -> str:
        """The objective that the others are compared with."""
        return self.comparison.baseline or next(iter(self.objectives))


def validate_config(
    raw: Any,
    file: str,
    known_datasets: Mapping[str, DatasetSpecification] | None = None,
    own_outputs: Collection[str] | None = None,
) -> Config:
    """Check a configuration against the model and against every registry.

    Args:
        raw: the parsed YAML.
        file: its name, for messages.
        known_datasets: specifications of the dataset files; None skips the checks that need them.
        own_outputs: names of tables, figures and studies that the repository adds to those of the package, see
            :func:`spectralseg.outputs.own_names`; None skips the check of these names.

    Raises:
        InputError: names the file, the key, and the nearest valid name.
    """
    refuse_expanding(raw, file)
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{file}: {_explain(error)}") from None
    for key, name, valid in _references(config, known_datasets, own_outputs):
        if name not in valid:
            raise InputError(f"{file}: {key}: '{name}' is unknown; {registry.suggest(name, valid)}")
    if known_datasets is not None:
        for name in config.evaluation.noise.sweep:
            try:
                conditions_of(known_datasets[name].modality)
            except InputError as error:
                raise InputError(f"{file}: evaluation.noise.sweep: {name}: {error}") from None
        _check_sizes(config, known_datasets, file)
    for name, architecture in config.architectures.items():
        try:
            registry.check_options(architecture.model, architecture.encoder, architecture.options)
        except InputError as error:
            raise InputError(f"{file}: architectures.{name}.options: {error}") from None
    for name, objective in config.objectives.items():
        for part in ("base", "auxiliary"):
            try:
                registry.check_objective_options(getattr(objective, part), getattr(objective, f"{part}_options"))
            except InputError as error:
                raise InputError(f"{file}: objectives.{name}.{part}_options: {error}") from None
    _check_margins(config.comparison, file)
    for block_name, block in config.grid.items():
        weighted = [name for name in block.objectives if config.objectives[name].auxiliary]
        if weighted and not block.lambdas:
            raise InputError(f"{file}: grid.{block_name}: objective '{weighted[0]}' needs 'lambdas', e.g. [\"0.2\"]")
    _check_baseline(config, file)
    return config


def load_config(path: Path, known_datasets: Mapping[str, DatasetSpecification] | None = None) -> Config:
    """Read and check a configuration file; see :func:`validate_config`.

    Raises:
        InputError: as there, or the file is missing, is no YAML, or gives a key twice.
    """
    return validate_config(read_yaml(path), str(path), known_datasets, _own_outputs_near(path))


def _own_outputs_near(path: Path) -> list[str] | None:
    """What the repositories of a configuration add: the working directory, and folders above the file, that have
    notebooks. None where there is no such folder, so that the names cannot be checked.
    """
    roots = dict.fromkeys([Path.cwd(), *path.absolute().parents, *path.resolve().parents])
    repositories = [root for root in roots if any(visible((root / "notebooks").glob("*.ipynb")))]
    return [name for root in repositories for name in outputs.own_names(root)] if repositories else None


def _check_sizes(config: Config, known_datasets: Mapping[str, DatasetSpecification], file: str) -> None:
    """Refuse partners whose images have another size than those a run is trained on."""
    for name in dict.fromkeys(name for block in config.grid.values() for name in block.datasets):
        for partner in known_datasets[name].ood:
            if partner in config.datasets and config.size_of(partner) != config.size_of(name):
                raise InputError(
                    f"{file}: datasets.{partner}.image_size: must be {config.size_of(name)} as that of '{name}', whose "
                    "runs are tested on it"
                )


def _check_margins(comparison: Comparison, file: str) -> None:
    """Refuse margins of 1 or more for metrics between 0 and 1, which were meant in percentage points."""
    if comparison.margins:
        from spectralseg.metrics.catalogue import metric_of  # late, as its package imports what only metrics need

        for metric, margin in comparison.margins.items():
            largest = max(margin.values(), default=0) if isinstance(margin, dict) else margin
            if largest >= 1 and metric_of(metric).share:
                raise InputError(f"{file}: comparison.margins.{metric}: {NO_SHARE} (given: {largest:g})")


def _check_baseline(config: Config, file: str) -> None:
    """Refuse a baseline without runs, and one with several λ, with which nothing can be compared."""
    key = f"{file}: comparison.baseline: objective '{config.baseline}'"
    blocks = [block for block in config.grid.values() if config.baseline in block.objectives]
    if not blocks:
        names = dict.fromkeys(name for block in config.grid.values() for name in block.objectives)
        raise InputError(f"{key} is in no block of the grid; add its runs or name one of {', '.join(names)}")
    if config.objectives[config.baseline].auxiliary is None:
        return
    lambdas: dict[tuple[str, str], dict[str, None]] = {}
    for block in blocks:
        for cell in itertools.product(block.datasets, block.architectures):
            lambdas.setdefault(cell, {}).update(dict.fromkeys(block.lambdas))
    for (dataset, architecture), values in lambdas.items():
        if len(values) > 1:
            raise InputError(
                f"{key} has several λ ({', '.join(values)}) for {architecture} on {dataset}; choose a baseline with one"
            )


def _references(
    config: Config, known: Mapping[str, DatasetSpecification] | None, own_outputs: Collection[str] | None
) -> Iterable[tuple[str, str, Collection[str]]]:
    """Every name in the configuration that must exist elsewhere, with its key and the valid names."""
    if known is not None:
        yield from (("datasets", name, known) for name in config.datasets)
        for name, choice in config.datasets.items():
            if choice.split is not None and not choice.split.endswith(".csv"):
                valid_splits = [*known[name].alternative_splits, "<file>.csv"]
                yield f"datasets.{name}.split", choice.split, valid_splits
    if own_outputs is not None:
        modules = {kind: outputs.names(kind) for kind in outputs.KINDS}
        own = sorted(set(own_outputs).difference(*modules.values()))
        for kind, valid in modules.items():
            yield from ((kind, name, [*valid, *own]) for name in getattr(config, kind))
    for name, architecture in config.architectures.items():
        yield f"architectures.{name}.model", architecture.model, registry.model_names()
        yield from _encoder_references(f"architectures.{name}", architecture)
    for name, objective in config.objectives.items():
        valid = registry.names("spectralseg.objectives")
        yield f"objectives.{name}.base", objective.base, valid
        if objective.auxiliary is not None:
            yield f"objectives.{name}.auxiliary", objective.auxiliary, valid
    tables: Mapping[str, Mapping[str, Any]] = {
        "datasets": config.datasets,
        "architectures": config.architectures,
        "objectives": config.objectives,
    }
    for block_name, block in config.grid.items():
        for key, valid_names in tables.items():
            yield from ((f"grid.{block_name}.{key}", name, valid_names) for name in getattr(block, key))
    yield "comparison.baseline", config.baseline, config.objectives
    if config.comparison.margins:
        from spectralseg.metrics.catalogue import CATALOGUE  # late, as its package imports what only metrics need

        for metric, margin in config.comparison.margins.items():
            yield "comparison.margins", metric, CATALOGUE
            tested = margin if isinstance(margin, dict) else ()
            yield from ((f"comparison.margins.{metric}", name, config.datasets) for name in tested)
    noise = config.evaluation.noise
    trained = {name for block in config.grid.values() for name in block.datasets}
    yield from (("evaluation.noise.datasets", name, trained) for name in noise.datasets)
    yield from (("evaluation.noise.sweep", name, trained) for name in noise.sweep)
    yield from (("evaluation.noise.corruptions", name, CORRUPTIONS) for name in noise.corruptions)


def _encoder_references(key: str, architecture: Architecture) -> Iterable[tuple[str, str, Collection[str]]]:
    """Encoder and weights of an architecture, where the names are those of the library."""
    encoder, weights = architecture.encoder, architecture.encoder_weights
    if not registry.has_library_encoder(architecture.model, encoder):
        return
    known = registry.encoder_weights(encoder)
    if known is None:
        yield f"{key}.encoder", encoder, registry.encoders()
    elif weights is not None and registry.weights_file(weights) is None:
        yield f"{key}.encoder_weights", weights, known


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "extra_forbidden":
        siblings = _fields_at(first["loc"][:-1])
        return f"{key}: unknown key; {registry.suggest(str(first['loc'][-1]), siblings)}"
    if key == "comparison.margin":
        return f"{key}: {NO_SHARE} (given: {_shortened(first['input'])})"
    if first["type"] == "missing":
        return f"{key}: this key is missing"
    return f"{key}: {first['msg'].removeprefix('Value error, ')} (given: {_shortened(first['input'])})"


def _shortened(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python prints no integers of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _fields_at(location: Iterable[int | str]) -> list[str]:
    """Valid keys of the model that a location of pydantic's points to."""
    model: Any = Config
    for part in location:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[str(part)].annotation
        else:  # a mapping of names to models: the part is a free name
            model = model.__args__[1]
    return list(model.model_fields)
