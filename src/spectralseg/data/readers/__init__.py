"""Readers list the cases of a dataset in its native layout. There is one module per layout.

Each has one public function::

    read(root: Path, **options) -> list[Case]

``root`` is a folder with the unpacked official archives; ``options`` come from the specification of the dataset.
Listing must be cheap: only ``Case.load`` reads arrays.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from spectralseg import registry
from spectralseg.data.cases import Case
from spectralseg.errors import InputError

_POOLED = "pooled"  # see spectralseg.metrics.records


def available() -> list[str]:
    """Names of the readers; each module of this package is one."""
    return registry.names(__name__)


def read_cases(reader: str, root: Path, options: dict[str, Any]) -> list[Case]:
    """List the cases below ``root``, sorted by id.

    Raises:
        InputError: the reader is unknown, an option is unknown or of the wrong type, there is no case, an id is
            duplicate, or an id, group or attribute cannot be written to a table.
    """
    read = registry.load(__name__, reader, "reader").read
    _check_options(reader, read, root, options)
    cases: list[Case] = sorted(read(root, **options), key=lambda case: case.id)
    if not cases:
        raise InputError(f"{root}: reader '{reader}' finds no case; give the dataset in its official layout")
    for case in cases:
        if case.id.casefold() == _POOLED:
            raise InputError(f"{root}: case '{case.id}' has a name that is reserved in records; rename it")
        for text in (case.id, case.group, *case.attributes.values()):
            if not text.isprintable():
                raise InputError(f"{root}: case '{case.id}': '{text}' has unprintable characters; rename it")
        for text in (case.id, case.group):
            if text[:1] in tuple("=+-@"):
                raise InputError(f"{root}: case '{case.id}': '{text}' starts like a formula; rename it")
    by_name = sorted(cases, key=lambda case: case.id.casefold())
    for first, second in itertools.pairwise(by_name):
        if first.id == second.id:
            raise InputError(f"{root}: case '{first.id}' appears twice; remove one copy")
        if first.id.casefold() == second.id.casefold():
            raise InputError(
                f"{root}: cases '{first.id}' and '{second.id}' differ in upper and lower case only; rename one"
            )
    return cases


@contextmanager
def options_of(dataset: str) -> Iterator[None]:
    """Add the dataset file to errors about its reader and reader options."""
    try:
        yield
    except InputError as error:
        if str(error).startswith("reader "):
            raise InputError(f"{dataset}.smk: {error}") from None
        raise


def _check_options(reader: str, read: Callable[..., Any], root: Path, options: dict[str, Any]) -> None:
    try:
        inspect.signature(read).bind(root, **options)
    except TypeError as error:
        raise InputError(f"reader '{reader}' does not take these 'reader_options': {error}") from None
    try:
        kinds = get_type_hints(read)
    except NameError:  # names imported only for type checking
        kinds = {}
    for key, value in options.items():
        try:
            TypeAdapter(kinds.get(key, Any), config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Input ").replace("an instance of Sequence", "a list")
            raise InputError(f"reader option '{key}': {value!r} {reason}; see docs/add-a-dataset.md") from None
