"""Verdicts on the claims of papers: published difference, measured difference, and whether the claim holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.errors import InputError
from spectralseg.files import csv_text, write_texts
from spectralseg.metrics.catalogue import metric_of
from spectralseg.metrics.records import METHOD_KEYS, RUN_KEYS
from spectralseg.papers import Paper, read_papers
from spectralseg.published.claims import MINUS, Claim, Comparison, read_claims
from spectralseg.published.tables import SELECTION, read_published
from spectralseg.reporting import rendering
from spectralseg.reporting.claim_papers import FILE, ClaimPaper, papers_text, tally
from spectralseg.reporting.measurements import LEAK_FREE, Measurements
from spectralseg.reporting.report_link import report_link
from spectralseg.reporting.results import Results
from spectralseg.statistics.bootstrap import Interval
from spectralseg.statistics.pairing import pair
from spectralseg.statistics.significance import LEVEL, holm, partial_conjunction
from spectralseg.statistics.verdicts import (
    FAILS,
    HOLDS,
    UNCERTAIN,
    UNTESTED,
    VERDICTS,
    Chances,
    enough,
    judge,
    margin_needed,
)

_SIGNS = (1, -1, -1, 1)  # of method and reference, and of the two sides of a gain that is subtracted
_COUNTS = ("hold", "fail", "uncertain", "untested")  # comparisons by verdict
COLUMNS = (
    *("paper", "id", "section", "claim", "published", "measured", "low", "high", "unit"),
    *("seeds", "groups", "effective_groups", "cases", "comparisons"),
    *(*_COUNTS, "verdict", "reason", *(_ADJUSTED := ("p", "p_adjusted", "verdict_adjusted"))),
    *("margin", "margin_needed", "verdict_leak_free", "verdict_published_protocol", "demonstration"),
)
CELL_COLUMNS = (
    *("paper", "id", "protocol", "direction", *SELECTION, "class", "metric"),
    *("reference_architecture", "reference_objective", "reference_lambda", *MINUS),
    *("leak_free", "published", "measured", "low", "high", "seeds", "groups", "effective_groups", "cases", "undefined"),
    *("verdict", "reason"),
    *(*_ADJUSTED, "margin", "margin_needed", "demonstration"),
)
_HYPOTHESIS = CELL_COLUMNS[3 : CELL_COLUMNS.index("leak_free")]  # identifies a comparison within a reading
# Protocol, and the parts that leak-free test cases must not match (see :mod:`spectralseg.reporting.tables`).
_READINGS = (("sound", ""), ("sound", LEAK_FREE), ("published", ""))
_UNKNOWN, _NO_CHANCES = Interval(*[float("nan")] * 3), Chances(float("nan"), float("nan"))
_KEYS = (*SELECTION, "class", "metric")  # identify a published value


@dataclass(frozen=True)
class Judged:
    """One comparison of a claim under one protocol, in printed units.

    Attributes:
        published: the published difference: that of the text, else that of the table; NaN if neither gives one.
        measured: mean paired difference with its 95 % interval; NaN without runs.
        seeds: number of seeds that both methods have.
        groups: number of patients or other groups of cases.
        effective_groups: number of equally large groups with the same information.
        cases: number of cases.
        undefined: pairs of values without a difference.
        verdict: one of :data:`VERDICTS`.
        reason: the basis of the verdict, or why it is uncertain or untested.
        chances: p values of the verdicts "holds" and "does not hold"; NaN with too few seeds.
        margin: equivalence margin; NaN if the metric has none.
        margin_needed: the smallest margin within which the difference would be equivalent.
    """

    published: float
    measured: Interval
    seeds: int
    groups: int
    effective_groups: float
    cases: int
    undefined: int
    verdict: str
    reason: str
    chances: Chances = _NO_CHANCES
    margin: float = float("nan")
    margin_needed: float = float("nan")


@dataclass(frozen=True)
class ClaimVerdicts:
    """The claims of all papers whose runs a study has, with their verdicts.

    Attributes:
        papers: all papers with claims, also those of which none is computed.
        claims: one row per claim, columns :data:`COLUMNS`, by the ``sound`` protocol over all test cases;
            ``verdict_leak_free`` without leaked test cases. ``published``, ``measured``, the limits and margins are
            empty for claims of several comparisons; ``hold``, ``fail``, ``uncertain`` and ``untested`` count their
            verdicts. ``p`` is that of the verdict, or the smaller of the two if it is uncertain; ``p_adjusted`` and
            ``verdict_adjusted`` are those for all claims of the paper together.
        cells: one row per comparison and reading (protocol, and ``leak_free`` as in the tables), columns
            :data:`CELL_COLUMNS`. p values are adjusted for the different comparisons of a paper and reading.
        page: the claims as a page.
    """

    papers: tuple[ClaimPaper, ...]
    claims: pd.DataFrame
    cells: pd.DataFrame
    page: rendering.Page

    def write(self, folder: Path | str) -> list[Path]:
        """Write ``claims`` as ``.csv``, ``.md`` and ``.html``, ``claims_cells.csv`` and ``claims_papers.csv``.

        Returns:
            Their paths.
        """
        contents = {
            "claims.csv": csv_text(self.claims),
            "claims_cells.csv": csv_text(self.cells),
            FILE: papers_text(self.papers),
            "claims.md": rendering.markdown(self.page),
            "claims.html": rendering.html(self.page, report=report_link(folder)),
        }
        return write_texts(folder, contents)


def build_claim_verdicts(results: Results, published: Path | str) -> ClaimVerdicts:
    """Judge the claims of every paper of whose comparisons the study has a run, by the records of the study.

    A claim that one method is better holds if the whole 95 % interval of the paired difference lies on its side. It
    does not hold if the interval lies on the other side, or if it contains zero and the difference is equivalent to
    zero (two one-sided tests against the margin of the configuration). "No worse" and "similar" are meant up to that
    margin. The verdict does not depend on the published size of the difference. With fewer than three seeds every
    verdict is uncertain; see :func:`spectralseg.statistics.verdicts.judge`. A claim of several comparisons holds if
    all of them do, or more than half if it says most.

    Adjusted verdicts take all claims of a paper together, and no claims of other papers: by Holm's method the chance of
    any false "holds" among them is at most 5 %, and so is that of any false "does not hold", however the comparisons
    depend on each other. The p value of a claim of several comparisons is that of the number of them that must hold, or
    fail, to decide it (Benjamini and Heller 2008).

    Args:
        results: the results folder.
        published: folder of the papers, see :mod:`spectralseg.papers`.

    Raises:
        InputError: the folder or a file in it is missing or malformed.
    """
    if not Path(published).is_dir():
        raise InputError(f"{published}: there is no such folder of papers; give config/published")
    claims = {paper: read_claims(paper.claims) for paper in read_papers(published) if paper.claims}
    about = {paper for paper in claims if any(paper.is_own(run.keys) for run in results.planned)}
    runs = {paper: _runs_needed(of_paper, results) if paper in about else 0 for paper, of_paper in claims.items()}
    computed = {paper: of_paper for paper, of_paper in claims.items() if runs[paper]}
    measurements = _measurements([claim for of_paper in computed.values() for claim in of_paper], results)
    ledgers = [_judge_paper(paper, of_paper, measurements, results) for paper, of_paper in computed.items()]
    rows = [row for of_claims, _ in ledgers for row in of_claims]
    cells = [cell for _, of_comparisons in ledgers for cell in of_comparisons]
    stamp = {"demonstration": results.demonstration}
    table = pd.DataFrame(rows, columns=list(COLUMNS)).assign(**stamp)
    comparisons = pd.DataFrame(cells, columns=list(CELL_COLUMNS)).assign(**stamp)
    papers = tuple(_claim_paper(paper, len(of_paper), table, runs[paper]) for paper, of_paper in claims.items())
    return ClaimVerdicts(papers, table, comparisons, _page(papers, table, results))


def _runs_needed(claims: Iterable[Claim], results: Results) -> int:
    """Number of runs of the study that the comparisons of some claims need."""
    methods = {
        tuple(side[key] for key in RUN_KEYS[:-1])
        for claim in claims
        for comparison in claim.comparisons
        for side in comparison.sides
    }
    return sum(tuple(run.keys[key] for key in RUN_KEYS[:-1]) in methods for run in results.planned)


def _measurements(claims: Sequence[Claim], results: Results) -> Measurements:
    sides = [side for claim in claims for comparison in claim.comparisons for side in comparison.sides]
    records = results.read(**{name: {side[name] for side in sides} for name in ("dataset", "test_dataset", "metric")})
    return Measurements(records, results.leakage, results.baseline)


def _judge_paper(
    paper: Paper, claims: Sequence[Claim], measurements: Measurements, results: Results
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the claims of a paper and of their comparisons, adjusted for their number."""
    published_values = _published_values(paper.tables.values())
    rows: list[dict[str, Any]] = []
    cells: list[dict[str, Any]] = []
    for claim in claims:
        readings = [
            [_judge(comparison, reading, measurements, published_values, results) for comparison in claim.comparisons]
            for reading in _READINGS
        ]
        rows.append(_row(claim, *readings))
        for reading, judged in zip(_READINGS, readings, strict=True):
            cells += map(_cell, repeat(claim.id), repeat(reading), claim.comparisons, judged)
    _adjust(rows, [claim.id for claim in claims])
    for reading in _READINGS:
        family = [cell for cell in cells if (cell["protocol"], cell["leak_free"]) == reading]
        _adjust(family, ["/".join(str(cell.get(name, "")) for name in _HYPOTHESIS) for cell in family])
    return [{"paper": paper.id, **row} for row in rows], [{"paper": paper.id, **cell} for cell in cells]


