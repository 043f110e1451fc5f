"""Official files: download them or take existing ones, verify them, and record receipts.

A file appears under its name only after verification. An interrupted download stays in ``<folder>/.partial/<file>/``,
where the next attempt resumes it.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from filelock import FileLock, Timeout

from spectralseg import registry
from spectralseg.data import archives
from spectralseg.data.disk import require_space
from spectralseg.data.downloads import LOCAL_HOSTS, download
from spectralseg.data.receipts import RECEIPTS, read_receipts
from spectralseg.data.specification import DatasetSpecification, SourceFile
from spectralseg.errors import InputError, explained
from spectralseg.files import write_json
from spectralseg.redaction import redact

_log = logging.getLogger(__name__)


def fetch(
    specification: DatasetSpecification, folder: Path, *, file: str | None = None, mirrors: Sequence[str] = ()
) -> None:
    """Download the official files of a dataset to ``folder``, and record their receipts in ``sources.json`` there.

    Existing files, from an earlier call or copied by the user, are verified and kept.

    Args:
        specification: the dataset, whose terms are logged first.
        folder: output folder. One process at a time fetches a file, others wait.
        file: only this file; None for all.
        mirrors: addresses of folders with the official files, which are tried before the official addresses.

    Raises:
        InputError: the file is unknown, cannot be downloaded, or has another checksum than published.
    """
    sources = {source.file: source for source in specification.sources}
    if file is not None and file not in sources:
        raise InputError(f"'{file}' is not a file of {specification.title}; {registry.suggest(file, sources)}")
    if not sources:
        raise InputError(f"{specification.name}: {specification.access}, or give them to 'spectralseg prepare'")
    _log.info("%s", terms(specification))
    for source in [sources[file]] if file else specification.sources:
        receipt = obtain(source, folder, mirrors=mirrors, homepage=specification.homepage)
        _add_receipt(folder, receipt)


def terms(specification: DatasetSpecification) -> str:
    """Homepage, licence and citation of a dataset."""
    return (
        f"{specification.title}: {specification.homepage}. Licence: {specification.licence}. "
        f"Please cite: {specification.citation}"
    )


def obtain(source: SourceFile, folder: Path, *, mirrors: Sequence[str] = (), homepage: str = "") -> dict[str, Any]:
    """Download a file to ``folder`` unless it exists, and return its receipt.

    Mirrors without https are used only for files with a published checksum.

    Raises:
        InputError: names the file, the error of each address, and how to download it manually.
    """
    target = folder / source.file
    partial = folder / ".partial" / source.file
    with _readable_errors(target), _one_process(partial):
        if target.exists():
            try:
                return _checked(target, source)
            except InputError as error:
                raise InputError(f"{target}: {error}; remove the file, so that it is fetched again") from None
        complete = partial / source.file
        failures = []
        for url in _addresses(source, mirrors):
            try:
                _refuse_unsafe(url, source)
                receipt = _download(url, complete, source)
            except (InputError, ConnectionError) as error:
                failures.append(f"{url}: {error}")
                _log.warning("%s", redact(failures[-1]))
                continue
            complete.replace(target)
            shutil.rmtree(partial, ignore_errors=True)
            return receipt
    by_hand = f"get the file by hand from {homepage}" if homepage else "get the file by hand"
    raise InputError(
        redact(f"{target}: could not be fetched ({'; '.join(failures)}); try again, or {by_hand} and put it there")
    )


def _addresses(source: SourceFile, mirrors: Sequence[str]) -> list[str]:
    user_mirrors = [f"{mirror.rstrip('/')}/{quote(source.file)}" for mirror in mirrors]
    return [*user_mirrors, source.url, *source.mirrors]


def _refuse_unsafe(url: str, source: SourceFile) -> None:
    """Refuse a mirror without https for a file without a published checksum."""
    address = urlsplit(url)
    unsafe = address.scheme == "http" and urlsplit(source.url).scheme != "http" and address.hostname not in LOCAL_HOSTS
    if unsafe and (source.built_on_request or not (source.sha256 or source.md5)):
        raise InputError("the mirror has no https, and there is no published checksum; give one with https")


def _download(url: str, complete: Path, source: SourceFile) -> dict[str, Any]:
    """Download to ``complete`` and return the receipt. A wrong checksum, as of a login page, is retried once."""
    for last in (False, True):
        if not complete.exists():  # else an earlier process was killed during verification
            require_space(complete.parent, 0)
            download(url, complete)
        try:
            return _checked(complete, source)
        except InputError as error:
            complete.unlink()
            if last:
                raise
            _log.warning("%s: %s; fetching it once more", source.file, error)
    raise AssertionError


def receipts_of_given(specification: DatasetSpecification, raw: Path) -> list[dict[str, Any]]:
    """Receipts of official files that a user provides: ``raw`` itself, or files in the folder ``raw``.

    Another checksum than published is recorded, but not an error.
    """
    candidates = ((raw if raw.is_file() and raw.name == s.file else raw / s.file, s) for s in specification.sources)
    receipts = [_receipt(file, source) for file, source in candidates if file.is_file()]
    for receipt in receipts:
        if receipt["published_checksum"] is False:
            _log.warning("%s: its checksum is not the published one; the dataset card says so", receipt["file"])
    return receipts


def _add_receipt(folder: Path, receipt: dict[str, Any]) -> None:
    with FileLock(folder / ".partial" / f"{RECEIPTS}.lock"):
        others = [other for other in read_receipts(folder) if other["file"] != receipt["file"]]
        write_json(folder / RECEIPTS, {"files": sorted([*others, receipt], key=lambda entry: str(entry["file"]))})


def _checked(file: Path, source: SourceFile) -> dict[str, Any]:
    """The receipt of a verified file; raises an :class:`InputError` without file name if verification fails."""
    receipt = _receipt(file, source)
    if receipt["published_checksum"] is False:
        if not source.built_on_request:
            raise InputError("the checksum is not the published one")
        _log.warning("%s: the server builds it on request, so that its checksum differs; testing it", file.name)
    if not receipt["published_checksum"]:
        _test_archive(file)
    return {**receipt, "fetched": datetime.datetime.now(datetime.UTC).date().isoformat()}


def _receipt(file: Path, source: SourceFile) -> dict[str, Any]:
    sha256, md5 = _digests(file)
    matches = [actual == published for actual, published in ((sha256, source.sha256), (md5, source.md5)) if published]
    return {
        "file": source.file,
        "url": redact(source.url),
        "bytes": file.stat().st_size,
        "sha256": sha256,
        "published_checksum": all(matches) if matches else None,
    }


def _digests(file: Path) -> tuple[str, str]:
    """SHA-256 and MD5 in one pass."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(2**20):
            sha256.update(chunk)
            md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest()


def _test_archive(file: Path) -> None:
    """Without a published checksum, check that :func:`archives.unpack` accepts an archive."""
    if archives.is_archive(file):
        try:
            archives.verify(file)
        except InputError as error:
            reason = str(error).removeprefix(f"{file}: ").rpartition("; ")[0]
            raise InputError(f"this is not an intact archive ({reason})") from None


@contextmanager
def _one_process(partial: Path) -> Iterator[None]:
    """Hold the lock of a file, which the system releases if the process ends."""
    partial.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(partial.with_name(f"{partial.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.info("%s: another process is fetching it; waiting", partial.name)
        lock.acquire()
    try:
        partial.mkdir(exist_ok=True)
        yield
    finally:
        lock.release()


@contextmanager
def _readable_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except ConnectionError:
        raise
    except OSError as error:
        raise InputError(f"{target}: cannot be written or read: {explained(error)}") from None
