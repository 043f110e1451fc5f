"""Tables, figures and studies that the runs of a study can fill at least partly: the defaults of its configuration.

Each output says which runs it shows (:attr:`spectralseg.outputs.Output.runs`). The features of a run, by which it says
so, are:

=================  ==================================================================================================
``dataset``, ``architecture``, ``objective``, ``lambda``: the keys of the run
``suite``          suites that evaluate it: ``noise`` and ``ood`` only if its dataset is corrupted or has partners
``condition``      its test conditions as ``suite/test dataset/corruption/severity``
``auxiliary``      the auxiliary objective
``options``        names of the options of the auxiliary objective
``compared``       ``baseline``, if it is compared with a run of the baseline objective on the same dataset and
                   architecture; ``lambdas``, if there are runs of the same objective with another λ; ``questions``,
                   if a question of the study is about its architecture
``maps``           ``residual``, if its architecture uses masked autoencoders
``metrics``        ``lesions``, if its dataset has lesion metrics
=================  ==================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from spectralseg import outputs
from spectralseg.config import Config
from spectralseg.corruptions import CLEAN, conditions_of
from spectralseg.data.specification import DatasetSpecification
from spectralseg.grid import Run
from spectralseg.grid import runs as runs_of

Features = Mapping[str, frozenset[str]]


def with_outputs(config: Config, specifications: Mapping[str, DatasetSpecification], published: Path | str) -> Config:
    """The configuration with lists of tables, figures and studies; a list that it gives stays as it is.

    Args:
        config: the configuration.
        specifications: of the dataset files by name.
        published: folder of the papers.

    Raises:
        InputError: the folders of papers are not valid, or a published table is damaged.
    """
    missing = [kind for kind in outputs.KINDS if getattr(config, kind) is None]
    if not missing:
        return config
    features = run_features(config, specifications)
    every = {kind: outputs.describe_all(kind, published) for kind in missing}
    lists = {kind: [output.name for output in every[kind] if _shows(output, features)] for kind in missing}
    return config.model_copy(update=lists)


def run_features(config: Config, specifications: Mapping[str, DatasetSpecification]) -> list[Features]:
    """The features of the runs of a study, once for runs that differ in the seed only; see the module."""
    methods = list(dict.fromkeys((run.dataset, run.architecture, run.objective, run.lam) for run in runs_of(config)))
    return [_features(Run(*method, 0), methods, config, specifications) for method in methods]


def _features(
    run: Run,
    methods: list[tuple[str, str, str, str]],
    config: Config,
    specifications: Mapping[str, DatasetSpecification],
) -> Features:
    specification = specifications[run.dataset]
    objective = None if run.external else config.objectives[run.objective]
    conditions = list(evaluated_conditions(config, specification, external=run.external))
    others = [method[2:] for method in methods if method[:2] == (run.dataset, run.architecture)]
    reconstructing = [name for name, architecture in config.architectures.items() if architecture.pretrained]
    compared = {
        "baseline": run.objective != config.baseline and config.baseline in [name for name, _ in others],
        "lambdas": any(name == run.objective and lam != run.lam for name, lam in others),
        "questions": any(run.architecture in question.methods for question in config.comparison.questions.values()),
    }
    suites = set() if run.external else {"calibration", "interpretation"} & {*config.evaluation.suites}
    return {
        **{key: frozenset([str(value)]) for key, value in run.keys.items() if key != "seed"},
        "suite": frozenset({*suites, *(condition.partition("/")[0] for condition in conditions)}),
        "condition": frozenset(conditions),
        "auxiliary": frozenset([objective.auxiliary] if objective and objective.auxiliary else []),
        "options": frozenset(objective.auxiliary_options if objective else []),
        "compared": frozenset(kind for kind, applies in compared.items() if applies),
        "maps": frozenset(["residual"] if run.architecture in reconstructing else []),
        "metrics": frozenset(["lesions"] if specification.lesions else []),
    }


def evaluated_conditions(
    config: Config, specification: DatasetSpecification, *, external: bool = False
) -> Iterator[str]:
    """Test conditions of the runs on a dataset, as ``suite/test dataset/corruption/severity``.

    Runs of external methods see no corrupted images.
    """
    name, suites, noise = specification.name, config.evaluation.suites, config.evaluation.noise
    if "iid" in suites:
        yield f"iid/{name}/{CLEAN}/0"
    if "ood" in suites:
        yield from (f"ood/{partner}/{CLEAN}/0" for partner in specification.ood if partner in config.datasets)
    if external:
        return
    if "noise" in suites and name in noise.datasets:
        levels = ((corruption, level) for corruption, levels in noise.corruptions.items() for level in levels)
        yield from (f"noise/{name}/{corruption}/{level}" for corruption, level in levels)
    if "noise" in suites and name in noise.sweep:
        swept = conditions_of(specification.modality)
        yield from (f"noise/{name}/{corruption}/{severity}" for corruption, severity in swept)


def _shows(output: outputs.Output, features: Sequence[Features]) -> bool:
    """Whether a run meets one of the output's selections, and a run its further one."""
    return _any_meets(features, output.runs) and _any_meets(features, [output.own])


def _any_meets(features: Iterable[Features], selections: Sequence[Mapping[str, tuple[str, ...]]]) -> bool:
    """Whether a run has, for each key of one of the selections, one of the values."""
    return any(
        all(not run[key].isdisjoint(values) for key, values in selection.items())
        for run in features
        for selection in selections
    )
