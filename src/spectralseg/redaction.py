"""Secrets and control characters stay out of what is printed; secrets also out of what is logged or stored."""

from __future__ import annotations

import logging
import os
import re
from urllib.parse import quote, quote_plus

from spectralseg.errors import one_line

_SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 8  # a shorter value would blot out ordinary words
# A password may hold what should be encoded in an address: everything up to the last @ belongs to the login.
_LOGIN = re.compile(r"(?<=://)(?:[^/\s@:]*:[^\s'\"<>]*|[^/\s]*)@")
_QUERY = re.compile(r"(https?://[^\s?#'\"]+)([?#])[^\s'\")]+")
_HEADER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
_PAIR = re.compile(
    r"(?i)\b(\w*(?:password|passwd|secret|token|api_?key)[\"']?\s*[=:]\s*)(\"[^\"]+\"|'[^']+'|[^\s'\",;&)]+)"
)
_GAP = re.compile(r"(?:\s|\\[nrt])*")


def redact(text: str) -> str:
    """``text`` without secrets: values of environment variables named like ``*TOKEN*``, also where they are cut short,
    percent-encoded or broken into lines; logins and queries of addresses (object stores sign them), authorization
    headers, and what follows ``password=`` and the like.
    """
    for name, value in os.environ.items():
        if _SECRET_NAMES.search(name) and len(value) >= _SHORTEST and not os.path.exists(value):
            for form in dict.fromkeys([value, quote(value), quote(value, safe=""), quote_plus(value)]):
                text = _without(text, form)
    text = _LOGIN.sub("***@", text)
    text = _QUERY.sub(r"\1\2***", text)
    text = _HEADER.sub(r"\1 ***", text)
    return _PAIR.sub(r"\1***", text)


def _without(text: str, secret: str) -> str:
    """``text`` without a secret, or as much of it as is there from its start, with line breaks within."""
    start = re.compile(_GAP.pattern.join(map(re.escape, secret[:_SHORTEST])))
    parts, end = [], 0
    while found := start.search(text, end):
        parts.append(text[end : found.start()] + "***")
        end = found.end()
        for character in secret[_SHORTEST:]:
            place = _GAP.match(text, end).end()  # type: ignore[union-attr]
            if text[place : place + 1] != character:
                break
            end = place + 1
    return "".join(parts) + text[end:]


def printable(text: str) -> str:
    """``text`` for a terminal: its lines stay, tabs become spaces, other characters that are not printable are escaped.

    Files and names from elsewhere may hold sequences that move the cursor, change colours or reverse text.
    """
    return "\n".join(map(one_line, text.expandtabs().split("\n")))


class RedactingFormatter(logging.Formatter):
    """A log format whose lines, tracebacks included, pass :func:`redact` and :func:`printable`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return redact(printable(super().format(record)))
