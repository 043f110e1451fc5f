"""Checks of a configuration against the registries, the dataset files and the repository."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from spectralseg import outputs, registry
from spectralseg.config.architecture import Architecture
from spectralseg.config.comparison import SHARE_MARGIN, Comparison
from spectralseg.config.external import EXTERNAL
from spectralseg.config.study import Config
from spectralseg.corruptions import CORRUPTIONS, conditions_of
from spectralseg.errors import InputError
from spectralseg.parsing import read_yaml, refuse_expanding
from spectralseg.patches import STRIDES, WINDOW, check_windows

if TYPE_CHECKING:
    from spectralseg.data.specification import DatasetSpecification

_LONGEST_VALUE = 200  # characters of an invalid value in a message


def validate_config(
    raw: Any,
    file: str,
    known_datasets: Mapping[str, DatasetSpecification] | None = None,
    own_outputs: Collection[str] | None = None,
) -> Config:
    """Check a configuration against the model and all registries.

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
        _check_sources(config, known_datasets, file)
        _check_sizes(config, known_datasets, file)
    for name, architecture in config.architectures.items():
        try:
            registry.check_options(architecture.model, architecture.encoder, architecture.options)
        except InputError as error:
            raise InputError(f"{file}: architectures.{name}.options: {error}") from None
    _check_networks(config, file)
    _check_pretraining(config, file)
    _check_windows(config, file)
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
    _check_external(config, file)
    return config


def load_config(path: Path, known_datasets: Mapping[str, DatasetSpecification] | None = None) -> Config:
    """Read and check a configuration file; see :func:`validate_config`.

    Raises:
        InputError: as there, or the file is missing, is not valid YAML, or has a duplicate key.
    """
    return validate_config(read_yaml(path), str(path), known_datasets, _own_outputs_near(path))


def _own_outputs_near(path: Path) -> list[str] | None:
    """Names that the repositories of a configuration add to those of the package; None if there is no repository.

    A repository, the working directory or a folder above the file, has the notebook templates. Folders of executed
    notebooks do not count.
    """
    roots = dict.fromkeys([Path.cwd(), *path.absolute().parents, *path.resolve().parents])
    repositories = [root for root in roots if outputs.has_templates(root)]
    return [name for root in repositories for name in outputs.own_names(root)] if repositories else None


def _check_sources(config: Config, known_datasets: Mapping[str, DatasetSpecification], file: str) -> None:
    """Reject downloads of datasets without sources, whose files are given to registered users only."""
    for name, dataset in config.datasets.items():
        if dataset.source == "official" and (access := known_datasets[name].access):
            raise InputError(f"{file}: datasets.{name}.source: {access}")


def _check_sizes(config: Config, known_datasets: Mapping[str, DatasetSpecification], file: str) -> None:
    """Reject out-of-distribution partners whose image size differs from that of the training dataset."""
    for name in config.training_datasets:
        for partner in known_datasets[name].ood:
            if partner in config.datasets and config.size_of(partner) != config.size_of(name):
                raise InputError(
                    f"{file}: datasets.{partner}.image_size: must be {config.size_of(name)} as that of '{name}', whose "
                    "runs are tested on it"
                )


def _check_networks(config: Config, file: str) -> None:
    """Reject an encoder for a network of MONAI that has none to choose, and image sizes that it cannot take."""
    for name, architecture in config.architectures.items():
        if registry.has_encoder(architecture.model):
            continue
        for key in ("encoder", "encoder_weights"):
            if key in architecture.model_fields_set and getattr(architecture, key) is not None:
                raise InputError(
                    f"{file}: architectures.{name}.{key}: model '{architecture.model}' has no encoder to choose; "
                    "remove the key"
                )
    for block in config.grid.values():
        for dataset, name in itertools.product(block.datasets, block.architectures):
            architecture = config.architectures[name]
            try:
                registry.check_image_size(architecture.model, architecture.options, config.size_of(dataset))
            except InputError as error:
                raise InputError(f"{file}: architectures.{name}, for dataset '{dataset}': {error}") from None


