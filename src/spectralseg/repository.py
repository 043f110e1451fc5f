"""Files outside of the package that commands need: datasets, configurations, published numbers, the workflow.

They lie at the root of the repository; the wheel has copies of them, in the same folders, under
``spectralseg/repository_files``.
"""

from __future__ import annotations

from pathlib import Path

_IN_WHEEL = Path(__file__).parent / "repository_files"
_CHECKOUT = Path(__file__).parents[2]


def repository_root() -> Path:
    """The folder that holds ``config``, ``workflow`` and the others: the repository, or its copy in the wheel."""
    return _IN_WHEEL if _IN_WHEEL.is_dir() else _CHECKOUT


def checkout() -> Path | None:
    """The root of the repository; None if the package was installed from a wheel."""
    return _CHECKOUT if not _IN_WHEEL.is_dir() and (_CHECKOUT / "pyproject.toml").is_file() else None


def repository_path(path: str | Path) -> Path:
    """A path of the user's, such as ``config/published``, if it exists or the repository has none; else that of the
    repository.
    """
    own, shipped = Path(path), repository_root() / path
    return shipped if not own.exists() and shipped.exists() else own
