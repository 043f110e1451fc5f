"""The page of findings, written from the extracted CSV files alone: every number on it is computed from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from spectralseg.config import Config, load_config
from spectralseg.data.splits import PARTS
from spectralseg.files import replacing
from spectralseg.loading import read_csv
from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import MEAN
from spectralseg.reporting.claim_papers import ClaimPaper, read_claim_papers, tally
from spectralseg.reporting.findings import plots
from spectralseg.reporting.findings.extract import (
    BETTER,
    CALIBRATION,
    COLUMNS,
    CONFIG,
    EQUIVALENT,
    MAIN_PROTOCOL,
    METHOD,
    METRICS,
    SEGMENTATION,
    TO_SETTLE,
    UNDECIDED,
    VALIDATION,
    WORSE,
)
from spectralseg.reporting.labels import architecture_label, dataset_label, objective_label
from spectralseg.reporting.rendering import (
    MINUS,
    NO_RUN,
    counted,
    few_patients,
    limits,
    listed,
    margins,
    p_text,
    signed,
)
from spectralseg.reporting.rendering.markdown import pipe_table
from spectralseg.reporting.studies._common import is_full_band
from spectralseg.statistics.verdicts import FEWEST, FEWEST_SEEDS, UNTESTED

PROTOCOLS = (MAIN_PROTOCOL, "published")
_MARKS = {BETTER: "**better**", WORSE: "**worse**", EQUIVALENT: "equivalent", UNDECIDED: ""}
_MAPS = {
    "cam_energy_relative": "energy of the class activation map inside the structure, by its share of the image",
    "cam_random_energy_relative": "the same of a random map",
    "cam_pointing": "percent of maps whose maximum lies in the structure",
    "cam_random_pointing": "the same of a random map",
    "spectral_correlation": "correlation of log spectra, the paper's Fig. 8",
    "spectral_correlation_detrended": "the same less the mean of each ring",
    "spectral_similarity": "Eq. (2) on hard labels",
    "frc_mid": "Fourier ring correlation, middle band",
}

_CELL = ["dataset", "architecture"]
_FORMS = {
    "add": "L + λA",
    "printed": f"L + λ(1 {MINUS} A), the sign of Eq. (3)",
    "convex": f"(1 {MINUS} λ)L + λA",
}
_NOTHING_LEFT = 90  # percent of the clean Dice that is lost
MOST_DIGITS = 6  # after the decimal point; the CSV files have six significant digits
_CHECKPOINTS = {"best": "with the best validation Dice", "last": "after the last iteration"}

Row = Mapping[Any, Any]


@dataclass(frozen=True)
class Numbers:
    """The CSV files of a folder, and the configuration beside them."""

    folder: Path

    @cached_property
    def config(self) -> Config:
        """The study's configuration."""
        return load_config(self.folder / CONFIG)

    def table(self, name: str) -> pd.DataFrame:
        """One of the CSV files; names and λ are text, an empty cell is NaN or an empty text."""
        texts = (*METHOD, "reference", "reference_lambda", "metric", "class", "protocol", "leak_free")
        expected = "the numbers of a study", "run 'spectralseg findings' again"
        options: dict[str, Any] = {"dtype": dict.fromkeys(texts, "str"), "keep_default_na": True}
        frame = read_csv(self.folder / f"{name}.csv", *expected, COLUMNS[name], **options)
        return frame.fillna({column: "" for column in texts if column in frame})

    def curves(self, name: str) -> pd.DataFrame:
        """Validation Dice during training, from one of the CSV files: mean over the seeds of each method, and their
        number.
        """
        keys = [*METHOD, "learning_rate", "iterations", "iteration"]
        by_iteration = self.table(name).groupby(keys, sort=False, dropna=False)[VALIDATION]
        return by_iteration.agg(["mean", "count"]).rename(columns={"mean": VALIDATION, "count": "seeds"}).reset_index()

    def notes(self, name: str) -> Iterator[str]:
        """The text of a hand-written Markdown file in the folder, if it exists."""
        file = self.folder / name
        if file.is_file():
            yield file.read_text(encoding="utf-8").strip()

    @cached_property
    def all_effects(self) -> pd.DataFrame:
        """Differences between methods on all test sets."""
        return self.table("effects")

    @cached_property
    def effects(self) -> pd.DataFrame:
        """Differences between methods on test cases of the dataset that they were trained on, mean over classes."""
        effects = select(self.all_effects, **{"class": MEAN})
        return effects[effects["dataset"] == effects["test_dataset"]]

    @cached_property
    def classes(self) -> pd.DataFrame:
        """Differences to the baseline in single classes, where a dataset has several."""
        effects = select(self.all_effects, reference=self.config.baseline, leak_free="")
        return self.ordered(effects[effects["class"] != MEAN])

    @cached_property
    def other_data(self) -> pd.DataFrame:
        """Differences to the baseline on other datasets, mean over classes."""
        effects = select(self.all_effects, reference=self.config.baseline, **{"class": MEAN})
        return self.ordered(effects[effects["dataset"] != effects["test_dataset"]])

    @cached_property
    def paper(self) -> dict[tuple[str, ...], float]:
        """Mean DSC of the paper's tables 1 and 2 for each dataset, network, objective and λ."""
        cells = select(self.table("published"), table=("table_1", "table_2"))
        return dict(zip(cells[list(METHOD)].itertuples(index=False, name=None), cells["value"], strict=True))

    def published_gain(self, row: Row) -> tuple[float, float] | None:
        """The paper's DSC of the baseline, and its difference of a method to it; None if it does not have both."""
        method = self.paper.get(tuple(row[key] for key in METHOD))
        reference = self.paper.get((row["dataset"], row["architecture"], self.config.baseline, "0"))
        return None if method is None or reference is None else (reference, method - reference)

    def ordered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows in the order of the configuration, those of other names, as of external methods, last."""
        config = self.config
        orders = (list(config.datasets), list(config.architectures), list(config.objectives))
        keys = zip(frame["dataset"], frame["architecture"], frame["objective"], frame["lambda"], strict=True)
        places = [
            (*(([*order, name]).index(name) for order, name in zip(orders, names, strict=True)), float(weight))
            for *names, weight in keys
        ]
        return frame.iloc[sorted(range(len(places)), key=places.__getitem__)]

    def against(self, reference: str | None = None, *, leak_free: str = "") -> pd.DataFrame:
        """Effects against the baseline, or another reference."""
        return self.ordered(select(self.effects, reference=reference or self.config.baseline, leak_free=leak_free))

    @cached_property
    def evaluated(self) -> pd.DataFrame:
        """Runs with metric values."""
        return select(self.table("runs"), state="evaluated")

    @cached_property
    def dice(self) -> pd.DataFrame:
        """Effects in DSC against the baseline under the main protocol that have an interval."""
        return select(self.against(), metric="dsc", protocol=MAIN_PROTOCOL).dropna(subset=["low"])

    @cached_property
    def sweep(self) -> pd.DataFrame:
        """:attr:`dice` of the objectives with more than two λ on a dataset and network."""
        several = self.dice.groupby([*_CELL, "objective"])["lambda"].transform("nunique")
        return self.dice[several > 2]

    @cached_property
    def weights(self) -> dict[str, str]:
        """The main λ of each objective with an auxiliary term: the λ of most datasets and networks; of equally many,
        the first of the configuration.
        """
        order = list(dict.fromkeys(lam for block in self.config.grid.values() for lam in block.lambdas))
        methods = self.effects.drop_duplicates(list(METHOD))
        cells: dict[Any, int] = methods.groupby(["objective", "lambda"]).size().to_dict()
        weights: dict[str, str] = {}
        for name, lam in sorted(cells, key=lambda key: (-cells[key], order.index(key[1]) if key[1] in order else -1)):
            if self.config.objectives[name].auxiliary is not None and float(lam):
                weights.setdefault(name, lam)
        return weights

    def main(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows at the main λ, and those of objectives without an auxiliary term."""
        return frame[frame["lambda"] == frame["objective"].map(lambda name: self.weights.get(name, "0"))]


