"""A results folder: metric records, prepared datasets, and example predictions of its runs."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import parquet

from spectralseg.config import Comparison, Config, load_config
from spectralseg.data.audit import Audit, no_audit, read_audit
from spectralseg.data.prepared import PreparedDataset, open_prepared
from spectralseg.errors import InputError
from spectralseg.evaluation.examples import INNER
from spectralseg.grid import Run
from spectralseg.loading import Kinds, read_arrays, read_json, read_json_lines, read_parquet, reading
from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import (
    COLUMNS,
    DIVERGED,
    RELIABILITY,
    RUN_KEYS,
    SCHEMA,
    recorded_runs,
    refuse_ambiguous,
)
from spectralseg.run_folder import HISTORY
from spectralseg.statistics.comparison import COLUMNS as COMPARISON_COLUMNS
from spectralseg.statistics.margins import Margins
from spectralseg.study_folder import StudyFolder

BANNER = "Demonstration on synthetic phantoms: the measured values say nothing about any paper."
_EVALUATE, _RETRAIN = "evaluate the run again", "train the run again"
_RECORDS = "a table of metric records", "collect them again"
_RUN_KINDS: Kinds = {"seconds": (int, float), "parameters": (int, NoneType), "peak_memory": dict, "hardware": dict}
_MOST_NAMES = 5  # diverged runs named in the banner

COMPARED_KEYS = RUN_KEYS[:-1]  # of the rows of comparisons


@dataclass(frozen=True)
class Examples:
    """Example predictions of one run, one entry per example slice.

    Attributes:
        dataset: name of the test dataset, str (n,).
        case: case id, str (n,).
        row: row in that prepared dataset's arrays, int (n,).
        prediction: label maps, uint8 (n, S, S).
        probability: foreground class probabilities, float16 (n, K, S, S).
        cam: class activation maps, not negative and not rescaled, float16 (n, S, S).
        inner: further maps that a network uses on its way, float16 (n, S, S) by name; empty for most.
    """

    dataset: NDArray[np.str_]
    case: NDArray[np.str_]
    row: NDArray[np.int64]
    prediction: NDArray[np.uint8]
    probability: NDArray[np.float16]
    cam: NDArray[np.float16]
    inner: Mapping[str, NDArray[np.float16]]

    def find(self, dataset: str, case: str, row: int) -> int | None:
        """Index of an example, or None if the run has no such example."""
        matches = np.flatnonzero((self.dataset == dataset) & (self.case == case) & (self.row == row))
        return int(matches[0]) if len(matches) else None


class Results:
    """A results folder, read lazily.

    Args:
        root: folder with ``records.parquet``, ``prepared/`` and ``runs/``; each is needed only when it is read.
        published: folder of the papers (:mod:`spectralseg.papers`), for outputs that show them.

    Raises:
        InputError: the folder does not exist.
    """

    def __init__(self, root: Path | str, published: Path | str | None = None) -> None:
        self.root = Path(root)
        self.published = Path(published) if published is not None else None
        if not self.root.is_dir():
            raise InputError(f"{self.root}: the results folder does not exist; run the workflow first")
        self._examples = cache(self._load_examples)

    @cached_property
    def records(self) -> pd.DataFrame:
        """All metric records with values; see :mod:`spectralseg.metrics.records`."""
        return self.read()

    def read(self, **allowed: Collection[str]) -> pd.DataFrame:
        """Metric records whose columns hold one of the allowed values, e.g. ``read(metric={"dsc"})``.

        Only matching rows are held in memory; no match gives an empty table with all columns. Records of diverged runs
        are left out unless their metric is requested; see :attr:`diverged`.

        Raises:
            InputError: there are no records, or a column of the schema is missing.
        """
        file, table = self._read(allowed)
        with reading(file, *_RECORDS):
            table = table.cast(SCHEMA)
        refuse_ambiguous(file, table)
        return self._of_the_study(table)

    def different(self, columns: Sequence[str], **allowed: Collection[str]) -> pd.DataFrame:
        """The distinct combinations of some text columns among the records of :meth:`read`, in no order.

        Raises:
            InputError: as for :meth:`read`.
        """
        file, table = self._read(allowed)
        with reading(file, *_RECORDS):
            table = table.select(list(dict.fromkeys([*RUN_KEYS, *columns]))).unify_dictionaries()
            table = table.group_by(table.column_names).aggregate([])
            table = table.cast(pa.schema([SCHEMA.field(name) for name in table.column_names]))
        return self._of_the_study(table)[list(columns)].drop_duplicates()

    def _read(self, allowed: dict[str, Collection[str]]) -> tuple[Path, pa.Table]:
        """The file of metric records, and its matching records of all runs."""
        file = self.root / "records.parquet"
        if not file.is_file():
            raise InputError(f"{file}: there are no metric records; run the workflow until 'collect'")
        if self.config:
            names = allowed.get("test_dataset", self.config.datasets)
            allowed["test_dataset"] = [name for name in names if name in self.config.datasets]
        conditions = [(name, sorted(values), True) for name, values in allowed.items()]
        if "metric" not in allowed:
            conditions.append(("metric", [DIVERGED], False))
        with reading(file, *_RECORDS):
            return file, _matching(file, conditions)

    def _of_the_study(self, table: pa.Table) -> pd.DataFrame:
        records: pd.DataFrame = table.to_pandas()
        return self.of_the_study(records, RUN_KEYS) if self._foreign else records

    @cached_property
    def _recorded(self) -> set[Run]:
        """Runs of the records; empty without records."""
        file = self.root / "records.parquet"
        return {Run(*keys) for keys in recorded_runs(file)} if file.is_file() else set()

    @property
    def planned(self) -> set[Run]:
        """Runs of the study, with or without records; without a configuration, those in folders and records."""
        return set(self.study.runs) if self.config else {*self.study.runs, *self._recorded}

    @cached_property
    def _foreign(self) -> set[Run]:
        """Runs of the records that do not belong to the study, for example of a seed that was removed."""
        return self._recorded - set(self.study.runs) if self.config else set()

    def of_the_study(self, rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
        """Rows about runs of the study, by some of the keys of a run; all rows without a configuration."""
        if self.config is None:
            return rows
        runs = {tuple(run.keys[key] for key in keys) for run in self.study.runs}
        return rows[pd.MultiIndex.from_frame(rows[list(keys)]).isin(runs)].reset_index(drop=True)

    @cached_property
    def diverged(self) -> dict[Run, str]:
        """Diverged runs, which have no metric values, and the reason; empty without records."""
        if not (self.root / "records.parquet").is_file():
            return {}
        records = self.read(metric={DIVERGED})
        return {Run(*keys): flag for *keys, flag in records[[*RUN_KEYS, "flag"]].itertuples(index=False)}

    @cached_property
    def config(self) -> Config | None:
        """The configuration of the study; None if the folder has none.

        Raises:
            InputError: the file is damaged.
        """
        file = self.root / "config.yaml"
        return load_config(file) if file.is_file() else None

    @cached_property
    def study(self) -> StudyFolder:
        """The folder's runs, datasets and pages that belong to the study."""
        return StudyFolder(self.root, self.config)

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """Differences to the baseline; see :func:`spectralseg.statistics.comparison.compare`. Empty without the file.

        Raises:
            InputError: the file is damaged or of another version.
        """
        file = self.root / "comparisons.parquet"
        if not file.is_file():
            return pd.DataFrame(columns=list(COMPARISON_COLUMNS))
        expected = "a table of comparisons", "compare the records again"
        rows: pd.DataFrame = read_parquet(file, *expected, COMPARISON_COLUMNS).to_pandas()
        return self.of_the_study(rows, COMPARED_KEYS)

    @cached_property
    def leakage(self) -> Audit:
        """The leakage audit; an empty one without the file.

        Raises:
            InputError: its files are damaged.
        """
        file = self.root / "leakage.parquet"
        audit = read_audit(file) if file.is_file() else no_audit()
        return audit.among(self.config.datasets) if self.config else audit

    def require_audit(self) -> Audit:
        """The leakage audit.

        Raises:
            InputError: there is no audit, or its files are damaged.
        """
        if self.leakage.pairs.empty:
            raise InputError(f"{self.root}: leakage was not audited; run the workflow until 'leakage'")
        return self.leakage

    @cached_property
    def prepared_names(self) -> list[str]:
        """Names of the prepared datasets of the study, sorted."""
        return self.study.datasets

    def prepared(self, name: str) -> PreparedDataset:
        """Open a prepared dataset.

        Raises:
            InputError: the dataset is missing or incomplete.
        """
        return open_prepared(self.root / "prepared" / name)

    @cached_property
    def sources(self) -> dict[str, str]:
        """Source of each prepared dataset: ``official``, ``phantom`` or ``path``."""
        files = {name: self.root / "prepared" / name / "dataset.json" for name in self.prepared_names}
        expected = "the description of a dataset", "prepare the dataset again"
        return {name: str(read_json(file, *expected).get("source", "unknown")) for name, file in files.items()}

    @property
    def demonstration(self) -> bool:
        """Whether any prepared dataset is a phantom; then no measured value says anything about a paper."""
        return "phantom" in self.sources.values()

    def origin(self, *names: str) -> str:
        """The distinct sources of some datasets; for a demonstration, :data:`BANNER`."""
        sources = dict.fromkeys(self.sources.get(name, "not prepared") for name in names)
        return BANNER if self.demonstration else ", ".join(sources)

    @property
    def banner(self) -> tuple[str, ...]:
        """Warnings above all numbers of a page: synthetic data, and diverged runs."""
        warnings = [BANNER] if self.demonstration else []
        if names := [run.folder for run in self.diverged]:
            more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            count = len(self._recorded - self._foreign)
            warnings.append(f"{len(names)} of {count} runs diverged: {', '.join(names[:_MOST_NAMES])}{more}.")
        return tuple(warnings)

    @property
    def baseline(self) -> str:
        """The baseline objective; without a configuration that of the paper."""
        return self.config.baseline if self.config else "spatial"

    def architectures(self, records: pd.DataFrame) -> list[str]:
        """Architectures in the order of the configuration; without a configuration those of some records, sorted."""
        return list(self.config.architectures) if self.config else sorted(set(records["architecture"]))

    @property
    def margin(self) -> float:
        """The equivalence margin of shares without a margin of their own."""
        return self.margins.shares

    @cached_property
    def margins(self) -> Margins:
        """The equivalence margins; without a configuration the defaults."""
        settings = self.config.comparison if self.config else Comparison()
        return Margins(settings.margin, settings.margins)

    def margin_of(self, cell: Mapping[Any, Any]) -> float | None:
        """The margin of a cell by ``metric``, ``test_dataset`` and ``protocol``, in units of records; None if none.

        Raises:
            InputError: the metric is unknown.
        """
        share = metric_of(cell["metric"]).share
        return self.margins.of(cell["metric"], cell["test_dataset"], cell["protocol"], share=share)

    def runs(self) -> list[Run]:
        """Runs of the study with examples, sorted; diverged runs have none."""
        return [run for run in self.study.runs_with("examples.npz") if run not in self.diverged]

    def reliability(self) -> pd.DataFrame:
        """Pixels, sum of probabilities and foreground pixels per bin, of all runs; empty without evaluated runs.

        Raises:
            InputError: a file is damaged.
        """
        name = "reliability.parquet"
        files = [self.study.run_folder(run) / name for run in self.study.runs_with(name)]
        expected = "reliability histograms", _EVALUATE, (*RUN_KEYS, *RELIABILITY)
        frames = [read_parquet(file, *expected).to_pandas() for file in files]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*RUN_KEYS, "test_dataset"])

    def trained(self) -> dict[Run, dict[str, Any]]:
        """Content of ``run.json`` (settings, hardware, seconds, memory, parameters) of each run that did not diverge.

        Raises:
            InputError: a file is damaged.
        """
        runs = [run for run in self.study.runs_with("run.json") if run not in self.diverged]
        return {run: read_run(self.study.run_folder(run)) for run in runs}

    def description(self, run: Run) -> dict[str, Any]:
        """Content of ``run.json`` of a trained run, also of one that diverged.

        Raises:
            InputError: the file is damaged.
        """
        return read_run(self.study.run_folder(run))

    def training_log(self, run: Run) -> list[dict[str, Any]]:
        """Entries of the training log of a run, one per validation: ``iteration``, ``loss`` and ``validation_dice``.

        Raises:
            InputError: the file is missing or damaged.
        """
        file = self.study.run_folder(run) / HISTORY
        return read_json_lines(file, "a training log", _RETRAIN, {"iteration": int})

    def examples(self, run: Run) -> Examples | None:
        """Example predictions of a run, or None if the run has none.

        Raises:
            InputError: the file is damaged or lacks an array.
        """
        return self._examples(run)

    def _load_examples(self, run: Run) -> Examples | None:
        file = self.study.run_folder(run) / "examples.npz"
        if not file.is_file():
            return None
        names = [name for name in Examples.__dataclass_fields__ if name != "inner"]
        arrays = read_arrays(file, "example predictions", _EVALUATE, names, INNER)
        inner = {name.removeprefix(INNER): arrays[name] for name in arrays if name.startswith(INNER)}
        return Examples(**{name: arrays[name] for name in names}, inner=inner)


