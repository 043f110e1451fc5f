"""The claims ledger: what the paper says, what this study measured, and whether it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.files import csv_text, visible, write_texts
from spectralseg.metrics.catalogue import metric_of
from spectralseg.published.claims import MINUS, Claim, Comparison, read_claims
from spectralseg.published.tables import SELECTION, read_published
from spectralseg.reporting import rendering
from spectralseg.reporting.measurements import LEAK_FREE, Measurements
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

_METHOD = ("architecture", "objective", "lambda")
_SIGNS = (1, -1, -1, 1)  # of method and reference, and of those of the gain that is taken off
_COUNTS = ("hold", "fail", "uncertain", "untested")  # comparisons by verdict
COLUMNS = (
    *("id", "section", "claim", "published", "measured", "low", "high", "unit"),
    *("seeds", "groups", "effective_groups", "cases", "comparisons"),
    *(*_COUNTS, "verdict", "reason", *(_ADJUSTED := ("p", "p_adjusted", "verdict_adjusted"))),
    *("margin", "margin_needed", "verdict_leak_free", "verdict_published_protocol", "demonstration"),
)
CELL_COLUMNS = (
    *("id", "protocol", "direction", *SELECTION, "class", "metric"),
    *("reference_architecture", "reference_objective", "reference_lambda", *MINUS),
    *("leak_free", "published", "measured", "low", "high", "seeds", "groups", "effective_groups", "cases", "undefined"),
    *("verdict", "reason"),
    *(*_ADJUSTED, "margin", "margin_needed", "demonstration"),
)
_HYPOTHESIS = CELL_COLUMNS[2 : CELL_COLUMNS.index("leak_free")]  # what tells one comparison of a reading from another
# Protocol, and the parts with whose cases test cases must not match (see :mod:`spectralseg.reporting.tables`).
_READINGS = (("sound", ""), ("sound", LEAK_FREE), ("published", ""))
_UNKNOWN, _NO_CHANCES = Interval(*[float("nan")] * 3), Chances(float("nan"), float("nan"))


@dataclass(frozen=True)
class Judged:
    """One comparison of a claim under one protocol, in printed units.

    Attributes:
        published: the printed difference: that of the text, else that of the table; NaN where neither is printed.
        measured: mean paired difference with its 95 % interval; NaN without runs.
        seeds: number of seeds that both methods have.
        groups: number of patients or other groups of cases.
        effective_groups: of equally large ones that would inform as much.
        cases: number of cases.
        undefined: pairs of values without a difference.
        verdict: one of :data:`VERDICTS`.
        reason: why it is uncertain or untested; otherwise what the verdict rests on.
        chances: p values of the verdicts "holds" and "does not hold"; NaN where there are too few seeds.
        margin: largest difference that does not matter; NaN where the metric has none.
        margin_needed: the margin from which on the difference would be too small to matter.
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
class Ledger:
    """All claims with their verdicts.

    Attributes:
        claims: one row per claim, columns :data:`COLUMNS`, by the ``sound`` protocol over all test cases;
            ``verdict_leak_free`` without those that match training or validation data. ``published``, ``measured``,
            the limits and margins are empty for claims of several comparisons; ``hold``, ``fail``, ``uncertain`` and
            ``untested`` count these by verdict. ``p`` is that of the verdict, the smaller of the two where it is
            uncertain; ``p_adjusted`` and ``verdict_adjusted`` are those for all claims together.
        cells: one row per comparison and reading: protocol, and ``leak_free`` as in the tables; columns
            :data:`CELL_COLUMNS`. p values are adjusted for the different comparisons of a reading.
        page: the claims for reading.
    """

    claims: pd.DataFrame
    cells: pd.DataFrame
    page: rendering.Page

    def write(self, folder: Path | str) -> list[Path]:
        """Write ``claims.csv``, ``claims_cells.csv``, ``claims.md`` and ``claims.html`` and return their paths."""
        contents = {
            "claims.csv": csv_text(self.claims),
            "claims_cells.csv": csv_text(self.cells),
            "claims.md": rendering.markdown(self.page),
            "claims.html": rendering.html(self.page),
        }
        return write_texts(folder, contents)


