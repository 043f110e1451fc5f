"""What the statistics are worth: coverage, false positives and power on studies with known truth, and their speed.

Each simulated study has seeds crossed with patients: a difference is the truth plus a part of the seed, one of the
patient and one of both; some designs have rare gross failures or many zeros. Its intervals are compared with those of
the two-way ("pigeonhole") percentile bootstrap, which resamples seeds as well, and of a t test over the seeds' means.
See benchmarks/README.md for the results.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, markdown, write
from numpy.typing import NDArray
from scipy import stats
from tqdm import tqdm

from spectralseg.statistics.bootstrap import RESAMPLES, paired_interval
from spectralseg.statistics.equivalence import equivalence
from spectralseg.statistics.significance import sign_flip, wilcoxon

PACKAGES = ("numpy", "scipy")
OURS, PIGEONHOLE, SEEDS_ONLY = "spectralseg", "pigeonhole", "t over seeds"
_Draw = Callable[[np.random.Generator, int, int], NDArray[np.float64]]


def parts(of_seed: float, of_patient: float, of_both: float, *, skewed: bool = False) -> _Draw:
    """Independent parts of seed, patient and both with these standard deviations."""

    def draw(rng: np.random.Generator, seeds: int, patients: int) -> NDArray[np.float64]:
        patient = rng.exponential(1, (1, patients)) - 1 if skewed else rng.normal(0, 1, (1, patients))
        return rng.normal(0, of_seed, (seeds, 1)) + of_patient * patient + rng.normal(0, of_both, (seeds, patients))

    return draw


def failures(methods: int) -> _Draw:
    """Of one patient in twenty a method loses 100, as HD95 does with its penalty, beside a spread of 2 and 2."""

    def draw(rng: np.random.Generator, seeds: int, patients: int) -> NDArray[np.float64]:
        values = parts(0, 2, 2)(rng, seeds, patients)
        for sign in (1, -1)[:methods]:
            values += sign * (100.0 * (rng.random((1, patients)) < 0.05) - 5)
        return values

    return draw


def zeros(rng: np.random.Generator, seeds: int, patients: int) -> NDArray[np.float64]:
    """Seven in ten patients do not differ at all, the others by an exponential part of theirs."""
    differs = rng.random((1, patients)) < 0.3
    return differs * (rng.exponential(1, (1, patients)) + rng.normal(0, 0.3, (seeds, patients))) - 0.3


# How differences with mean 0 are drawn, by name.
DESIGNS: Mapping[str, _Draw] = {
    "no seeds": parts(0, 1, 1),
    "small": parts(0.3, 1, 1),
    "large": parts(1, 1, 1),
    "patients": parts(0.1, 1, 0.1),
    "skewed": parts(0.3, 1, 1, skewed=True),
    "few patients' part, no seeds": parts(0, 0.1, 1),
    "few patients' part, small": parts(0.1, 0.1, 1),
    "few patients' part, middle": parts(0.3, 0.1, 1),
    "failures": failures(1),
    "failures of both": failures(2),
    "zeros": zeros,
}
SEEDS, PATIENTS = (3, 5, 6, 10), (12, 14, 60, 300)
GAPS = (0.0, 0.25, 0.5, 1.0)  # in standard deviations between patients
MARGIN = 0.5
STREAMS = 4  # seeds of the resampling, which studies take in turns: as many as the package keeps at a time

Limits = tuple[float, float]


def study(rng: np.random.Generator, design: str, seeds: int, patients: int, truth: float = 0.0) -> NDArray[np.float64]:
    """Differences (seeds, patients) with mean ``truth``."""
    return truth + DESIGNS[design](rng, seeds, patients)


def ours(values: NDArray[np.float64], resamples: int, seed: int) -> Limits:
    """The interval of the suite."""
    return paired_interval(values, resamples=resamples, seed=seed)[1:]


def pigeonhole(values: NDArray[np.float64], resamples: int, seed: int) -> Limits:
    """Percentiles of means over resampled seeds and patients (Owen 2007)."""
    by_seed, by_patient = _resampled(values.shape, resamples, seed)
    low, high = np.quantile(((by_seed @ values) * by_patient).sum(1), [0.025, 0.975])
    return float(low), float(high)


@lru_cache(maxsize=STREAMS)
def _resampled(shape: tuple[int, ...], resamples: int, seed: int) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return [rng.multinomial(n, np.full(n, 1 / n), resamples) / n for n in shape]


def loop(values: NDArray[np.float64], resamples: int, seed: int) -> Limits:
    """The same, one resample after the other, as it is usually written."""
    rng = np.random.default_rng(seed)
    seeds, patients = values.shape
    means = [
        values[np.ix_(rng.integers(0, seeds, seeds), rng.integers(0, patients, patients))].mean()
        for _ in range(resamples)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def over_seeds(values: NDArray[np.float64], resamples: int, seed: int) -> Limits:
    """Student's t over the means of the seeds: about other seeds and these patients."""
    means = values.mean(1)
    half = stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means))
    return float(means.mean() - half), float(means.mean() + half)


INTERVALS: Mapping[str, Callable[[NDArray[np.float64], int, int], Limits]] = {
    OURS: ours,
    PIGEONHOLE: pigeonhole,
    SEEDS_ONLY: over_seeds,
}


