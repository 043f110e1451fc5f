"""The papers whose claims a study can test, and how many of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from spectralseg.files import csv_text
from spectralseg.loading import read_csv, reading
from spectralseg.reporting.rendering import listed
from spectralseg.statistics.verdicts import FAILS, HOLDS, UNCERTAIN, UNTESTED, VERDICTS

FILE = "claims_papers.csv"
_EXPECTED = "papers of claims", "run 'spectralseg claims' again"


@dataclass(frozen=True)
class ClaimPaper:
    """A paper and the claims of it that a study can test.

    Attributes:
        paper: its folder, the value of column ``paper`` of the claims.
        name: short name.
        title: title of the paper.
        citation: authors, place and year.
        claims: number of its claims.
        tested: number of claims with a verdict, which may be that they are too uncertain.
        runs: number of runs of the study that its comparisons need; without any, no claim is computed.
    """

    paper: str
    name: str
    title: str
    citation: str
    claims: int
    tested: int
    runs: int

    @property
    def heading(self) -> str:
        """Heading of its section."""
        return f"{self.name}: {self.title}"

    @property
    def outcome(self) -> str:
        """How many of its claims the study can test."""
        if not self.runs:
            return f"none of its {self.claims} claims can be tested, as the study has none of their runs"
        return f"{self.tested} of its {self.claims} claims can be tested with this study"

    @property
    def sentence(self) -> str:
        """The outcome with the name of the paper."""
        return f"{self.name}: {self.outcome}."


def papers_text(papers: Sequence[ClaimPaper]) -> str:
    """The content of :data:`FILE`."""
    return csv_text(pd.DataFrame(map(asdict, papers), columns=list(ClaimPaper.__dataclass_fields__)))


def read_claim_papers(folder: Path) -> list[ClaimPaper]:
    """The papers of :data:`FILE` in a folder.

    Raises:
        InputError: the file is missing or damaged.
    """
    file, columns = folder / FILE, list(ClaimPaper.__dataclass_fields__)
    table = read_csv(file, *_EXPECTED, columns)
    with reading(file, *_EXPECTED):
        table = table[columns].astype(dict.fromkeys(("claims", "tested", "runs"), "int64"))
        return [ClaimPaper(*row) for row in table.itertuples(index=False, name=None)]


_PLURALS = {HOLDS: "hold", FAILS: "do not hold", UNCERTAIN: f"are {UNCERTAIN}", UNTESTED: UNTESTED}
_SINGULARS = {UNCERTAIN: f"is {UNCERTAIN}"}


def tally(verdicts: Iterable[str]) -> str:
    """``2 hold, 1 does not hold and 3 are too uncertain to say``; empty without any verdict."""
    counts = Counter(verdicts)
    forms = [(counts[name], _SINGULARS.get(name, name), _PLURALS[name]) for name in VERDICTS if counts[name]]
    return listed(f"{count} {singular if count == 1 else plural}" for count, singular, plural in forms)
