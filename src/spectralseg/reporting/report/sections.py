"""The variables of the report's template. Text stays plain here; the template escapes it."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from spectralseg import __version__
from spectralseg.data.splits import PARTS
from spectralseg.loading import reading
from spectralseg.outputs import describe
from spectralseg.redaction import redact
from spectralseg.reporting.cards.card import SOURCES
from spectralseg.reporting.drawing.style import ACTUAL, PREDICTED
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.rendering import read_page
from spectralseg.reporting.rendering.html_table import Cell, Grid, columns, number, tables_of
from spectralseg.reporting.report.case_browser import case_browser
from spectralseg.reporting.report.claims_table import paper_sections
from spectralseg.reporting.report.leaderboard_groups import LEGEND
from spectralseg.reporting.report.leaderboard_table import answer, leaderboard_grid
from spectralseg.reporting.report.runs_table import (
    EVALUATED,
    MISSING,
    TRAINED,
    cost_grid,
    origins,
    read_runs,
    runs_grid,
)
from spectralseg.reporting.results import Results
from spectralseg.reporting.tables import build_table

THUMBNAIL = 720  # pixels
_FORMATS = ("html", "csv", "md", "tex")

Facts = list[tuple[str, str]]


def content(results: Results, out: Path) -> dict[str, Any]:
    """Template variables of the report: texts, tables, images.

    Args:
        results: the results folder.
        out: folder of the page; links are relative to it.

    Raises:
        InputError: there are no metric records, or a file of the results is damaged.
    """
    config, resolved = results.config, results.root / "config.yaml"
    runs, browser = read_runs(results), case_browser(results)
    claims = paper_sections(results.root)
    leaderboard, strata = (build_table(name, results) for name in ("leaderboard", "strata"))
    verdicts, sentences = answer(leaderboard.cells)
    return {
        "study": config.name if config else results.root.resolve().name,
        "version": __version__,
        "banner": " ".join(results.banner),
        "leaks": results.leakage.findings(),
        "audited": len(results.leakage.pairs),
        "facts": _facts(results, runs, browser),
        "verdicts": verdicts,
        "answer": sentences,
        "leaderboard": leaderboard_grid(leaderboard.cells, strata.cells),
        "legend": [leaderboard.page.legend, *([LEGEND] if len(strata.cells) else []), *leaderboard.page.notes],
        "absent": _absent(results, runs),
        "papers": claims[0] if claims else [],
        "claims_files": _links(results.root / "claims.html", ("html", "csv", "md"), out),
        "untested_papers": claims[1] if claims else [],
        "tables": _tables(results, out),
        "figures": _figures(results, out, "figures"),
        "studies": _figures(results, out, "studies"),
        "browser": browser,
        "colours": {"reference": ACTUAL, "prediction": PREDICTED},
        "datasets": datasets_grid(results, out),
        "checksums": checksums_grid(results),
        "runs": runs_grid(runs),
        "cost": cost_grid(runs),
        "origins": origins(results, runs),
        "config": redact(resolved.read_text(encoding="utf-8")) if config else "",
    }


def _facts(results: Results, runs: pd.DataFrame, browser: dict[str, Any]) -> Facts:
    """Key figures: numbers, and what they count."""
    cases = sum(int((results.prepared(name).cases["part"] == "test").sum()) for name in results.prepared_names)
    seeds = runs["seed"].nunique()
    values = [
        value
        for pair in browser["pairs"]
        for metrics in pair["values"].values()
        for classes in metrics.values()
        for run in classes[0]
        for value in run
    ]
    return [
        (f"{(runs['state'] == EVALUATED).sum():,} of {len(runs):,}", "runs evaluated"),
        (f"{len(results.prepared_names):,}", "datasets"),
        (f"{cases:,}", "test cases"),
        (f"{seeds:,}", "seeds" if seeds != 1 else "seed"),
        (f"{len(values):,}", "values of cases below"),
        (f"{values.count(None):,}", "of them undefined"),
        (f"{runs[['training', 'evaluation']].sum().sum() / 3600:,.1f} h", "training and evaluation"),
    ]


def _absent(results: Results, runs: pd.DataFrame) -> list[str]:
    """Sentences on missing and left-out runs."""
    states = runs["state"].value_counts()
    texts = {MISSING: "of the grid are not trained", TRAINED: "are trained and not evaluated"}
    sentences = [f"{states[state]} runs {text}." for state, text in texts.items() if state in states]
    return [*sentences, *filter(None, [results.study.left_out_sentence()])]


def _tables(results: Results, out: Path) -> list[dict[str, Any]]:
    """Every table of the study with its sections, in the order of the configuration."""
    return [
        {
            "name": file.stem,
            "label": describe("tables", file.stem).label,
            "page": (page := read_page(file)),
            "sections": tables_of(page),
            "files": _links(file, _FORMATS, out),
        }
        for file in results.study.pages("tables")
        if file.stem != "leaderboard"  # which the page shows first
    ]


def _figures(results: Results, out: Path, kind: str) -> list[dict[str, Any]]:
    """Every figure of a kind, reduced, with links to the full figure and to the page of a study."""
    return [
        {
            "name": file.stem,
            "output": describe(kind, file.stem),
            "answer": _answer(file.with_suffix(".json")),
            "picture": _thumbnail(file),
            "files": _links(file, ("html", "png", "pdf", "csv", "md"), out),
        }
        for file in results.study.pages(kind)
    ]


def _answer(file: Path) -> str:
    """The first sentence of the page of a study; empty without a page."""
    return "".join(text for word, text, _ in read_page(file).lead if word == "Answer") if file.is_file() else ""


def _links(file: Path, suffixes: Iterable[str], out: Path) -> dict[str, str]:
    """Relative addresses of the existing formats of a file, by name of the format."""
    paths = (file.with_suffix(f".{suffix}") for suffix in suffixes)
    return {path.suffix[1:].upper(): _address(path, out) for path in paths if path.is_file()}


def _address(file: Path, out: Path) -> str:
    return Path(os.path.relpath(file.resolve(), out.resolve())).as_posix()


def _thumbnail(file: Path) -> dict[str, Any]:
    """A picture of at most :data:`THUMBNAIL` pixels in width, as WebP in base64, with its width and height."""
    with reading(file, "a picture", "draw it again"), Image.open(file) as original:
        picture = original.convert("RGB")
    picture.thumbnail((THUMBNAIL, 10 * THUMBNAIL), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=80, method=6)
    webp = base64.b64encode(stream.getvalue()).decode("ascii")
    return {"webp": webp, "width": picture.width, "height": picture.height}


def datasets_grid(results: Results, out: Path) -> Grid:
    """One row per prepared dataset, with a link to its card if it has one."""
    rows = []
    for name in results.prepared_names:
        data = results.prepared(name)
        card = results.root / "cards" / f"{name}.html"
        parts = data.cases["part"].value_counts()
        rows.append(
            [
                Cell(dataset_label(name), link=_address(card, out) if card.is_file() else ""),
                Cell(data.modality),
                Cell(SOURCES.get(data.info["source"], data.info["source"])),
                Cell(", ".join(data.classes)),
                *(number(int(parts.get(part, 0)), 0) for part in PARTS),
                number(len(data.info.get("excluded", {})), 0),
                Cell(str(data.info.get("licence", ""))),
            ]
        )
    headings = columns(
        ("Dataset", "Modality", "Source", "Classes"), ("Training", "Validation", "Test", "Left out"), ("Licence",)
    )
    return Grid("datasets-table", "Prepared datasets; numbers of cases", headings, rows)


def checksums_grid(results: Results) -> Grid:
    """Checksums of the prepared files of every dataset."""
    rows = [
        [Cell(dataset_label(name)), Cell(file), Cell(str(digest), kind="checksum")]
        for name in results.prepared_names
        for file, digest in results.prepared(name).info["files"].items()
    ]
    headings = columns(("Dataset", "File", "SHA-256"))
    return Grid("checksums-table", "Checksums of the prepared files", headings, rows)
