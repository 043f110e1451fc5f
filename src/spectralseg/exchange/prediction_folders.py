"""Folders of predictions: the method and the seed of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from spectralseg.errors import InputError
from spectralseg.exchange.case_groups import compiled
from spectralseg.exchange.label_files import IMAGE_ENDINGS, VOLUME_ENDINGS
from spectralseg.files import visible

SEED_PATTERN = r"^seed[_-]?([0-9]+)$"
_LONGEST_SEED = 18  # digits


class PredictionFolder(NamedTuple):
    """A folder of label files, one per case.

    Attributes:
        method: name of the method.
        seed: of its training.
        path: the folder.
        ignored: entries beside the folder, in a folder of seeds, that are no folder of a seed.
    """

    method: str
    seed: int
    path: Path
    ignored: tuple[Path, ...] = ()

    @property
    def label(self) -> str:
        """Method and seed, for messages."""
        return f"{self.method}, seed {self.seed}"


def prediction_folders(
    folders: Sequence[Path], names: Sequence[str] = (), pattern: str | None = None, seed: int = 0
) -> list[PredictionFolder]:
    """The method and seed of each folder of predictions.

    The name of a folder that matches the pattern has the seed, and the rest of the name is the method, or the name of
    the folder above if nothing is left: ``unet/seed1`` is seed 1 of ``unet``. A folder that holds such folders stands
    for all of them. The name of any other folder is the method.

    Args:
        folders: folders of predictions.
        names: of the methods, one per folder; replaces those from names of folders.
        pattern: regular expression with one group in parentheses, the digits of the seed; default
            :data:`SEED_PATTERN`.
        seed: of folders whose name has none.

    Raises:
        InputError: a folder does not exist or has both files and seeds, the pattern is not valid, the names are not one
            per folder, or a method and seed appear twice.
    """
    if names and len(names) != len(folders):
        raise InputError(f"--method: {len(names)} names for {len(folders)} folders of predictions; give one for each")
    seeds = compiled("--seed-pattern", pattern or SEED_PATTERN, r"'_s([0-9]+)$' for folders such as unet_s0")
    selected: dict[tuple[str, int], PredictionFolder] = {}
    for number, folder in enumerate(folders):
        for entry in _expanded(folder, seeds, names[number] if names else None, seed):
            other = selected.setdefault((entry.method, entry.seed), entry)
            if other is not entry:
                raise InputError(
                    f"{entry.path}: is method '{entry.method}' with seed {entry.seed}, as {other.path} is; rename a "
                    "folder, or give names with --method"
                )
    return list(selected.values())


def _expanded(folder: Path, seeds: re.Pattern[str], name: str | None, seed: int) -> Iterator[PredictionFolder]:
    if not folder.is_dir():
        raise InputError(f"{folder}: the folder does not exist; give the folder of the predictions")
    entries = visible(folder.iterdir())
    inner = [entry for entry in entries if entry.is_dir() and seeds.search(entry.name)]
    others = tuple(entry for entry in entries if entry not in inner)
    files = [entry for entry in others if entry.name.lower().endswith((*VOLUME_ENDINGS, *IMAGE_ENDINGS))]
    if inner and files:
        raise InputError(
            f"{folder}: holds both label files, such as {files[0].name}, and folders of seeds, such as "
            f"{inner[0].name}; move the files or the folders"
        )
    for path in inner or [folder]:
        method, number = _method(path.resolve(), seeds)
        yield PredictionFolder(name or method, seed if number is None else number, path, others if inner else ())


def _method(folder: Path, seeds: re.Pattern[str]) -> tuple[str, int | None]:
    """Method and seed in the name of a folder; no seed if the name does not match."""
    match = seeds.search(folder.name)
    if match is None:
        return folder.name, None
    digits = match[1] or ""
    if not digits.isdecimal() or len(digits) > _LONGEST_SEED:
        raise InputError(f"{folder}: --seed-pattern finds the seed '{digits[:40]}' in the name; match its digits only")
    rest = (folder.name[: match.start()] + folder.name[match.end() :]).strip("_-. ")
    return rest or folder.parent.name, int(digits)
