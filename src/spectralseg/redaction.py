"""Removal of secrets and control characters from printed text, and of secrets from logs and stored files."""

from __future__ import annotations

import logging
import os
import re
from urllib.parse import quote, quote_plus

from spectralseg.errors import one_line

_SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 8  # characters; a shorter value may be an ordinary word
# A password may contain unencoded special characters: everything up to the last @ belongs to the login.
_LOGIN = re.compile(r"(?<=://)(?:[^/\s@:]*:[^\s'\"<>]*|[^/\s]*)@")
_QUERY = re.compile(r"(https?://[^\s?#'\"]+)([?#])[^\s'\")]+")
_HEADER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
_KEY = r"\b\w*(?:password|passwd|passphrase|secret|token|(?:api|access|private)[_-]?key)[\"']?\s*[=:]\s*"
_PAIR = re.compile(rf"(?i)({_KEY})(\"[^\"]+\"|'[^']+'|[^\s'\",;&)]+)")
# Tokens of GitHub, Hugging Face, GitLab and AWS, JSON web tokens as those of Synapse, and private keys.
_KNOWN = re.compile(
    r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|hf_[A-Za-z0-9]{30,}|glpat-[\w-]{20,}|AKIA[0-9A-Z]{16}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]*)?)|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_SIGNED = re.compile(r"(?i)sig|token|secret|password|credential|expires|key=|auth")  # in the query of a URL
_PLAIN_VALUE = re.compile(rf"(?i){_KEY}(?:true|false|null|none|[\d.]+|\*+)(?![^\s\"',;&)}}\]])")
_GAP = re.compile(r"(?:\s|\\[nrt])*")


def redact(text: str) -> str:
    """``text`` without secrets.

    Removed are values of environment variables named like ``*TOKEN*``, also if truncated, percent-encoded or broken
    into lines; logins and queries of URLs, as object stores sign URLs in the query; authorization headers; tokens of
    well-known services and private keys; and values after ``password=`` and similar keys.
    """
    for name, value in os.environ.items():
        if _SECRET_NAMES.search(name) and len(value) >= _SHORTEST and not os.path.exists(value):
            for form in dict.fromkeys([value, quote(value), quote(value, safe=""), quote_plus(value)]):
                text = _without(text, form)
    text = _LOGIN.sub("***@", text)
    text = _QUERY.sub(r"\1\2***", text)
    text = _KNOWN.sub("***", _HEADER.sub(r"\1 ***", text))
    return _PAIR.sub(r"\1***", text)


def contains_secret(text: str) -> bool:
    """Whether text has anything that must not be published, as :func:`redact` removes it.

    Two things that it removes to be safe do not count: queries of URLs without a signature or a secret, such as search
    terms, and values of keys such as ``class_token`` that are a number, true, false or null.
    """
    plain = _PLAIN_VALUE.sub("", text)
    plain = _QUERY.sub(lambda match: match[0] if _SIGNED.search(match[0]) else match[1], plain)
    return redact(plain) != plain


def _without(text: str, secret: str) -> str:
    """``text`` without a secret or the start of it, also if broken into lines."""
    start = re.compile(_GAP.pattern.join(map(re.escape, secret[:_SHORTEST])))
    parts, end = [], 0
    while match := start.search(text, end):
        parts.append(text[end : match.start()] + "***")
        end = match.end()
        for character in secret[_SHORTEST:]:
            position = _GAP.match(text, end).end()  # type: ignore[union-attr]
            if text[position : position + 1] != character:
                break
            end = position + 1
    return "".join(parts) + text[end:]


def printable(text: str) -> str:
    """``text`` for a terminal: lines are kept, tabs become spaces, other unprintable characters are escaped.

    Text from external files may contain sequences that move the cursor, change colours or reverse text.
    """
    return "\n".join(map(one_line, text.expandtabs().split("\n")))


class RedactingFormatter(logging.Formatter):
    """A log formatter that applies :func:`redact` and :func:`printable` to all lines, including tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a log record."""
        return redact(printable(super().format(record)))
