"""Markdown as the site reads it: formulas of pages as MathML, Sphinx roles and examples of docstrings as code."""

from __future__ import annotations

import re

_FORMULA = re.compile(r"\$\$(?P<block>[^$]+)\$\$|\$(?P<inline>[^$\n]+)\$")
_ROLE = re.compile(r":\w+:`~?([^`]+)`")
_EXAMPLE = re.compile(r"^( *)>>> .*(?:\n\1\S.*)*", re.MULTILINE)


def with_mathml(text: str) -> str:
    """Text without code, in which ``$...$`` and ``$$...$$``, as GitHub reads them, are replaced by MathML.

    Browsers show MathML without a script or a font from elsewhere.
    """
    return _FORMULA.sub(_formula, text)


def of_docstring(text: str) -> str:
    """A docstring with roles such as ``:class:`Name``` as code, and with examples in blocks of code."""
    return _EXAMPLE.sub(r"\1```pycon\n\g<0>\n\1```", _ROLE.sub(r"`\1`", text))


def _formula(match: re.Match[str]) -> str:
    return _mathml(match["block"], "block") if match["block"] else _mathml(match["inline"], "inline")


def _mathml(formula: str, display: str) -> str:
    from latex2mathml.converter import convert  # in the environment that builds the site, not in that of the tests

    mathml: str = convert(formula.strip(), display=display)
    return mathml
