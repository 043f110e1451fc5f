"""Unpack untrusted archives safely: no writing outside the target folder, no unbounded expansion.

All headers are checked before the first byte is written, and bytes are counted while they are written. An archive that
fails leaves no files.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import itertools
import math
import re
import shlex
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, cast

from spectralseg.data.cases import TEMPORARY
from spectralseg.data.disk import RESERVE, free_space
from spectralseg.errors import InputError, explained
from spectralseg.files import replacing_folder, temporary_folder

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
# Far above the expansion of archives of images, volumes or masks. Users must unpack what exceeds it themselves.
_SMALL = 2**28  # bytes, below which any ratio is allowed
_RATIO = 300  # bytes out per byte in; label volumes reach about 200, zeros 1032
_MOST_MEMBERS = 200_000
_MOST_FOLDERS = 64  # nested
_CHUNK = 2**20
_GZIP = b"\x1f\x8b"
_LOCAL_HEADER = 30  # bytes before every member of a zip, without its name
# Commands that decrypt files of openssl, as ATLAS is distributed, by their first bytes: base64 text, and binary.
_OPENSSL = {
    b"U2FsdGVkX1": "openssl aes-256-cbc -md sha256 -d -a -in {name} -out decrypted.tar.gz",
    b"Salted__": "openssl aes-256-cbc -md sha256 -d -in {name} -out decrypted.tar.gz",
}
_CCRYPT = {".cpt": "ccrypt -d {name}"}  # by suffix, as its files have no typical first bytes
_ENCRYPTED_SUFFIXES = (*_CCRYPT, ".enc")
_BY_HAND = "if you trust it, unpack it by hand and give the folder"


def is_archive(path: Path) -> bool:
    """Whether a file has the name of an archive."""
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into the new folder ``folder``, completely or not at all.

    Nested archives are not unpacked.

    Raises:
        InputError: the archive is damaged or encrypted (the message has the command that decrypts a file of openssl or
            ccrypt), would write outside ``folder``, has links, devices, duplicate names or overlapping members, or
            expands to more than its size or the disk allows.
    """
    target = replacing_folder(folder, durable=False)
    with _readable(archive, f"unpacked to {folder.parent}"), _opened(archive) as members, target as partial_folder:
        for member in _checked(archive, members, free_space(folder.parent)):
            _write(archive, member, partial_folder)


def verify(archive: Path) -> None:
    """Check an archive like :func:`unpack`, without writing.

    Raises:
        InputError: as for :func:`unpack`, except for the free disk space.
    """
    with _readable(archive, "read"), _opened(archive) as members:
        for member in _checked(archive, members, None):
            if not member.is_folder:
                _copy(archive, member, None)


@contextlib.contextmanager
def _readable(archive: Path, purpose: str) -> Iterator[None]:
    """Convert errors of parsing and writing inside the block to an :class:`InputError` about ``archive``."""
    try:
        yield
    except InputError:
        raise
    # Parsers of damaged files raise nearly any exception.
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: a seek before the start
            raise InputError(f"{archive}: cannot be {purpose}: {explained(error)}") from None
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(f"{archive}: cannot be unpacked ({reason}); fetch it again") from None


def _refuse_encrypted(file: Path) -> None:
    """Raise an :class:`InputError` with the command to decrypt a file of openssl or ccrypt, whatever its name."""
    with file.open("rb") as stream:
        head = stream.read(16)
    commands = [command for start, command in _OPENSSL.items() if head.startswith(start)]
    commands += [command for suffix, command in _CCRYPT.items() if file.name.lower().endswith(suffix)]
    if commands:
        command = commands[0].format(name=shlex.quote(file.name))
        raise InputError(
            f"{file}: is still encrypted; decrypt it with your key, and give the result without it: {command}"
        )


def _opened(archive: Path) -> contextlib.AbstractContextManager[Iterable[_Member]]:
    _refuse_encrypted(archive)
    return _zip(archive) if archive.name.lower().endswith(".zip") else _tar(archive)


class _Member(NamedTuple):
    """A member of a zip or tar archive. ``problem`` says why it must not be unpacked; empty if it may."""

    name: str
    size: int
    is_folder: bool
    problem: str
    open: Callable[[], IO[bytes]]

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(part for part in self.name.split("/") if part not in ("", "."))


