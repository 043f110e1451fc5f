"""Claims as a table of the report page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from spectralseg.errors import InputError
from spectralseg.loading import read_csv
from spectralseg.reporting.rendering import p_text, signed
from spectralseg.reporting.rendering.html_table import DASH, Cell, Grid, columns, number
from spectralseg.statistics.verdicts import VERDICTS

COLUMNS = (
    *("id", "section", "claim", "published", "measured", "low", "high", "unit"),
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


def verdict_counts(claims: pd.DataFrame, column: str = "verdict") -> dict[str, int]:
    """Number of claims with each verdict, zeros included."""
    return {verdict: int((claims[column] == verdict).sum()) for verdict in VERDICTS}


def claims_grid(claims: pd.DataFrame) -> Grid:
    """The verdicts, one row per claim."""
    return Grid(
        name="claims-table",
        caption="Each claim of the paper with its verdict",
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