def build_ledger(results: Results, published: Path | str) -> Ledger:
    """Judge every claim of the paper by the records of a study.

    A claim that one method is better holds if the whole 95 % interval of the paired difference lies on its side, and
    does not if it lies on the other, or if it holds zero and the difference is shown to be smaller than what matters
    (two one-sided tests against the margin of the configuration). "No worse" and "similar" are meant up to that margin.
    Whether the difference has the printed size is no part of the verdict. With fewer than three seeds everything is
    uncertain; see :func:`spectralseg.statistics.verdicts.judge`. A claim of several comparisons holds if all of them
    do, or more than half where it says most.

    Adjusted verdicts take all claims together: by Holm's method the chance of any false "holds" among them is at most
    5 %, and so is that of any false "does not hold", however the comparisons depend on each other. The p value of a
    claim of several comparisons is that of so many of them holding, or failing, as decide it (Benjamini and Heller
    2008).

    Args:
        results: the results folder.
        published: folder with ``claims.csv``, ``claims_cells.csv`` and the printed tables.

    Raises:
        InputError: a file is missing or malformed.
    """
    folder = Path(published)
    claims = read_claims(folder / "claims.csv")
    printed = _printed(visible(folder.glob("table_*.csv")))
    sides = [side for claim in claims for one in claim.comparisons for side in one.sides]
    records = results.read(**{name: {side[name] for side in sides} for name in ("dataset", "test_dataset", "metric")})
    measurements = Measurements(records, results.leakage, results.baseline)
    judged = {
        (claim.id, *reading): [_judge(one, reading, measurements, printed, results) for one in claim.comparisons]
        for claim in claims
        for reading in _READINGS
    }
    rows = [_row(claim, *(judged[claim.id, *reading] for reading in _READINGS)) for claim in claims]
    _adjust(rows, [claim.id for claim in claims])
    table = pd.DataFrame(rows, columns=list(COLUMNS)).assign(demonstration=results.demonstration)
    cells = [
        {"id": claim.id, "protocol": reading[0], "leak_free": reading[1], "direction": one.direction, **one.method}
        | {f"reference_{name}": one.reference[name] for name in _METHOD}
        | {name: "/".join(side[key] for key in _METHOD) for name, side in zip(MINUS, one.minus, strict=False)}
        | {**vars(found), **found.measured._asdict(), "measured": found.measured.estimate}
        for claim in claims
        for reading in _READINGS
        for one, found in zip(claim.comparisons, judged[claim.id, *reading], strict=True)
    ]
    for reading in _READINGS:
        family = [cell for cell in cells if (cell["protocol"], cell["leak_free"]) == reading]
        _adjust(family, ["/".join(str(cell.get(name, "")) for name in _HYPOTHESIS) for cell in family])
    listed = pd.DataFrame(cells, columns=list(CELL_COLUMNS)).assign(demonstration=results.demonstration)
    return Ledger(table, listed, _page(table, results))


def _adjust(rows: Sequence[dict[str, Any]], hypotheses: Sequence[str]) -> None:
    """Give each row ``p``, ``p_adjusted`` and ``verdict_adjusted`` from its ``verdict`` and ``chances``.

    "Holds" and "does not hold" are a family each, in which every hypothesis that has a p value counts once.
    """
    chances = np.array([row["chances"] for row in rows], np.float64).reshape(-1, 2)
    _, first, family = np.unique(np.array(hypotheses, str), return_index=True, return_inverse=True)
    adjusted = np.stack([holm(side[first])[family] for side in chances.T], 1)
    for row, p, p_adjusted in zip(rows, chances, adjusted, strict=True):
        side = {HOLDS: 0, FAILS: 1}.get(row["verdict"], int(p[1] < p[0]))
        lost = row["verdict"] in (HOLDS, FAILS) and not p_adjusted[side] <= LEVEL
        row["p"], row["p_adjusted"] = float(p[side]), float(p_adjusted[side])
        row["verdict_adjusted"] = UNCERTAIN if lost else row["verdict"]


def _printed(files: Iterable[Path]) -> dict[tuple[str, ...], float]:
    """Printed values by what selects their records."""
    cells = pd.concat([read_published(file).cells for file in files])
    keys = cells[[*SELECTION, "class", "metric"]].itertuples(index=False, name=None)
    return dict(zip(keys, cells["value"], strict=True))


