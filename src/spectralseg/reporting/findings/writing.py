"""The page of findings, written from the extracted CSV files alone: no number of it is typed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from spectralseg.config import Config, load_config
from spectralseg.files import replacing
from spectralseg.loading import read_csv
from spectralseg.metrics.catalogue import metric_of
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
    WORSE,
)
from spectralseg.reporting.labels import architecture_label, dataset_label, objective_label
from spectralseg.reporting.rendering import MINUS, NO_RUN, few_patients, limits, margins, signed
from spectralseg.reporting.studies._common import counted, is_full_band, listed
from spectralseg.statistics.verdicts import FEWEST

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
NUMBERS = ("effects", "noise", "claims", "datasets", "leakage", "runs", "curves", "tuning", "published")


@dataclass(frozen=True)
class Numbers:
    """The CSV files of a folder, and the configuration beside them."""

    folder: Path

    @cached_property
    def config(self) -> Config:
        """The study's configuration."""
        return load_config(self.folder / CONFIG)

    def table(self, name: str) -> pd.DataFrame:
        """One of :data:`NUMBERS`; names and λ are text, an empty cell is NaN or an empty text."""
        texts = dict.fromkeys((*METHOD, "reference", "reference_lambda", "metric", "protocol", "leak_free"), "str")
        words = "the numbers of a study", "run 'spectralseg findings' again"
        file = self.folder / f"{name}.csv"
        frame = read_csv(file, *words, dtype=texts, keep_default_na=True)
        present = [column for column in texts if column in frame]
        return frame.fillna(dict.fromkeys(present, ""))

    @cached_property
    def effects(self) -> pd.DataFrame:
        """Differences of methods."""
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
        chosen = self.effects["reference"] == (reference or self.config.baseline)
        return self.ordered(self.effects[chosen & (self.effects["leak_free"] == leak_free)])

    @cached_property
    def weights(self) -> dict[str, str]:
        """The λ of the headline of each objective with an auxiliary term: the one on most datasets and networks, of
        several the first of the configuration.
        """
        order = list(dict.fromkeys(lam for block in self.config.grid.values() for lam in block.lambdas))
        cells: dict[Any, int] = (
            self.effects.drop_duplicates(list(METHOD)).groupby(["objective", "lambda"]).size().to_dict()
        )
        found: dict[str, str] = {}
        for name, lam in sorted(cells, key=lambda key: (-cells[key], order.index(key[1]) if key[1] in order else -1)):
            if self.config.objectives[name].auxiliary is not None and float(lam):
                found.setdefault(name, lam)
        return found

    def main(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows at the λ of the headline, and those of objectives without an auxiliary term."""
        return frame[frame["lambda"] == frame["objective"].map(lambda name: self.weights.get(name, "0"))]


def write_page(folder: Path, page: Path) -> None:
    """Draw the plots of extracted numbers into their folder, and write the page that shows them.

    Args:
        folder: of :func:`~spectralseg.reporting.findings.extract.extract`; ``data.md`` there is hand-written and joins
            the section on the data.
        page: the Markdown file; links to the folder are relative to it.

    Raises:
        InputError: a file is missing or damaged.
    """
    numbers = Numbers(folder)
    plots.draw(numbers, folder)
    with replacing(page) as partial:
        partial.write_text(text(numbers, folder.name), encoding="utf-8")


def text(numbers: Numbers, link: str) -> str:
    """The page as Markdown; ``link`` is how it reaches the folder of numbers."""
    sections: tuple[tuple[str, Callable[[Numbers, str], Iterable[str]]], ...] = (
        ("", _head),
        ("Protocol", _protocol),
        ("Data", _data),
        ("Learning rate and iterations", _tuning),
        ("Effects", _effects),
        ("Is it a squared Dice?", _control),
        ("λ and the sign", _sweep),
        ("Calibration", _calibration),
        ("Noise", _noise),
        ("Activation maps and spectra", _maps),
        ("The paper's claims", _claims),
        ("Statistical power", _power),
        ("Limits", _limits),
        ("Cost, versions and files", _cost),
    )
    parts = ["# Does the objective help?"]
    for heading, section in sections:
        paragraphs = [paragraph for paragraph in section(numbers, link) if paragraph]
        if paragraphs:
            parts += [*([f"## {heading}"] if heading else []), *paragraphs]
    return "\n\n".join(parts) + "\n"


def answer(numbers: Numbers) -> list[str]:
    """The answer in two sentences: Eq. (2) as 1 − S against the baseline, and against the squared Dice."""
    name = _subject(numbers)
    if name is None:
        return ["No objective of this study has Eq. (2) over all frequencies."]
    ours = _dice(numbers, numbers.against(), name)
    sentences = [f"{_named(numbers, name)} against the baseline `{numbers.config.baseline}`: {_outcome(ours)}."]
    for reference in _controls(numbers, name):
        rows = _dice(numbers, numbers.against(reference), name)
        sentences.append(f"Against its control `{reference}`: {_outcome(rows)}.")
    return sentences


def _subject(numbers: Numbers) -> str | None:
    """The objective that the study is about: Eq. (2) over all frequencies, added as a loss."""
    objectives = numbers.config.objectives.items()
    return next((name for name, one in objectives if is_full_band(one) and one.form == "add"), None)


def _controls(numbers: Numbers, name: str) -> list[str]:
    ours = numbers.main(numbers.effects[numbers.effects["objective"] == name])
    return [
        reference for reference in dict.fromkeys(ours["reference"]) if reference not in (name, numbers.config.baseline)
    ]


def _dice(numbers: Numbers, frame: pd.DataFrame, name: str) -> pd.DataFrame:
    chosen = (frame["objective"] == name) & (frame["metric"] == "dsc") & (frame["protocol"] == MAIN_PROTOCOL)
    return numbers.main(frame[chosen])


def _outcome(rows: pd.DataFrame) -> str:
    """What comparisons in DSC say together, no stronger than their intervals."""
    rows, impossible = rows.dropna(subset=["low"]), int(rows["low"].isna().sum())
    beside = f" ({counted(impossible, 'comparison')} more without an interval)" if impossible else ""
    if rows.empty:
        return f"no comparison could be made{beside}"
    counts = rows["verdict"].value_counts()
    unit = "percentage points"
    phrases = [
        f"better in {counts.get(BETTER, 0)}",
        f"worse in {counts.get(WORSE, 0)}",
        f"equivalent within {margins(rows['margin'], unit)} in {counts.get(EQUIVALENT, 0)}",
        f"undecided in {counts.get(UNDECIDED, 0)}",
    ]
    spread = f"{signed(rows['difference'].min())} to {signed(rows['difference'].max())}"
    return f"of {counted(len(rows), 'comparison')} in DSC{beside} {listed(phrases)}; differences from {spread} {unit}"


def _named(numbers: Numbers, name: str) -> str:
    weight = numbers.weights.get(name, "0")
    return f"`{name}`" if weight == "0" else f"`{name}` (λ = {weight})"


def _head(numbers: Numbers, link: str) -> Iterator[str]:
    yield f"![Differences to the baseline in DSC with 95 % intervals]({link}/forest.svg)"
    yield " ".join(answer(numbers))
    missing = (numbers.table("runs")["state"] != "evaluated").sum()
    if missing:
        yield f"**Unfinished: {missing} of {len(numbers.table('runs'))} runs are missing or diverged.**"
    if "phantom" in set(numbers.table("datasets")["source"]):
        yield "**Drawn from synthetic phantoms: nothing here says anything about the paper.**"
    yield (
        "*Better* and *worse*: the 95 % interval over seeds and patients excludes zero. *Equivalent*: the 90 % "
        f"interval lies within the margin, whether it excludes zero or not. Either needs {FEWEST}. Nothing is adjusted "
        f"for the number of comparisons. Every number is computed from the files in [{link}/]({link}/)."
    )


def _protocol(numbers: Numbers, link: str) -> Iterator[str]:
    config, training = numbers.config, numbers.config.training
    steps = [f"{most:.0f} on {dataset_label(name)}" for name, most in _iterations(numbers).items()]
    rows = [
        (
            f"`{name}`" + (" (baseline)" if name == config.baseline else ""),
            f"{one.base}{_options(one.base_options)}",
            f"{one.auxiliary or NO_RUN}{_options(one.auxiliary_options)}",
            one.form if one.auxiliary else NO_RUN,
            numbers.weights.get(name, "0") if one.auxiliary else NO_RUN,
        )
        for name, one in config.objectives.items()
    ]
    yield _table(("objective", "base L", "auxiliary A", "form", "λ"), rows)
    yield (
        f"*add*: L + λA. *printed*: L + λ(1 {MINUS} A), the sign of Eq. (3). All runs: SGD with batches of "
        f"{training.batch_size}, learning rate {training.learning_rate:g} ({training.schedule}), momentum "
        f"{training.momentum:g}, weight decay {training.weight_decay:g}; iterations: {listed(steps)}. Same initial "
        "weights, order of the data and test cases for each seed, so that differences are paired. The best validation "
        f"Dice chooses the weights. [Configuration]({link}/{CONFIG})."
    )


def _iterations(numbers: Numbers) -> dict[str, float]:
    """The longest run on each dataset."""
    return {
        str(name): most
        for name, most in numbers.table("runs").groupby("dataset", sort=False)["iterations"].max().dropna().items()
    }


def _options(options: Any) -> str:
    return f" ({', '.join(f'{key} = {value}' for key, value in options.items())})" if options else ""


def _data(numbers: Numbers, link: str) -> Iterator[str]:
    parts = ("train", "validation", "test")
    rows = [
        (
            dataset_label(row["dataset"]),
            row["source"],
            f"{row['image_size']}",
            *(f"{row[f'{part}_cases']} ({row[f'{part}_images']})" for part in parts),
            f"{row['test_groups']}",
        )
        for row in numbers.table("datasets").to_dict("records")
    ]
    yield _table(("dataset", "source", "pixels", *(f"{part} cases (images)" for part in parts), "test patients"), rows)
    notes = numbers.folder / "data.md"
    if notes.is_file():
        yield notes.read_text(encoding="utf-8").strip()
    leaks = numbers.table("leakage")
    if leaks.empty:
        yield "Overlap of training and test data was not audited."
    own = leaks[leaks["train_dataset"] == leaks["test_dataset"]]
    for row in own.to_dict("records"):
        if isinstance(row["finding"], str) and row["finding"]:
            yield f"Leakage audit. {row['finding']}."


def _tuning(numbers: Numbers, link: str) -> Iterator[str]:
    tried = numbers.table("tuning")
    tried = tried[tried["objective"] == numbers.config.baseline]
    if not tried.empty:
        keys = ["dataset", "architecture", "learning_rate", "iterations"]
        best: dict[Any, float] = tried.groupby(keys)["validation_dice"].max().to_dict()
        networks = list(dict.fromkeys(key[:2] for key in best))
        settings = sorted({key[2:] for key in best})
        headings = [f"{rate:g}, {iterations}" for rate, iterations in settings]
        rows = [
            (
                f"{dataset_label(network[0])} {architecture_label(network[1])}",
                *(_number(best.get((*network, *setting)), 100, 1) for setting in settings),
            )
            for network in networks
        ]
        yield (
            f"Tried for the baseline `{numbers.config.baseline}` alone, on validation data, with "
            f"{counted(int(tried['seeds'].max()), 'seed')}. Best validation Dice in percent for each learning rate and "
            "number of iterations:"
        )
        yield _table(("", *headings), rows)
    curves = numbers.table("curves")
    if not curves.empty:
        yield f"![Validation Dice during training]({link}/curves.svg)"
        yield _flattened(numbers, curves)


def _flattened(numbers: Numbers, curves: pd.DataFrame) -> str:
    """How much validation Dice still rose in the last sixth of training; empty without validations before and in it."""
    rises: dict[str, list[float]] = {}
    for _, curve in numbers.main(curves).groupby(list(METHOD), sort=False):
        early = curve["iteration"] <= curve["iterations"] * 5 / 6
        if early.any() and not early.all():
            dice = 100 * curve["validation_dice"]
            rises.setdefault(str(curve["dataset"].iloc[0]), []).append(dice.iloc[-1] - dice[early].iloc[-1])
    phrases = [f"{signed(sum(rise) / len(rise), 1)} on {dataset_label(name)}" for name, rise in rises.items()]
    return (
        f"In the last sixth of training, mean validation Dice changes by {listed(phrases)} percentage points."
        if phrases
        else ""
    )


def _effects(numbers: Numbers, link: str) -> Iterator[str]:
    yield (
        f"Value of each objective less that of `{numbers.config.baseline}`, mean over classes, with the 95 % interval. "
        "DSC, NSD (within 2 mm, or 2 pixels where the spacing is not known) and false structures in percentage points, "
        "HD95 in mm or pixels, lower is better for the last two. *Published*: the paper's protocol, traps included; "
        "*sound*: ours, see [the metrics policy](metrics-policy.md)."
    )
    for dataset in numbers.config.datasets:
        leaking = numbers.effects[(numbers.effects["dataset"] == dataset) & (numbers.effects["leak_free"] != "")]
        for leak_free in ("", *dict.fromkeys(leaking["leak_free"])):
            rows = numbers.main(numbers.against(leak_free=leak_free))
            rows = rows[rows["dataset"] == dataset]
            if len(rows):
                yield f"### {dataset_label(dataset)}" + (", without test cases that leak" if leak_free else "")
                columns = [("dsc", protocol) for protocol in PROTOCOLS]
                columns += [(metric, MAIN_PROTOCOL) for metric in SEGMENTATION[1:]]
                yield _effect_table(rows, columns)
                yield _sizes(rows)


def _effect_table(rows: pd.DataFrame, columns: Sequence[tuple[str, str]]) -> str:
    headings = [f"{metric_of(metric).label}, {protocol}" for metric, protocol in columns]
    cells = {(*_method(row), row["metric"], row["protocol"]): row for row in rows.to_dict("records")}
    methods = dict.fromkeys(_method(row) for row in rows.to_dict("records"))
    lines = [
        (
            f"{architecture_label(method[0])} `{method[1]}`",
            *(_entry(cells.get((*method, *column))) for column in columns),
        )
        for method in methods
    ]
    return _table(("", *headings), lines)


def _method(row: Any) -> tuple[str, str]:
    return str(row["architecture"]), objective_label(str(row["objective"]), str(row["lambda"]))


def _entry(row: Any, *, marked: bool = True) -> str:
    if row is None or row["low"] != row["low"]:
        return NO_RUN
    digits = metric_of(row["metric"]).digits
    mark = _MARKS[row["verdict"]] if marked else ""
    return f"{limits(row['difference'], row['low'], row['high'], digits=digits)} {mark}".strip()


def _sizes(rows: pd.DataFrame) -> str:
    """Seeds and patients behind a table, and what the latter mean for it."""
    rows = rows[(rows["protocol"] == MAIN_PROTOCOL) & (rows["metric"] == "dsc")].dropna(subset=["low"])
    phrases = [
        f"{name}: {_range(rows[column])}."
        for name, column in (("Seeds", "seeds"), ("Test patients or images", "groups"))
    ]
    return " ".join([*phrases, *few_patients(rows["groups"])]) if len(rows) else ""


def _range(counts: pd.Series[int]) -> str:
    low, high = counts.min(), counts.max()
    return f"{low}" if low == high else f"{low} to {high}"


def _control(numbers: Numbers, link: str) -> Iterator[str]:
    name = _subject(numbers)
    for reference in _controls(numbers, name) if name else []:
        chosen = numbers.main(numbers.against(reference))
        chosen = chosen[(chosen["objective"] == name) & chosen["metric"].isin([*SEGMENTATION, *CALIBRATION])]
        rows = [
            (
                dataset_label(row["dataset"]),
                architecture_label(row["architecture"]),
                f"{metric_of(row['metric']).label}, {row['protocol']}",
                limits(
                    row["difference"], row["narrow_low"], row["narrow_high"], digits=metric_of(row["metric"]).digits
                ),
                f"±{row['margin']:g}" if row["margin"] == row["margin"] else NO_RUN,
                _MARKS[EQUIVALENT] if row["equivalent"] else "",
            )
            for row in chosen[chosen["metric"] == "dsc"].to_dict("records")
        ]
        dice = chosen[(chosen["metric"] == "dsc") & (chosen["protocol"] == MAIN_PROTOCOL)]
        yield f"`{name}` less `{reference}`: the difference with the 90 % interval of two one-sided tests."
        yield _table(("dataset", "architecture", "metric", "difference", "margin", ""), rows)
        if len(dice):
            yield (
                f"{_capital(counted(int(dice['equivalent'].sum()), 'comparison'))} of {len(dice)} under "
                f"'{MAIN_PROTOCOL}' are equivalent; {_all_equivalent(dice)}."
            )


def _all_equivalent(dice: pd.DataFrame) -> str:
    """From which margin on all comparisons would be equivalent, rounded up."""
    if dice["margin_needed"].isna().any():
        return f"no margin would be enough, because equivalence needs {FEWEST}"
    return f"all would be with a margin of {math.ceil(100 * dice['margin_needed'].max()) / 100:.2f} percentage points"


def _sweep(numbers: Numbers, link: str) -> Iterator[str]:
    rows = numbers.against()
    rows = rows[(rows["metric"] == "dsc") & (rows["protocol"] == MAIN_PROTOCOL)]
    full = [name for name, one in numbers.config.objectives.items() if is_full_band(one)]
    rows = rows[rows["objective"].isin(full)]
    several = rows.groupby(["dataset", "architecture"])["lambda"].nunique()
    for dataset, architecture in several[several > 2].index:
        part = rows[(rows["dataset"] == dataset) & (rows["architecture"] == architecture)]
        weights = sorted(set(part["lambda"]), key=float)
        printed = numbers.table("published")
        alike = (printed["dataset"] == dataset) & (printed["architecture"] == architecture)
        printed = printed[alike & (printed["column"] == "DSC")].set_index("lambda")["value"]
        lines = [("Table 6 of the paper, DSC", *(_number(printed.get(lam)) for lam in weights))] if len(printed) else []
        for name in full:
            ours = part[part["objective"] == name].set_index("lambda").to_dict("index")
            if ours:
                lines.append((f"`{name}` less the baseline", *(_entry(ours.get(lam)) for lam in weights)))
        yield f"{dataset_label(dataset)}, {architecture_label(architecture)}: DSC under '{MAIN_PROTOCOL}' against λ."
        yield _table(("", *(f"λ = {lam}" for lam in weights)), lines)
        yield from _ends(numbers, dataset, architecture, full, printed)
    if (several > 2).any():
        yield f"![Difference in DSC to the baseline against λ]({link}/sweep.svg)"


def _ends(
    numbers: Numbers, dataset: str, architecture: str, names: Sequence[str], printed: pd.Series[float]
) -> Iterator[str]:
    """The largest λ against the smallest, paired, beside what the paper's table says."""
    for name in names:
        rows = numbers.against(name)
        here = (rows["dataset"] == dataset) & (rows["architecture"] == architecture) & (rows["objective"] == name)
        for row in rows[here & (rows["protocol"] == MAIN_PROTOCOL)].to_dict("records"):
            first, last = row["reference_lambda"], row["lambda"]
            paper = ""
            if {first, last} <= set(printed.index):
                paper = f"; the paper's DSC changes by {signed(printed[last] - printed[first])}"
            yield f"`{name}` from λ = {first} to λ = {last}: {_entry(row)} percentage points{paper}."


def _calibration(numbers: Numbers, link: str) -> Iterator[str]:
    rows = numbers.main(numbers.against())
    rows = rows[rows["metric"].isin(CALIBRATION)]
    if rows.empty:
        return
    yield "Differences to the baseline; lower is better. ECE and Brier score in percentage points."
    for dataset, part in rows.groupby("dataset", sort=False):
        yield f"{dataset_label(str(dataset))}:"
        yield _effect_table(part, [(metric, MAIN_PROTOCOL) for metric in CALIBRATION])


def _noise(numbers: Numbers, link: str) -> Iterator[str]:
    noise = numbers.table("noise")
    noise = noise[(noise["protocol"] == MAIN_PROTOCOL) & (noise["quantity"] == "rD")]
    if noise.empty:
        return
    corruptions = list(dict.fromkeys(noise["corruption"]))
    yield (
        "Percent of the clean Dice that a corruption costs (0: nothing), and in brackets its difference to the "
        "baseline with the 95 % interval; below zero is more robust."
    )
    for dataset, part in noise.groupby("dataset", sort=False):
        cells = {(*_method(row), row["corruption"]): row for row in numbers.main(part).to_dict("records")}
        methods = dict.fromkeys(key[:2] for key in cells)
        lines = [
            (
                f"{architecture_label(method[0])} `{method[1]}`",
                *(_cost_of(cells.get((*method, c))) for c in corruptions),
            )
            for method in methods
        ]
        yield f"{dataset_label(str(dataset))}:"
        yield _table(("", *corruptions), lines)


def _cost_of(row: Any) -> str:
    if row is None or row["measured"] != row["measured"]:
        return NO_RUN
    gain = row["gain"]
    return f"{row['measured']:.2f}" + (f" ({limits(gain, row['gain_low'], row['gain_high'])})" if gain == gain else "")


def _maps(numbers: Numbers, link: str) -> Iterator[str]:
    rows = numbers.main(numbers.against())
    rows = rows[rows["metric"].isin(_MAPS) & (rows["protocol"] == MAIN_PROTOCOL)]
    rows = rows[rows["objective"] == _subject(numbers)]
    if rows.empty:
        return
    lines = [
        (
            dataset_label(row["dataset"]),
            architecture_label(row["architecture"]),
            _MAPS[row["metric"]],
            f"{row['reference_measured']:.{metric_of(row['metric']).digits}f}",
            _entry(row, marked="random" not in row["metric"]),
        )
        for row in rows.sort_values("metric", key=lambda names: names.map(list(_MAPS).index), kind="stable").to_dict(
            "records"
        )
        if row["low"] == row["low"]
    ]
    yield (
        f"`{_subject(numbers)}` against the baseline on the test cases that interpretation looks at, "
        f"{numbers.config.evaluation.interpretation.cases} of each dataset at most. What such scores are worth is "
        "explained in [interpretation](interpretation.md): a map that is no better than a random one explains nothing."
    )
    yield _table(("dataset", "architecture", "score", "baseline", "difference"), lines)


def _claims(numbers: Numbers, link: str) -> Iterator[str]:
    claims = numbers.table("claims")
    tested = claims[pd.to_numeric(claims["comparisons"]) > 0]
    here = tested[tested["verdict"] != "cannot be tested with this data"]
    counts = here["verdict"].value_counts()
    phrases = listed([f"{count} {verdict}" for verdict, count in counts.items()])
    yield (
        f"Of {len(claims)} claims of the paper {len(here)} can be tested with these datasets: {phrases or 'none'}. The "
        "others need datasets, networks or measurements that this study does not have."
    )
    lines = [(row["section"], row["claim"], row["verdict"], row["reason"]) for row in here.to_dict("records")]
    yield _table(("section", "claim", "verdict", "why"), lines)


def _power(numbers: Numbers, link: str) -> Iterator[str]:
    rows = numbers.main(numbers.against())
    rows = rows[(rows["protocol"] == MAIN_PROTOCOL) & (rows["objective"] == _subject(numbers))]
    rows = rows[rows["metric"].isin([*SEGMENTATION, *CALIBRATION]) & rows["detectable"].notna()]
    if rows.empty:
        return
    lines = [
        (
            dataset_label(row["dataset"]),
            architecture_label(row["architecture"]),
            metric_of(row["metric"]).label,
            f"{row['detectable']:.{metric_of(row['metric']).digits}f}",
            *(_needed(row, f"{kind}_for_{size}") for size in TO_SETTLE for kind in ("seeds", "groups")),
        )
        for row in rows.to_dict("records")
    ]
    sizes = [f"{kind} for {size}" for size in TO_SETTLE for kind in ("seeds", "patients")]
    low, high = TO_SETTLE
    yield (
        "The smallest true difference that a study of this size finds with a probability of 80 %, from the variance of "
        "the differences between seeds and patients; and how many seeds (with these patients) or patients (with these "
        f"seeds) would find a difference of {low} or {high} percentage points of DSC, the range of the paper's gains. "
        "'None': no number does, as the other source alone is too large. The variances are estimates from few seeds: "
        "take the numbers as orders of magnitude."
    )
    yield _table(("dataset", "architecture", "metric", "detectable", *sizes), lines)


def _needed(row: Any, name: str) -> str:
    if row["metric"] != "dsc":
        return ""
    return f"{row[name]:.0f}" if row[name] == row[name] else "none"


def _limits(numbers: Numbers, link: str) -> Iterator[str]:
    datasets = numbers.table("datasets")
    sizes, longest = sorted(set(datasets["image_size"])), max(_iterations(numbers).values(), default=0)
    names = [dataset_label(name) for name in datasets["dataset"]]
    yield "\n".join(
        f"- {point}"
        for point in (
            f"Images of {listed([f'{size}' for size in sizes])} pixels, at most {longest:.0f} iterations and "
            "small networks: whether the same holds at full size and after full training is not known from this.",
            f"{listed(names)} alone: what holds on other data is not known from this.",
            "Objectives were not tuned one by one: the learning rate is the baseline's, which favours it if anything.",
            "An undecided comparison is no evidence of equality: see the section on statistical power.",
        )
    )


def _cost(numbers: Numbers, link: str) -> Iterator[str]:
    runs = numbers.table("runs")
    done = runs[runs["state"] == "evaluated"]
    if done.empty:
        return
    total = done[["training", "evaluation"]].sum() / 3600
    used = done[["device", "threads"]].drop_duplicates().itertuples(index=False, name=None)
    devices = listed([f"{device} with {counted(int(threads), 'thread')}" for device, threads in used])
    yield (
        f"{len(done)} runs took {total['training']:.1f} hours of training and {total['evaluation']:.1f} hours of "
        f"evaluation on {devices}."
    )
    by = done.groupby(["dataset", "architecture"], sort=False)[["training", "evaluation", "resident"]].mean()
    lines = [
        (dataset_label(d), architecture_label(a), _number(t / 60, 1, 1), _number(e / 60, 1, 1), _number(r, 1, 0))
        for (d, a), (t, e, r) in zip(by.index, by.to_numpy(), strict=True)
    ]
    yield _table(("dataset", "architecture", "training, min", "evaluation, min", "memory, MiB"), lines)
    versions = list(runs.columns)[list(runs.columns).index("weights_sha256") + 1 :]
    phrases = [f"{name} {'/'.join(map(str, done[name].dropna().unique()))}" for name in versions]
    commits = [str(commit) for commit in done["commit"].dropna().unique()]
    yield f"Versions: {', '.join(phrases)}; {counted(len(commits), 'commit')} of SpectralSeg: {', '.join(commits)}."
    digests = [
        (dataset_label(row["dataset"]), str(row["images_sha256"])[:16], str(row["masks_sha256"])[:16])
        for row in numbers.table("datasets").to_dict("records")
    ]
    yield "Beginnings of the SHA-256 checksums of the prepared data, whole in the files:"
    yield _table(("dataset", "images", "masks"), digests)
    notes = numbers.folder / "obstacles.md"
    if notes.is_file():
        yield notes.read_text(encoding="utf-8").strip()


def _number(value: float | None, factor: float = 1.0, digits: int = 2) -> str:
    return NO_RUN if value is None or value != value else f"{factor * value:.{digits}f}"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