def _claim_paper(paper: Paper, claims: int, table: pd.DataFrame, runs: int) -> ClaimPaper:
    tested = int(((table["paper"] == paper.id) & (table["verdict"] != UNTESTED)).sum())
    return ClaimPaper(paper.id, paper.name, paper.title, paper.citation, claims, tested, runs)


def _cell(claim: str, reading: tuple[str, str], comparison: Comparison, judged: Judged) -> dict[str, Any]:
    protocol, leak_free = reading
    minus = zip(MINUS, comparison.minus, strict=False)
    return {
        **{"id": claim, "protocol": protocol, "leak_free": leak_free, "direction": comparison.direction},
        **comparison.method,
        **{f"reference_{name}": comparison.reference[name] for name in METHOD_KEYS},
        **{name: "/".join(side[key] for key in METHOD_KEYS) for name, side in minus},
        **{**vars(judged), **judged.measured._asdict(), "measured": judged.measured.estimate},
    }


def _adjust(rows: Sequence[dict[str, Any]], hypotheses: Sequence[str]) -> None:
    """Give each row ``p``, ``p_adjusted`` and ``verdict_adjusted`` from its ``verdict`` and ``chances``.

    "Holds" and "does not hold" are one family each, in which every hypothesis with a p value counts once.
    """
    chances = np.array([row["chances"] for row in rows], np.float64).reshape(-1, 2)
    _, first, family = np.unique(np.array(hypotheses, str), return_index=True, return_inverse=True)
    adjusted = np.stack([holm(side[first])[family] for side in chances.T], 1)
    for row, p, p_adjusted in zip(rows, chances, adjusted, strict=True):
        side = {HOLDS: 0, FAILS: 1}.get(row["verdict"], int(p[1] < p[0]))
        lost = row["verdict"] in (HOLDS, FAILS) and not p_adjusted[side] <= LEVEL
        row["p"], row["p_adjusted"] = float(p[side]), float(p_adjusted[side])
        row["verdict_adjusted"] = UNCERTAIN if lost else row["verdict"]


