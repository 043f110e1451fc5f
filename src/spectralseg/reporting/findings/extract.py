"""The numbers of a study as small files that outlive its folder: metric records, and CSV files of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from spectralseg.config import Config
from spectralseg.data.audit import PAIRS
from spectralseg.data.splits import PARTS
from spectralseg.errors import InputError
from spectralseg.files import csv_text, replacing_all
from spectralseg.loading import read_csv
from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import COLUMNS as RECORD_COLUMNS
from spectralseg.metrics.records import COMPACT, CONDITION_KEYS, MEAN, METHOD_KEYS, RUN_KEYS
from spectralseg.reporting.claim_papers import FILE, papers_text, read_claim_papers
from spectralseg.reporting.measurements import CONDITION, LEAK_FREE, Measurements
from spectralseg.reporting.report.runs_table import read_runs
from spectralseg.reporting.results import Results
from spectralseg.reporting.studies import _common as common
from spectralseg.reporting.studies.study_equation_2 import controls
from spectralseg.reporting.tables import robustness
from spectralseg.statistics.equivalence import equivalence
from spectralseg.statistics.pairing import Values, mean, pair
from spectralseg.statistics.power import Components
from spectralseg.statistics.verdicts import enough, margin_needed, side

CONFIG, RECORDS = "config.yaml", "records.parquet"
VALIDATION = "validation_dice"
MAIN_PROTOCOL = "sound"
SEGMENTATION = ("dsc", "nsd", "hd95", "false_structure")
CALIBRATION = ("ece", "brier", "nll")
INTERPRETATION = (
    *("cam_energy_relative", "cam_random_energy_relative", "cam_pointing", "cam_random_pointing"),
    *("spectral_correlation", "spectral_correlation_detrended", "spectral_similarity", "frc_mid"),
)
METRICS = (*SEGMENTATION, *CALIBRATION, *INTERPRETATION)
_CLAIMED = ("mce", "cam_energy")  # claims need these too, and IoU, which follows from Dice
_SUITES = {"iid": METRICS, "ood": SEGMENTATION}
TO_SETTLE = (0.5, 1.8)  # percentage points of DSC; the paper's gains on ACDC, Kvasir-SEG and MoNuSeg: 0.53 to 1.84
BETTER, WORSE, EQUIVALENT, UNDECIDED = "better", "worse", "equivalent", "undecided"
METHOD = RUN_KEYS[:-1]
"""Columns that identify a method on a dataset."""
EFFECTS = (
    *(*METHOD, "test_dataset"),
    *("reference", "reference_lambda", "metric", "class", "protocol", "leak_free"),
    *("measured", "reference_measured", "reference_sd", "difference", "low", "high", "narrow_low", "narrow_high"),
    *("smallest_seed", "largest_seed"),
    *("margin", "margin_needed", "p", "p_equivalence", "equivalent", "verdict", "seeds", "groups", "cases"),
    *("detectable", *(f"{kind}_for_{size}" for size in TO_SETTLE for kind in ("seeds", "groups"))),
)
"""Columns of ``effects.csv``: a method against a reference, in printed units, as a mean over classes or of one class.

