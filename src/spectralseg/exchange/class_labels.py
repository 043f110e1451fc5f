"""Classes of label files: the value that stands for each class, and its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spectralseg.data.specification import RESERVED_CLASSES
from spectralseg.errors import InputError
from spectralseg.parsing import read_json

BINARY = "foreground"  # name of the class of masks whose classes are not named
_MOST = 255
_LARGEST = 2**31 - 1
_LABEL = re.compile(r"([0-9]{1,10})=(.*)", re.DOTALL)
_EXAMPLE = 'give labels such as "1=left ventricle" or 255=polyp'


class ClassLabels(NamedTuple):
    """The classes of label files, besides the background 0.

    Attributes:
        values: of each class in the files, ascending.
        names: of the classes, in the same order.
    """

    values: tuple[int, ...]
    names: tuple[str, ...]


def parse_labels(texts: Sequence[str]) -> ClassLabels:
    """Classes from texts ``VALUE=NAME``.

    Raises:
        InputError: a text is not valid, or a value or name is repeated.
    """
    pairs = []
    for text in texts:
        match = _LABEL.fullmatch(text)
        if match is None:
            raise InputError(f"--labels '{text[:80]}': is not a value and a name; {_EXAMPLE}")
        pairs.append((match[2].strip(), int(match[1])))
    return _checked("--labels", pairs)


def read_nnunet_labels(file: Path) -> ClassLabels:
    """Classes of the file ``dataset.json`` of nnU-Net, version 1 or 2.

    Raises:
        InputError: the file is not valid, or has regions or a label of pixels to ignore.
    """
    content = read_json(file, remedy="give the classes with --labels")
    labels = content.get("labels") if isinstance(content, Mapping) else None
    if not isinstance(labels, Mapping) or not labels:
        raise InputError(f"{file}: has no 'labels'; give the classes with --labels")
    pairs = [_pair(file, str(key), value) for key, value in labels.items()]
    if any(name.casefold() == "ignore" for name, _ in pairs):
        raise InputError(
            f"{file}: has the label 'ignore', whose pixels nnU-Net does not score, which is not supported; score label "
            "files without it, and give their classes with --labels"
        )
    return _checked(str(file), [(name, value) for name, value in pairs if name.casefold() != "background"])


def _pair(file: Path, key: str, value: Any) -> tuple[str, int]:
    """Name and value of a label: version 1 of nnU-Net maps values to names, version 2 names to values."""
    if isinstance(value, list):
        raise InputError(
            f"{file}: '{key}' is a region of several labels, which is not supported; give the single labels with "
            "--labels, which are then scored without regions"
        )
    if isinstance(value, str) and key.isdecimal():
        key, value = value, int(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{file}: the label of '{key}' is not a whole number; give the classes with --labels")
    return key, value


def _checked(source: str, pairs: Iterable[tuple[str, int]]) -> ClassLabels:
    ordered = sorted(pairs, key=lambda pair: pair[1])
    names, values = [name for name, _ in ordered], [value for _, value in ordered]
    for name, value in ordered:
        if not 0 < value <= _LARGEST:
            raise InputError(f"{source}: '{name}' has the label {value}; give one above 0, which is the background")
        if not name or name.casefold() in RESERVED_CLASSES:
            raise InputError(f"{source}: label {value} has the name '{name}', which is reserved; give another name")
        if values.count(value) > 1 or [other.casefold() for other in names].count(name.casefold()) > 1:
            raise InputError(f"{source}: the label {value} or the name '{name}' is given twice; give each class once")
    if not 0 < len(ordered) <= _MOST:
        raise InputError(f"{source}: has {len(ordered)} classes besides the background; give from 1 to {_MOST}")
    return ClassLabels(tuple(values), tuple(names))