def _published_values(files: Iterable[Path]) -> dict[tuple[str, ...], float]:
    """Published values by :data:`_KEYS`."""
    values: dict[tuple[str, ...], float] = {}
    for file in files:
        cells = read_published(file).cells
        values |= zip(cells[list(_KEYS)].itertuples(index=False, name=None), cells["value"], strict=True)
    return values


def _judge(
    comparison: Comparison,
    reading: tuple[str, str],
    measurements: Measurements,
    published_values: Mapping[Any, float],
    results: Results,
) -> Judged:
    protocol, leak_free = reading
    sides = comparison.sides
    published = comparison.difference
    if published is None:
        values = [published_values.get(tuple(side[key] for key in _KEYS), np.nan) for side in sides]
        published = float(np.dot(values, _SIGNS[: len(values)]))
    samples, missing = [], []
    for side in sides:
        sample = measurements.values({**side, "protocol": protocol, "leak_free": leak_free})
        if sample is None:
            run = "/".join(side[name] for name in ("dataset", *METHOD_KEYS))
            missing.append(f"{run} ({', '.join(side[name] for name in ('suite', 'test_dataset', 'metric'))})")
        else:
            samples.append(sample)
    if missing:
        return Judged(published, _UNKNOWN, 0, 0, 0.0, 0, 0, UNTESTED, f"no records of {' and '.join(missing)}")
    pairs = pair(*samples[:2])
    if comparison.minus:
        pairs = pair(pairs, pair(*samples[2:]))
    rule = metric_of(comparison.method["metric"])
    interval = pairs.interval()
    scaled = Interval(*(rule.factor * part for part in interval))
    seeds, groups = pairs.informative_seeds, pairs.informative_groups
    counts = seeds, groups, round(pairs.effective_groups, 1), len(pairs.cases), pairs.undefined
    if not np.isfinite(interval.estimate):
        return Judged(published, scaled, *counts, UNTESTED, "the methods share no seed and case with a defined value")
    narrow = pairs.interval(level=1 - 2 * LEVEL)
    margin = results.margin_of({**comparison.method, "protocol": protocol})
    direction: Any = {"direction": comparison.direction, "higher_is_better": rule.higher_is_better}
    verdict, reason = judge(interval, seeds, groups, margin=margin, narrow=narrow, **direction)
    return Judged(
        *(published, scaled, *counts, verdict, reason),
        chances=pairs.p_values(margin=margin, **direction) if enough(seeds, groups) else _NO_CHANCES,
        margin=np.nan if margin is None else rule.factor * margin,
        margin_needed=rule.factor * margin_needed(interval, narrow, seeds, groups, **direction),
    )


