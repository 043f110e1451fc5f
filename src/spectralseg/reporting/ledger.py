"""The claims ledger: what the paper says, what this study measured, and whether it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectralseg.files import replacing
from spectralseg.reporting import rendering
from spectralseg.reporting.claims import Claim, Comparison, read_claims
from spectralseg.reporting.measuring import Measurements
from spectralseg.reporting.published import SELECTION, read_published
from spectralseg.reporting.quantities import SHARES, quantity
from spectralseg.reporting.results import Results
from spectralseg.reporting.tables import LEAK_FREE
from spectralseg.statistics.bootstrap import Interval
from spectralseg.statistics.equivalence import equivalence
from spectralseg.statistics.pairing import pair

HOLDS, FAILS, UNCERTAIN, UNTESTED = VERDICTS = (
    "holds",
    "does not hold",
    "too uncertain to say",
    "cannot be tested with this data",
)
_COUNTS = ("hold", "fail", "uncertain", "untested")  # comparisons by verdict
COLUMNS = (
    *("id", "section", "claim", "published", "measured", "low", "high", "unit", "seeds", "cases", "comparisons"),
    *(*_COUNTS, "verdict", "reason", "verdict_leak_free", "verdict_published_protocol", "demonstration"),
)
CELL_COLUMNS = (
    *("id", "protocol", "direction", *SELECTION, "class", "metric"),
    *("reference_architecture", "reference_objective", "reference_lambda"),
    *("leak_free", "published", "measured", "low", "high", "seeds", "cases", "undefined", "verdict", "reason"),
    "demonstration",
)
# Protocol, and the parts with whose cases test cases must not match (see :mod:`spectralseg.reporting.tables`).
_READINGS = (("sound", ""), ("sound", LEAK_FREE), ("published", ""))
_UNKNOWN = Interval(*[float("nan")] * 3)


@dataclass(frozen=True)
class Judged:
    """One comparison of a claim under one protocol, in printed units.

    Attributes:
        published: the printed difference: that of the text, else that of the table; NaN where neither is printed.
        measured: mean paired difference with its 95 % interval; NaN without runs.
        seeds: number of seeds that both methods have.
        cases: number of cases.
        undefined: pairs of values without a difference.
        verdict: one of :data:`VERDICTS`.
        reason: why it is uncertain or untested; otherwise what the verdict rests on.
    """

    published: float
    measured: Interval
    seeds: int
    cases: int
    undefined: int
    verdict: str
    reason: str


@dataclass(frozen=True)
class Ledger:
    """All claims with their verdicts.

    Attributes:
        claims: one row per claim, columns :data:`COLUMNS`, by the ``sound`` protocol over all test cases;
            ``verdict_leak_free`` without those that match training or validation data. ``published``, ``measured`` and
            the limits are empty for claims of several comparisons; ``hold``, ``fail``, ``uncertain`` and ``untested``
            count these by verdict.
        cells: one row per comparison and reading: protocol, and ``leak_free`` as in the tables; columns
            :data:`CELL_COLUMNS`.
        page: the claims for reading.
    """

    claims: pd.DataFrame
    cells: pd.DataFrame
    page: rendering.Page

    def write(self, folder: Path | str) -> list[Path]:
        """Write ``claims.csv``, ``claims_cells.csv``, ``claims.md`` and ``claims.html`` and return their paths."""
        contents = {
            "claims.csv": self.claims.to_csv(index=False, lineterminator="\n"),
            "claims_cells.csv": self.cells.to_csv(index=False, lineterminator="\n"),
            "claims.md": rendering.markdown(self.page),
            "claims.html": rendering.html(self.page),
        }
        files = [Path(folder) / name for name in contents]
        for file, content in zip(files, contents.values(), strict=True):
            with replacing(file) as partial:
                partial.write_text(content, encoding="utf-8")
        return files


def build_ledger(results: Results, published: Path | str) -> Ledger:
    """Judge every claim of the paper by the records of a study.

    A claim that one method is better holds if the whole 95 % interval of the paired difference lies on its side, and
    does not if it lies on the other, or if it holds zero and the difference is shown to be smaller than what matters
    (two one-sided tests against the margin of the configuration; shares only). "No worse" and "similar" are meant up to
    that margin. Whether the difference has the printed size is no part of the verdict. With one seed the interval knows
    nothing of other seeds, so everything is uncertain. A claim of several comparisons holds if all of them do, or more
    than half where it says most.

    Args:
        results: the results folder.
        published: folder with ``claims.csv``, ``claims_cells.csv`` and the printed tables.

    Raises:
        InputError: a file is missing or malformed.
    """
    folder = Path(published)
    claims = read_claims(folder / "claims.csv")
    printed = _printed(sorted(folder.glob("table_*.csv")))
    sides = [side for claim in claims for one in claim.comparisons for side in (one.method, one.reference)]
    records = results.read(**{name: {side[name] for side in sides} for name in ("dataset", "test_dataset", "metric")})
    measurements = Measurements(records, results.leakage, results.baseline)
    judged = {
        (claim.id, *reading): [_judge(one, reading, measurements, printed, results.margin) for one in claim.comparisons]
        for claim in claims
        for reading in _READINGS
    }
    rows = [_row(claim, *(judged[claim.id, *reading] for reading in _READINGS)) for claim in claims]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).assign(demonstration=results.demonstration)
    cells = [
        {"id": claim.id, "protocol": reading[0], "leak_free": reading[1], "direction": one.direction, **one.method}
        | {f"reference_{name}": one.reference[name] for name in ("architecture", "objective", "lambda")}
        | {**vars(found), **found.measured._asdict(), "measured": found.measured.estimate}
        for claim in claims
        for reading in _READINGS
        for one, found in zip(claim.comparisons, judged[claim.id, *reading], strict=True)
    ]
    listed = pd.DataFrame(cells, columns=list(CELL_COLUMNS)).assign(demonstration=results.demonstration)
    return Ledger(table, listed, _page(table, results))


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
    margin: float,
) -> Judged:
    protocol, leak_free = reading
    sides = comparison.method, comparison.reference
    values = [printed.get(tuple(side[key] for key in (*SELECTION, "class", "metric")), np.nan) for side in sides]
    stated = comparison.difference
    published = values[0] - values[1] if stated is None else stated
    found = [measurements.values({**side, "protocol": protocol, "leak_free": leak_free}) for side in sides]
    if found[0] is None or found[1] is None:
        lacking = [
            "/".join(side[name] for name in ("dataset", "architecture", "objective", "lambda"))
            + f" ({', '.join(side[name] for name in ('suite', 'test_dataset', 'metric'))})"
            for side, value in zip(sides, found, strict=True)
            if value is None
        ]
        return Judged(published, _UNKNOWN, 0, 0, 0, UNTESTED, f"no records of {' and '.join(lacking)}")
    pairs = pair(found[0], found[1])
    rule = quantity(comparison.method["metric"])
    interval = pairs.interval()
    scaled = Interval(*(rule.factor * part for part in interval))
    counts = pairs.informative_seeds, len(pairs.cases), pairs.undefined
    if not np.isfinite(interval.estimate):
        return Judged(published, scaled, *counts, UNTESTED, "the two share no seed and case with a defined value")
    if pairs.informative_seeds < 2:
        return Judged(published, scaled, *counts, UNCERTAIN, "one seed says nothing about others")
    bounded = rule.unit == SHARES  # a margin in shares says nothing about distances
    same = bounded and equivalence(pairs.values, pairs.groups, margin=margin).equivalent
    better = 1 if rule.higher_is_better else -1
    sign = {"higher": 1, "lower": -1}.get(comparison.direction, better)
    low, high = sorted(sign * limit for limit in interval[1:])
    verdict, reason = _verdict(comparison.direction, low, high, same, margin if bounded else 0.0)
    return Judged(published, scaled, *counts, verdict, reason)


def _verdict(direction: str, low: float, high: float, same: bool, margin: float) -> tuple[str, str]:
    """Verdict and reason from the limits of a difference, turned so that what the claim says is positive."""
    if direction == "similar":
        if same:
            return HOLDS, "smaller than the margin"
        if low > margin or high < -margin:
            return FAILS, "larger than the margin"
        return UNCERTAIN, "the interval reaches beyond the margin"
    if direction == "no worse":
        if low >= -margin:
            return HOLDS, "not worse by more than the margin"
        if high < -margin:
            return FAILS, "worse by more than the margin"
        return UNCERTAIN, "the interval reaches beyond the margin"
    if low > 0:
        return HOLDS, "smaller than the margin, but beyond chance" if same else "beyond chance"
    if high < 0:
        return FAILS, "the opposite, beyond chance"
    if same:
        return FAILS, "no difference that matters"
    return UNCERTAIN, "the interval holds zero"


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
        "cases": min((one.cases for one in sound), default=0),
        "comparisons": len(sound),
        **{name: counts[verdict] for name, verdict in zip(_COUNTS, VERDICTS, strict=True)},
        "verdict": verdict,
        "reason": reason,
        "verdict_leak_free": _conclude(claim, leak_free)[0],
        "verdict_published_protocol": _conclude(claim, published)[0],
    }
    if len(sound) != 1:
        return row
    (only,), (comparison,) = sound, claim.comparisons
    rule = quantity(comparison.method["metric"])
    numbers = {"published": only.published, **only.measured._asdict(), "measured": only.measured.estimate}
    return row | numbers | {"unit": rule.unit}


def _conclude(claim: Claim, judged: Sequence[Judged]) -> tuple[str, str]:
    """The verdict on a claim from those on its comparisons, and why."""
    if not judged:
        return UNTESTED, claim.untestable
    if len(judged) == 1:
        return judged[0].verdict, judged[0].reason
    verdicts = [one.verdict for one in judged]
    counts = Counter(verdicts)
    told = ", ".join(f"{counts[name]} {'untested' if name == UNTESTED else name}" for name in VERDICTS if counts[name])
    reason = f"of {len(judged)} comparisons {told}; {claim.quantifier} must hold"
    if claim.holds([verdict == HOLDS for verdict in verdicts]):
        return HOLDS, reason
    if not claim.holds([verdict != FAILS for verdict in verdicts]):
        return FAILS, reason
    return (UNTESTED if counts[UNTESTED] else UNCERTAIN), reason


def _page(claims: pd.DataFrame, results: Results) -> rendering.Page:
    counts = claims["verdict"].value_counts()
    hold, fail, uncertain, untested = (counts.get(verdict, 0) for verdict in VERDICTS)
    told = f"{hold} hold, {fail} do not hold, {uncertain} are {UNCERTAIN}, {untested} {UNTESTED}"
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
                rendering.Entry(stamp + claim["verdict_leak_free"]),
                rendering.Entry(stamp + claim["verdict_published_protocol"]),
                rendering.Entry(claim["reason"]),
            ),
        )
        for claim in claims.to_dict("records")
    )
    headings = ("Published", "Measured", "Seeds", "Cases", "Verdict", "Leak-free", "Published protocol", "Why")
    return rendering.Page(
        name="claims",
        title="What the paper says, and whether it holds",
        warnings=(*results.banner, f"{len(claims)} claims: {told}."),
        row_headings=("Claim", "Section"),
        sections=(rendering.Section("", "", (rendering.Block("", ("",) * len(headings), headings, rows),)),),
        legend=(
            "Measured: mean difference for the same seeds and cases with its 95 % interval over seeds and patients, by "
            "the sound protocol. A direction holds if the whole interval is on its side; it does not if it is on the "
            "other, or if it holds zero and the difference is shown to be smaller than "
            f"{100 * results.margin:g} pp. Whether it has the printed size is no part of the verdict. Leak-free: "
            "without test cases that match training or validation data."
        ),
        notes=(
            "Intervals are not adjusted for their number: of 40 claims without any truth about one has an interval "
            "that lies on its side by chance.",
            "Claims of several comparisons are listed one by one in claims_cells.csv.",
        ),
    )


def _number(value: float, unit: str, low: float = np.nan, high: float = np.nan) -> str:
    """``+0.82 pp [−1.23, +2.87]``."""
    if not np.isfinite(value):
        return ""
    interval = f" [{rendering.signed(low)}, {rendering.signed(high)}]" if np.isfinite(low) else ""
    return f"{rendering.signed(value)} {unit}".rstrip() + interval
