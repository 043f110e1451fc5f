"""Hook of MkDocs: adds the pages of the site, and refuses what would be loaded from another host."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parents[2]))

from docs.site.pages import loaded_from_other_hosts, pages

_log = logging.getLogger("mkdocs.hooks.spectralseg")


def on_files(files: Files, *, config: Any, **_: Any) -> Files:
    """Replace the pages of ``docs/`` by those of the site, and add the others."""
    for address, text in pages().items():
        written = files.get_file_from_path(address)
        if written:
            files.remove(written)
        files.append(File.generated(config, address, content=text))
    return files


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Warn, which a strict build refuses, of scripts, styles and images from another host."""
    for tag in loaded_from_other_hosts(output):
        _log.warning("%s: loads from another host: %s; keep a copy in docs/", page.file.src_uri, tag)
    return output