def _row(
    claim: Claim, sound: Sequence[Judged], leak_free: Sequence[Judged], published: Sequence[Judged]
) -> dict[str, Any]:
    verdict, reason = _conclude(claim, sound)
    counts = Counter(judged.verdict for judged in sound)
    row = {
        **{"id": claim.id, "section": claim.section, "claim": claim.text, "unit": ""},
        "seeds": min((judged.seeds for judged in sound), default=0),
        "groups": min((judged.groups for judged in sound), default=0),
        "effective_groups": min((judged.effective_groups for judged in sound), default=0.0),
        "cases": min((judged.cases for judged in sound), default=0),
        "comparisons": len(sound),
        **{name: counts[verdict] for name, verdict in zip(_COUNTS, VERDICTS, strict=True)},
        "verdict": verdict,
        "reason": reason,
        "chances": _chances(claim, sound),
        "verdict_leak_free": _conclude(claim, leak_free)[0],
        "verdict_published_protocol": _conclude(claim, published)[0],
    }
    if len(sound) != 1:
        return row
    (only,), (comparison,) = sound, claim.comparisons
    numbers = {"published": only.published, **only.measured._asdict(), "measured": only.measured.estimate}
    numbers |= {"margin": only.margin, "margin_needed": only.margin_needed}
    return row | numbers | {"unit": metric_of(comparison.method["metric"]).unit}


def _conclude(claim: Claim, comparisons: Sequence[Judged]) -> tuple[str, str]:
    """The verdict on a claim from those on its comparisons, and the reason."""
    if not comparisons:
        return UNTESTED, claim.untestable
    if len(comparisons) == 1:
        return comparisons[0].verdict, comparisons[0].reason
    verdicts = [judged.verdict for judged in comparisons]
    reason = f"of {len(verdicts)} comparisons {tally(verdicts)}; {claim.quantifier} must hold"
    if claim.holds([verdict == HOLDS for verdict in verdicts]):
        return HOLDS, reason
    if not claim.holds([verdict != FAILS for verdict in verdicts]):
        return FAILS, reason
    return (UNTESTED if UNTESTED in verdicts else UNCERTAIN), reason


def _chances(claim: Claim, comparisons: Sequence[Judged]) -> Chances:
    """P values of a claim: that enough of its comparisons hold, or fail, to decide it; NaN if none has a p value."""
    if not comparisons:
        return _NO_CHANCES
    required = claim.required(len(comparisons))
    holds, fails = zip(*(judged.chances for judged in comparisons), strict=True)
    return Chances(partial_conjunction(holds, required), partial_conjunction(fails, len(comparisons) - required + 1))


