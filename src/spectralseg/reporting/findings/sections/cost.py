"""The section on time, memory, versions and checksums."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from spectralseg.reporting.findings.cells import cell_labels, number_text
from spectralseg.reporting.findings.numbers import CELL, Numbers
from spectralseg.reporting.labels import dataset_label
from spectralseg.reporting.rendering import counted, listed
from spectralseg.reporting.rendering.markdown import pipe_table


def cost_section(numbers: Numbers, link: str) -> Iterator[str]:
    """Time, memory, versions and checksums."""
    runs, evaluated = numbers.table("runs"), numbers.evaluated
    if evaluated.empty:
        return
    hours = [f"{_hours(evaluated[name])} of {name}" for name in ("training", "evaluation")]
    hardware = evaluated[["device", "threads"]].drop_duplicates().itertuples(index=False, name=None)
    devices = listed([text for device, threads in hardware if (text := _device(device, threads))])
    where = f" on {devices}" if devices else ""
    without = ", without the runs of the tuning" if len(numbers.table("tuning")) else ""
    yield f"{counted(len(evaluated), 'evaluated run')} took {listed(hours)}{where}{without}."
    costs = evaluated.groupby(CELL, sort=False)[["training", "evaluation", "resident"]].mean().reset_index()
    lines = [
        (
            *cell_labels(row),
            *(number_text(row[name] / 60, 1, 1) for name in ("training", "evaluation")),
            number_text(row["resident"], 1, 0),
        )
        for row in costs.to_dict("records")
    ]
    yield pipe_table((*CELL, "training, min", "evaluation, min", "memory, MiB"), lines)
    versions = list(runs.columns)[list(runs.columns).index("weights_sha256") + 1 :]
    known = {name: evaluated[name].dropna().unique() for name in (*versions, "commit")}
    commits = [str(commit) for commit in known.pop("commit")]
    phrases = [", ".join(f"{name} {'/'.join(map(str, values))}" for name, values in known.items() if len(values))]
    if commits:
        changed = " (+: with uncommitted changes)" if any(commit.endswith("+") for commit in commits) else ""
        phrases.append(f"{counted(len(commits), 'commit')} of SpectralSeg: {', '.join(commits)}{changed}")
    if any(phrases):
        yield f"Versions: {'; '.join(filter(None, phrases))}."
    digests = [
        (dataset_label(row["dataset"]), *(str(row[f"{array}_sha256"])[:16] for array in ("images", "masks")))
        for row in numbers.table("datasets").to_dict("records")
    ]
    yield "First 16 characters of the SHA-256 checksums of the prepared data; the files hold all:"
    yield pipe_table(("dataset", "images", "masks"), digests)
    yield from numbers.notes("obstacles.md")


def _hours(seconds: pd.Series[float]) -> str:
    """The sum in hours, and of how many runs if not of all."""
    known = seconds.notna()
    if not known.any():
        return "an unknown time"
    return f"{seconds.sum() / 3600:.1f} hours" + ("" if known.all() else f" ({known.sum()} runs measured)")


def _device(name: object, threads: float) -> str:
    known = [name] if isinstance(name, str) else []
    return " with ".join([*known, *([counted(int(threads), "thread")] if threads == threads else [])])
