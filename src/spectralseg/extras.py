"""Extras of this distribution, such as ``spectralseg[train]``, and packages that an installation without them lacks."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from spectralseg.errors import InputError
from spectralseg.repository import checkout

_NAME = "spectralseg"
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?P<own_extras>\[[^]]*\])?[^;]*(;.*\bextra *== *[\"'](?P<extra>[\w-]+))?")
# Distributions whose name differs from that of their package.
_DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


class MissingPackage(InputError, ModuleNotFoundError):
    """A package of an extra is not installed; the message names the extra."""


def require(*packages: str, what: str) -> None:
    """Check that packages are installed, without importing them.

    Args:
        packages: names as in ``import``.
        what: the command or module that needs them.

    Raises:
        MissingPackage: one of them is not installed.
    """
    for package in packages:
        if not is_installed(package):
            raise missing_package(package, what)


def is_installed(package: str) -> bool:
    """Whether a package can be imported; it is not imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # refused by an import hook, or a module without a specification
        return False


def missing_package(package: str, what: str) -> MissingPackage:
    """The error that ``what`` needs a package, which says how to install it."""
    extra = extra_of(package) or "all"
    return MissingPackage(f"{what} needs {package}; install it with: pip install '{_NAME}[{extra}]'")


@contextmanager
def explaining_missing_packages(what: str) -> Iterator[None]:
    """Convert the error of an import inside the block to :class:`MissingPackage`, if an extra has the package.

    Other missing packages are defects of the installation, and keep their traceback.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if isinstance(error, MissingPackage) or not error.name or extra_of(error.name) is None:
            raise
        raise missing_package(error.name.partition(".")[0], what) from error


def extra_of(package: str) -> str | None:
    """The smallest extra with the distribution of a package or module; None if none has it."""
    root = package.partition(".")[0]
    distribution = _canonical(_DISTRIBUTIONS.get(root, root))
    having = [extra for extra, names in requirements().items() if extra and distribution in names]
    return min(having, key=lambda extra: len(requirements()[extra]), default=None)


@functools.cache
def requirements() -> Mapping[str, frozenset[str]]:
    """Canonical names of the distributions that each extra requires; ``""`` has those of every installation.

    In a checkout they are read from ``pyproject.toml``, as metadata of editable installations become outdated.
    Extras that include others list, in metadata only, those of the included ones, too.
    """
    if (root := checkout()) is not None:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        listed = {"": project["dependencies"], **project["optional-dependencies"]}
        return {extra: frozenset(_names(lines)) for extra, lines in listed.items()}
    by_extra: dict[str, list[str]] = {}
    for line in importlib.metadata.requires(_NAME) or []:
        match = _REQUIREMENT.match(line)
        by_extra.setdefault((match and match["extra"]) or "", []).append(line)
    return {extra: frozenset(_names(lines)) for extra, lines in by_extra.items()}


def _names(lines: Iterable[str]) -> Iterator[str]:
    """Names of required distributions, without this one, by which an extra includes another."""
    for line in lines:
        if (match := _REQUIREMENT.match(line)) and _canonical(match["name"]) != _NAME:
            yield _canonical(match["name"])


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