def read_run(folder: Path) -> dict[str, Any]:
    """Content of ``run.json``, which training wrote.

    Raises:
        InputError: the file is damaged.
    """
    return read_json(folder / "run.json", "the description of a run", _RETRAIN, _RUN_KINDS)


def _matching(file: Path, conditions: Sequence[tuple[str, Sequence[str], bool]]) -> pa.Table:
    """Metric records that meet all conditions: ``(column, values, whether its value must be among them)``.

    Each distinct text of a row group is compared once. Other columns are read only from row groups with matches.
    """
    with parquet.ParquetFile(file, page_checksum_verification=True) as stored:
        if missing := [name for name in COLUMNS if name not in stored.schema_arrow.names]:
            raise ValueError(f"column '{missing[0]}' is missing")
        tables = [stored.read_row_groups([], columns=list(COLUMNS))]
        for group in range(stored.num_row_groups):
            columns = stored.read_row_group(group, columns=[name for name, *_ in conditions])
            masks = (_meets(columns[name], values, among) for name, values, among in conditions)
            mask = functools.reduce(pc.and_, masks)
            if pc.any(mask).as_py():
                tables.append(stored.read_row_group(group, columns=list(COLUMNS)).filter(mask))
        return pa.concat_tables(tables).select(COLUMNS)


def _meets(column: pa.ChunkedArray, values: Sequence[str], among: bool) -> pa.Array:
    """Whether each text of a column is among some values, or is not."""
    texts = column.combine_chunks()
    texts = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    matches = pc.equal(pc.is_in(texts.dictionary, value_set=pa.array(values, pa.string())), among)
    return matches.take(texts.indices)
