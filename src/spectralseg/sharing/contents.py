"""What of a study belongs into a bundle, and what is missing or left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from spectralseg.files import visible
from spectralseg.grid import Run
from spectralseg.outputs import describe
from spectralseg.run_folder import DESCRIPTION, HISTORY
from spectralseg.study_folder import PAGES, StudyFolder

CONFIG, RECORDS, REPORT = "config.yaml", "records.parquet", "report/index.html"
DATASETS = "datasets"  # folder of the descriptions of prepared datasets in a bundle
CARD = "model_card.md"
# Files of the results folder; those of pages and runs are added.
_FILES = (
    *("comparisons.parquet", "leakage.parquet", "leakage.csv", "leakage_development.parquet"),
    *("leakage_development.csv", "claims.csv", "claims_cells.csv", "claims_papers.csv", "claims.html", "claims.md"),
)
_EXPECTED = {"comparisons.parquet": "comparisons", "claims.csv": "claims", REPORT: "report"}
_SUFFIXES = {
    "tables": (".csv", ".json", ".md", ".tex", ".html"),
    "figures": (".png", ".pdf"),
    "studies": (".csv", ".json", ".md", ".html", ".png", ".pdf"),
}
OF_RUN = (DESCRIPTION, HISTORY, "reliability.parquet", "train.benchmark.jsonl", "evaluate.benchmark.jsonl")
# What is left out, by the first pattern that a file matches; patterns of pathlib, relative to the results folder.
_LEFT_OUT = {
    "files of weights": ("**/model.pt", "**/*.pth", "**/*.safetensors", "**/checkpoint*"),
    "files of example predictions": ("**/examples.npz",),
    "figures with images of cases": ("figures/*.png", "studies/*.png"),
    "cards of datasets with images": ("cards/*",),
    "notebooks": ("notebooks/*",),
    "logs": ("**/*.log", "**/logs/*"),
    "records of single runs, which records.parquet joins": ("runs/*/*/*/*/*/records.parquet",),
}
_OTHER = "other files"
_NOT_COUNTED = ("prepared", "raw")  # folders of data, of which the datasets are counted


def shared_files(study: StudyFolder) -> list[str]:
    """Names of the existing files of a study that a bundle contains as they are, relative to its folder, sorted.

    Without records, configuration, report and dataset descriptions, which the bundle writes itself.
    """
    names = [name for name in _FILES if (study.root / name).is_file()]
    for kind, suffixes in _SUFFIXES.items():
        for page in study.pages(kind):
            if not describe(kind, page.stem).images or kind == "tables":
                names += [
                    file.relative_to(study.root).as_posix()
                    for suffix in suffixes
                    if (file := page.with_suffix(suffix)).is_file()
                ]
    for run in study.runs:
        folder = study.run_folder(run)
        names += [(folder / name).relative_to(study.root).as_posix() for name in OF_RUN if (folder / name).is_file()]
    return sorted(names)


def missing(study: StudyFolder, recorded: set[Run]) -> dict[str, list[str]]:
    """By kind, what the configuration plans and the results folder lacks; without empty lists.

    Args:
        study: the study, with its configuration.
        recorded: runs with metric records.
    """
    assert study.config is not None
    lists = {
        "runs": [run.folder for run in study.runs if run not in recorded],
        "datasets": [name for name in study.config.datasets if name not in study.datasets],
        **{kind: _missing_pages(study, kind) for kind in PAGES},
        "files": [text for name, text in _EXPECTED.items() if not (study.root / name).is_file()],
    }
    return {kind: names for kind, names in lists.items() if names}


def _missing_pages(study: StudyFolder, kind: str) -> list[str]:
    planned = getattr(study.config, kind) or []
    present = {page.stem for page in study.pages(kind)}
    return [name for name in planned if name not in present]


def left_out(study: StudyFolder, shared: set[str]) -> dict[str, int]:
    """By kind, how many files of the results folder are not shared; prepared datasets count as one each.

    Args:
        study: the study.
        shared: names of the files that are.
    """
    counts: Counter[str] = Counter()
    if datasets := visible(study.root.glob("prepared/*/dataset.json")):
        counts["prepared datasets"] = len(datasets)
    counts.update(_kind_of(Path(name)) for name in _files(study.root) if name not in shared)
    return dict(sorted(counts.items()))


def _files(root: Path) -> Iterator[str]:
    """Names of all visible files of a results folder without its data."""
    for folder, folders, names in os.walk(root):
        relative = Path(folder).relative_to(root)
        skipped = _NOT_COUNTED if folder == os.fspath(root) else ()
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in skipped)
        yield from ((relative / name).as_posix() for name in sorted(names) if not name.startswith("."))


def _kind_of(name: Path) -> str:
    return next((kind for kind, patterns in _LEFT_OUT.items() if any(_matches(name, p) for p in patterns)), _OTHER)


def _matches(name: Path, pattern: str) -> bool:
    """Whether a name matches; ``**/`` stands for any folders."""
    parts = pattern.split("/")
    if parts[0] == "**":
        return name.match(pattern.removeprefix("**/"))
    return len(parts) == len(name.parts) and name.match(pattern)
