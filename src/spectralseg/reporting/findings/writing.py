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
from spectralseg.reporting.claim_papers import ClaimPaper, read_claim_papers
from spectralseg.reporting.findings import plots
from spectralseg.reporting.findings.extract import (
    BETTER,
    CALIBRATION,
    CONFIG,
    EQUIVALENT,
    METHOD,
    SEGMENTATION,
    TO_SETTLE,
    UNDECIDED,
    VALIDATION,
    WORSE,
)
from spectralseg.reporting.labels import architecture_label, dataset_label, objective_label
from spectralseg.reporting.rendering import MINUS, NO_RUN, few_patients, limits, margins, signed
from spectralseg.reporting.rendering.markdown import pipe_table
from spectralseg.reporting.studies._common import counted, is_full_band, listed
from spectralseg.statistics.verdicts import FEWEST, UNTESTED

MAIN_PROTOCOL, PROTOCOLS = "sound", ("sound", "published")
_MARKS = {BETTER: "**better**", WORSE: "**worse**", EQUIVALENT: "equivalent", UNDECIDED: ""}
_MAPS = {
    "cam_energy_relative": "energy of the class activation map inside the structure, by its share of the image",
    "cam_random_energy_relative": "the same of a random map",
    "cam_pointing": "share of maps whose maximum lies in the structure",
    "cam_random_pointing": "the same of a random map",
    "spectral_correlation": "correlation of log spectra, the paper's Fig. 8",
    "spectral_correlation_detrended": "the same less the mean of each ring",
    "spectral_similarity": "Eq. (2) on hard labels",
    "frc_mid": "Fourier ring correlation, middle band",
}

