"""Sections on what was measured: objectives, training, data and the choice of learning rate and iterations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spectralseg.data.splits import PARTS
from spectralseg.reporting.findings.cells import number_text, range_text
from spectralseg.reporting.findings.extract import CONFIG, METHOD, VALIDATION
from spectralseg.reporting.findings.numbers import CELL, Numbers, Row, select
from spectralseg.reporting.labels import architecture_label, dataset_label
from spectralseg.reporting.rendering import MINUS, NO_RUN, listed, signed
from spectralseg.reporting.rendering.markdown import pipe_table

_FORMS = {
    "add": "L + λA",
    "printed": f"L + λ(1 {MINUS} A), the sign of Eq. (3)",
    "convex": f"(1 {MINUS} λ)L + λA",
}
_CHECKPOINTS = {"best": "with the best validation Dice", "last": "after the last iteration"}


def protocol_section(numbers: Numbers, link: str) -> Iterator[str]:
    """Objectives and training."""
    config, training = numbers.config, numbers.config.training
    steps = [f"{most:.0f} on {dataset_label(name)}" for name, most in numbers.iterations.items()]
    rows = []
    for name, objective in config.objectives.items():
        auxiliary = (
            f"{objective.auxiliary}{_options(objective.auxiliary_options)}",
            objective.form,
            numbers.weights.get(name, NO_RUN),
        )
        rows.append(
            (
                f"`{name}`" + (" (baseline)" if name == config.baseline else ""),
                f"{objective.base}{_options(objective.base_options)}",
                *(auxiliary if objective.auxiliary else (NO_RUN,) * 3),
            )
        )
    yield pipe_table(("objective", "base L", "auxiliary A", "form", "λ"), rows)
    used = {objective.form for objective in config.objectives.values() if objective.auxiliary}
    forms = "".join(f"*{form}*: {formula}. " for form, formula in _FORMS.items() if form in used)
    yield (
        f"{forms}Training: SGD with batches of {training.batch_size}, learning rate {training.learning_rate:g} "
        f"({training.schedule}), momentum {training.momentum:g}, weight decay {training.weight_decay:g}"
        f"{f'; iterations: {listed(steps)}' if steps else ''}. For each seed, all objectives share initial weights, "
        "data order and test cases, so that differences are paired. The checkpoint "
        f"{_CHECKPOINTS[config.evaluation.checkpoint]} is evaluated. [Configuration]({link}/{CONFIG})."
    )


def _options(options: Any) -> str:
    return f" ({', '.join(f'{key} = {value}' for key, value in options.items())})" if options else ""


def data_section(numbers: Numbers, link: str) -> Iterator[str]:
    """Sizes of the datasets, their deviations from the official files, and leaked test cases."""
    rows = [
        (
            *(dataset_label(row["dataset"]), row["source"], row["image_size"]),
            *(f"{row[f'{part}_cases']} ({row[f'{part}_images']})" for part in PARTS),
            row["test_groups"],
        )
        for row in numbers.table("datasets").to_dict("records")
    ]
    headings = ("dataset", "source", "pixels", *(f"{part} cases (images)" for part in PARTS), "test patients")
    yield pipe_table(headings, rows)
    yield from numbers.notes("data.md")
    leaks = numbers.table("leakage")
    if leaks.empty:
        yield "The overlap of training and test data was not audited."
    own, other = (listed(_leaks(row) for row in select(leaks, role=role).to_dict("records")) for role in ("own", "ood"))
    if own:
        yield f"[Leakage audit](leakage.md). Test cases that match another case of their dataset: {own}."
    if other:
        yield f"Test cases of other data that match a case of the dataset that was trained on: {other}."


def _leaks(row: Row) -> str:
    """How many test cases match another case, and in which part."""
    trained = "its" if row["train_dataset"] == row["test_dataset"] else f"{dataset_label(row['train_dataset'])}'s"
    matches = [f"{row[part]} in {trained} {part} part" for part in PARTS if row[part]]
    unknown = [f"{row['not_hashed']} not compared"] if row["not_hashed"] else []
    details = f" ({', '.join([*matches, *unknown])})" if matches or unknown else ""
    return f"{sum(row[part] for part in PARTS)} of {row['cases']} on {dataset_label(row['test_dataset'])}{details}"


def tuning_section(numbers: Numbers, link: str) -> Iterator[str]:
    """Best validation Dice of the tuning runs, and learning curves of the study."""
    baseline = numbers.config.baseline
    tuning = numbers.ordered(select(numbers.curves("tuning"), objective=baseline))
    if not tuning.empty:
        keys = [*CELL, "learning_rate", "iterations"]
        best: dict[Any, float] = tuning.groupby(keys, sort=False)[VALIDATION].max().to_dict()
        settings = sorted({key[2:] for key in best})
        rows = [
            (
                f"{dataset_label(network[0])} {architecture_label(network[1])}",
                *(number_text(best.get((*network, *setting)), 100, 1) for setting in settings),
            )
            for network in dict.fromkeys(key[:2] for key in best)
        ]
        yield (
            f"Tuned for the baseline `{baseline}` alone, on validation data, with "
            f"{range_text(tuning['seeds'])} {'seed' if tuning['seeds'].max() == 1 else 'seeds'}. Best validation Dice "
            "in percent for each learning rate and number of iterations:"
        )
        yield pipe_table(("", *(f"{rate:g}, {iterations}" for rate, iterations in settings)), rows)
        if longer := _longer(numbers, best):
            yield (
                f"Twice the iterations of this study change the best validation Dice by {listed(longer)} percentage "
                "points."
            )
        yield from _chosen(best)
    if len(numbers.main(numbers.table("curves"))):
        yield f"![Validation Dice during training]({link}/curves.svg)"
        yield "*Validation Dice during training, mean over seeds.*"
        yield _flattened(numbers)


def _chosen(best: Mapping[Any, float]) -> Iterator[str]:
    """The mean of each learning rate over the datasets and networks that have several, at the number of iterations with
    most of them; rates that were not tried on all are left out.
    """
    trials: dict[tuple[str, str], dict[int, dict[float, float]]] = {}
    for (dataset, architecture, rate, steps), value in best.items():
        trials.setdefault((dataset, architecture), {}).setdefault(steps, {})[rate] = value
    most = {cell: max(by_steps.items(), key=lambda item: len(item[1])) for cell, by_steps in trials.items()}
    compared = {cell: (steps, rates) for cell, (steps, rates) in most.items() if len(rates) > 1}
    tried = [set(rates) for _, rates in compared.values()]
    shared = sorted(set.intersection(*tried)) if tried else []
    if len(compared) > 1 and len(shared) > 1:
        places = [f"{dataset_label(d)} {architecture_label(a)} ({steps})" for (d, a), (steps, _) in compared.items()]
        means = {rate: sum(rates[rate] for _, rates in compared.values()) / len(compared) for rate in shared}
        phrases = listed(f"{100 * value:.1f} ({rate:g})" for rate, value in means.items())
        yield f"Mean of each learning rate over {listed(places)}, with that many iterations: {phrases}."


def _longer(numbers: Numbers, best: Mapping[Any, float]) -> list[str]:
    """The change of the best validation Dice by twice the iterations, where both were tried."""
    rate, changes = numbers.config.training.learning_rate, []
    for dataset, iterations in numbers.iterations.items():
        for architecture in dict.fromkeys(key[1] for key in best if key[0] == dataset):
            once, twice = (best.get((dataset, architecture, rate, n * iterations)) for n in (1, 2))
            if once is not None and twice is not None:
                name = f"{dataset_label(dataset)} {architecture_label(architecture)}"
                changes.append(f"{signed(100 * (twice - once), 1)} ({name})")
    return changes


def _flattened(numbers: Numbers) -> str:
    """The change of validation Dice from the last validation before the last sixth of training to its end, mean over
    runs; empty unless runs have both.
    """
    changes: dict[tuple[str, int, int], list[float]] = {}
    curves = numbers.ordered(numbers.main(numbers.table("curves")))
    for (dataset, *_), run in curves.groupby([*METHOD, "seed"], sort=False):
        early = run[run["iteration"] <= run["iterations"] * 5 / 6]
        if 0 < len(early) < len(run):
            ends = early.iloc[-1], run.iloc[-1]
            first, last = (int(end["iteration"]) for end in ends)
            change = 100 * (ends[1][VALIDATION] - ends[0][VALIDATION])
            changes.setdefault((str(dataset), first, last), []).append(change)
    if not changes:
        return ""
    phrases = [
        f"{signed(sum(change) / len(change), 1)} on {dataset_label(name)} (iterations {first} to {last})"
        for (name, first, last), change in changes.items()
    ]
    return (
        f"Change of validation Dice at the end of training, mean over runs, in percentage points: {listed(phrases)}. "
        "The learning rate falls to zero meanwhile, so a flat end does not show that longer training adds nothing."
    )