def _check_pretraining(config: Config, file: str) -> None:
    """Reject masked autoencoders that do not fit the images, and names for a model that uses none."""
    for name, pretraining in config.pretraining.items():
        try:
            pretraining.sizes.check()
        except InputError as error:
            raise InputError(f"{file}: pretraining.{name}: {error}") from None
    for name, architecture in config.architectures.items():
        if architecture.pretrained and not registry.takes_pretrained(architecture.model):
            raise InputError(
                f"{file}: architectures.{name}.pretrained: model '{architecture.model}' uses no masked autoencoder; "
                "remove the key"
            )
    for dataset, name in config.pretrainings:
        try:
            config.pretraining[name].sizes.patches(config.size_of(dataset))
        except InputError as error:
            raise InputError(f"{file}: pretraining.{name}, for dataset '{dataset}': {error}") from None


def _check_windows(config: Config, file: str) -> None:
    """Reject attention windows that do not tile the maps: training would fail after the pretraining."""
    for block in config.grid.values():
        for dataset, name in itertools.product(block.datasets, block.architectures):
            architecture = config.architectures[name]
            options = architecture.options
            if not registry.takes_pretrained(architecture.model) or options.get("rcu") is False:
                continue
            try:
                check_windows(
                    config.size_of(dataset), options.get("rcu_strides", STRIDES), options.get("rcu_window", WINDOW)
                )
            except InputError as error:
                raise InputError(f"{file}: architectures.{name}.options, for dataset '{dataset}': {error}") from None
            except (TypeError, ZeroDivisionError):
                continue  # a value of the wrong type, which the model rejects


def _check_margins(comparison: Comparison, file: str) -> None:
    """Reject margins of 1 or more for metrics between 0 and 1, which are probably in percentage points."""
    if comparison.margins:
        from spectralseg.metrics.catalogue import metric_of  # late, as its package imports scipy

        for metric, margin in comparison.margins.items():
            largest = max(margin.values(), default=0) if isinstance(margin, dict) else margin
            if largest >= 1 and metric_of(metric).share:
                raise InputError(f"{file}: comparison.margins.{metric}: {SHARE_MARGIN} (given: {largest:g})")


def _check_baseline(config: Config, file: str) -> None:
    """Reject a baseline without runs, and one with several λ per dataset and architecture, which is ambiguous."""
    key = f"{file}: comparison.baseline: objective '{config.baseline}'"
    blocks = [block for block in config.grid.values() if config.baseline in block.objectives]
    if not blocks:
        names = dict.fromkeys(name for block in config.grid.values() for name in block.objectives)
        raise InputError(f"{key} is in no block of the grid; add its runs or name one of {', '.join(names)}")
    if config.objectives[config.baseline].auxiliary is None:
        return
    lambdas: dict[tuple[str, str], dict[str, None]] = {}
    for block in blocks:
        for pair in itertools.product(block.datasets, block.architectures):
            lambdas.setdefault(pair, {}).update(dict.fromkeys(block.lambdas))
    for (dataset, architecture), values in lambdas.items():
        if len(values) > 1:
            raise InputError(
                f"{key} has several λ ({', '.join(values)}) for {architecture} on {dataset}; choose a baseline with one"
            )


def _check_external(config: Config, file: str) -> None:
    """Reject names of external methods, and of an objective, that would mix up their runs with those of the grid."""
    for name in config.external:
        if name in config.architectures:
            raise InputError(f"{file}: external.{name}: is the name of an architecture, too; rename one of them")
    if config.external and EXTERNAL in config.objectives:
        raise InputError(
            f"{file}: objectives.{EXTERNAL}: is the objective of the runs under 'external'; rename the objective"
        )


