"""What a reader hands over: cases that can be listed cheaply and loaded one at a time."""

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

TEMPORARY = ".unpacked."  # starts the names of folders that exist only while archives are read
_DEEPEST_LAYOUT = 4  # folders above one another in the official layouts
_MOST_ENTRIES = 1_000_000  # files and folders, each as often as links lead to it
_CLUTTER = ("__MACOSX", ".DS_Store", "Thumbs.db")


@dataclass(frozen=True)
class Sample:
    """The arrays of one case in native geometry.

    Attributes:
        image: ``(H, W)``, ``(H, W, 3)`` or ``(D, H, W)`` in native intensities.
        labels: uint8, ``(H, W)`` or ``(D, H, W)``; 0 is background, 1..K the classes of the specification.
        spacing: millimetres per axis in array order, or None where the file format records none (then
            distances are in pixels).
        remarks: short phrases on what is legal but should be seen, e.g. a tag that was not obeyed.
        reduction: the image, never the labels, has 1/reduction of its native sides, rounded up; see
            :attr:`Case.load_reduced`.
        geometry: of a volume, the voxel grid of its label file and how ``labels`` lies on it; None for images.
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
        group: what must never straddle two splits: the patient where known, else the case itself.
        load: reads the arrays; called once, when the case is prepared.
        attributes: what split rules and per-group tables use (fold, centre, frame ...), as strings.
        image: the file that holds the image, by whose bytes the leakage audit knows it again; None where it has none.
        defect: why the case cannot be used, which is recorded; empty where it can.
        load_reduced: as ``load``, but faster: an image is decoded at a half, a quarter or an eighth of its size as long
            as no side falls below the number of pixels given; None where the file format has no such short cut.
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

    Names are compared in Unicode's composed form (NFC): some systems store decomposed characters (NFD).
    Archive clutter (``__MACOSX``, AppleDouble ``._*``) is never returned. Links to folders are followed, as users link
    what they already have, but not back into a folder that the link lies in.

    Args:
        root: folder in which to look.
        pattern: as :class:`spectralseg.data.patterns.PathPattern`; text stands for its ``wildcards``.

    Raises:
        InputError: a folder may not be listed, has the name of a file, or holds too many entries.
    """
    return [path for path, _ in match_files(root, wildcards(pattern) if isinstance(pattern, str) else pattern)]


def match_files(root: Path, pattern: PathPattern) -> list[tuple[Path, dict[str, str]]]:
    """As :func:`find_files`, with what the pattern captures of each path."""
    listed: list[tuple[Path, bool]] = []
    above: dict[str, frozenset[str]] = {os.fspath(root): frozenset()}  # real paths of the folders on the way
    for folder, below, names in os.walk(root, followlinks=True, onerror=_refuse_to_skip):
        real, way = os.path.realpath(folder), above.pop(folder)
        if real in way:
            below.clear()
            continue
        above.update((os.path.join(folder, name), way | {real}) for name in below)
        if len(listed) + len(names) + len(below) > _MOST_ENTRIES:
            raise InputError(f"{root}: holds more than {_MOST_ENTRIES} files and folders; give the dataset alone")
        for number, name in enumerate([*names, *below]):
            path = Path(folder, name)
            if not name.startswith("._") and all(part not in _CLUTTER for part in path.relative_to(root).parts):
                listed.append((path, number < len(names)))
    found = []
    captures = pattern.captures([path.relative_to(root).as_posix() for path, _ in listed])
    for (path, is_file), captured in zip(listed, captures, strict=True):
        if captured is None:
            continue
        if is_file:
            found.append((path, captured))
        elif path.suffix:
            raise InputError(f"{path}: is a folder where a file is due; remove it or restore the file")
    return sorted(found, key=lambda one: one[0])


def _refuse_to_skip(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be listed: {explained(error)}")


def require_files(root: Path, pattern: str) -> list[Path]:
    """As :func:`find_files`, but an empty result is an :class:`InputError` that names the pattern."""
    found = find_files(root, pattern)
    if not found:
        raise InputError(f"{root}: no file matches '{pattern}'; {layout_remedy(root, pattern)}")
    return found


def layout_remedy(root: Path, *patterns: str | PathPattern) -> str:
    """What to do where a reader finds nothing: add what is missing, or give the folder above ``root``.

    The folder above is named where ``root`` lies within the official layout, and was not made for the time of reading.

    Args:
        root: folder in which nothing was found.
        patterns: as of :func:`find_files`.
    """
    compiled = [wildcards(pattern) if isinstance(pattern, str) else pattern for pattern in patterns]
    below = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]

    def any_matches(names: Sequence[str]) -> bool:
        return any(captured is not None for pattern in compiled for captured in pattern.captures(names))

    if any_matches(below):
        return "it holds only a part of the official layout: put the other files beside it, and give what holds all"
    outer = root.resolve()
    inner = ""
    if outer.name.startswith(TEMPORARY):
        return "give the dataset in its official layout"
    for _ in range(_DEEPEST_LAYOUT):
        inner, outer = f"{composed(outer.name)}/{inner}", outer.parent
        if any_matches([inner + name for name in below]):
            return f"it is the part '{inner[:-1]}' of the official layout: give the folder that holds it, {outer}"
    return "give the dataset in its official layout"
