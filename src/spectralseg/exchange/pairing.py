"""Which file is the prediction of which case, by their names: equal but for Unicode form, upper and lower case, the
ending, or something that all names have in addition, such as ``_pred``.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from spectralseg.errors import InputError

_Added = tuple[str, str]  # what stands before and after the id


class Pairing(NamedTuple):
    """The files of a folder.

    Attributes:
        files: the file of each case that has one.
        strangers: files with an ending of predictions whose names fit no case.
        others: files with other endings, and folders; hidden files are in no list.
        added: what names of files have before and after the id; two empty texts where they have nothing.
    """

    files: dict[str, Path]
    strangers: list[Path]
    others: list[Path]
    added: _Added


def pair(folder: Path, cases: Sequence[str], endings: Sequence[str]) -> Pairing:
    """Pair the files of a folder with cases.

    An equal name comes before one in another Unicode form, and that before one that differs in upper and lower case.
    Names that are left are paired if all of them have the same text before and after an id, as in ``mask-12_pred.png``,
    that a character such as ``_`` separates from it.

    Args:
        folder: what holds the files; folders in it are not searched.
        cases: ids of all cases that a file may belong to.
        endings: how names of predictions end, in lower case; upper case is the same.

    Raises:
        InputError: two files fit one case.
    """
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    stems = {path: stem for path in entries if (stem := _stem(path.name, endings))}
    files: dict[str, Path] = {}
    forms: tuple[Callable[[str], str], ...] = (str, _composed, _folded)
    for form in forms:
        ids = _by_form(cases, form)
        for path in [path for path in stems if path not in files.values()]:
            _claim(files, ids.get(form(stems[path])), path)
    left = [path for path in stems if path not in files.values()]
    additions = _additions({path: _folded(stems[path]) for path in left}, _by_form(cases, _folded))
    complete = [(added, of) for added, of in additions.items() if len(of) == len(left) and _clear(added, of)]
    added: _Added = ("", "")
    if len(complete) == 1:
        added, named = complete[0]
        left = []
    else:  # two files of one case explain best why some cannot be paired
        named = {path: case for of in additions.values() for path, case in of.items()}
    claimed = dict(files)
    for path, case in named.items():
        _claim(claimed, case, path)
    others = [path for path in entries if path not in stems]
    return Pairing(claimed if len(complete) == 1 else files, left, others, added)


def _stem(name: str, endings: Sequence[str]) -> str:
    """A name without its ending; empty where it has none of these."""
    fitting = [ending for ending in endings if name.lower().endswith(ending)]
    return name[: -max(map(len, fitting))] if fitting else ""


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _folded(text: str) -> str:
    return _composed(_composed(text).casefold())


def _by_form(cases: Sequence[str], form: Callable[[str], str]) -> dict[str, str]:
    """Each case by a form of its id, without those that share it with another."""
    sharing = defaultdict(list)
    for case in cases:
        sharing[form(case)].append(case)
    return {key: found[0] for key, found in sharing.items() if len(found) == 1}


def _claim(files: dict[str, Path], case: str | None, path: Path) -> None:
    if case is not None and files.setdefault(case, path) != path:
        raise InputError(f"{path}: fits case '{case}' as {files[case].name} does; keep one of the two files")


def _additions(stems: Mapping[Path, str], ids: Mapping[str, str]) -> dict[_Added, dict[Path, str]]:
    """The files that an addition explains, with their cases, for every addition."""
    found: dict[_Added, dict[Path, str]] = defaultdict(dict)
    for path, stem in stems.items():
        for key, case in ids.items():
            for added in _around(stem, key):
                found[added][path] = case
    return found


def _around(stem: str, key: str) -> Iterator[_Added]:
    """What stands before and after each place of an id in a name, where a character that is no letter parts them."""
    place = stem.find(key)
    while place >= 0:
        before, after = stem[:place], stem[place + len(key) :]
        if not before[-1:].isalnum() and not after[:1].isalnum():
            yield before, after
        place = stem.find(key, place + 1)


def _clear(added: _Added, of: Mapping[Path, str]) -> bool:
    """Whether an addition is one: a number alone, as in ``12_3.png``, may make another id where it is there once."""
    return len(of) > 1 or any(character.isalpha() for character in "".join(added))