def select(rows: pd.DataFrame, **values: str | Iterable[str]) -> pd.DataFrame:
    """Rows whose columns hold a value, or one of several."""
    for column, value in values.items():
        rows = rows[rows[column].isin([value] if isinstance(value, str) else [*value])]
    return rows


def write_page(folder: Path, page: Path) -> None:
    """Draw the plots into the folder of the extracted numbers, and write the page that shows them.

    Args:
        folder: of :func:`~spectralseg.reporting.findings.extract.extract`; the hand-written files ``data.md`` and
            ``obstacles.md`` in it join the sections on data and cost.
        page: the Markdown file; links to the folder are relative to it.

    Raises:
        InputError: a file is missing or damaged.
    """
    numbers = Numbers(folder)
    plots.draw(numbers, folder)
    with replacing(page) as partial:
        partial.write_text(text(numbers, folder.name), encoding="utf-8")


def text(numbers: Numbers, link: str) -> str:
    """The page as Markdown; ``link`` is the relative address of the folder of numbers."""
    sections: dict[str, Callable[[Numbers, str], Iterable[str]]] = {
        "": _head,
        "Protocol": _protocol,
        "Data": _data,
        "Learning rate and iterations": _tuning,
        "Effects": _effects,
        "Is it more than a Dice?": _control,
        "λ and the sign": _sweep,
        "Calibration": _calibration,
        "Noise": _noise,
        "Activation maps and spectra": _maps,
        "Claims of papers": _claims,
        "Statistical power": _power,
        "Limits": _limits,
        "Cost, versions and files": _cost,
    }
    parts = ["# Does the objective help?"]
    for heading, section in sections.items():
        if paragraphs := [paragraph for paragraph in section(numbers, link) if paragraph]:
            parts += [*([f"## {heading}"] if heading else []), *paragraphs]
    return "\n\n".join(parts) + "\n"


def answer(numbers: Numbers) -> list[str]:
    """The answer in two sentences: Eq. (2) as 1 − S against the baseline, and against the squared Dice.

    Without this objective, each other objective against the baseline. Other test data add a sentence.
    """
    name = _subject(numbers)
    if name is None:
        others = [other for other in numbers.config.objectives if other != numbers.config.baseline]
        return [
            f"No objective of this study adds 1 {MINUS} S, with S of Eq. (2) over all frequencies, to the baseline.",
            *(sentence for other in others for sentence in _against_baseline(numbers, other)),
        ]
    return [
        *_against_baseline(numbers, name),
        *(
            _outcome("It", f"its control `{reference}`", _dice(numbers, numbers.against(reference), name))
            for reference in _controls(numbers, name)
            if _is_same_function(numbers, reference)
        ),
    ]