_CELL = ["dataset", "architecture"]

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
        texts = (*METHOD, "reference", "reference_lambda", "metric", "protocol", "leak_free")
        expected = "the numbers of a study", "run 'spectralseg findings' again"
        options: dict[str, Any] = {"dtype": dict.fromkeys(texts, "str"), "keep_default_na": True}
        frame = read_csv(self.folder / f"{name}.csv", *expected, **options)
        return frame.fillna({column: "" for column in texts if column in frame})

    def curves(self, name: str) -> pd.DataFrame:
        """Validation Dice during training, from one of the CSV files: mean over the seeds of each method, and their
        number.
        """
        keys = [*METHOD, "learning_rate", "iterations", "iteration"]
        by_iteration = self.table(name).groupby(keys, sort=False)[VALIDATION]
        return by_iteration.agg(["mean", "count"]).rename(columns={"mean": VALIDATION, "count": "seeds"}).reset_index()

    def notes(self, name: str) -> Iterator[str]:
        """The text of a hand-written Markdown file in the folder, if it exists."""
        file = self.folder / name
        if file.is_file():
            yield file.read_text(encoding="utf-8").strip()

    @cached_property
    def effects(self) -> pd.DataFrame:
        """Differences between methods."""
        return self.table("effects")

    def ordered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows in the order of the configuration."""
        config = self.config
        orders = (list(config.datasets), list(config.architectures), list(config.objectives))
        keys = zip(frame["dataset"], frame["architecture"], frame["objective"], frame["lambda"], strict=True)
        places = [
            (*(order.index(name) for order, name in zip(orders, names, strict=True)), float(weight))
            for *names, weight in keys
        ]
        return frame.iloc[sorted(range(len(places)), key=places.__getitem__)]

    def against(self, reference: str | None = None, *, leak_free: str = "") -> pd.DataFrame:
        """Effects against the baseline, or another reference."""
        return self.ordered(select(self.effects, reference=reference or self.config.baseline, leak_free=leak_free))

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
        "Is it a squared Dice?": _control,
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
    """The answer in two sentences: Eq. (2) as 1 − S against the baseline, and against the squared Dice."""
    name = _subject(numbers)
    if name is None:
        return ["No objective of this study has Eq. (2) over all frequencies."]
    weight = numbers.weights.get(name, "0")
    label = f"`{name}`" if weight == "0" else f"`{name}` (λ = {weight})"
    outcome = _outcome(_dice(numbers, numbers.against(), name))
    return [
        f"{label} against the baseline `{numbers.config.baseline}`, {outcome}.",
        *(
            f"Against its control `{reference}`, {_outcome(_dice(numbers, numbers.against(reference), name))}."
            for reference in _controls(numbers, name)
        ),
    ]


def _subject(numbers: Numbers) -> str | None:
    """The objective that the study is about: Eq. (2) over all frequencies, added as a loss."""
    objectives = numbers.config.objectives.items()
    return next((name for name, objective in objectives if is_full_band(objective) and objective.form == "add"), None)


def _controls(numbers: Numbers, name: str) -> list[str]:
    references = dict.fromkeys(numbers.main(select(numbers.effects, objective=name))["reference"])
    return [reference for reference in references if reference not in (name, numbers.config.baseline)]


def _dice(numbers: Numbers, frame: pd.DataFrame, name: str) -> pd.DataFrame:
    return numbers.main(select(frame, objective=name, metric="dsc", protocol=MAIN_PROTOCOL))


def _outcome(rows: pd.DataFrame) -> str:
    """What comparisons in DSC say together, no stronger than their intervals."""
    rows, impossible = rows.dropna(subset=["low"]), int(rows["low"].isna().sum())
    more = f" ({counted(impossible, 'comparison')} more without an interval)" if impossible else ""
    if rows.empty:
        return f"no comparison could be made{more}"
    counts = rows["verdict"].value_counts()
    unit = "percentage points"
    phrases = [
        f"{counts.get(BETTER, 0)} better",
        f"{counts.get(WORSE, 0)} worse",
        f"{counts.get(EQUIVALENT, 0)} equivalent within {margins(rows['margin'], unit)}",
        f"{counts.get(UNDECIDED, 0)} undecided",
    ]
    low, high = signed(rows["difference"].min()), signed(rows["difference"].max())
    spread = f"difference {low}" if len(rows) == 1 else f"differences from {low} to {high}"
    return f"{counted(len(rows), 'comparison')} in DSC{more}: {listed(phrases)}; {spread} {unit}"


def _head(numbers: Numbers, link: str) -> Iterator[str]:
    yield f"![Differences to the baseline in DSC with 95 % intervals]({link}/forest.svg)"
    yield "*Differences to the baseline in DSC with 95 % intervals. Grey: the margin. A full dot: better or worse.*"
    yield " ".join(answer(numbers))
    states = numbers.table("runs")["state"]
    if missing := (states != "evaluated").sum():
        yield f"**Unfinished: {missing} of {len(states)} runs are missing or diverged.**"
    if "phantom" in set(numbers.table("datasets")["source"]):
        yield "**Measured on synthetic phantoms: nothing here says anything about a paper.**"
    yield (
        "*Better* and *worse*: the 95 % interval over seeds and patients excludes zero. *Equivalent*: the 90 % "
        f"interval lies within the margin, whether it excludes zero or not. Either needs {FEWEST}. Verdicts are not "
        f"adjusted for the number of comparisons. Every number is computed from CSV files in the folder `{link}`: "
        f"[effects]({link}/effects.csv), [runs]({link}/runs.csv), [noise]({link}/noise.csv), "
        f"[claims]({link}/claims.csv) and others."
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
    yield (
        f"*add*: L + λA. *printed*: L + λ(1 {MINUS} A), the sign of Eq. (3). All runs: SGD with batches of "
        f"{training.batch_size}, learning rate {training.learning_rate:g} ({training.schedule}), momentum "
        f"{training.momentum:g}, weight decay {training.weight_decay:g}; iterations: {listed(steps)}. For each seed, "
        "all objectives share initial weights, data order and test cases, so that differences are paired. The "
        f"checkpoint with the best validation Dice is evaluated. [Configuration]({link}/{CONFIG})."
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
    for finding in leaks[leaks["train_dataset"] == leaks["test_dataset"]]["finding"]:
        if isinstance(finding, str) and finding:
            yield f"Leakage audit. {finding}."


def _tuning(numbers: Numbers, link: str) -> Iterator[str]:
    baseline = numbers.config.baseline
    tuning = select(numbers.curves("tuning"), objective=baseline)
    if not tuning.empty:
        keys = [*_CELL, "learning_rate", "iterations"]
        best: dict[Any, float] = tuning.groupby(keys)[VALIDATION].max().to_dict()
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
            f"{counted(int(tuning['seeds'].max()), 'seed')}. Best validation Dice in percent for each learning rate "
            "and number of iterations:"
        )
        yield pipe_table(("", *(f"{rate:g}, {iterations}" for rate, iterations in settings)), rows)
    curves = numbers.curves("curves")
    if not curves.empty:
        yield f"![Validation Dice during training]({link}/curves.svg)"
        yield _flattened(numbers, curves)


def _flattened(numbers: Numbers, curves: pd.DataFrame) -> str:
    """The rise of validation Dice in the last sixth of training; empty unless validations lie before and in it."""
    rises: dict[str, list[float]] = {}
    for _, curve in numbers.main(curves).groupby(list(METHOD), sort=False):
        early = curve["iteration"] <= curve["iterations"] * 5 / 6
        if early.any() and not early.all():
            dice = 100 * curve[VALIDATION]
            rises.setdefault(str(curve["dataset"].iloc[0]), []).append(dice.iloc[-1] - dice[early].iloc[-1])
    if not rises:
        return ""
    phrases = [f"{signed(sum(rise) / len(rise), 1)} on {dataset_label(name)}" for name, rise in rises.items()]
    return f"In the last sixth of training, mean validation Dice changes by {listed(phrases)} percentage points."


def _effects(numbers: Numbers, link: str) -> Iterator[str]:
    yield (
        f"Difference of each objective to `{numbers.config.baseline}`, mean over classes, with the 95 % interval. "
        "DSC, NSD (within 2 mm, or 2 pixels where the spacing is unknown) and false structures are in percentage "
        "points, HD95 is in mm or pixels; lower is better for the last two. *Published*: the paper's protocol, traps "
        "included; *sound*: ours, see [the metrics policy](metrics-policy.md)."
    )
    columns = [("dsc", protocol) for protocol in PROTOCOLS]
    columns += [(metric, MAIN_PROTOCOL) for metric in SEGMENTATION[1:]]
    for dataset in numbers.config.datasets:
        readings = select(numbers.effects, dataset=dataset)["leak_free"]
        for leak_free in ("", *dict.fromkeys(readings[readings != ""])):
            rows = select(numbers.main(numbers.against(leak_free=leak_free)), dataset=dataset)
            if len(rows):
                yield f"### {dataset_label(dataset)}" + (", without leaked test cases" if leak_free else "")
                yield _effect_table(rows, columns)
                yield _sizes(rows)


def _effect_table(rows: pd.DataFrame, columns: Sequence[tuple[str, str]]) -> str:
    headings = {column: f"{metric_of(column[0]).label}, {column[1]}" for column in columns}
    return _method_table(rows, ("metric", "protocol"), headings, _entry)


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
    """A difference with its 95 % interval and its verdict."""
    if row is None or row["low"] != row["low"]:
        return NO_RUN
    mark = _MARKS[row["verdict"]] if marked else ""
    return f"{limits(row['difference'], row['low'], row['high'], digits=_digits(row))} {mark}".strip()


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


def _range(counts: pd.Series[int]) -> str:
    low, high = counts.min(), counts.max()
    return f"{low}" if low == high else f"{low} to {high}"


def _control(numbers: Numbers, link: str) -> Iterator[str]:
    name = _subject(numbers)
    for reference in _controls(numbers, name) if name else []:
        effects = numbers.main(select(numbers.against(reference), objective=name or "", metric="dsc"))
        rows = [
            (
                *_cell(row),
                f"{metric_of(row['metric']).label}, {row['protocol']}",
                limits(row["difference"], row["narrow_low"], row["narrow_high"], digits=_digits(row)),
                f"±{row['margin']:g}" if row["margin"] == row["margin"] else NO_RUN,
                _MARKS[EQUIVALENT] if row["equivalent"] else "",
            )
            for row in effects.to_dict("records")
        ]
        yield f"Difference of `{name}` to `{reference}` with the 90 % interval of two one-sided tests."
        if numbers.config.objectives[reference].auxiliary is not None:
            yield (
                "But for smoothing and rounding, both are the same function (Parseval's theorem), so a difference can "
                "only come from these, by way of training."
            )
        yield pipe_table((*_CELL, "metric", "difference", "margin", ""), rows)
        dice = select(effects, protocol=MAIN_PROTOCOL)
        if len(dice):
            yield (
                f"{counted(int(dice['equivalent'].sum()), 'comparison')} of {len(dice)} under "
                f"'{MAIN_PROTOCOL}' are equivalent; {_all_equivalent(dice)}."
            )


def _cell(row: Row) -> tuple[str, str]:
    return dataset_label(row["dataset"]), architecture_label(row["architecture"])


def _all_equivalent(dice: pd.DataFrame) -> str:
    """The smallest margin within which all comparisons would be equivalent, rounded up."""
    if dice["margin_needed"].isna().any():
        return f"no margin would be enough, because equivalence needs {FEWEST}"
    return f"all would be with a margin of {math.ceil(100 * dice['margin_needed'].max()) / 100:.2f} percentage points"


def _sweep(numbers: Numbers, link: str) -> Iterator[str]:
    full = [name for name, objective in numbers.config.objectives.items() if is_full_band(objective)]
    rows = select(numbers.against(), metric="dsc", protocol=MAIN_PROTOCOL, objective=full)
    several = rows.groupby(_CELL)["lambda"].nunique()
    for dataset, architecture in several[several > 2].index:
        cell = {"dataset": dataset, "architecture": architecture}
        sweep = select(rows, **cell)
        weights = sorted(set(sweep["lambda"]), key=float)
        published = select(numbers.table("published"), column="DSC", **cell).set_index("lambda")["value"]
        lines = []
        if len(published):
            lines.append(("Table 6 of the paper, DSC", *(_number(published.get(weight)) for weight in weights)))
        for name in full:
            if effects := select(sweep, objective=name).set_index("lambda").to_dict("index"):
                lines.append((f"`{name}` less the baseline", *(_entry(effects.get(weight)) for weight in weights)))
        yield f"{dataset_label(dataset)}, {architecture_label(architecture)}: DSC under '{MAIN_PROTOCOL}' against λ."
        yield pipe_table(("", *(f"λ = {weight}" for weight in weights)), lines)
        for name in full:
            ends = select(numbers.against(name), objective=name, protocol=MAIN_PROTOCOL, **cell)
            yield from (_ends(row, published) for row in ends.to_dict("records"))
    if (several > 2).any():
        yield f"![Difference in DSC to the baseline against λ]({link}/sweep.svg)"


def _ends(row: Row, published: pd.Series[float]) -> str:
    """The difference of the largest λ to the smallest, paired, and that of the paper's table."""
    first, last = row["reference_lambda"], row["lambda"]
    paper = ""
    if {first, last} <= set(published.index):
        paper = f"; the paper's DSC changes by {signed(published[last] - published[first])}"
    return f"`{row['objective']}` from λ = {first} to λ = {last}: {_entry(row)} percentage points{paper}."


