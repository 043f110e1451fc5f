"""Claims as a table of the report page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from spectralseg.errors import InputError
from spectralseg.loading import read_csv
from spectralseg.reporting.rendering import p_text, signed
from spectralseg.reporting.rendering.html_table import NOTHING, Cell, Grid, number
from spectralseg.statistics.verdicts import VERDICTS

COLUMNS = (
    *("id", "section", "claim", "published", "measured", "low", "high", "unit"),
    *("seeds", "cases", "verdict", "reason", "p", "p_adjusted", "verdict_adjusted", "margin_needed", "demonstration"),
)


def read_claims(file: Path) -> pd.DataFrame | None:
    """The claims ledger as text, one row per claim; None where there is none.

    Raises:
        InputError: a column is missing, or a verdict is unknown.
    """
    if not file.is_file():
        return None
    claims = read_csv(file, "a claims ledger", "run 'spectralseg claims' again", COLUMNS)
    for verdict in pd.concat([claims["verdict"], claims["verdict_adjusted"]]):
        if verdict not in VERDICTS:
            raise InputError(f"{file}: verdict '{verdict}' is unknown; use one of {', '.join(VERDICTS)}")
    return claims


def verdict_counts(claims: pd.DataFrame, column: str = "verdict") -> dict[str, int]:
    """How many claims have each verdict, also where none has."""
    return {verdict: int((claims[column] == verdict).sum()) for verdict in VERDICTS}


def claims_grid(claims: pd.DataFrame) -> Grid:
    """The claims ledger, one row per claim."""
    columns = {
        **dict.fromkeys(("Id", "Claim", "Verdict", "Stamp"), False),
        **dict.fromkeys(("Published", "Measured", "95 % interval"), True),
        **dict.fromkeys(("Unit", "Reason", "Section"), False),
        **dict.fromkeys(("Seeds", "Cases", "p", "Adjusted p"), True),
        **{"Adjusted verdict": False, "Same from ±": True},
    }
    return Grid(
        name="claims-table",
        caption="Each claim of the paper with its verdict",
        columns=tuple(columns.items()),
        rows=[_claim(row) for row in claims.to_dict("records")],
        choices={"Verdict": "", "Adjusted verdict": "", "Section": ""},
    )


def _claim(row: Mapping[Any, str]) -> list[Cell]:
    low, high = row["low"], row["high"]
    return [
        Cell(row["id"]),
        Cell(row["claim"]),
        Cell(row["verdict"], kind=f"verdict v{VERDICTS.index(row['verdict'])}"),
        Cell("demonstration" if demonstrates(row["demonstration"]) else ""),
        *(_signed(row[name]) for name in ("published", "measured")),
        Cell(f"{_signed(low).text} to {_signed(high).text}", key=_float(low)) if low and high else Cell(NOTHING),
        Cell(row["unit"]),
        Cell(row["reason"], kind="prose"),
        Cell(row["section"]),
        *(_given(row[name]) for name in ("seeds", "cases")),
        *(_share(row[name]) for name in ("p", "p_adjusted")),
        Cell(row["verdict_adjusted"], kind=f"verdict v{VERDICTS.index(row['verdict_adjusted'])}"),
        Cell(NOTHING) if (needed := _float(row["margin_needed"])) is None else number(needed),
    ]


def demonstrates(text: str) -> bool:
    """Whether column ``demonstration`` says that a verdict rests on phantoms."""
    return text.lower() not in ("", "false")


def _signed(text: str) -> Cell:
    value = _float(text)
    return Cell(NOTHING) if value is None else Cell(signed(value), key=value)


def _share(text: str) -> Cell:
    value = _float(text)
    return Cell(NOTHING) if value is None else Cell(p_text(value), key=value)


def _given(text: str) -> Cell:
    return Cell(text or NOTHING, key=_float(text))


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