def _against_baseline(numbers: Numbers, name: str) -> Iterator[str]:
    weight = numbers.weights.get(name, "0")
    label = f"`{name}`" if weight == "0" else f"`{name}` (λ = {weight})"
    yield _outcome(label, f"the baseline `{numbers.config.baseline}`", _dice(numbers, numbers.against(), name))
    other = _dice(numbers, select(numbers.other_data, leak_free=""), name)
    if len(other):
        yield f"On other data, {_outcome('it', 'the baseline', other)}"


def _subject(numbers: Numbers) -> str | None:
    """The objective that the study is about: Eq. (2) over all frequencies, added as a loss."""
    objectives = numbers.config.objectives.items()
    added = (name for name, objective in objectives if is_full_band(objective) and objective.form == "add")
    return next((name for name in added if name != numbers.config.baseline), None)


def _controls(numbers: Numbers, name: str) -> list[str]:
    references = dict.fromkeys(numbers.main(select(numbers.effects, objective=name))["reference"])
    return [reference for reference in references if reference not in (name, numbers.config.baseline)]


def _is_same_function(numbers: Numbers, reference: str) -> bool:
    """Whether a control is the squared Dice, rather than more weight on the Dice of the base objective."""
    return numbers.config.objectives[reference].auxiliary is not None


def _dice(numbers: Numbers, frame: pd.DataFrame, name: str) -> pd.DataFrame:
    return numbers.main(select(frame, objective=name, metric="dsc", protocol=MAIN_PROTOCOL))


def _outcome(name: str, reference: str, rows: pd.DataFrame) -> str:
    """What comparisons in DSC say together, no stronger than their intervals."""
    rows, impossible = rows.dropna(subset=["low"]), int(rows["low"].isna().sum())
    more = f" ({counted(impossible, 'comparison')} more without an interval)" if impossible else ""
    if rows.empty:
        return f"{name} could not be compared with {reference} in DSC{more}."
    counts, unit = rows["verdict"].value_counts(), "percentage points"
    phrases = [
        f"better than {reference} in {counts.get(BETTER, 0)} of {counted(len(rows), 'comparison')} in DSC{more}",
        f"worse in {counts.get(WORSE, 0)}",
        f"equivalent within {margins(rows['margin'], unit)} in {counts.get(EQUIVALENT, 0)}",
        f"undecided in {counts.get(UNDECIDED, 0)}",
    ]
    low, high = signed(rows["difference"].min()), signed(rows["difference"].max())
    spread = f"the difference is {low}" if len(rows) == 1 else f"differences are {low} to {high}"
    seeds = f"those of single seeds {signed(rows['smallest_seed'].min())} to {signed(rows['largest_seed'].max())}"
    return f"{name} is {listed(phrases)}; {spread} {unit}, {seeds}."


def _head(numbers: Numbers, link: str) -> Iterator[str]:
    if len(numbers.main(numbers.dice)):
        yield f"![Differences to the baseline in DSC with 95 % intervals]({link}/forest.svg)"
        few = f" Grey line: fewer than {FEWEST_SEEDS} seeds." if (numbers.dice["seeds"] < FEWEST_SEEDS).any() else ""
        yield (
            "*Differences to the baseline in DSC with 95 % intervals. Grey band: the margin. A full dot: better or "
            f"worse.{few}*"
        )
    yield " ".join(answer(numbers))
    yield from _incomplete(numbers.table("runs"))
    if "phantom" in set(numbers.table("datasets")["source"]):
        yield "**Measured on synthetic phantoms: nothing here says anything about a paper.**"
    yield (
        "*Equivalent* comes first: the 90 % interval over seeds and patients lies within the margin, whether it "
        "excludes zero or not. Otherwise *better* or *worse*: the 95 % interval excludes zero. Each verdict needs "
        f"{FEWEST}; where seeds are fewer, their number is given, and the interval says nothing about other "
        "seeds. Images of unknown patients count as patients. Verdicts are not adjusted for the number of comparisons. "
        f"Every number is computed from CSV files in the folder `{link}`: [effects]({link}/effects.csv) with p values, "
        f"[runs]({link}/runs.csv), [noise]({link}/noise.csv), [claims]({link}/claims.csv) and others."
    )


def _incomplete(runs: pd.DataFrame) -> Iterator[str]:
    """Numbers of runs without results."""
    diverged = runs[runs["state"] == "diverged"]
    if waiting := len(runs) - len(diverged) - (runs["state"] == "evaluated").sum():
        verb = "has" if waiting == 1 else "have"
        yield f"**Unfinished: {waiting} of {counted(len(runs), 'run')} {verb} no results.**"
    if len(diverged):
        counts = listed(f"`{name}` {count}" for name, count in diverged["objective"].value_counts(sort=False).items())
        yield (
            f"**{len(diverged)} of {counted(len(runs), 'run')} diverged: {counts}. Comparisons leave out their seeds, "
            "which favours an objective that diverges.**"
        )


def _protocol(numbers: Numbers, link: str) -> Iterator[str]:
    config, training = numbers.config, numbers.config.training
    steps = [f"{most:.0f} on {dataset_label(name)}" for name, most in _iterations(numbers).items()]
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


def _iterations(numbers: Numbers) -> dict[str, float]:
    """The longest run on each dataset."""
    longest = numbers.table("runs").groupby("dataset", sort=False)["iterations"].max().dropna()
    return {str(name): most for name, most in longest.items()}


def _options(options: Any) -> str:
    return f" ({', '.join(f'{key} = {value}' for key, value in options.items())})" if options else ""


