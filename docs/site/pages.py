"""The pages of the documentation site, as Markdown: those of ``docs/``, some others, and what is generated for them.

The pages in ``docs/`` are written for GitHub. For the site, :func:`pages` fills in the generated parts, which a page
marks with ``<!-- site: NAME -->``, and lets links to files of the repository lead to copies of them. It needs no
MkDocs: ``python -m docs.site.pages FOLDER`` writes the same pages for another generator of sites.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from docs.site import catalogues, commands, messages, public_names
from docs.site.markdown import with_mathml

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
OUTSIDE = {
    "config/README.md": "configuration.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Pages of the site that lie outside of ``docs/``, each with its address on the site."""
PARTS: Mapping[str, Callable[[], str]] = {
    "commands": commands.reference,
    "datasets": catalogues.datasets,
    "messages": messages.reference,
    "metrics": catalogues.metrics,
    "public names": public_names.reference,
}
"""Generated parts by the name in their mark."""
FILES = "files"
"""Folder of the site for copies of files of the repository."""

_MARK = re.compile(r"<!-- site: (.+?) -->")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"^ *```.*?^ *```|(?<!`)(`+)(?!`)[^\n]+?(?<!`)\1(?!`)", re.MULTILINE | re.DOTALL)
_LOADED = re.compile(
    r"<(?:script|img|iframe|video|link(?=[^>]*\brel=\"?(?:stylesheet|preconnect|preload|icon)))\b"
    r"[^>]*\b(?:src|href)=\"?(?:https?:)?//[^>]*>"
)
_LANGUAGES = {".py": "python", ".smk": "python", ".yaml": "yaml", ".cff": "yaml", ".toml": "toml", ".ipynb": "json"}


def sources() -> dict[str, Path]:
    """File of every page that is written by hand, by its address on the site."""
    written = {path.name: path for path in sorted(DOCS.glob("*.md"))}
    return written | {address: REPOSITORY / name for name, address in OUTSIDE.items()}


def pages() -> dict[str, str]:
    """Markdown of every page, by its address on the site.

    Raises:
        ValueError: a page links to a file that does not exist, or has a mark without a generated part.
    """
    copies: set[Path] = set()
    result = {address: _page(path, copies) for address, path in sources().items()}
    return result | {_address(copy): _copy(copy) for copy in sorted(copies)}


def loaded_from_other_hosts(html: str) -> list[str]:
    """The tags of a built page for which a browser would contact another host; links to click on are none of them."""
    return _LOADED.findall(html)


def _page(path: Path, copies: set[Path]) -> str:
    """A page for the site; the files of the repository that it links to are added to ``copies``."""

    def link(match: re.Match[str]) -> str:
        return f"]({_target(path, match[1], copies)})"

    def prose(text: str) -> str:
        written = with_mathml(_LINK.sub(link, text))
        return _MARK.sub(lambda match: _part(path, match[1]), written)

    text = path.read_text(encoding="utf-8")
    code = [*_CODE.finditer(text)]
    starts, ends = [0, *(block.end() for block in code)], [*(block.start() for block in code), len(text)]
    between = [prose(text[start:end]) for start, end in zip(starts, ends, strict=True)]
    blocks = [*(block[0] for block in code), ""]
    return "".join(part for pair in zip(between, blocks, strict=True) for part in pair)


def _part(path: Path, name: str) -> str:
    if name not in PARTS:
        raise ValueError(f"{path}: there is no generated part '{name}'; use one of {', '.join(PARTS)}")
    return PARTS[name]()


def _target(path: Path, link: str, copies: set[Path]) -> str:
    """Where a link of a page leads on the site."""
    name, hash_sign, section = link.partition("#")
    if not name or ":" in name:
        return link
    file = Path(os.path.normpath(path.parent / name))
    if not file.exists():
        raise ValueError(f"{path}: links to {name}, which does not exist; correct the link")
    relative = file.relative_to(REPOSITORY).as_posix()
    if file.is_relative_to(DOCS) and file.suffix != ".py":
        address = file.relative_to(DOCS).as_posix()
    elif relative in OUTSIDE:
        address = OUTSIDE[relative]
    else:
        copies.add(file)
        address = _address(file)
    return f"{address}{hash_sign}{section}"


def _address(file: Path) -> str:
    return f"{FILES}/{file.relative_to(REPOSITORY).as_posix()}.md"


def _copy(file: Path) -> str:
    """A page that shows a file of the repository, or lists a folder; the search leaves it out."""
    head = f"---\nsearch:\n  exclude: true\n---\n\n# `{file.relative_to(REPOSITORY).as_posix()}`\n\n"
    if file.is_dir():
        return head + "".join(f"- `{entry.name}`\n" for entry in sorted(file.iterdir()) if entry.name[0] not in "._")
    return f"{head}``````{_LANGUAGES.get(file.suffix, 'text')}\n{file.read_text(encoding='utf-8')}``````\n"


def write(folder: Path) -> None:
    """Write all pages, pictures and styles into a folder."""
    shutil.copytree(DOCS, folder, ignore=shutil.ignore_patterns("*.md", "*.py"), dirs_exist_ok=True)
    for address, text in pages().items():
        (folder / address).parent.mkdir(parents=True, exist_ok=True)
        (folder / address).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