def _references(
    config: Config, specifications: Mapping[str, DatasetSpecification] | None, own_outputs: Collection[str] | None
) -> Iterable[tuple[str, str, Collection[str]]]:
    """Names in the configuration that must be defined elsewhere, each with its key and the valid names."""
    if specifications is not None:
        yield from (("datasets", name, specifications) for name in config.datasets)
        for name, dataset in config.datasets.items():
            if dataset.split is not None and not dataset.split.endswith(".csv"):
                valid_splits = [*specifications[name].alternative_splits, "<file>.csv"]
                yield f"datasets.{name}.split", dataset.split, valid_splits
    if own_outputs is not None:
        modules = {kind: outputs.names(kind) for kind in outputs.KINDS}
        own = sorted(set(own_outputs).difference(*modules.values()))
        for kind, names in modules.items():
            yield from ((kind, name, [*names, *own]) for name in getattr(config, kind) or ())
    for name, architecture in config.architectures.items():
        yield f"architectures.{name}.model", architecture.model, registry.model_names()
        yield from _encoder_references(f"architectures.{name}", architecture)
        yield from (
            (f"architectures.{name}.pretrained", entry, config.pretraining) for entry in architecture.pretrained
        )
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
    for name, method in config.external.items():
        yield from ((f"external.{name}.datasets", dataset, config.datasets) for dataset in method.datasets)
    yield "comparison.baseline", config.baseline, config.objectives
    if config.comparison.margins or config.comparison.questions:
        from spectralseg.metrics.catalogue import CATALOGUE  # late, as its package imports scipy

        compared = {name for block in config.grid.values() for name in block.architectures}
        for name, question in config.comparison.questions.items():
            key = f"comparison.questions.{name}"
            yield from ((f"{key}.{side}", name, compared) for side, name in question.sides)
            yield from ((f"{key}.metrics", metric, CATALOGUE) for metric in question.metrics)
        for metric, margin in config.comparison.margins.items():
            yield "comparison.margins", metric, CATALOGUE
            test_datasets = margin if isinstance(margin, dict) else ()
            yield from ((f"comparison.margins.{metric}", name, config.datasets) for name in test_datasets)
    noise = config.evaluation.noise
    trained = {name for block in config.grid.values() for name in block.datasets}
    yield from (("evaluation.noise.datasets", name, trained) for name in noise.datasets)
    yield from (("evaluation.noise.sweep", name, trained) for name in noise.sweep)
    yield from (("evaluation.noise.corruptions", name, CORRUPTIONS) for name in noise.corruptions)


def _encoder_references(key: str, architecture: Architecture) -> Iterable[tuple[str, str, Collection[str]]]:
    """Encoder and weights of an architecture, if they are names of segmentation-models-pytorch or MONAI."""
    model, encoder, weights = architecture.model, architecture.encoder, architecture.encoder_weights
    if not registry.has_library_encoder(model, encoder):
        return
    valid_weights = registry.encoder_weights(encoder, model)
    if valid_weights is None:
        yield f"{key}.encoder", encoder, registry.encoders(model)
    elif weights is not None and registry.weights_file(weights) is None:
        yield f"{key}.encoder_weights", weights, valid_weights or ("null",)


def _explain(error: ValidationError) -> str:
    """The first error as a key and a message."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "extra_forbidden":
        siblings = _keys_at(first["loc"][:-1])
        return f"{key}: unknown key; {registry.suggest(str(first['loc'][-1]), siblings)}"
    if key == "comparison.margin":
        return f"{key}: {SHARE_MARGIN} (given: {_shortened(first['input'])})"
    if first["type"] == "missing":
        return f"{key}: this key is missing; add it"
    return f"{key}: {first['msg'].removeprefix('Value error, ')} (given: {_shortened(first['input'])})"


def _shortened(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python does not print integers of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _keys_at(location: Iterable[int | str]) -> list[str]:
    """Valid keys of the section at a location that pydantic reports."""
    section: Any = Config
    for part in location:
        if isinstance(section, type) and issubclass(section, BaseModel):
            section = section.model_fields[str(part)].annotation
        else:  # a mapping of names to sections, in which the part is a name
            section = section.__args__[1]
    return list(section.model_fields)
