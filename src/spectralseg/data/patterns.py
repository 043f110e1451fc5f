"""Patterns for file paths, matched in linear time.

Regular expressions of Python backtrack, which can take exponential time. RE2 takes linear time, but supports neither
look-around nor backreferences.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

_LONGEST = 1000  # characters of an expression
_TOKEN = re.compile(r"\\.|\[\^?\]?|\(\?|.", re.DOTALL)
_NO_LEAST = re.compile(r"(?<!\\)\{,\d*\}")  # RE2 treats {,n} as text
_WORD = r"\pL\pM\pN_"  # in RE2, \w is ASCII only
# Undecodable bytes in names, surrogates in Python, are matched as private-use characters.
_STAND_INS = {surrogate: 0xF0000 + surrogate for surrogate in range(0xD800, 0xE000)}
_ORIGINALS = {stand_in: surrogate for surrogate, stand_in in _STAND_INS.items()}
_WILDCARD = re.compile(r"(\*|\?|\[[^]!]+\])")


class PathPattern:
    """A case-insensitive pattern for relative file paths.

    It may match from any folder of the path, so that additional top folders do not matter.

    Args:
        expression: a regular expression without look-around and backreferences. Only named groups capture.

    Raises:
        ValueError: the expression is invalid.
    """

    def __init__(self, expression: str) -> None:
        if len(expression) > _LONGEST:
            raise ValueError(f"more than {_LONGEST} characters")
        if _NO_LEAST.search(expression):
            raise ValueError("a repetition without its minimum; write {0,n}")
        try:
            names = re.compile(expression).groupindex
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(str(error)) from None
        self.names = tuple(names)
        self._expression = rf"(?i)\A(?:(?s:.*)/)?(?:{_to_re2(composed(expression))})\z"
        self.captures([""])

    def captures(self, paths: Sequence[str]) -> list[dict[str, str] | None]:
        """Non-empty values of the named groups for each path; None for paths that do not match."""
        import pyarrow
        import pyarrow.compute

        compute: Any = pyarrow.compute
        array = pyarrow.array([composed(path).translate(_STAND_INS) for path in paths], pyarrow.string())
        try:
            if self.names:
                groups = compute.extract_regex(array, self._expression).to_pylist()
            else:
                matches = compute.match_substring_regex(array, self._expression).to_pylist()
                groups = [{} if match else None for match in matches]
        except pyarrow.ArrowInvalid as error:
            raise ValueError(str(error).removeprefix("Invalid regular expression: ")) from None
        return [
            None if match is None else {name: text.translate(_ORIGINALS) for name, text in match.items() if text}
            for match in groups
        ]


def wildcards(pattern: str) -> PathPattern:
    """A :class:`PathPattern` from shell wildcards ``*``, ``?`` and ``[...]``, which match any character, even ``/``."""
    parts = _WILDCARD.split(pattern)
    expressions = {"*": "(?s:.*)", "?": "(?s:.)"}
    return PathPattern(
        "".join(expressions.get(part, part) if n % 2 else re.escape(part) for n, part in enumerate(parts))
    )


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC)."""
    return unicodedata.normalize("NFC", name)


def _to_re2(expression: str) -> str:
    """The expression for RE2, with Unicode word characters and non-capturing unnamed groups."""
    inside, parts = False, []
    for token in _TOKEN.findall(expression):
        if token == r"\w":
            token = _WORD if inside else f"[{_WORD}]"
        elif token == r"\W":
            if inside:
                raise ValueError("\\W within brackets; list the characters instead")
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