def _data(numbers: Numbers, link: str) -> Iterator[str]:
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


def _tuning(numbers: Numbers, link: str) -> Iterator[str]:
    baseline = numbers.config.baseline
    tuning = numbers.ordered(select(numbers.curves("tuning"), objective=baseline))
    if not tuning.empty:
        keys = [*_CELL, "learning_rate", "iterations"]
        best: dict[Any, float] = tuning.groupby(keys, sort=False)[VALIDATION].max().to_dict()
        settings = sorted({key[2:] for key in best})
        rows = [
            (
                f"{dataset_label(network[0])} {architecture_label(network[1])}",
                *(_number(best.get((*network, *setting)), 100, 1) for setting in settings),
            )
            for network in dict.fromkeys(key[:2] for key in best)
        ]
        yield (
            f"Tuned for the baseline `{baseline}` alone, on validation data, with "
            f"{_range(tuning['seeds'])} {'seed' if tuning['seeds'].max() == 1 else 'seeds'}. Best validation Dice in "
            "percent for each learning rate and number of iterations:"
        )
        yield pipe_table(("", *(f"{rate:g}, {iterations}" for rate, iterations in settings)), rows)
        if longer := _longer(numbers, best):
            yield (
                f"Twice the iterations of this study change the best validation Dice by {listed(longer)} percentage "
                "points."
            )
        yield from _chosen(numbers, best)
    if len(numbers.main(numbers.table("curves"))):
        yield f"![Validation Dice during training]({link}/curves.svg)"
        yield "*Validation Dice during training, mean over seeds.*"
        yield _flattened(numbers)


def _chosen(numbers: Numbers, best: Mapping[Any, float]) -> Iterator[str]:
    """The mean over datasets and networks of each learning rate that was tried on all, at the study's iterations."""
    iterations = _iterations(numbers)
    rates: dict[float, dict[tuple[str, str], float]] = {}
    for (dataset, architecture, rate, steps), value in best.items():
        if iterations.get(dataset) == steps:
            rates.setdefault(rate, {})[dataset, architecture] = value
    cells = {cell for values in rates.values() for cell in values}
    tried = {rate: values for rate, values in sorted(rates.items()) if values.keys() == cells}
    means = {rate: sum(values.values()) / len(cells) for rate, values in tried.items()}
    if len(cells) > 1 and len(means) > 1:
        phrases = listed(f"{100 * value:.1f} ({rate:g})" for rate, value in means.items())
        yield f"Mean over datasets and networks of each learning rate, with the iterations of this study: {phrases}."


def _longer(numbers: Numbers, best: Mapping[Any, float]) -> list[str]:
    """The change of the best validation Dice by twice the iterations, where both were tried."""
    rate, changes = numbers.config.training.learning_rate, []
    for dataset, iterations in _iterations(numbers).items():
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


def _effects(numbers: Numbers, link: str) -> Iterator[str]:
    columns = [("dsc", protocol) for protocol in PROTOCOLS]
    columns += [(metric, MAIN_PROTOCOL) for metric in SEGMENTATION[1:]]
    if select(numbers.main(numbers.against()), metric=SEGMENTATION).dropna(subset=["low"]).empty:
        return
    yield (
        f"For each network, the values of `{numbers.config.baseline}` (± standard deviation over seeds), and below "
        "them the difference of each objective to it with the 95 % interval; means over classes. DSC and NSD (within "
        "2 mm, or 2 pixels where the spacing is unknown) are in percent, their differences in percentage points; HD95 "
        "is in mm or pixels, that of a structure in only one of prediction and reference the diagonal of the image, "
        "and lower is better. False structures, where some case has no structure: percent of such cases in which one "
        "is predicted. "
        "*Published*: the paper's protocol, traps included; *sound*: ours, see [the metrics policy](metrics-policy.md)."
    )
    yield from _beside_the_paper(numbers)
    for effects in (select(numbers.effects, reference=numbers.config.baseline), numbers.other_data):
        keys = ["dataset", "test_dataset", "leak_free"]
        for (dataset, tested, leak_free), rows in numbers.main(numbers.ordered(effects)).groupby(keys, sort=False):
            if len(select(rows, metric=SEGMENTATION).dropna(subset=["low"])):
                trained = f", trained on {dataset_label(str(dataset))}" if tested != dataset else ""
                without = ", without leaked test cases" if leak_free else ""
                yield f"### {dataset_label(str(tested))}{trained}{without}"
                yield _effect_table(numbers, rows, columns)
                yield _sizes(rows)
                if tested == dataset and not leak_free:
                    yield from _class_table(numbers, str(dataset))


def _beside_the_paper(numbers: Numbers) -> Iterator[str]:
    """The paper's baseline and gain beside those of the study, under the paper's protocol."""
    name = _subject(numbers)
    effects = numbers.main(select(numbers.against(), metric="dsc", protocol="published", objective=name or ()))
    rows = [(row, numbers.published_gain(row)) for row in effects.dropna(subset=["low"]).to_dict("records")]
    lines = [
        (*_cell(row), f"{paper[0]:.2f}", _value(row), signed(paper[1]), _entry(row, marked=False))
        for row, paper in rows
        if paper
    ]
    if lines:
        yield (
            f"DSC of the baseline, and difference of `{name}` to it, in the paper and here, both under the paper's "
            "protocol. Its networks, image sizes and training are others (see [limits](#limits)); it gives neither "
            "seeds nor intervals."
        )
        sides = ("paper", "here")
        headings = (*(f"baseline, {side}" for side in sides), *(f"difference, {side}" for side in sides))
        yield pipe_table((*_CELL, *headings), lines)


