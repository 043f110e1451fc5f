"""The baseline of comparisons: which records it has, and what has no partner in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from spectralseg.errors import InputError
from spectralseg.registry import suggest

CONDITION = ["dataset", "architecture", "suite", "test_dataset", "corruption", "severity", "protocol", "metric"]
METHOD = ["objective", "lambda"]
KEYS = [*CONDITION, *METHOD]


class Baseline(NamedTuple):
    """The method that others are compared with.

    Attributes:
        name: as given.
        keys: columns of the records and their values that select it.
        varied: columns in which a compared method may differ from the baseline; all others agree.
    """

    name: str
    keys: Mapping[str, str]
    varied: tuple[str, ...]

    @classmethod
    def of(cls, name: str, records: pd.DataFrame, where: str) -> Baseline:
        """The baseline of a name: an objective, an architecture, or ``architecture/objective``.

        An objective is compared with others in the same architecture, an architecture with others that have the same
        objective and λ, and a method of both names with all other methods.

        Raises:
            InputError: no record has the name, or it is that of an objective and of an architecture.
        """
        names = {key: sorted(set(records[key].astype("str"))) for key in ("objective", "architecture")}
        as_objective, as_architecture = name in names["objective"], name in names["architecture"]
        if as_objective and as_architecture:
            raise InputError(
                f"{where}: '{name}' is both an objective and an architecture; give the baseline as "
                "architecture/objective"
            )
        if as_objective:
            return cls(name, {"objective": name}, ("objective", "lambda"))
        if as_architecture:
            return cls(name, {"architecture": name}, ("architecture",))
        pairs = records[["architecture", "objective"]].astype("str").drop_duplicates()
        for architecture, objective in pairs.to_numpy():
            if name == f"{architecture}/{objective}":
                keys = {"architecture": architecture, "objective": objective}
                return cls(name, keys, ("architecture", "objective", "lambda"))
        raise InputError(
            f"{where}: there are no records of the baseline objective '{name}'; "
            f"{suggest(name, [*names['objective'], *names['architecture']])}, or add its runs"
        )

    def selects(self, records: pd.DataFrame) -> pd.Series:
        """Whether each record is of the baseline."""
        mask = pd.Series(True, index=records.index)
        for column, value in self.keys.items():
            mask &= records[column] == value
        return mask

    @property
    def condition(self) -> list[str]:
        """Columns in which a method and the baseline agree."""
        return [key for key in KEYS if key not in self.varied]


def unpaired(reference: pd.DataFrame, others: pd.DataFrame, baseline: Baseline) -> Iterator[str]:
    """One sentence for each method and test condition with seeds or cases that have no partner."""
    condition = [key for key in baseline.condition if key not in ("protocol", "metric")]
    partners: dict[Any, pd.DataFrame] = dict(iter(reference.groupby(condition, observed=True)))
    for cell, part in others.groupby([*condition, *baseline.varied], observed=True):
        keys = dict(zip([*condition, *baseline.varied], map(str, cell), strict=True))
        method = f"{keys['architecture']}/{keys['objective']}"
        method += f" (λ {keys['lambda']})" if keys["lambda"] != "0" else ""
        corrupted = "" if keys["corruption"] == "none" else f", {keys['corruption']} {keys['severity']}"
        where = f"{method} on {keys['test_dataset']}{corrupted}"
        partner = partners.get(cell[: len(condition)])
        if partner is None:
            yield f"{where}: not compared, as {baseline.name} has no records under the same keys"
            continue
        for name, column in (("seeds", "seed"), ("cases", "case")):
            sides = [set(side[column].astype("str")) for side in (part, partner)]
            for owner, without in ((method, sides[0] - sides[1]), (baseline.name, sides[1] - sides[0])):
                if without:
                    yield f"{where}: {len(without)} {name} of {owner} without a partner ({_some(without)})"


def _some(names: Collection[str], most: int = 5) -> str:
    ordered = sorted(names, key=lambda name: (len(name), name))
    return ", ".join(ordered[:most]) + (", …" if len(ordered) > most else "")
