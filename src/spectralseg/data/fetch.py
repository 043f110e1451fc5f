"""Official files: downloaded or put in place by hand, checked, and noted in a receipt.

A file takes its name in the folder only after its checksum was found right. What an interrupted download has fetched
stays in ``<folder>/.partial/<file>/`` and is continued by the next attempt.
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
from spectralseg.data.specification import DatasetSpecification, SourceFile
from spectralseg.errors import InputError, explained
from spectralseg.files import write_json
from spectralseg.parsing import read_json
from spectralseg.redaction import redact

RECEIPTS = "sources.json"
_MAX_RECEIPTS = 2**20  # bytes
_log = logging.getLogger(__name__)


def fetch(
    specification: DatasetSpecification, folder: Path, *, file: str | None = None, mirrors: Sequence[str] = ()
) -> None:
    """Have the official files of a dataset in ``folder``, and what is known of them in ``sources.json`` there.

    A file that is there already, from an earlier call or put there by hand, is checked and kept.

    Args:
        specification: the dataset, whose terms are shown first.
        folder: where the files go; one process at a time fetches a file, others wait.
        file: only this file; None for all.
        mirrors: addresses of folders that hold the official files under their names; tried before the official ones.

    Raises:
        InputError: the file is unknown, cannot be had, or is not the published one; nothing false is left in place.
    """
    sources = {source.file: source for source in specification.sources}
    if file is not None and file not in sources:
        raise InputError(f"'{file}' is no file of {specification.title}; {registry.suggest(file, sources)}")
    if not sources:
        raise InputError(
            f"{specification.name}: its dataset file names no 'sources'; give your files to 'spectralseg prepare', "
            "or set 'source: path' in a configuration"
        )
    _log.info("%s", terms(specification))
    for source in [sources[file]] if file else specification.sources:
        receipt = obtain(source, folder, mirrors=mirrors, homepage=specification.homepage)
        _add_receipt(folder, receipt)


def terms(specification: DatasetSpecification) -> str:
    """What a user of a dataset must know before the first download."""
    return (
        f"{specification.title}: {specification.homepage}. Licence: {specification.licence}. "
        f"Please cite: {specification.citation}"
    )


def obtain(source: SourceFile, folder: Path, *, mirrors: Sequence[str] = (), homepage: str = "") -> dict[str, Any]:
    """Have one file in ``folder`` and return its receipt: file, url, bytes, sha256, whether that is the published one.

    Mirrors without https are asked only for files with a published checksum.

    Raises:
        InputError: names the file, what went wrong at each address, and how to get it by hand.
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


def read_receipts(folder: Path) -> list[dict[str, Any]]:
    """Receipts of the files in ``folder``, sorted by name; none where nothing was fetched into it."""
    try:
        receipts = list(read_json(folder / RECEIPTS, _MAX_RECEIPTS)["files"])
    except (InputError, KeyError, TypeError):
        return []
    return [receipt for receipt in receipts if isinstance(receipt, dict) and "file" in receipt]


def _addresses(source: SourceFile, mirrors: Sequence[str]) -> list[str]:
    ours = [f"{mirror.rstrip('/')}/{quote(source.file)}" for mirror in mirrors]
    return [*ours, source.url, *source.mirrors]


def _refuse_unsafe(url: str, source: SourceFile) -> None:
    """Refuse a mirror that anyone on the way may change, of a file that has no checksum to tell."""
    address = urlsplit(url)
    unsafe = address.scheme == "http" and urlsplit(source.url).scheme != "http" and address.hostname not in LOCAL_HOSTS
    if unsafe and (source.built_on_request or not (source.sha256 or source.md5)):
        raise InputError("the mirror has no https, and there is no published checksum; give one with https")


def _download(url: str, complete: Path, source: SourceFile) -> dict[str, Any]:
    """Receipt of the file at ``complete``. One that is not the published is fetched again, once: it may have passed a
    proxy or a login page, or have been damaged on the way.
    """
    for last in (False, True):
        if not complete.exists():  # else a process was killed while it checked the file
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
    """Receipts of the official files that a user gives: ``raw`` itself, or files in the folder ``raw``.

    A checksum that is not the published one is noted and no error, as the user may have good reasons.
    """
    given = ((raw if raw.is_file() and raw.name == s.file else raw / s.file, s) for s in specification.sources)
    receipts = [_receipt(file, source) for file, source in given if file.is_file()]
    for receipt in receipts:
        if receipt["published_checksum"] is False:
            _log.warning("%s: its checksum is not the published one; the dataset card says so", receipt["file"])
    return receipts


def _add_receipt(folder: Path, receipt: dict[str, Any]) -> None:
    with FileLock(folder / ".partial" / f"{RECEIPTS}.lock"):
        others = [known for known in read_receipts(folder) if known["file"] != receipt["file"]]
        write_json(folder / RECEIPTS, {"files": sorted([*others, receipt], key=lambda known: str(known["file"]))})


def _checked(file: Path, source: SourceFile) -> dict[str, Any]:
    """The receipt of a file; an :class:`InputError` with the bare reason if it is not the published one."""
    receipt = _receipt(file, source)
    if receipt["published_checksum"] is False:
        if not source.built_on_request:
            raise InputError("the checksum is not the published one")
        _log.warning("%s: its checksum is not the published one, as the server builds it anew; testing it", file.name)
    if not receipt["published_checksum"]:
        _test_archive(file)
    return {**receipt, "fetched": datetime.datetime.now(datetime.UTC).date().isoformat()}


def _receipt(file: Path, source: SourceFile) -> dict[str, Any]:
    sha256, md5 = _digests(file)
    published = [ours == theirs for ours, theirs in ((sha256, source.sha256), (md5, source.md5)) if theirs]
    return {
        "file": source.file,
        "url": redact(source.url),
        "bytes": file.stat().st_size,
        "sha256": sha256,
        "published_checksum": all(published) if published else None,
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
    """Where no checksum tells, an archive must at least be whole, and none that :func:`archives.unpack` refuses."""
    if archives.is_archive(file):
        try:
            archives.verify(file)
        except InputError as error:
            reason = str(error).removeprefix(f"{file}: ").rpartition("; ")[0]
            raise InputError(f"this is no intact archive ({reason})") from None


@contextmanager
def _one_process(partial: Path) -> Iterator[None]:
    """Hold the lock of a file; it ends with the process, whatever ends that."""
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