def _class_table(numbers: Numbers, dataset: str) -> Iterator[str]:
    """Effects in single classes."""
    rows = numbers.main(select(numbers.classes, dataset=dataset, test_dataset=dataset)).dropna(subset=["low"])
    if len(rows):
        yield f"Single classes of {dataset_label(dataset)}:"
        yield _effect_table(numbers, rows, [(name, MAIN_PROTOCOL) for name in rows["class"].unique()], "class")


def _effect_table(
    numbers: Numbers, rows: pd.DataFrame, columns: Sequence[tuple[str, str]], what: str = "metric"
) -> str:
    """For each architecture the values of the baseline, then the effects; columns without an effect are left out.

    ``columns`` are metrics, or the values of another column, with a protocol.
    """
    keys = [what, "protocol"]
    rows = rows.dropna(subset=["low"])
    present = set(rows[keys].itertuples(index=False, name=None))
    labels = {name: metric_of(name).label if what == "metric" else f"DSC of {name}" for name, _ in columns}
    headings = {column: f"{labels[column[0]]}, {column[1]}" for column in columns if column in present}
    lines = []
    for _, part in rows.groupby("architecture", sort=False):
        values = part.drop_duplicates(keys).assign(objective=numbers.config.baseline, difference=math.nan)
        lines += [values.assign(**{"lambda": "0"}), part]
    return _method_table(pd.concat(lines), keys, headings, _entry)


def _method_table(
    rows: pd.DataFrame, keys: Sequence[str], headings: Mapping[Any, str], text_of: Callable[[Any], str]
) -> str:
    """A table with one row per method; ``headings`` are those of the columns, by the values of ``keys``."""
    cells: dict[str, dict[Any, Row]] = {}
    for row in rows.to_dict("records"):
        method = f"{architecture_label(row['architecture'])} `{objective_label(row['objective'], row['lambda'])}`"
        cells.setdefault(method, {})[tuple(row[key] for key in keys)] = row
    lines = [(method, *(text_of(row.get(key)) for key in headings)) for method, row in cells.items()]
    return pipe_table(("", *headings.values()), lines)


def _entry(row: Row | None, *, marked: bool = True) -> str:
    """A difference with its 95 % interval and its verdict; for the baseline its value."""
    if row is None or row["low"] != row["low"]:
        return NO_RUN
    if row["difference"] != row["difference"]:
        return _value(row)
    few = f"({counted(int(row['seeds']), 'seed')})" if row["seeds"] < FEWEST_SEEDS else ""
    mark = _MARKS[row["verdict"]] if marked else ""
    return " ".join(filter(None, (_limits_apart(row, "low", "high", [0.0]), few, mark)))


def _limits_apart(row: Row, low: str, high: str, bounds: Iterable[float]) -> str:
    """A difference with its interval, with digits enough that no limit is rounded to a bound of the verdict."""
    digits = _digits(row)
    while digits < MOST_DIGITS and any(
        round(row[limit], digits) in (bound, -bound) for limit in (low, high) for bound in bounds
    ):
        digits += 1
    return limits(row["difference"], row[low], row[high], digits=digits)


def _value(row: Row) -> str:
    """The value of the baseline, and its standard deviation over seeds if there are several."""
    deviation = f" ± {row['reference_sd']:.{_digits(row)}f}" if row["reference_sd"] == row["reference_sd"] else ""
    return f"{row['reference_measured']:.{_digits(row)}f}{deviation}"


def _digits(row: Row) -> int:
    return metric_of(row["metric"]).digits


def _sizes(rows: pd.DataFrame) -> str:
    """Numbers of seeds and patients behind a table, and a warning where patients are few."""
    rows = select(rows, protocol=MAIN_PROTOCOL, metric="dsc").dropna(subset=["low"])
    if rows.empty:
        return ""
    columns = {"Seeds": "seeds", "Test patients or images": "groups"}
    phrases = [f"{name}: {_range(rows[column])}." for name, column in columns.items()]
    return " ".join([*phrases, *few_patients(rows["groups"])])


def _range(counts: pd.Series[Any]) -> str:
    """The number, or the least and the largest; empty without any."""
    low, high = counts.min(), counts.max()
    return f"{low}" if low == high else f"{low} to {high}" if len(counts) else ""