def _calibration(numbers: Numbers, link: str) -> Iterator[str]:
    rows = select(numbers.main(numbers.against()), metric=CALIBRATION)
    if rows.empty:
        return
    yield "Differences to the baseline; lower is better. ECE and Brier score in percentage points."
    for dataset, part in rows.groupby("dataset", sort=False):
        yield f"{dataset_label(str(dataset))}:"
        yield _effect_table(part, [(metric, MAIN_PROTOCOL) for metric in CALIBRATION])


def _noise(numbers: Numbers, link: str) -> Iterator[str]:
    noise = select(numbers.table("noise"), protocol=MAIN_PROTOCOL, quantity="rD")
    if noise.empty:
        return
    yield (
        "Percent of the clean Dice that a corruption costs (0: no loss), and in brackets its difference to the "
        "baseline with the 95 % interval; below zero is more robust."
    )
    for dataset, part in noise.groupby("dataset", sort=False):
        yield f"{dataset_label(str(dataset))}:"
        headings = {(name,): name for name in noise["corruption"].unique()}
        yield _method_table(numbers.main(part), ("corruption",), headings, _loss)


def _loss(row: Row | None) -> str:
    if row is None or row["measured"] != row["measured"]:
        return NO_RUN
    gain = row["gain"]
    return f"{row['measured']:.2f}" + (f" ({limits(gain, row['gain_low'], row['gain_high'])})" if gain == gain else "")


