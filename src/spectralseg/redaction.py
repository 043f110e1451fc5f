"""Secrets and control characters stay out of what is printed; secrets also out of what is logged or stored."""

from __future__ import annotations

import logging
import os
import re

from spectralseg.errors import one_line

_SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY", re.IGNORECASE)
_SHORTEST = 8  # a shorter value would blot out ordinary words
_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\")]+")
_HEADER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")


def redact(text: str) -> str:
    """``text`` without secrets: values of environment variables named like ``*TOKEN*``, logins and queries of
    addresses (object stores sign them), authorization headers.
    """
    for name, value in os.environ.items():
        if _SECRET_NAMES.search(name) and len(value) >= _SHORTEST:
            text = text.replace(value, "***")
    text = _LOGIN.sub("***@", text)
    text = _QUERY.sub(r"\1?***", text)
    return _HEADER.sub(r"\1 ***", text)


def printable(text: str) -> str:
    """``text`` for a terminal: its lines stay, tabs become spaces, other characters that are not printable are escaped.

    Files and names from elsewhere may hold sequences that move the cursor, change colours or reverse text.
    """
    return "\n".join(map(one_line, text.expandtabs().split("\n")))


class RedactingFormatter(logging.Formatter):
    """A log format whose lines, tracebacks included, pass :func:`redact`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return redact(super().format(record))