def _control(numbers: Numbers, link: str) -> Iterator[str]:
    name = _subject(numbers)
    for reference in _controls(numbers, name) if name else []:
        effects = numbers.main(select(numbers.against(reference), objective=name or "", metric="dsc"))
        effects = effects.dropna(subset=["low"])
        if effects.empty:
            continue
        rows = [
            (
                *_cell(row),
                f"{metric_of(row['metric']).label}, {row['protocol']}",
                _limits_apart(row, "narrow_low", "narrow_high", [row["margin"]]),
                f"±{row['margin']:g}" if row["margin"] == row["margin"] else NO_RUN,
                _MARKS[EQUIVALENT] if row["equivalent"] else "",
                f"{signed(row['smallest_seed'])} to {signed(row['largest_seed'])}",
                row["seeds"],
                row["groups"],
            )
            for row in effects.to_dict("records")
        ]
        yield (
            f"Difference of `{name}` to `{reference}` with the 90 % interval of two one-sided tests; single seeds: the "
            "smallest and the largest difference of a seed."
        )
        same = _is_same_function(numbers, reference)
        yield (
            "But for smoothing and rounding, both are the same function (Parseval's theorem), so a difference can only "
            "come from these, by way of training."
            if same
            else f"`{reference}` has no auxiliary term. Instead, the Dice of its base L has more weight, by λ."
        )
        headings = (*_CELL, "metric", "difference", "margin", "verdict", "single seeds", "seeds", "patients")
        yield pipe_table(headings, rows)
        dice = select(effects, protocol=MAIN_PROTOCOL)
        if same and len(dice):
            yield (
                f"With the same data and seed, the two nevertheless differ by up to {listed(_largest_of_seeds(dice))} "
                "percentage points of DSC. A difference of that size between single runs is no evidence for an "
                "objective."
            )
        if len(dice):
            yield (
                f"Equivalent under '{MAIN_PROTOCOL}': {dice['equivalent'].sum()} of "
                f"{counted(len(dice), 'comparison')}; {_all_equivalent(dice)}."
            )


def _cell(row: Row) -> tuple[str, str]:
    return dataset_label(row["dataset"]), architecture_label(row["architecture"])


def _largest_of_seeds(dice: pd.DataFrame) -> list[str]:
    """The largest absolute difference of a seed on each dataset."""
    largest = dice[["smallest_seed", "largest_seed"]].abs().max(axis=1).groupby(dice["dataset"], sort=False).max()
    return [f"{value:.2f} ({dataset_label(str(name))})" for name, value in largest.items()]


def _all_equivalent(dice: pd.DataFrame) -> str:
    """A margin with two decimals that all intervals lie within, none at its limits."""
    if dice["margin_needed"].isna().any():
        return f"no margin would be enough, because equivalence needs {FEWEST}"
    needed = math.floor(round(100 * dice["margin_needed"].max(), 6)) + 1
    return f"all would be with a margin of {needed / 100:.2f} percentage points"


def _sweep(numbers: Numbers, link: str) -> Iterator[str]:
    for (dataset, architecture), sweep in numbers.sweep.groupby(_CELL, sort=False):
        cell = {"dataset": str(dataset), "architecture": str(architecture)}
        names, weights = dict.fromkeys(sweep["objective"]), sorted(set(sweep["lambda"]), key=float)
        published = select(numbers.table("published"), table="table_6", **cell).set_index("lambda")["value"]
        lines = []
        if len(published):
            lines.append(("Table 6 of the paper, DSC", *(_number(published.get(weight)) for weight in weights)))
        for name in names:
            effects = select(sweep, objective=name).set_index("lambda").to_dict("index")
            lines.append((f"`{name}` less the baseline", *(_entry(effects.get(weight)) for weight in weights)))
        yield f"{', '.join(_cell(cell))}: DSC under '{MAIN_PROTOCOL}' against λ."
        yield pipe_table(("", *(f"λ = {weight}" for weight in weights)), lines)
        yield _sizes(sweep)
        for name in names:
            ends = select(numbers.against(name), objective=name, protocol=MAIN_PROTOCOL, **cell)
            yield from (_ends(row, published) for row in ends.dropna(subset=["low"]).to_dict("records"))
    if len(numbers.sweep):
        yield f"![Difference in DSC to the baseline against λ]({link}/sweep.svg)"


def _ends(row: Row, published: pd.Series[float]) -> str:
    """The difference of the largest λ to the smallest, paired, and that of the paper's table."""
    first, last = row["reference_lambda"], row["lambda"]
    paper, mark = "", _MARKS[row["verdict"]]
    if {first, last} <= set(published.index):
        paper = f"; the paper's DSC changes by {signed(published[last] - published[first])}"
    return (
        f"`{row['objective']}` from λ = {first} to λ = {last}: {_entry(row, marked=False)} percentage points"
        f"{f', {mark}' if mark else ''}{paper}."
    )


def _calibration(numbers: Numbers, link: str) -> Iterator[str]:
    rows = select(numbers.main(numbers.against()), metric=CALIBRATION, protocol=MAIN_PROTOCOL).dropna(subset=["low"])
    if rows.empty:
        return
    yield (
        "For each network, the values of the baseline, and below them the differences to it; lower is better. ECE and "
        "Brier score in percent."
    )
    for dataset, part in rows.groupby("dataset", sort=False):
        yield f"{dataset_label(str(dataset))}:"
        yield _effect_table(numbers, part, [(metric, MAIN_PROTOCOL) for metric in CALIBRATION])
        wide = part[part["equivalent"] & (part["reference_measured"] <= part["margin"])]
        if names := [metric_of(metric).label for metric in CALIBRATION if metric in set(wide["metric"])]:
            yield (
                f"Here the margin, {margins(wide['margin'], 'percentage points')}, is at least as large as the "
                f"{listed(names)} of the baseline itself, so that *equivalent* says little."
            )


