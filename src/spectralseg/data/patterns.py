"""Patterns for paths of files, matched in time linear in their length whatever the pattern.

Python's own expressions backtrack: some take longer than the age of the universe for a name of forty letters. RE2 does
not; it knows neither look-around nor references to earlier groups.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

_LONGEST = 1000  # characters of an expression
_TOKEN = re.compile(r"\\.|\[\^?\]?|\(\?|.", re.DOTALL)
_NO_LEAST = re.compile(r"(?<!\\)\{,\d*\}")  # RE2 takes {,n} for text
_WORD = r"\pL\pM\pN_"  # RE2 takes \w for ASCII only
# Bytes of a name that are no text, which Python holds as surrogates, match as characters for private use.
_STAND_INS = {surrogate: 0xF0000 + surrogate for surrogate in range(0xD800, 0xE000)}
_ORIGINALS = {stand_in: surrogate for surrogate, stand_in in _STAND_INS.items()}
_WILDCARD = re.compile(r"(\*|\?|\[[^]!]+\])")


class PathPattern:
    """An expression for the path of a file relative to a folder, of which upper and lower case are the same.

    It may start at any folder, so that an archive which nests its top folder twice reads like one that does not.

    Args:
        expression: a regular expression without look-around and references to groups; groups without name group only.

    Raises:
        ValueError: it is no such expression; the message says why.
    """

    def __init__(self, expression: str) -> None:
        if len(expression) > _LONGEST:
            raise ValueError(f"more than {_LONGEST} characters")
        if _NO_LEAST.search(expression):
            raise ValueError("a repetition without its least number; write {0,n}")
        try:
            names = re.compile(expression).groupindex
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(str(error)) from None
        self.names = tuple(names)
        self._expression = rf"(?i)\A(?:(?s:.*)/)?(?:{_to_re2(composed(expression))})\z"
        self.captures([""])

    def captures(self, paths: Sequence[str]) -> list[dict[str, str] | None]:
        """What the named groups capture of each path, without those that capture nothing; None without a match."""
        import pyarrow
        import pyarrow.compute

        compute: Any = pyarrow.compute
        array = pyarrow.array([composed(path).translate(_STAND_INS) for path in paths], pyarrow.string())
        try:
            if self.names:
                found = compute.extract_regex(array, self._expression).to_pylist()
            else:
                matches = compute.match_substring_regex(array, self._expression).to_pylist()
                found = [{} if match else None for match in matches]
        except pyarrow.ArrowInvalid as error:
            raise ValueError(str(error).removeprefix("Invalid regular expression: ")) from None
        return [
            None if one is None else {name: text.translate(_ORIGINALS) for name, text in one.items() if text}
            for one in found
        ]


def wildcards(pattern: str) -> PathPattern:
    """A :class:`PathPattern` of the shell's wildcards ``*``, ``?`` and ``[...]``, which match any character."""
    parts = _WILDCARD.split(pattern)
    known = {"*": "(?s:.*)", "?": "(?s:.)"}
    return PathPattern("".join(known.get(part, part) if n % 2 else re.escape(part) for n, part in enumerate(parts)))


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC), in which equal names have equal characters."""
    return unicodedata.normalize("NFC", name)


def _to_re2(expression: str) -> str:
    """The same expression for RE2: Unicode's letters are word characters, groups without name capture nothing."""
    inside, parts = False, []
    for token in _TOKEN.findall(expression):
        if token == r"\w":
            token = _WORD if inside else f"[{_WORD}]"
        elif token == r"\W":
            if inside:
                raise ValueError("\\W within brackets; write what is meant")
            token = f"[^{_WORD}]"
        elif token[0] == "[" and not inside:
            inside = True
        elif token[0] == "[":
            token = rf"\{token}"
        elif token == "]":
            inside = False
        elif token == "(" and not inside:
            token = "(?:"
        parts.append(token)
    return "".join(parts)
