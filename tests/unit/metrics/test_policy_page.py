"""docs/metrics-policy.md agrees with the code."""

import re

import pytest

from spectralseg.evaluation.score import TOLERANCE
from spectralseg.metrics import calibration, policy

SITUATIONS = {
    "missed": "missed (prediction empty)",
    "spurious": "spurious (reference empty)",
    "absent": "absent (both empty)",
}
WORDS = {"diagonal": "image diagonal"}
# Entries with a perfect score for an error.
TRAPS = {("published", metric, "spurious"): 1.0 for metric in ("dsc", "iou")}
TRAPS |= {("published", "hd95", case): 0.0 for case in ("missed", "spurious")}


@pytest.fixture(scope="module")
def page(repository):
    return (repository / "docs" / "metrics-policy.md").read_text(encoding="utf-8")


def table(protocol):
    lines = [[f"`{protocol}`", *SITUATIONS.values()], ["---"] * 4]
    for metric, row in policy.POLICY[protocol].items():
        cells = []
        for case in SITUATIONS:
            text = WORDS.get(row[case], row[case]) if isinstance(row[case], str) else f"{row[case]:g}"
            cells.append(f"**{text}**" if TRAPS.get((protocol, metric, case)) == row[case] else text)
        lines.append([f"`{metric}`", *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@pytest.mark.parametrize("protocol", policy.PROTOCOLS)
def test_tables_match_the_code(page, protocol):
    assert f"\n\n{table(protocol)}\n\n" in page


def test_every_metric_is_explained(page):
    rows = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    assert {metric for rows in policy.POLICY.values() for metric in rows} <= rows
    assert {"ece", "mce", "ace", "brier", "nll"} <= rows


def test_numbers_match_the_code(page):
    assert f"within {TOLERANCE:g} mm, or {TOLERANCE:g} pixels" in page
    assert f"{calibration.BINS} bins of equal width" in page
    assert f"at least {100 * calibration.LEAST_SHARE:g} % of the pixels" in page
    assert f"in {calibration.CELLS:,} cells".replace(",", " ") in page
    assert calibration.LEAST_PROBABILITY == 2**-24
    assert "counts as 2^-24 at least" in page