def _noise(numbers: Numbers, link: str) -> Iterator[str]:
    noise = select(numbers.table("noise"), protocol=MAIN_PROTOCOL, quantity="rD")
    if noise.empty:
        return
    yield (
        "Percent of the clean Dice that a [corruption](corruptions.md) costs (0: no loss), and in brackets its "
        "difference to the baseline with the 95 % interval; below zero is more robust. Mean: over corruptions. "
        f"{NO_RUN}: undefined, as without any clean Dice."
    )
    for dataset, part in numbers.ordered(numbers.main(noise)).groupby("dataset", sort=False):
        yield f"{dataset_label(str(dataset))}:"
        headings = {(name,): name for name in noise["corruption"].unique()}
        yield _method_table(part, ("corruption",), headings, _loss)
        yield f"Seeds: {_range(part['seeds'])}. Test cases: {_range(part['cases'])}."
        corrupted = select(part, corruption=set(part["corruption"]) - {MEAN})
        least = corrupted.groupby("corruption", sort=False)["measured"].min()
        if len(lost := least[least > _NOTHING_LEFT]):
            yield (
                f"Under {listed(f'`{name}`' for name in lost.index)}, every method loses more than {_NOTHING_LEFT} % "
                "of its Dice, so that hardly anything is left to compare."
            )


def _loss(row: Row | None) -> str:
    if row is None or row["measured"] != row["measured"]:
        return NO_RUN
    gain = row["gain"], row["gain_low"], row["gain_high"]
    return f"{row['measured']:.2f}" + ("" if any(map(math.isnan, gain)) else f" ({limits(*gain)})")


def _maps(numbers: Numbers, link: str) -> Iterator[str]:
    name = _subject(numbers)
    rows = numbers.main(select(numbers.against(), metric=_MAPS, protocol=MAIN_PROTOCOL, objective=name or ()))
    rows = rows.dropna(subset=["low"])
    if rows.empty:
        return
    rows = rows.sort_values("metric", key=lambda names: names.map(list(_MAPS).index), kind="stable")
    lines = [
        (
            *(*_cell(row), _MAPS[row["metric"]], _value(row)),
            _entry(row, marked=False) if "random" not in row["metric"] else "",
            *(row["seeds"], row["groups"]),
        )
        for row in rows.to_dict("records")
    ]
    yield (
        f"`{name}` against the baseline. Class activation maps are those of at most "
        f"{numbers.config.evaluation.interpretation.cases} test cases of each dataset, and a constant map has no "
        "score, so that a difference can be over fewer cases than the baseline's mean; spectra are those of all test "
        "cases. [Interpretation](interpretation.md) says what such scores are "
        "worth: a map that is no better than a random one explains nothing."
    )
    yield pipe_table((*_CELL, "score", "baseline", "difference", "seeds", "patients"), lines)


def _claims(numbers: Numbers, link: str) -> Iterator[str]:
    claims, papers = numbers.table("claims"), read_claim_papers(numbers.folder)
    for paper in papers:
        if paper.runs:
            yield f"### {paper.heading}"
            yield from _claims_of(paper, claims[claims["paper"] == paper.paper])
    yield " ".join(paper.sentence for paper in papers if not paper.runs)


def _claims_of(paper: ClaimPaper, claims: pd.DataFrame) -> Iterator[str]:
    tested, judged = claims[claims["verdict"] != UNTESTED], claims["p"].notna().sum()
    complete = (claims["comparisons"] > 0) & (claims["untested"] == 0)
    partly = (claims["untested"] > 0) & (claims["untested"] < claims["comparisons"])
    others = "; the others need datasets, networks, runs or measurements that this study does not have"
    sentences = [
        f"Of {counted(paper.claims, 'claim')} of the paper, these runs have all comparisons of {complete.sum()} and "
        f"some comparisons of {partly.sum()} more{others if (complete | partly).sum() < paper.claims else ''}.",
        f"With them, {tally(tested['verdict'])}." if len(tested) else "",
        "A claim that needs all of its comparisons can fail with some of them, but not hold." if partly.any() else "",
        "Verdicts use all metrics of the study, also those that are not on this page.",
    ]
    yield " ".join(filter(None, sentences))
    if len(tested):
        yield (
            f"*Adjusted*: the verdict when the {judged} claims with a p value are judged together, see "
            f"[many comparisons](statistics.md#many-comparisons). Adjusted, {tally(tested['verdict_adjusted'])}."
        )
        headings = ("section", "claim", "verdict", "p", "adjusted", "adjusted p", "why")
        yield pipe_table(headings, [_claim(row) for row in tested.to_dict("records")])


def _claim(row: Row) -> tuple[str, ...]:
    why = row["reason"]
    if not any(row[name] != row[name] for name in ("published", "measured", "low", "high")):
        measured = limits(row["measured"], row["low"], row["high"])
        why += f"; published {signed(row['published'])}, measured {measured} {row['unit']}"
    p, adjusted = p_text(row["p"]), p_text(row["p_adjusted"])
    return row["section"], row["claim"], row["verdict"], p, row["verdict_adjusted"], adjusted, why


def _power(numbers: Numbers, link: str) -> Iterator[str]:
    rows = select(
        numbers.main(numbers.against()),
        protocol=MAIN_PROTOCOL,
        objective=_subject(numbers) or (),
        metric=(*SEGMENTATION, *CALIBRATION),
    ).dropna(subset=["detectable"])
    if rows.empty:
        return
    rows = rows.sort_values("metric", key=lambda names: names.map(METRICS.index), kind="stable")
    lines = [
        (
            *(
                *_cell(row),
                metric_of(row["metric"]).label,
                f"{row['detectable']:.{_digits(row)}f}",
                _paper_gain(numbers, row),
            ),
            *(_needed(row, f"{kind}_for_{size}") for size in TO_SETTLE for kind in ("seeds", "groups")),
        )
        for row in rows.to_dict("records")
    ]
    sizes = [f"{kind} for {size}" for size in TO_SETTLE for kind in ("seeds", "patients")]
    low, high = TO_SETTLE
    yield (
        "The smallest true difference that the 95 % interval of a study of this size excludes from zero with a "
        "[probability of 80 %](statistics.md#power), if the variances between seeds and patients are those that were "
        f"estimated; and how many seeds (with these patients) or patients (with these seeds) would detect {low} or "
        f"{high} percentage points of DSC. Paper: the published difference. 'None': no number does, because the other "
        "source of variance alone is too large. The variances are estimates from few seeds, so these numbers are "
        "orders of magnitude."
    )
    yield pipe_table((*_CELL, "metric", "detectable", "paper", *sizes), lines)