def _judge(
    comparison: Comparison,
    reading: tuple[str, str],
    measurements: Measurements,
    printed: Mapping[Any, float],
    results: Results,
) -> Judged:
    protocol, leak_free = reading
    values = [
        printed.get(tuple(side[key] for key in (*SELECTION, "class", "metric")), np.nan) for side in comparison.sides
    ]
    stated = comparison.difference
    published = float(np.dot(values, _SIGNS[: len(values)])) if stated is None else stated
    found = [measurements.values({**side, "protocol": protocol, "leak_free": leak_free}) for side in comparison.sides]
    there = [one for one in found if one is not None]
    if len(there) < len(found):
        lacking = [
            "/".join(side[name] for name in ("dataset", *_METHOD))
            + f" ({', '.join(side[name] for name in ('suite', 'test_dataset', 'metric'))})"
            for side, value in zip(comparison.sides, found, strict=True)
            if value is None
        ]
        return Judged(published, _UNKNOWN, 0, 0, 0.0, 0, 0, UNTESTED, f"no records of {' and '.join(lacking)}")
    pairs = pair(there[0], there[1])
    if comparison.minus:
        pairs = pair(pairs, pair(there[2], there[3]))
    rule = metric_of(comparison.method["metric"])
    interval = pairs.interval()
    scaled = Interval(*(rule.factor * part for part in interval))
    seeds, groups = pairs.informative_seeds, pairs.informative_groups
    counts = seeds, groups, round(pairs.effective_groups, 1), len(pairs.cases), pairs.undefined
    if not np.isfinite(interval.estimate):
        return Judged(published, scaled, *counts, UNTESTED, "the methods share no seed and case with a defined value")
    narrow = pairs.interval(level=1 - 2 * LEVEL)
    margin = results.margin_of({**comparison.method, "protocol": protocol})
    meant: Any = {"direction": comparison.direction, "higher_is_better": rule.higher_is_better}
    verdict, reason = judge(interval, seeds, groups, margin=margin, narrow=narrow, **meant)
    return Judged(
        *(published, scaled, *counts, verdict, reason),
        chances=pairs.p_values(margin=margin, **meant) if enough(seeds, groups) else _NO_CHANCES,
        margin=np.nan if margin is None else rule.factor * margin,
        margin_needed=rule.factor * margin_needed(interval, narrow, seeds, groups, **meant),
    )


