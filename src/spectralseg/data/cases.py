"""Cases that readers return: cheap to list, loaded one at a time; and functions that find their files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectralseg.data.geometry import Geometry
from spectralseg.data.patterns import PathPattern, composed, wildcards
from spectralseg.errors import InputError, explained

TEMPORARY = ".unpacked."  # prefix of temporary folders of unpacked archives
OTHER_LAYOUT = (
    "give the dataset in its official layout; for files of your own, 'spectralseg new-dataset' writes a dataset file "
    "with the reader paired_images, paired_volumes or nnunet_raw"
)
_DEEPEST_LAYOUT = 4  # nested folders in official layouts
_MOST_ENTRIES = 1_000_000  # files and folders, counted once per link
_CLUTTER = ("__MACOSX", ".DS_Store", "Thumbs.db")


@dataclass(frozen=True)
class Sample:
    """The arrays of one case in native geometry.

    Attributes:
        image: ``(H, W)``, ``(H, W, 3)`` or ``(D, H, W)`` in native intensities.
        labels: uint8, ``(H, W)`` or ``(D, H, W)``; 0 is background, 1..K the classes of the specification.
        spacing: millimetres per axis in array order; None if the file format has no spacing (distances are then in
            pixels).
        remarks: short phrases on valid but unusual properties, such as an ignored tag.
        reduction: factor by which the sides of the image (never of the labels) were reduced, rounding up; see
            :attr:`Case.load_reduced`.
        geometry: of a volume, the voxel grid of its label file and the position of ``labels`` on it; None for images.
    """

    image: NDArray[Any]
    labels: NDArray[np.uint8]
    spacing: tuple[float, ...] | None = None
    remarks: tuple[str, ...] = ()
    reduction: int = 1
    geometry: Geometry | None = None


@dataclass(frozen=True)
class Case:
    """One case of a raw dataset.

    Attributes:
        id: unique within the dataset and stable across machines.
        group: unit that must not be split between parts: the patient if known, else the case itself.
        load: reads the arrays; called once, when the case is prepared.
        attributes: strings for split rules and per-group tables (fold, centre, frame ...).
        image: image file, whose checksum the leakage audit compares; None without one.
        defect: why the case cannot be used, which is recorded; empty if it can.
        load_reduced: as ``load``, but decodes the image at 1/2, 1/4 or 1/8 of its size, with at least the given number
            of pixels per side; None if the file format does not support it.
    """

    id: str
    group: str
    load: Callable[[], Sample]
    attributes: Mapping[str, str] = field(default_factory=dict)
    image: Path | None = None
    defect: str = ""
    load_reduced: Callable[[int], Sample] | None = None


def find_files(root: Path, pattern: str | PathPattern) -> list[Path]:
    """Files below ``root`` whose path relative to it matches ``pattern``, sorted.

    Names are compared in Unicode's composed form (NFC), as some systems store decomposed characters (NFD). Archive
    clutter (``__MACOSX``, AppleDouble ``._*``) is ignored. Links to folders are followed, except into a parent folder.

    Args:
        root: folder to search.
        pattern: a :class:`spectralseg.data.patterns.PathPattern`, or text with wildcards.

    Raises:
        InputError: a folder cannot be listed, matches in place of a file, or has too many entries.
    """
    return [path for path, _ in match_files(root, wildcards(pattern) if isinstance(pattern, str) else pattern)]


def match_files(root: Path, pattern: PathPattern) -> list[tuple[Path, dict[str, str]]]:
    """As :func:`find_files`, with the values of the named groups of the pattern for each path."""
    entries = _entries(root)
    matches = []
    captures = pattern.captures([path.relative_to(root).as_posix() for path, _ in entries])
    for (path, is_file), captured in zip(entries, captures, strict=True):
        if captured is None:
            continue
        if is_file:
            matches.append((path, captured))
        elif path.suffix:
            raise InputError(f"{path}: is a folder instead of a file; remove it or restore the file")
    return sorted(matches, key=lambda match: match[0])


def all_files(root: Path) -> list[Path]:
    """All files below ``root``, sorted; archive clutter is ignored, and links are followed as by :func:`find_files`."""
    return sorted(path for path, is_file in _entries(root) if is_file)


def _entries(root: Path) -> list[tuple[Path, bool]]:
    """Files and folders below ``root``, and whether each is a file."""
    entries: list[tuple[Path, bool]] = []
    parents: dict[str, frozenset[str]] = {os.fspath(root): frozenset()}  # real paths of the parents of each folder
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=_refuse_to_skip):
        real, real_parents = os.path.realpath(folder), parents.pop(folder)
        if real in real_parents:
            subfolders.clear()
            continue
        parents.update((os.path.join(folder, name), real_parents | {real}) for name in subfolders)
        if len(entries) + len(names) + len(subfolders) > _MOST_ENTRIES:
            raise InputError(f"{root}: holds more than {_MOST_ENTRIES} files and folders; give the dataset alone")
        for number, name in enumerate([*names, *subfolders]):
            path = Path(folder, name)
            if not name.startswith("._") and all(part not in _CLUTTER for part in path.relative_to(root).parts):
                entries.append((path, number < len(names)))
    return entries


def _refuse_to_skip(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be listed: {explained(error)}")


def require_files(root: Path, pattern: str) -> list[Path]:
    """As :func:`find_files`; an empty result is an :class:`InputError` that names the pattern."""
    paths = find_files(root, pattern)
    if not paths:
        raise InputError(f"{root}: no file matches '{pattern}'; {layout_remedy(root, pattern)}")
    return paths


def layout_remedy(root: Path, *patterns: str | PathPattern) -> str:
    """Advice for an error message if no files match: add the missing files, or give a parent folder of ``root``.

    The parent folder is named if ``root`` lies within the official layout and is not temporary.

    Args:
        root: folder without matches.
        patterns: as for :func:`find_files`.
    """
    compiled = [wildcards(pattern) if isinstance(pattern, str) else pattern for pattern in patterns]
    names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]

    def any_matches(paths: Sequence[str]) -> bool:
        return any(captured is not None for pattern in compiled for captured in pattern.captures(paths))

    if any_matches(names):
        return "it has only a part of the official layout: add the other files, and give the folder that holds all"
    outer = root.resolve()
    inner = ""
    if outer.name.startswith(TEMPORARY):
        return OTHER_LAYOUT
    for _ in range(_DEEPEST_LAYOUT):
        inner, outer = f"{composed(outer.name)}/{inner}", outer.parent
        if any_matches([inner + name for name in names]):
            return f"it is the part '{inner[:-1]}' of the official layout: give the folder that holds it, {outer}"
    return OTHER_LAYOUT
