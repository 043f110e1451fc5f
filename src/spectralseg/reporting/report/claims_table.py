"""Claims as tables of the report page, one for each paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from spectralseg.errors import InputError
from spectralseg.loading import read_csv
from spectralseg.reporting.claim_papers import ClaimPaper, read_claim_papers, tally
from spectralseg.reporting.rendering import p_text, signed
from spectralseg.reporting.rendering.html_table import DASH, Cell, Grid, columns, number
from spectralseg.statistics.verdicts import VERDICTS

COLUMNS = (
    *("paper", "id", "section", "claim", "published", "measured", "low", "high", "unit"),
    *("seeds", "cases", "verdict", "reason", "p", "p_adjusted", "verdict_adjusted", "margin_needed", "demonstration"),
)


def read_claims(file: Path) -> pd.DataFrame | None:
    """The verdicts on the claims as text, one row per claim; None without the file.

    Raises:
        InputError: a column is missing, or a verdict is unknown.
    """
    if not file.is_file():
        return None
    claims = read_csv(file, "verdicts on claims", "run 'spectralseg claims' again", COLUMNS)
    for verdict in pd.concat([claims["verdict"], claims["verdict_adjusted"]]):
        if verdict not in VERDICTS:
            raise InputError(f"{file}: verdict '{verdict}' is unknown; use one of {', '.join(VERDICTS)}")
    return claims


@dataclass(frozen=True)
class PaperSection:
    """The claims of a paper.

    Attributes:
        paper: the paper.
        verdicts: number of claims by verdict.
        adjusted: the same by adjusted verdict, as text.
        demonstration: whether the verdicts rest on phantoms.
        grid: the table.
    """

    paper: ClaimPaper
    verdicts: dict[str, int]
    adjusted: str
    demonstration: bool
    grid: Grid


def paper_sections(folder: Path) -> tuple[list[PaperSection], list[str]] | None:
    """A section for each paper of whose claims the study has runs, and a sentence on each other paper.

    Args:
        folder: with ``claims.csv`` and ``claims_papers.csv``.

    Returns:
        None without ``claims.csv``.

    Raises:
        InputError: a file is missing or damaged.
    """
    claims = read_claims(folder / "claims.csv")
    if claims is None:
        return None
    papers = read_claim_papers(folder)
    sections = [_section(paper, claims[claims["paper"] == paper.paper]) for paper in papers if paper.runs]
    return sections, [paper.sentence for paper in papers if not paper.runs]


def _section(paper: ClaimPaper, claims: pd.DataFrame) -> PaperSection:
    counts = verdict_counts(claims), tally(claims["verdict_adjusted"])
    return PaperSection(paper, *counts, any(map(demonstrates, claims["demonstration"])), claims_grid(paper, claims))


def verdict_counts(claims: pd.DataFrame) -> dict[str, int]:
    """Number of claims with each verdict, zeros included."""
    return {verdict: int((claims["verdict"] == verdict).sum()) for verdict in VERDICTS}


def claims_grid(paper: ClaimPaper, claims: pd.DataFrame) -> Grid:
    """The verdicts on the claims of a paper, one row per claim."""
    return Grid(
        name=f"claims-{paper.paper}",
        caption=f"Each claim of {paper.name} with its verdict",
        columns=columns(
            *(("Id", "Claim", "Verdict", "Stamp"), ("Published", "Measured", "95 % interval")),
            *(("Unit", "Reason", "Section"), ("Seeds", "Cases", "p", "Adjusted p")),
            *(("Adjusted verdict",), ("Same from ±",)),
        ),
        rows=[_claim(row) for row in claims.to_dict("records")],
        choices={"Verdict": "", "Adjusted verdict": "", "Section": ""},
    )


def _claim(row: Mapping[Any, str]) -> list[Cell]:
    low, high = (_number(row[name], signed) for name in ("low", "high"))
    return [
        *(Cell(row[name]) for name in ("id", "claim")),
        _verdict(row["verdict"]),
        Cell("demonstration" if demonstrates(row["demonstration"]) else ""),
        *(_number(row[name], signed) for name in ("published", "measured")),
        Cell(f"{low.text} to {high.text}", key=low.key) if row["low"] and row["high"] else Cell(DASH),
        Cell(row["unit"]),
        Cell(row["reason"], kind="prose"),
        Cell(row["section"]),
        *(_number(row[name], lambda value: f"{value:.0f}") for name in ("seeds", "cases")),
        *(_number(row[name], p_text) for name in ("p", "p_adjusted")),
        _verdict(row["verdict_adjusted"]),
        _number(row["margin_needed"], lambda value: number(value).text),
    ]


def demonstrates(text: str) -> bool:
    """Whether column ``demonstration`` says that a verdict rests on phantoms."""
    return text.lower() not in ("", "false")


def _verdict(verdict: str) -> Cell:
    return Cell(verdict, kind=f"verdict v{VERDICTS.index(verdict)}")


def _number(text: str, formatted: Callable[[float], str]) -> Cell:
    """A number of the CSV file; a dash where it is empty or not finite."""
    try:
        value = float(text)
    except ValueError:
        return Cell(DASH)
    return Cell(formatted(value), key=value) if math.isfinite(value) else Cell(DASH)