def coverage(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Percentage of studies whose 95 % interval holds the truth, and the mean width, for each way."""
    rows = []
    shapes = list(itertools.product(DESIGNS, options.seeds, options.patients))
    for design, seeds, patients in tqdm(shapes, desc="coverage", unit="design"):
        covered = {way: np.zeros(options.studies) for way in INTERVALS}
        width = {way: np.zeros(options.studies) for way in INTERVALS}
        for number in range(options.studies):
            values = study(np.random.default_rng(number), design, seeds, patients)
            for way, interval in INTERVALS.items():
                low, high = interval(values, options.resamples, number % STREAMS)
                covered[way][number], width[way][number] = low <= 0 <= high, high - low
        found = {
            way: {"coverage": round(100 * covered[way].mean(), 2), "width": round(width[way].mean(), 4)}
            for way in covered
        }
        rows.append({"design": design, "seeds": seeds, "patients": patients, "ways": found})
    return rows


def power(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Percentage of studies in which each test finds a difference, or finds none that matters."""
    rows = []
    for seeds, gap in tqdm(list(itertools.product(options.seeds, GAPS)), desc="power", unit="design"):
        found: dict[str, list[bool]] = {"interval": [], "wilcoxon": [], "sign_flip": [], "equivalence": []}
        for number in range(options.studies):
            values = study(np.random.default_rng(number), "small", seeds, options.power_patients, gap)
            low, high = ours(values, options.resamples, number % STREAMS)
            found["interval"].append(not low <= 0 <= high)
            found["wilcoxon"].append(wilcoxon(values) < 0.05)
            found["sign_flip"].append(sign_flip(values) <= 0.05)
            tested = equivalence(values, margin=MARGIN, resamples=options.resamples, seed=number % STREAMS)
            found["equivalence"].append(tested.equivalent)
        rows.append(
            {"seeds": seeds, "gap": gap, **{test: round(100 * float(np.mean(hits)), 2) for test, hits in found.items()}}
        )
    return rows


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of one interval of 6 seeds x 500 patients with as many resamples as the suite takes."""
    values = study(np.random.default_rng(0), "small", 6, 500)
    seconds: dict[str, list[float]] = {"first": [], "next": [], "loop": []}
    for turn in tqdm(range(options.repeats), desc="speed", unit="turn"):
        for way, function, seed in (("first", ours, turn + 100), ("next", ours, turn + 100), ("loop", loop, turn)):
            start = time.perf_counter()
            function(values, RESAMPLES, seed)
            seconds[way].append(time.perf_counter() - start)
    ratio = statistics.median(b / a for a, b in zip(seconds["first"], seconds["loop"], strict=True))
    medians = {way: round(statistics.median(found), 4) for way, found in seconds.items()}
    return {**medians, "times_faster": round(ratio, 2)}


def report(outcome: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    covered = [
        (*(str(row[key]) for key in ("design", "seeds", "patients")), *_covered(row)) for row in outcome["coverage"]
    ]
    extremes = [
        (str(patients), *(f"{value} ({row['design']}, {row['seeds']} seeds)" for value, row in _extremes(rows)))
        for patients, rows in _by_patients(outcome["coverage"]).items()
    ]
    tests = ("interval", "wilcoxon", "sign_flip", "equivalence")
    found = [(str(row["seeds"]), f"{row['gap']:g}", *(f"{row[t]:.1f}" for t in tests)) for row in outcome["power"]]
    times = outcome["speed"]
    return "\n\n".join(
        (
            markdown(("patients", "lowest, %", "highest, %"), extremes),
            markdown(("design", "seeds", "patients", *(f"{way}, %" for way in INTERVALS)), covered),
            markdown(("seeds", "gap", *(f"{test}, %" for test in tests)), found),
            f"one interval: {times['first']} s, the next of this shape {times['next']} s, in a loop {times['loop']} s",
        )
    )


def _by_patients(rows: Sequence[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    return {
        count: [row for row in rows if row["patients"] == count] for count in {row["patients"]: None for row in rows}
    }


def _extremes(rows: Sequence[dict[str, Any]]) -> list[tuple[float, dict[str, Any]]]:
    """The lowest and the highest coverage of the suite's interval, with where it is."""
    ordered = sorted(rows, key=lambda row: row["ways"][OURS]["coverage"])
    return [(row["ways"][OURS]["coverage"], row) for row in (ordered[0], ordered[-1])]


def _covered(row: Mapping[str, Any]) -> list[str]:
    return [f"{row['ways'][way]['coverage']:.1f}" for way in INTERVALS]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the simulations, print tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file (default: benchmarks/results/intervals_<processor>.json)")
    parser.add_argument("--studies", type=int, default=2000, help="per design (default: %(default)s)")
    parser.add_argument("--resamples", type=int, default=1000, help="per interval (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="turns of the timing (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="(default: %(default)s)")
    parser.add_argument("--patients", type=int, nargs="+", default=PATIENTS, help="(default: %(default)s)")
    parser.add_argument("--power-patients", type=int, default=60, help="of the power study (default: %(default)s)")
    options = parser.parse_args(argv)
    settings = {key: value for key, value in vars(options).items() if key != "out"}
    outcome = {
        **describe(PACKAGES),
        "settings": settings,
        "coverage": coverage(options),
        "power": power(options),
        "speed": speed(options),
    }
    path = write(outcome, options.out, "intervals")
    print(f"{report(outcome)}\nwrote {path}")


if __name__ == "__main__":
    main()