@contextlib.contextmanager
def _zip(archive: Path) -> Iterator[Iterable[_Member]]:
    with zipfile.ZipFile(archive) as content:
        entries = content.infolist()
        places = sorted((e.header_offset, e.header_offset + _LOCAL_HEADER + e.compress_size) for e in entries)
        places.append((content.start_dir, content.start_dir))
        if any(end > start for (_, end), (start, _) in itertools.pairwise(places)):
            raise InputError(f"{archive}: has members that overlap, as a zip bomb does; do not use this file")
        yield [
            _Member(name, e.file_size, name.endswith("/"), _zip_problem(e), partial(content.open, e))
            for e in entries
            # Some Windows programs write backslashes, against the standard.
            for name in [e.orig_filename.replace("\\", "/")]
        ]


def _zip_problem(entry: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 unless written on Unix
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or device; do not use this file"
    if entry.flag_bits & 1:
        return "is encrypted; unpack it by hand with its password and give the folder"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is packed by a method that is rarely used (number {entry.compress_type}); {_BY_HAND}"
    return ""


@contextlib.contextmanager
def _tar(archive: Path) -> Iterator[Iterable[_Member]]:
    with archive.open("rb") as file:
        zipped = file.read(2) == _GZIP
        file.seek(0)
        with contextlib.ExitStack() as stack:
            content = stack.enter_context(gzip.GzipFile(fileobj=file)) if zipped else file
            if zipped and content.peek(2).startswith(_GZIP):
                raise InputError(f"{archive}: is compressed twice; decompress it once")
            stream = _LimitedStream(content)
            tar = stack.enter_context(tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:"))
            yield _tar_members(tar, stream)


def _tar_members(tar: tarfile.TarFile, stream: _LimitedStream) -> Iterator[_Member]:
    for info in tar:
        plain = (info.isreg() or info.isdir()) and not info.issparse() and info.size >= 0
        problem = "" if plain else "is a link or device; do not use this file"
        yield _Member(info.name, info.size, info.isdir(), problem, partial(_tar_open, tar, info))
        stream.left = _CHUNK
    # tarfile ends at a damaged header or the end of the file as at the block of zeros behind the last member.
    if stream.last != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("no end behind the last member that can be read")
    stream.left = math.inf
    # tarfile does not read on after the last readable member, up to the checksum of gzip.
    for _ in range(16):
        chunk = stream.read(_CHUNK)
        if chunk.strip(b"\0"):
            raise tarfile.ReadError("unreadable data behind the last member")
        if not chunk:
            return
    raise tarfile.ReadError("endless padding behind the last member")


def _tar_open(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    return cast(IO[bytes], tar.extractfile(info))


class _LimitedStream:
    """A stream of which only ``left`` bytes may be read, because tarfile reads headers of any size into memory."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile) -> None:
        self.left: float = _CHUNK
        self.last = b""  # what was read last
        self.seek, self.tell, self._read = stream.seek, stream.tell, stream.read

    def read(self, size: int) -> bytes:
        self.left -= size
        if size < 0 or self.left < 0:
            raise tarfile.ReadError("a header of absurd size")
        self.last = self._read(size)
        return self.last


def _checked(archive: Path, members: Iterable[_Member], free: int | None) -> list[_Member]:
    """All members, after checking each of them and their total size; ``free`` is the disk space in bytes."""
    size = archive.stat().st_size
    most = max(_SMALL, _RATIO * size)
    checked: list[_Member] = []
    total = 0
    for member in members:
        problem = member.problem or _name_problem(member)
        if problem:
            raise InputError(f"{archive}: member '{member.name[:100]}' {problem}")
        checked.append(member)
        total += member.size
        if total > most:
            raise InputError(
                f"{archive}: its {size} bytes expand to more than {_mib(most)}, as a bomb does; {_BY_HAND}"
            )
        if len(checked) > _MOST_MEMBERS:
            raise InputError(f"{archive}: has more than {_MOST_MEMBERS} members, as a bomb does; {_BY_HAND}")
    if free is not None and total > free:
        raise InputError(
            f"{archive}: expands to {_mib(total)}, but only {_mib(max(free, 0))} of the disk are free beyond a reserve "
            f"of {_mib(RESERVE)}; free some space or choose an output folder on another disk"
        )
    _refuse_same_names(archive, checked)
    return checked


def _name_problem(member: _Member) -> str:
    name = member.name
    if name.startswith("/") or ".." in member.parts or re.match(r"[A-Za-z]:", name) or "\\" in name or "\0" in name:
        return "would be written outside on some system; do not use this file"
    if len(member.parts) > _MOST_FOLDERS:
        return f"lies more than {_MOST_FOLDERS} folders deep; do not use this file"
    if not member.parts and not member.is_folder:
        return "has no name; do not use this file"
    return ""


def _refuse_same_names(archive: Path, members: Iterable[_Member]) -> None:
    files: set[tuple[str, ...]] = set()
    folders: set[tuple[str, ...]] = set()
    for member in members:
        if member.parts in files:
            raise InputError(f"{archive}: member '{member.name}' appears twice; do not use this file")
        (folders if member.is_folder else files).add(member.parts)
        folders.update(member.parts[:depth] for depth in range(1, len(member.parts)))
    for parts in files & folders:
        raise InputError(f"{archive}: member '{'/'.join(parts)}' is a file and a folder; do not use this file")


def _write(archive: Path, member: _Member, folder: Path) -> None:
    target = folder.joinpath(*member.parts)
    if member.is_folder:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # Never overwrite: some file systems do not distinguish all names.
    with target.open("xb") as sink:
        _copy(archive, member, sink)


def _copy(archive: Path, member: _Member, sink: IO[bytes] | None) -> None:
    left = member.size
    with member.open() as source:
        while left >= 0 and (chunk := source.read(_CHUNK)):
            if sink is not None:
                sink.write(chunk)
            left -= len(chunk)
    if left:
        raise InputError(f"{archive}: member '{member.name}' is not as long as its header says; fetch it again")


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


@contextlib.contextmanager
def unpacked(raw: Path, scratch: Path) -> Iterator[Path]:
    """Context manager that gives readers a folder with the official layout.

    ``raw`` is an archive, a folder of archives (each temporarily unpacked into a folder of its own, with links to other
    files beside them), or a folder that already has the layout (used in place). The message of an :class:`InputError`
    of the block refers to paths in ``raw`` instead of temporary ones.

    Raises:
        InputError: ``raw`` does not exist, an archive is encrypted or cannot be unpacked, or its unpacked content is
            next to it.
    """
    if not raw.exists():
        raise InputError(f"{raw}: does not exist; give a folder or an archive in the official layout")
    entries = sorted(raw.iterdir()) if raw.is_dir() else [raw]
    archives = [entry for entry in entries if is_archive(entry)]
    others = [entry for entry in entries if entry.is_file() and entry not in archives]
    for entry in others:
        if entry == raw or entry.name.lower().endswith(_ENCRYPTED_SUFFIXES):
            with _readable(entry, "read"):
                _refuse_encrypted(entry)
    if not raw.is_dir() and not archives:
        raise InputError(f"{raw}: is neither a folder nor an archive; give one of {', '.join(SUFFIXES)}")
    if not archives:
        yield raw
        return
    with _temporary_folder(scratch) as folder:
        unpacked_names = {_stem(archive) for archive in archives}
        for archive in archives:
            unpack(archive, folder / archive.name)
            unpacked_names |= {path.name for path in (folder / archive.name).iterdir()}
        for entry in entries:
            if entry in archives or entry.name.startswith("."):  # left by file managers
                continue
            if entry.name in unpacked_names:
                raise InputError(f"{entry}: an archive beside it holds the same; keep one of the two")
            (folder / entry.name).symlink_to(entry.absolute())
        try:
            yield folder
        except InputError as error:
            message = str(error).replace(f"{folder}:", f"{raw}:")
            raise InputError(message.replace(str(folder), str(raw if raw.is_dir() else raw.parent))) from None


@contextlib.contextmanager
def _temporary_folder(scratch: Path) -> Iterator[Path]:
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_folder(scratch, TEMPORARY.strip(".")))
        except OSError as error:
            raise InputError(f"{scratch}: cannot hold unpacked archives: {explained(error)}") from None
        yield folder


def _stem(archive: Path) -> str:
    """Name of the folder that other programs unpack to."""
    return next(archive.name[: -len(suffix)] for suffix in SUFFIXES if archive.name.lower().endswith(suffix))
