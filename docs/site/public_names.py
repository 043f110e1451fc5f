"""Reference of the public Python names, which their packages list in ``__all__``."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "spectralseg"
PACKAGES = ("metrics", "statistics", "errors", "data", "objectives", "models", "adapters")


def public_names() -> dict[str, tuple[str, ...]]:
    """Public names of each public package, read without importing it."""
    return {f"spectralseg.{package}": _exported(_file(package)) for package in PACKAGES}


def reference() -> str:
    """Markdown with a section for each package, in which mkdocstrings shows each name from its docstring."""
    return "\n".join(_section(package, names) for package, names in public_names().items())


def _section(package: str, names: tuple[str, ...]) -> str:
    options = ("members: false", "show_root_heading: false", "show_root_toc_entry: false")
    docstring = "\n".join([f"::: {package}", "    options:", *(f"      {option}" for option in options)])
    return "\n\n".join([f"## {package}", docstring, *(f"::: {path(package, name)}" for name in names)]) + "\n"


def path(package: str, name: str) -> str:
    """Where mkdocstrings looks a public name up: in its module if that has the same name, as in ``a.b.b``."""
    module = SOURCE / package.rpartition(".")[2] / f"{name}.py"
    return f"{package}.{name}.{name}" if module.is_file() else f"{package}.{name}"


def _file(package: str) -> Path:
    """The source of a package, or of a module."""
    module = SOURCE / f"{package}.py"
    return module if module.is_file() else SOURCE / package / "__init__.py"


def _exported(file: Path) -> tuple[str, ...]:
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return tuple(ast.literal_eval(statement.value))
    raise ValueError(f"{file}: has no list '__all__'; add the public names of the package")