def _page(papers: Sequence[ClaimPaper], claims: pd.DataFrame, results: Results) -> rendering.Page:
    stamp = "demonstration: " if results.demonstration else ""
    parts = {paper: claims[claims["paper"] == paper.paper] for paper in papers if paper.runs}
    return rendering.Page(
        name="claims",
        title="What papers say, and whether it holds",
        warnings=(
            *results.banner,
            *(_summary(paper, part) for paper, part in parts.items()),
            *(paper.sentence for paper in papers if not paper.runs),
        ),
        row_headings=("Claim", "Section"),
        sections=tuple(_section(paper, part, stamp) for paper, part in parts.items()),
        legend=(
            "Measured: mean difference for the same seeds and cases with its 95 % interval over seeds and patients, by "
            "the sound protocol. A direction holds if the whole interval lies on its side. It does not hold if the "
            "interval lies on the other side, or if it contains zero and the difference is shown to be smaller than "
            f"the margin (comparison.margin, {100 * results.margin:g} pp for shares, and comparison.margins; distances "
            "have none unless given there). The verdict does not depend on the published size of the difference. "
            "Adjusted: for all claims of a paper together, by Holm; the chance of any false 'holds' among them is at "
            "most 5 %, and so is that of any false 'does not hold'. p: of the verdict, or the smaller of the two if "
            "the verdict is uncertain. Same from: the smallest margin within which the difference would be equivalent. "
            "Leak-free: without leaked test cases, which match training or validation data."
        ),
        notes=(
            "Unadjusted verdicts take each claim by itself: of 40 claims without a true effect, about one holds by "
            "chance.",
            *rendering.few_patients(claims["effective_groups"]),
            "Claims of several comparisons are listed comparison by comparison in claims_cells.csv.",
        ),
    )


def _summary(paper: ClaimPaper, claims: pd.DataFrame) -> str:
    heading = f"{paper.name}, {rendering.counted(len(claims), 'claim')}"
    verdicts, adjusted = tally(claims["verdict"]), tally(claims["verdict_adjusted"])
    return f"{heading}: {verdicts}. Adjusted for their number: {adjusted}."


def _section(paper: ClaimPaper, claims: pd.DataFrame, stamp: str) -> rendering.Section:
    """The claims of a paper, one row each."""
    headings = (
        *("Published", "Measured", "Seeds", "Cases", "Verdict", "p", "Adjusted p", "Adjusted verdict", "Same from"),
        *("Leak-free", "Published protocol", "Why"),
    )
    rows = tuple(
        rendering.Line(claim["claim"], claim["section"], tuple(_entries(claim, stamp)))
        for claim in claims.to_dict("records")
    )
    block = rendering.Block(f"{paper.citation}: {paper.outcome}", ("",) * len(headings), headings, rows)
    return rendering.Section(paper.paper, paper.heading, (block,))


def _entries(claim: Mapping[Any, Any], stamp: str) -> Iterator[rendering.Entry]:
    unit, needed = claim["unit"], claim["margin_needed"]
    yield rendering.Entry(_number(claim["published"], unit))
    yield rendering.Entry(_number(claim["measured"], unit, claim["low"], claim["high"]))
    yield from (rendering.Entry(str(claim[name] or rendering.NO_RUN)) for name in ("seeds", "cases"))
    yield rendering.Entry(stamp + claim["verdict"], bold=claim["verdict"] in (HOLDS, FAILS))
    yield from (rendering.Entry(rendering.p_text(claim[name])) for name in ("p", "p_adjusted"))
    yield rendering.Entry(stamp + claim["verdict_adjusted"])
    yield rendering.Entry(f"± {needed:.2f} {unit}".rstrip() if np.isfinite(needed) else "")
    yield from (rendering.Entry(stamp + claim[f"verdict_{name}"]) for name in ("leak_free", "published_protocol"))
    yield rendering.Entry(claim["reason"])


def _number(value: float, unit: str, low: float = np.nan, high: float = np.nan) -> str:
    """``+0.82 pp [−1.23, +2.87]``."""
    if not np.isfinite(value):
        return ""
    interval = f" [{rendering.signed(low)}, {rendering.signed(high)}]" if np.isfinite(low) else ""
    return f"{rendering.signed(value)} {unit}".rstrip() + interval
