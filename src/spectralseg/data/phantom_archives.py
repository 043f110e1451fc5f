"""Phantoms through the path of official files: a local server, the download client, and checksum verification."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

from spectralseg.data.fetch import obtain
from spectralseg.data.phantoms import generate
from spectralseg.data.specification import SourceFile
from spectralseg.files import sha256_of, temporary_folder


def deliver(name: str, folder: Path, *, cases: int = 12, side: int = 128, seed: int = 0) -> list[Path]:
    """As :func:`spectralseg.data.phantoms.generate`, but download the archives to ``folder``."""
    with temporary_folder(folder, "origin") as origin:
        archives = generate(name, origin, cases=cases, side=side, seed=seed)
        with _serving(origin) as address:
            for archive in archives:
                url = f"{address}/{quote(archive.name)}"
                obtain(SourceFile(file=archive.name, url=url, sha256=sha256_of(archive)), folder)
    return [folder / archive.name for archive in archives]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    """Serve the files of a folder to this machine only, and return the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