``smallest_seed`` and ``largest_seed`` are the differences of the seeds with the smallest and the largest one;
``reference_sd`` is the standard deviation of the reference over seeds.
"""
CURVES = (*RUN_KEYS, "learning_rate", "iterations", "iteration", VALIDATION)
COLUMNS: dict[str, Sequence[str]] = {
    "effects": EFFECTS,
    "noise": robustness.COLUMNS,
    "claims": (
        *("paper", "section", "claim", "published", "measured", "low", "high", "unit", "comparisons", "untested"),
        *("verdict", "reason", "p", "p_adjusted", "verdict_adjusted"),
    ),
    "datasets": (
        *("dataset", "source", "image_size", *(f"{part}_{kind}" for part in PARTS for kind in ("cases", "images"))),
        *("test_groups", "images_sha256", "masks_sha256"),
    ),
    "leakage": PAIRS,
    "runs": (
        *(*RUN_KEYS, "state", "training", "evaluation", "resident", "parameters", "iterations"),
        *("device", "threads", "commit", "weights_sha256"),
    ),
    "curves": CURVES,
    "tuning": CURVES,
    "published": ("table", "value", *METHOD),
}
"""Columns of each CSV file that the page needs."""


def extract(results: Results, tuning: Sequence[Path], out: Path) -> list[Path]:
    """Write the numbers of a study into a folder; see :mod:`spectralseg.reporting.findings`.

    Args:
        results: the finished study, with its configuration.
        tuning: results folders of the studies that selected the training settings, by validation data of the baseline.
        out: the folder; other files in it are kept.

    Raises:
        InputError: the study has no configuration, no claims or no records, or a file is damaged.
    """
    if results.config is None:
        raise InputError(f"{results.root}: there is no config.yaml; give the results folder of a study")
    noise = robustness.build(results).cells
    tables = {
        "effects": pd.DataFrame(_effects(results), columns=list(EFFECTS)),
        "noise": noise[noise["protocol"] == MAIN_PROTOCOL].drop(columns="source"),
        "claims": read_csv(results.root / "claims.csv", "claims", "run the workflow until 'claims'", COLUMNS["claims"]),
        "datasets": pd.DataFrame(_datasets(results, results.config)),
        "leakage": results.leakage.pairs,
        "runs": pd.DataFrame(_runs(results)),
        "curves": _curves([results]),
        "tuning": _curves([Results(folder) for folder in tuning]),
        "published": _published(results),
    }
    texts = {f"{name}.csv": csv_text(table.map(_short)) for name, table in tables.items()}
    texts[FILE] = papers_text(read_claim_papers(results.root))
    texts[CONFIG] = (results.root / CONFIG).read_text(encoding="utf-8")
    files = [out / name for name in (*texts, RECORDS)]
    out.mkdir(parents=True, exist_ok=True)
    with replacing_all(*files) as partials:
        for partial, text in zip(partials, texts.values(), strict=False):
            partial.write_text(text, encoding="utf-8")
        _write_records(results, partials[-1])
    return files


def _write_records(results: Results, file: Path) -> None:
    """Write the metric records behind the page and its claims, in single precision, as small as possible."""
    records = pd.concat(
        [
            *(results.read(suite={suite}, metric={*metrics, *_CLAIMED}) for suite, metrics in _SUITES.items()),
            results.read(suite={"noise"}, metric={robustness.METRIC}, protocol={MAIN_PROTOCOL}),
        ]
    )
    # Values of the same case are similar, so they compress well beside each other.
    order = ["metric", *CONDITION_KEYS, "dataset", "class", "case", *METHOD_KEYS, "seed", "protocol"]
    records = records.assign(value=records["value"].astype("float32")).sort_values(order)
    table = pa.Table.from_pandas(records, preserve_index=False).replace_schema_metadata(None).cast(COMPACT)
    texts = [name for name in RECORD_COLUMNS if name not in ("seed", "value")]
    split = {"value": "BYTE_STREAM_SPLIT"}  # the lower bytes of single precision are zero
    parquet.write_table(
        table, file, compression="zstd", compression_level=19, use_dictionary=texts, column_encoding=split
    )


def _published(results: Results) -> pd.DataFrame:
    """The paper's mean Dice on test cases of the dataset that was trained on, and against λ."""
    names = ("table_1", "table_2", "table_6")
    cells = pd.concat([common.published_table(results, name).cells.assign(table=name) for name in names])
    cells = cells[(cells["metric"] == "dsc") & (cells["class"] == MEAN) & (cells["suite"] == "iid")]
    return cells[["table", *METHOD, "value"]]


