"""All datasets together.

Each objective against the baseline over the test sets of all datasets: mean difference, how often a run beats a run of
the baseline, and the Bayesian signed-rank test's probabilities for another dataset.

Does an objective help on datasets in general? Each dataset is one observation, however many cases it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import MEAN
from spectralseg.outputs import title_of
from spectralseg.reporting.labels import method_label
from spectralseg.reporting.measurements import Measurements
from spectralseg.reporting.rendering import MINUS, Block, Entry, Line, Page, protocol_sections, signed
from spectralseg.reporting.results import Results
from spectralseg.reporting.rows import METHOD
from spectralseg.reporting.table import Table
from spectralseg.statistics.bayes import bayesian_signed_rank
from spectralseg.statistics.improvement import probability_of_improvement
from spectralseg.statistics.pairing import Values, pair
from spectralseg.statistics.significance import fewest_seeds
from spectralseg.statistics.verdicts import FEWEST_SEEDS

RUNS = {"compared": ("baseline",), "suite": ("iid",)}

METRICS = ("dsc", "iou")  # shares, for which the margin is defined
OPEN = "not settled"
CERTAIN = 0.95
COLUMNS = (
    *("protocol", "metric", *METHOD, "baseline", "datasets", "seeds", "difference"),
    *("better_than_baseline", "low", "high", "worse", "equivalent", "better", "verdict"),
)


def build(results: Results) -> Table:
    """One row per architecture, objective and λ: compared with the baseline over the test sets of all its datasets.

    The cells hold the mean over datasets of the paired difference in percentage points; the probability that a run
    beats a run of the baseline, with its limits; and the probabilities of the Bayesian signed-rank test, with the
    margin of the study as region of practical equivalence. ``seeds`` counts the seeds that all datasets and both
    objectives share.

    Raises:
        InputError: there are no metric records.
    """
    records = results.read(suite={"iid"}, metric=set(METRICS))
    measurements = Measurements(records, results.leakage, results.baseline)
    conditions = records[["protocol", "metric", *METHOD, "dataset"]].drop_duplicates()
    conditions = conditions.assign(
        suite="iid",
        test_dataset=conditions["dataset"],
        corruption="none",
        severity="0",
        leak_free="",
        **{"class": MEAN},
    )
    rows = [
        {**dict(zip(("protocol", "metric", *METHOD), keys, strict=True)), "baseline": results.baseline, **summary}
        for keys, part in conditions.groupby(["protocol", "metric", *METHOD], sort=True)
        if (summary := _over_datasets(measurements, part, results))
    ]
    cells = pd.DataFrame(rows, columns=list(COLUMNS))
    page = Page(
        name="overall",
        title=title_of(__doc__),
        warnings=results.banner,
        row_headings=("Method", ""),
        sections=protocol_sections(cells, _blocks),
        legend=(
            f"Own test sets; differences to '{results.baseline}' of the same architecture, mean over datasets with "
            "equal weight. Run beats run: probability that a run is better than a run of the baseline on the same "
            "dataset (Agarwal et al. 2021), with 95 % limits over runs; 0.5 favours neither. Worse, same, better: "
            "probabilities for another dataset by the Bayesian signed-rank test (Benavoli et al. 2017); same means "
            f"within {_margins(results, conditions)}. A verdict needs a probability of {CERTAIN:g}, {FEWEST_SEEDS} "
            f"seeds, and {fewest_seeds()} datasets: with fewer, differences of equal sign may be due to chance."
        ),
        notes=(
            "The prior of the signed-rank test is one more dataset without a difference, which matters with few "
            "datasets.",
            "Limits of 'run beats run' resample runs and are too narrow with few runs: in simulations with three runs "
            "per dataset their coverage was 73 to 93 %.",
        ),
    )
    return Table(page, cells.assign(source=results.origin(*results.sources)))


def _margins(results: Results, conditions: pd.DataFrame) -> str:
    """``0.5 pp``, or all margins of the table if datasets or metrics differ."""
    tested = conditions[["metric", "test_dataset"]].itertuples(index=False, name=None)
    margins = {results.margins.of_share(*pair) for pair in tested} or {results.margin}
    return f"{' or '.join(f'{100 * margin:g}' for margin in sorted(margins))} pp"


def _over_datasets(measurements: Measurements, cells: pd.DataFrame, results: Results) -> dict[str, Any]:
    """The row of a method from its cells, one per dataset; empty without a paired baseline."""
    sides: list[tuple[Values, Values]] = []
    margins: list[float] = []
    for cell in cells.to_dict("records"):
        values, reference = measurements.values(cell), measurements.reference(cell)
        if values is not None and reference is not None:
            sides.append((values, reference))
            margins.append(results.margins.of_share(cell["metric"], cell["test_dataset"]))
    pairs = [pair(*both) for both in sides]
    seeds = sorted(set.intersection(*(set(paired.seeds) for paired in pairs))) if pairs else []
    if not seeds:
        return {}
    differences = np.array([paired.interval(resamples=1).estimate for paired in pairs])
    runs = [
        np.stack([values.per_seed[np.isin(values.seeds, seeds)] for values in side], 1)
        for side in zip(*sides, strict=True)
    ]
    improved = probability_of_improvement(*runs)
    belief = bayesian_signed_rank(differences / margins, rope=1.0)  # each in units of the margin of its dataset
    probabilities = {"worse": belief.worse, "same": belief.equivalent, "better": belief.better}
    verdict, probability = max(probabilities.items(), key=lambda item: item[1])
    datasets = int(np.isfinite(differences).sum())
    settled = len(seeds) >= FEWEST_SEEDS and datasets >= fewest_seeds()
    return {
        "datasets": datasets,
        "seeds": len(seeds),
        "difference": metric_of(cells["metric"].iloc[0]).factor * float(np.nanmean(differences)),
        **{"better_than_baseline": improved.estimate, "low": improved.low, "high": improved.high},
        **belief._asdict(),
        "verdict": verdict if settled and probability >= CERTAIN else OPEN,
    }


def _blocks(cells: pd.DataFrame) -> Iterator[Block]:
    headings = ("Datasets", "Seeds", "Difference, pp", "Run beats run", "Worse", "Same", "Better", "Verdict")
    for metric, part in cells.groupby("metric", sort=False):
        rows = tuple(map(_row, part.to_dict("records")))
        yield Block(metric_of(str(metric)).label, ("",) * len(headings), headings, rows)


def _row(cell: Mapping[Any, Any]) -> Line:
    texts = (
        *(str(cell["datasets"]), str(cell["seeds"]), signed(cell["difference"])),
        f"{cell['better_than_baseline']:.2f} [{cell['low']:.2f}, {cell['high']:.2f}]",
        *(f"{cell[name]:.2f}" for name in ("worse", "equivalent", "better")),
        cell["verdict"],
    )
    return Line(method_label(cell), f"{MINUS} {cell['baseline']}", tuple(map(Entry, texts)))