def _maps(numbers: Numbers, link: str) -> Iterator[str]:
    name = _subject(numbers)
    rows = numbers.main(select(numbers.against(), metric=_MAPS, protocol=MAIN_PROTOCOL, objective=name or ()))
    if rows.empty:
        return
    rows = rows.sort_values("metric", key=lambda names: names.map(list(_MAPS).index), kind="stable")
    lines = [
        (
            *(*_cell(row), _MAPS[row["metric"]], f"{row['reference_measured']:.{_digits(row)}f}"),
            _entry(row, marked="random" not in row["metric"]),
        )
        for row in rows.dropna(subset=["low"]).to_dict("records")
    ]
    yield (
        f"`{name}` against the baseline on the test cases that are interpreted, at most "
        f"{numbers.config.evaluation.interpretation.cases} of each dataset. [Interpretation](interpretation.md) "
        "says what such scores are worth: a map that is no better than a random one explains nothing."
    )
    yield pipe_table((*_CELL, "score", "baseline", "difference"), lines)


def _claims(numbers: Numbers, link: str) -> Iterator[str]:
    claims, papers = numbers.table("claims"), read_claim_papers(numbers.folder)
    for paper in papers:
        if paper.runs:
            yield f"### {paper.heading}"
            yield from _claims_of(paper, claims[claims["paper"] == paper.paper])
    yield " ".join(paper.sentence for paper in papers if not paper.runs)