def _short(value: Any) -> Any:
    """Numbers with six significant digits, more than any page shows."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _effects(results: Results) -> Iterator[dict[str, Any]]:
    """Every method against the baseline, and Eq. (2) against its controls, with and without leaked test cases."""
    measurements = common.measurements(results, set(METRICS), set(_SUITES))
    suites = [results.different(CONDITION, metric=metrics, suite={suite}) for suite, metrics in _SUITES.items()]
    pairs = results.leakage.pairs
    leaks = pairs[pairs["train"] + pairs["validation"] > 0]
    leaking = set(zip(leaks["train_dataset"], leaks["test_dataset"], strict=True))
    for condition in pd.concat([suite.sort_values(list(CONDITION)) for suite in suites]).to_dict("records"):
        for leak_free in ("", LEAK_FREE) if (condition["dataset"], condition["test_dataset"]) in leaking else ("",):
            for label in _classes(measurements, {**condition, "class": MEAN, "leak_free": leak_free}):
                cell = {**condition, "class": label, "leak_free": leak_free}
                values = measurements.values(cell)
                for name, lam, reference in _references(results, measurements, cell):
                    if values is not None and reference is not None:
                        yield {
                            **{key: cell[key] for key in EFFECTS if key in cell},
                            **{"reference": name, "reference_lambda": lam},
                            **_effect(values, reference, cell, results.margin_of(cell)),
                        }


def _classes(measurements: Measurements, cell: Mapping[Any, Any]) -> tuple[str, ...]:
    """The mean over classes; for Dice under the main protocol, all classes if there are several."""
    values = measurements.values(cell) if (cell["metric"], cell["protocol"]) == ("dsc", MAIN_PROTOCOL) else None
    return (MEAN, *values.classes) if values is not None and len(values.classes) > 1 else (MEAN,)


def _references(
    results: Results, measurements: Measurements, cell: Mapping[Any, Any]
) -> Iterator[tuple[str, str, Values | None]]:
    """Objective, λ and values of what a cell is compared with: the baseline, controls, the smallest λ of its sweep."""
    yield results.baseline, "", measurements.reference(cell)
    objectives = common.objectives(results)
    if cell["objective"] in objectives and common.is_full_band(objectives[cell["objective"]]):
        others = list(controls(objectives, cell["objective"], cell["lambda"]))
        if first := _first_of_sweep(results, cell):
            others.append((cell["objective"], first))
        for name, lam in others:
            if name != results.baseline:
                yield name, lam, measurements.values({**cell, "objective": name, "lambda": lam})


def _first_of_sweep(results: Results, cell: Mapping[Any, Any]) -> str:
    """The smallest λ of an objective on a dataset and network, if the cell has the largest of more than two."""
    sweep = [run.lam for run in results.study.runs if all(run.keys[key] == cell[key] for key in METHOD[:3])]
    weights = sorted(set(sweep), key=float)
    return weights[0] if cell["metric"] == "dsc" and len(weights) > 2 and weights[-1] == cell["lambda"] else ""


def _effect(values: Values, reference: Values, cell: Mapping[Any, Any], margin: float | None) -> dict[str, Any]:
    metric, pairs = metric_of(cell["metric"]), pair(values, reference)
    test = equivalence(pairs.values, pairs.members, margin=margin, outcomes=pairs.outcomes) if margin else None
    interval = pairs.interval()
    narrow = test.interval if test else pairs.interval(level=0.9)
    components = Components.of(pairs.values, pairs.members, outcomes=pairs.outcomes)
    sizes = pairs.informative_seeds, pairs.informative_groups
    scaled = {
        "measured": float(mean(values.per_seed, 0)),
        "reference_measured": float(mean(reference.per_seed, 0)),
        "reference_sd": float(pd.Series(reference.per_seed).std()),
        **dict(zip(("difference", "low", "high"), interval, strict=True)),
        "narrow_low": narrow.low,
        "narrow_high": narrow.high,
        "smallest_seed": float(pd.Series(pairs.per_seed).min()),
        "largest_seed": float(pd.Series(pairs.per_seed).max()),
        "margin": float("nan") if margin is None else margin,
        "margin_needed": margin_needed(interval, narrow, *sizes),
        "detectable": components.detectable() if components else float("nan"),
    }
    equivalent = bool(test and test.equivalent)
    # Equivalence comes first: a difference that is too small to matter is not reported as better or worse.
    verdicts = {1: BETTER, -1: WORSE, 0: UNDECIDED}
    return {
        **{name: metric.factor * value for name, value in scaled.items()},
        "p": pairs.two_sided_p if enough(*sizes) else float("nan"),
        "p_equivalence": test.p if test else float("nan"),
        "equivalent": equivalent,
        "verdict": EQUIVALENT if equivalent else verdicts[metric.sign * side(interval.low, interval.high, *sizes)],
        "seeds": pairs.informative_seeds,
        "groups": pairs.informative_groups,
        "cases": len(pairs.cases),
        **(_sizes(components, metric.factor) if components and cell["metric"] == "dsc" else {}),
    }


def _sizes(components: Components, factor: float) -> dict[str, int | None]:
    """Numbers of seeds and groups that would detect the differences of the paper."""
    kinds = {"seeds": components.seeds_for, "groups": components.groups_for}
    return {f"{kind}_for_{size}": needed(size / factor) for size in TO_SETTLE for kind, needed in kinds.items()}


def _datasets(results: Results, config: Config) -> Iterator[dict[str, Any]]:
    for name in config.datasets:
        data = results.prepared(name)
        cases = data.cases
        yield {
            "dataset": name,
            "source": data.info["source"],
            "image_size": data.info["image_size"],
            **{f"{part}_cases": int((cases["part"] == part).sum()) for part in PARTS},
            **{f"{part}_groups": cases.loc[cases["part"] == part, "group"].nunique() for part in ("train", "test")},
            **{f"{part}_images": len(data.rows(part)) for part in PARTS},
            **{f"{array}_sha256": data.info["files"].get(f"{array}.npy", "") for array in ("images", "masks")},
        }


def _runs(results: Results) -> Iterator[dict[str, Any]]:
    """Cost, hardware and versions of each run. A plus sign after a commit marks uncommitted changes."""
    for row in read_runs(results).to_dict("records"):
        description = row["description"]
        hardware, git = description.get("hardware", {}), description.get("git", {})
        yield {
            **{key: row[key] for key in (*METHOD, "seed", "state")},
            **{key: row[key] for key in ("training", "evaluation", "processor", "resident", "parameters")},
            **{key: row[key] for key in ("iterations", "best_iteration", "validation_dice")},
            **{"device": hardware.get("device_name", ""), "threads": hardware.get("threads", "")},
            "commit": f"{str(git.get('commit', ''))[:12]}{'+' if git.get('dirty') else ''}",
            "weights_sha256": str(description.get("weights_sha256", ""))[:16],
            **description.get("versions", {}),
        }


def _curves(studies: Iterable[Results]) -> pd.DataFrame:
    """Validation Dice of each run during training."""
    rows = [row for results in studies for row in _histories(results)]
    return pd.DataFrame(rows, columns=list(CURVES))


def _histories(results: Results) -> Iterator[dict[str, Any]]:
    for run, description in results.trained().items():
        if run.external:  # without a training log
            continue
        rate = description["training"].get("learning_rate")
        settings = {"learning_rate": rate, "iterations": description.get("iterations")}
        for line in results.training_log(run):
            if line.get(VALIDATION) is not None:
                yield {**run.keys, **settings, "iteration": line["iteration"], VALIDATION: line[VALIDATION]}