def _row(
    claim: Claim, sound: Sequence[Judged], leak_free: Sequence[Judged], published: Sequence[Judged]
) -> dict[str, Any]:
    verdict, reason = _conclude(claim, sound)
    counts = Counter(one.verdict for one in sound)
    row = {
        "id": claim.id,
        "section": claim.section,
        "claim": claim.text,
        "unit": "",
        "seeds": min((one.seeds for one in sound), default=0),
        "groups": min((one.groups for one in sound), default=0),
        "effective_groups": min((one.effective_groups for one in sound), default=0.0),
        "cases": min((one.cases for one in sound), default=0),
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
    rule = metric_of(comparison.method["metric"])
    numbers = {"published": only.published, **only.measured._asdict(), "measured": only.measured.estimate}
    numbers |= {"margin": only.margin, "margin_needed": only.margin_needed}
    return row | numbers | {"unit": rule.unit}


def _conclude(claim: Claim, judged: Sequence[Judged]) -> tuple[str, str]:
    """The verdict on a claim from those on its comparisons, and why."""
    if not judged:
        return UNTESTED, claim.untestable
    if len(judged) == 1:
        return judged[0].verdict, judged[0].reason
    verdicts = [one.verdict for one in judged]
    counts = Counter(verdicts)
    tally = ", ".join(f"{counts[name]} {'untested' if name == UNTESTED else name}" for name in VERDICTS if counts[name])
    reason = f"of {len(judged)} comparisons {tally}; {claim.quantifier} must hold"
    if claim.holds([verdict == HOLDS for verdict in verdicts]):
        return HOLDS, reason
    if not claim.holds([verdict != FAILS for verdict in verdicts]):
        return FAILS, reason
    return (UNTESTED if counts[UNTESTED] else UNCERTAIN), reason


def _chances(claim: Claim, judged: Sequence[Judged]) -> Chances:
    """The p values of a claim: that as many of its comparisons as decide it hold, or fail; NaN where none has one."""
    if not judged:
        return _NO_CHANCES
    required = claim.required(len(judged))
    holds, fails = zip(*(one.chances for one in judged), strict=True)
    return Chances(partial_conjunction(holds, required), partial_conjunction(fails, len(judged) - required + 1))


def _page(claims: pd.DataFrame, results: Results) -> rendering.Page:
    counts = claims["verdict"].value_counts()
    hold, fail, uncertain, untested = (counts.get(verdict, 0) for verdict in VERDICTS)
    summary = f"{hold} hold, {fail} do not hold, {uncertain} are {UNCERTAIN}, {untested} {UNTESTED}"
    adjusted = claims["verdict_adjusted"].value_counts()
    summary += f"; adjusted for their number {adjusted.get(HOLDS, 0)} hold and {adjusted.get(FAILS, 0)} do not hold"
    stamp = "demonstration: " if results.demonstration else ""
    rows = tuple(
        rendering.Line(
            claim["claim"],
            claim["section"],
            (
                rendering.Entry(_number(claim["published"], claim["unit"])),
                rendering.Entry(_number(claim["measured"], claim["unit"], claim["low"], claim["high"])),
                rendering.Entry(str(claim["seeds"] or rendering.NO_RUN)),
                rendering.Entry(str(claim["cases"] or rendering.NO_RUN)),
                rendering.Entry(stamp + claim["verdict"], bold=claim["verdict"] in (HOLDS, FAILS)),
                rendering.Entry(rendering.p_text(claim["p"])),
                rendering.Entry(rendering.p_text(claim["p_adjusted"])),
                rendering.Entry(stamp + claim["verdict_adjusted"]),
                rendering.Entry(_margin(claim)),
                rendering.Entry(stamp + claim["verdict_leak_free"]),
                rendering.Entry(stamp + claim["verdict_published_protocol"]),
                rendering.Entry(claim["reason"]),
            ),
        )
        for claim in claims.to_dict("records")
    )
    headings = (
        *("Published", "Measured", "Seeds", "Cases", "Verdict", "p", "Adjusted p", "Adjusted verdict", "Same from"),
        *("Leak-free", "Published protocol", "Why"),
    )
    return rendering.Page(
        name="claims",
        title="What the paper says, and whether it holds",
        warnings=(*results.banner, f"{len(claims)} claims: {summary}."),
        row_headings=("Claim", "Section"),
        sections=(rendering.Section("", "", (rendering.Block("", ("",) * len(headings), headings, rows),)),),
        legend=(
            "Measured: mean difference for the same seeds and cases with its 95 % interval over seeds and patients, by "
            "the sound protocol. A direction holds if the whole interval is on its side; it does not if it is on the "
            "other, or if it holds zero and the difference is shown to be smaller than the margin "
            f"(comparison.margin, {100 * results.margin:g} pp for shares, and comparison.margins; distances have none "
            "unless given there). Whether it has the printed size is no part of the verdict. Adjusted: for all claims "
            "together, by Holm; the chance of any false 'holds' among them is at most 5 %, and so is that of any false "
            "'does not hold'. p: of the verdict, or where that is uncertain the smaller one of the two. Same from: the "
            "margin from which on the difference is too small to matter. Leak-free: without test cases that match "
            "training or validation data."
        ),
        notes=(
            "Verdicts that are not adjusted take each claim by itself: of 40 claims without any truth about one holds "
            "by chance.",
            *rendering.few_patients(claims["effective_groups"]),
            "Claims of several comparisons are listed one by one in claims_cells.csv.",
        ),
    )


def _margin(claim: Mapping[Any, Any]) -> str:
    """``± 0.62 pp``; empty where no margin is large enough, and for claims of several comparisons."""
    needed = claim["margin_needed"]
    return f"± {needed:.2f} {claim['unit']}".rstrip() if np.isfinite(needed) else ""


def _number(value: float, unit: str, low: float = np.nan, high: float = np.nan) -> str:
    """``+0.82 pp [−1.23, +2.87]``."""
    if not np.isfinite(value):
        return ""
    interval = f" [{rendering.signed(low)}, {rendering.signed(high)}]" if np.isfinite(low) else ""
    return f"{rendering.signed(value)} {unit}".rstrip() + interval
