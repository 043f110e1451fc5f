"""Match prediction files to cases by name.

Names may differ in Unicode form, case and suffix, and in a text that all of them have in addition, such as ``_pred``.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from spectralseg.errors import InputError

_Affixes = tuple[str, str]  # text before and after the id in the name of a file


class Pairing(NamedTuple):
    """The files of a folder.

    Attributes:
        files: the file of each case that has one.
        unmatched: files with a suffix of predictions that match no case.
        others: files with other suffixes, and folders; hidden files are ignored.
        affixes: text before and after the id in the names of files; two empty strings if there is none.
    """

    files: dict[str, Path]
    unmatched: list[Path]
    others: list[Path]
    affixes: _Affixes


def pair(folder: Path, cases: Sequence[str], endings: Sequence[str]) -> Pairing:
    """Match the files of a folder to cases.

    An exact match takes precedence over one that differs in Unicode form, and that over one that differs in upper and
    lower case. The remaining files are matched if all of them have the same text before and after an id, separated by a
    character such as ``_``, as in ``mask-12_pred.png``.

    Args:
        folder: folder of the files; subfolders are not searched.
        cases: ids of all cases.
        endings: suffixes of predictions, in lower case; upper case is accepted too.

    Raises:
        InputError: two files match one case.
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
    candidates = _candidates({path: _folded(stems[path]) for path in left}, _by_form(cases, _folded))
    complete = [
        (affixes, matches)
        for affixes, matches in candidates.items()
        if len(matches) == len(left) and _unambiguous(affixes, matches)
    ]
    affixes: _Affixes = ("", "")
    if len(complete) == 1:
        affixes, matches = complete[0]
        left = []
    else:  # if two files match one case, the error about them is the best explanation
        matches = {path: case for candidate in candidates.values() for path, case in candidate.items()}
    claimed = dict(files)
    for path, case in matches.items():
        _claim(claimed, case, path)
    others = [path for path in entries if path not in stems]
    return Pairing(claimed if len(complete) == 1 else files, left, others, affixes)


def _stem(name: str, endings: Sequence[str]) -> str:
    """A name without its suffix; empty if it has none of the suffixes."""
    matching = [ending for ending in endings if name.lower().endswith(ending)]
    return name[: -max(map(len, matching))] if matching else ""


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _folded(text: str) -> str:
    return _composed(_composed(text).casefold())


def _by_form(cases: Sequence[str], form: Callable[[str], str]) -> dict[str, str]:
    """Map a form of each id to the case, without forms that several cases share."""
    groups = defaultdict(list)
    for case in cases:
        groups[form(case)].append(case)
    return {key: group[0] for key, group in groups.items() if len(group) == 1}


def _claim(files: dict[str, Path], case: str | None, path: Path) -> None:
    if case is not None and files.setdefault(case, path) != path:
        raise InputError(f"{path}: matches case '{case}', as {files[case].name} does; keep one of the two files")


def _candidates(stems: Mapping[Path, str], ids: Mapping[str, str]) -> dict[_Affixes, dict[Path, str]]:
    """For all possible affixes, the files that match a case with them, and these cases."""
    candidates: dict[_Affixes, dict[Path, str]] = defaultdict(dict)
    for path, stem in stems.items():
        for key, case in ids.items():
            for affixes in _affixes(stem, key):
                candidates[affixes][path] = case
    return candidates


def _affixes(stem: str, key: str) -> Iterator[_Affixes]:
    """Text before and after each occurrence of an id in a name that no letter or digit adjoins."""
    start = stem.find(key)
    while start >= 0:
        before, after = stem[:start], stem[start + len(key) :]
        if not before[-1:].isalnum() and not after[:1].isalnum():
            yield before, after
        start = stem.find(key, start + 1)


def _unambiguous(affixes: _Affixes, matches: Mapping[Path, str]) -> bool:
    """Whether affixes cannot belong to another id: in a single file, a mere number may, as in ``12_3.png``."""
    return len(matches) > 1 or any(character.isalpha() for character in "".join(affixes))