def _claims_of(paper: ClaimPaper, claims: pd.DataFrame) -> Iterator[str]:
    tested = claims[claims["verdict"] != UNTESTED]
    phrases = listed([f"{count} {verdict}" for verdict, count in tested["verdict"].value_counts().items()])
    yield (
        f"Of {paper.claims} claims of the paper {len(tested)} can be tested with these datasets: {phrases or 'none'}. "
        "The others need datasets, networks or measurements that this study does not have."
    )
    lines = tested[["section", "claim", "verdict", "reason"]].itertuples(index=False, name=None)
    yield pipe_table(("section", "claim", "verdict", "why"), lines)


def _power(numbers: Numbers, link: str) -> Iterator[str]:
    rows = select(
        numbers.main(numbers.against()),
        protocol=MAIN_PROTOCOL,
        objective=_subject(numbers) or (),
        metric=(*SEGMENTATION, *CALIBRATION),
    ).dropna(subset=["detectable"])
    if rows.empty:
        return
    lines = [
        (
            *(*_cell(row), metric_of(row["metric"]).label, f"{row['detectable']:.{_digits(row)}f}"),
            *(_needed(row, f"{kind}_for_{size}") for size in TO_SETTLE for kind in ("seeds", "groups")),
        )
        for row in rows.to_dict("records")
    ]
    sizes = [f"{kind} for {size}" for size in TO_SETTLE for kind in ("seeds", "patients")]
    low, high = TO_SETTLE
    yield (
        "The smallest true difference that a study of this size detects with a probability of 80 %, from the variance "
        "of the differences between seeds and patients; and how many seeds (with these patients) or patients (with "
        f"these seeds) would detect a difference of {low} or {high} percentage points of DSC, the range of the paper's "
        "gains. 'None': no number does, because the other source of variance alone is too large. The variances are "
        "estimates from few seeds: take the numbers as orders of magnitude."
    )
    yield pipe_table((*_CELL, "metric", "detectable", *sizes), lines)


def _needed(row: Row, name: str) -> str:
    if row["metric"] != "dsc":
        return ""
    return f"{row[name]:.0f}" if row[name] == row[name] else "none"


def _limits(numbers: Numbers, link: str) -> Iterator[str]:
    datasets = numbers.table("datasets")
    sizes, longest = sorted(set(datasets["image_size"])), max(_iterations(numbers).values(), default=0)
    points = (
        f"Images of {listed(map(str, sizes))} pixels, at most {longest:.0f} iterations and small networks: this does "
        "not show whether the same holds at full size and after full training.",
        f"{listed(map(dataset_label, datasets['dataset']))} only: this does not show what holds on other data.",
        "Objectives were not tuned individually: the learning rate is the baseline's, which favours it if anything.",
        "An undecided comparison is no evidence of equality: see the section on statistical power.",
    )
    yield "\n".join(f"- {point}" for point in points)


def _cost(numbers: Numbers, link: str) -> Iterator[str]:
    runs = numbers.table("runs")
    evaluated = select(runs, state="evaluated")
    if evaluated.empty:
        return
    total = evaluated[["training", "evaluation"]].sum() / 3600
    hardware = evaluated[["device", "threads"]].drop_duplicates().itertuples(index=False, name=None)
    devices = listed([f"{device} with {counted(int(threads), 'thread')}" for device, threads in hardware])
    yield (
        f"{len(evaluated)} runs took {total['training']:.1f} hours of training and {total['evaluation']:.1f} hours of "
        f"evaluation on {devices}."
    )
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
    phrases = [f"{name} {'/'.join(map(str, evaluated[name].dropna().unique()))}" for name in versions]
    commits = [str(commit) for commit in evaluated["commit"].dropna().unique()]
    yield f"Versions: {', '.join(phrases)}; {counted(len(commits), 'commit')} of SpectralSeg: {', '.join(commits)}."
    digests = [
        (dataset_label(row["dataset"]), *(str(row[f"{array}_sha256"])[:16] for array in ("images", "masks")))
        for row in numbers.table("datasets").to_dict("records")
    ]
    yield "First 16 characters of the SHA-256 checksums of the prepared data; the files hold all:"
    yield pipe_table(("dataset", "images", "masks"), digests)
    yield from numbers.notes("obstacles.md")


def _number(value: float | None, factor: float = 1.0, digits: int = 2) -> str:
    return NO_RUN if value is None or value != value else f"{factor * value:.{digits}f}"