def _paper_gain(numbers: Numbers, row: Row) -> str:
    paper = numbers.published_gain(row) if row["metric"] == "dsc" else None
    return signed(paper[1]) if paper else ""


def _needed(row: Row, name: str) -> str:
    if row["metric"] != "dsc":
        return ""
    return f"{row[name]:.0f}" if row[name] == row[name] else "None"


def _limits(numbers: Numbers, link: str) -> Iterator[str]:
    runs = numbers.evaluated
    if runs.empty:
        return
    used = numbers.table("datasets").set_index("dataset").loc[list(dict.fromkeys(runs["dataset"]))]
    sizes, parameters = sorted(set(used["image_size"])), _range((runs["parameters"] / 1e6).dropna().round(1))
    networks = f"networks of {parameters} million parameters" if parameters else "these networks"
    most = max(_iterations(numbers).values(), default=None)
    training = "this training" if most is None else f"at most {most:.0f} iterations"
    datasets, architectures = map(dataset_label, used.index), map(architecture_label, runs["architecture"].unique())
    others = [dataset_label(name) for name in dict.fromkeys(numbers.other_data["test_dataset"])]
    tested = "each tested on cases of its own dataset" + (f", and some on {listed(others)}" if others else "")
    points = (
        f"Images of {listed(map(str, sizes))} pixels, {training} and {networks}: this does not show whether the same "
        "holds for other sizes, after longer training and for other networks.",
        f"{listed(datasets)} with {listed(architectures)} only, {tested}: this does not show what holds on other data.",
        "Learning rate and iterations were tuned for the baseline alone, with one learning rate for all datasets."
        if len(numbers.table("tuning"))
        else "All objectives have the same learning rate and iterations; none was tuned individually.",
        "An undecided comparison is no evidence of equality.",
    )
    yield "\n".join(f"- {point}" for point in points)


def _cost(numbers: Numbers, link: str) -> Iterator[str]:
    runs, evaluated = numbers.table("runs"), numbers.evaluated
    if evaluated.empty:
        return
    hours = [f"{_hours(evaluated[name])} of {name}" for name in ("training", "evaluation")]
    hardware = evaluated[["device", "threads"]].drop_duplicates().itertuples(index=False, name=None)
    devices = listed([text for device, threads in hardware if (text := _device(device, threads))])
    where = f" on {devices}" if devices else ""
    without = ", without the runs of the tuning" if len(numbers.table("tuning")) else ""
    yield f"{counted(len(evaluated), 'evaluated run')} took {listed(hours)}{where}{without}."
    costs = evaluated.groupby(_CELL, sort=False)[["training", "evaluation", "resident"]].mean().reset_index()
    lines = [
        (
            *_cell(row),
            *(_number(row[name] / 60, 1, 1) for name in ("training", "evaluation")),
            _number(row["resident"], 1, 0),
        )
        for row in costs.to_dict("records")
    ]
    yield pipe_table((*_CELL, "training, min", "evaluation, min", "memory, MiB"), lines)
    versions = list(runs.columns)[list(runs.columns).index("weights_sha256") + 1 :]
    known = {name: evaluated[name].dropna().unique() for name in (*versions, "commit")}
    commits = [str(commit) for commit in known.pop("commit")]
    phrases = [", ".join(f"{name} {'/'.join(map(str, values))}" for name, values in known.items() if len(values))]
    if commits:
        changed = " (+: with uncommitted changes)" if any(commit.endswith("+") for commit in commits) else ""
        phrases.append(f"{counted(len(commits), 'commit')} of SpectralSeg: {', '.join(commits)}{changed}")
    if any(phrases):
        yield f"Versions: {'; '.join(filter(None, phrases))}."
    digests = [
        (dataset_label(row["dataset"]), *(str(row[f"{array}_sha256"])[:16] for array in ("images", "masks")))
        for row in numbers.table("datasets").to_dict("records")
    ]
    yield "First 16 characters of the SHA-256 checksums of the prepared data; the files hold all:"
    yield pipe_table(("dataset", "images", "masks"), digests)
    yield from numbers.notes("obstacles.md")


def _hours(seconds: pd.Series[float]) -> str:
    """The sum in hours, and of how many runs if not of all."""
    known = seconds.notna()
    if not known.any():
        return "an unknown time"
    return f"{seconds.sum() / 3600:.1f} hours" + ("" if known.all() else f" ({known.sum()} runs measured)")


def _device(name: object, threads: float) -> str:
    known = [name] if isinstance(name, str) else []
    return " with ".join([*known, *([counted(int(threads), "thread")] if threads == threads else [])])


def _number(value: float | None, factor: float = 1.0, digits: int = 2) -> str:
    return NO_RUN if value is None or value != value else f"{factor * value:.{digits}f}"
