"""Groups of cases, such as patients, from a regular expression or a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from spectralseg.errors import InputError
from spectralseg.loading import read_csv


def groups_of(cases: Sequence[str], rule: str | None) -> dict[str, str]:
    """The group of each case.

    Args:
        cases: ids of the cases.
        rule: a CSV file with the columns ``case`` and ``group``, or a regular expression with one group in parentheses
            that occurs in every id; None makes every case its own group.

    Raises:
        InputError: the rule is not valid, or gives a case no group or two.
    """
    if rule is None:
        return {case: case for case in cases}
    if rule.lower().endswith(".csv"):
        return _from_table(cases, Path(rule))
    pattern = compiled("--groups", rule, "'^(patient[0-9]+)'")
    groups = {case: match[1] for case in cases if (match := pattern.search(case)) and match[1]}
    missing = [case for case in cases if case not in groups]
    if missing:
        raise InputError(
            f"--groups '{rule}': {len(missing)} of {len(cases)} cases do not match, the first is '{missing[0]}'; "
            "correct the expression, or give a CSV file with the columns case and group"
        )
    return groups


def compiled(option: str, text: str, example: str) -> re.Pattern[str]:
    """A regular expression with one group in parentheses.

    Raises:
        InputError: it is not valid or has another number of groups; ``option`` and ``example`` are for the message.
    """
    try:
        pattern = re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(f"{option} '{text[:80]}': is not a regular expression ({error}); give {example}") from None
    if pattern.groups != 1:
        raise InputError(
            f"{option} '{text[:80]}': has {pattern.groups} groups in parentheses instead of 1; give {example}"
        )
    return pattern


def _from_table(cases: Sequence[str], file: Path) -> dict[str, str]:
    table = read_csv(file, "a table of groups", "give the columns case and group", ["case", "group"])
    groups = table.drop_duplicates(["case", "group"])
    repeated = groups[groups["case"].duplicated()]
    if len(repeated):
        raise InputError(f"{file}: case '{repeated['case'].iloc[0]}' has several groups; give it one")
    by_case = dict(zip(groups["case"], groups["group"], strict=True))
    missing = [case for case in cases if not by_case.get(case)]
    if missing:
        raise InputError(
            f"{file}: {len(missing)} of {len(cases)} cases have no group, the first is '{missing[0]}'; add them"
        )
    return {case: by_case[case] for case in cases}
