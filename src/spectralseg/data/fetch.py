"""Download of official files: plain HTTPS with checksums. Files behind a login are put in place by hand."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.error import URLError

import pooch
import requests

import spectralseg
from spectralseg import registry
from spectralseg.data.specification import DatasetSpecification, SourceFile
from spectralseg.errors import InputError

_log = logging.getLogger(__name__)


def fetch(specification: DatasetSpecification, folder: Path, file: str | None = None) -> None:
    """Download one file of a dataset, or all, into ``folder``; files that are there and match are kept.

    Raises:
        InputError: the file is unknown, cannot be had without a login, or does not match its checksum.
    """
    sources = {source.file: source for source in specification.sources}
    if file is not None and file not in sources:
        raise InputError(f"'{file}' is no file of {specification.title}; {registry.suggest(file, sources)}")
    _log.info("%s: %s. Please cite: %s", specification.title, specification.licence, specification.citation)
    for source in [sources[file]] if file else specification.sources:
        _fetch_one(source, specification, folder)


def _fetch_one(source: SourceFile, specification: DatasetSpecification, folder: Path) -> None:
    target = folder / source.file
    known = f"sha256:{source.sha256}" if source.sha256 else f"md5:{source.md5}" if source.md5 else None
    if not source.url.startswith("https://"):
        if not target.is_file():
            raise InputError(
                f"{target}: cannot be downloaded without a login; get it from {specification.homepage} "
                f"and put it there, or set 'source: path' for '{specification.name}'"
            )
        if not pooch.hashes.hash_matches(target, known):
            raise InputError(f"{target}: its checksum is not the published one; download it again")
        return
    headers = {"User-Agent": f"spectralseg/{spectralseg.__version__}"}  # figshare refuses anonymous clients
    downloader = pooch.HTTPDownloader(progressbar=True, headers=headers, timeout=60)
    try:
        pooch.retrieve(source.url, known, fname=source.file, path=folder, downloader=downloader)
    except (requests.RequestException, URLError, OSError, ValueError) as error:
        raise InputError(
            f"{target}: download of {source.url} failed ({error}); try again, or download it by hand and put it there"
        ) from None
