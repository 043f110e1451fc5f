"""HTTP and HTTPS downloads that resume by byte range, also in a later process.

Received bytes are in ``<target>.part``, and ``<target>.state`` identifies the address and version of the file. Bytes of
two versions are never joined: without a validator (ETag, Last-Modified) or a length, as for archives that are built on
request, the download restarts.
"""

from __future__ import annotations

import email.utils
import hashlib
import http.client
import logging
import random
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from tqdm import tqdm

import spectralseg
from spectralseg.data.disk import require_space
from spectralseg.data.downloads import LOCAL_HOSTS
from spectralseg.data.downloads._common import FLOOR, TooSlowError, download_bar, refuse_leaving_https
from spectralseg.errors import InputError, one_line
from spectralseg.files import write_json
from spectralseg.parsing import read_json

_log = logging.getLogger(__name__)

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before retries after attempts without progress
LONGEST_WAIT = 300.0  # seconds, of one wait that a server demands
LONGEST_WAITS = 1800.0  # seconds, of all such waits
TIMEOUT = (20.0, 30.0)  # seconds to connect, and to receive a byte
CHUNK = 2**17  # bytes; the most that is lost if the process is killed
_UNUSABLE = (
    requests.exceptions.SSLError,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.TooManyRedirects,
)
_MOST_REDIRECTS = 20
_MAX_STATE = 2**20  # bytes
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_REFUSED = {403}  # mostly final, but object stores also use it for too many requests
_REFUSALS = 2
_MEANING = {
    401: "it asks for a login",
    403: "it refuses access",
    404: "there is no such file",
    410: "the file is gone",
}


def download(url: str, target: Path) -> None:
    """Download ``url`` to ``target``; see :mod:`spectralseg.data.downloads`.

    Attempts without progress are repeated after increasing pauses. Progress of :data:`FLOOR` bytes per second,
    including pauses, resets their number.

    Raises:
        InputError: the server refuses the request or sends a web page instead of the file, or the disk is full.
        ConnectionError: the server cannot be reached, or stops sending.
    """
    part = _Part(url, target)
    session = _Session()
    # figshare and others refuse anonymous clients. Compressed transfers could not be resumed.
    session.headers.update({"User-Agent": f"spectralseg/{spectralseg.__version__}", "Accept-Encoding": "identity"})
    if urlsplit(url).hostname in LOCAL_HOSTS:
        session.trust_env = False  # a proxy would resolve it to its own machine
    session.mount("http://", HTTPAdapter(max_retries=0))
    session.mount("https://", HTTPAdapter(max_retries=0))
    furthest, since, failures, waited = part.size, time.monotonic(), 0, 0.0
    with session, download_bar(target, part.size) as bar:
        while True:
            try:
                _transfer(session, part, bar)
                break
            except _Interruption as interruption:
                now = time.monotonic()
                if part.size > furthest and part.size - furthest >= FLOOR * (now - since):
                    furthest, since, failures = part.size, now, 0
                else:
                    failures += 1
                waited += interruption.wait or 0
                if waited > LONGEST_WAITS:
                    minutes = f"{LONGEST_WAITS / 60:.0f} minutes"
                    raise ConnectionError(f"{interruption}, and asks for waits of more than {minutes}") from None
                if failures > interruption.patience:
                    raise ConnectionError(f"{interruption}, {failures} times without progress") from None
                pause = interruption.wait if interruption.wait is not None else PAUSES[max(0, failures - 1)]
                bar.write(one_line(f"{target.name}: {interruption}; again in {pause:.0f} s"), file=sys.stderr)
                time.sleep(pause * random.uniform(0.8, 1.2))
                bar.unpause()
    part.finish()


class _Interruption(Exception):
    """An interrupted attempt that may be repeated, after ``wait`` seconds if the server demands it."""

    def __init__(self, reason: str, *, wait: float | None = None, patience: int | None = None) -> None:
        super().__init__(reason)
        self.wait, self.patience = wait, min(patience, len(PAUSES)) if patience is not None else len(PAUSES)


@dataclass(frozen=True)
class _Version:
    """Version of the file at an address: entity tag, date and length, as far as known.

    Only a digest of the address is stored, because some addresses contain a signature.
    """

    address: str
    tag: str | None
    date: str | None
    total: int | None

    @property
    def resumable(self) -> bool:
        return bool(self.tag or self.date or self.total)

    def agrees_with(self, other: _Version) -> bool:
        """Whether all attributes that both have are equal."""
        pairs = ((self.tag, other.tag), (self.date, other.date), (self.total, other.total))
        return all(None in pair or pair[0] == pair[1] for pair in pairs)

    @property
    def validator(self) -> str | None:
        """Value of ``If-Range``, which does not allow weak tags."""
        return self.tag if self.tag and not self.tag.startswith("W/") else self.date


class _Part:
    """The partial file and its version."""

    def __init__(self, url: str, target: Path) -> None:
        self.url, self.target = url, target
        self.file = target.with_name(f"{target.name}.part")
        self.state = target.with_name(f"{target.name}.state")
        self.version = self._read_version()
        if self.version is None or self.version.address != _digest(url) or not self.version.resumable:
            self.discard()

    @property
    def size(self) -> int:
        return self.file.stat().st_size if self.file.is_file() else 0

    def _read_version(self) -> _Version | None:
        try:
            return _Version(**read_json(self.state, _MAX_STATE))
        except (InputError, TypeError):
            return None

    def start(self, version: _Version) -> None:
        """Discard the partial file and record the version of the new one."""
        self.discard()
        self.version = version
        self.target.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.state, asdict(version))

    def discard(self) -> None:
        self.version = None
        self.state.unlink(missing_ok=True)
        self.file.unlink(missing_ok=True)

    def finish(self) -> None:
        self.file.replace(self.target)
        self.state.unlink(missing_ok=True)


def _transfer(session: _Session, part: _Part, bar: tqdm[Any]) -> None:
    """Send one request; return when the file is complete."""
    if part.version is not None and not part.version.resumable:
        part.discard()
    start = part.size
    headers = {}
    if start and part.version is not None:
        headers = {"Range": f"bytes={start}-"}
        if part.version.validator:
            headers["If-Range"] = part.version.validator
    with _network_errors(), _get(session, part.url, headers) as response:
        if response.status_code == 416 and start:
            if _content_range(response)[1] == start:
                return
            part.discard()
            raise _Interruption("the server has another file now")
        _check_response(response)
        version = _version(part.url, response)
        if response.status_code == 206:
            if _content_range(response)[0] != start or part.version is None or not part.version.agrees_with(version):
                part.discard()
                raise _Interruption("the server has another file now")
            version = part.version
        else:
            start = 0
            part.start(version)
        _receive(response, part, start, version.total, bar)
    if version.total is not None and part.size != version.total:
        raise _Interruption(f"the connection ended after {part.size} of {version.total} bytes")


class _Session(requests.Session):
    """Leaves redirects to :func:`_get`, because requests reads their whole bodies."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def _get(session: _Session, url: str, headers: dict[str, str]) -> requests.Response:
    """The response after following redirects, without reading their bodies."""
    for _ in range(_MOST_REDIRECTS):
        response = session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
        target = requests.Session.get_redirect_target(session, response)
        if not target:
            return response
        response.close()
        refuse_leaving_https(url, urljoin(url, target))
        url = urljoin(url, target)
    raise requests.TooManyRedirects


def _receive(response: requests.Response, part: _Part, start: int, total: int | None, bar: tqdm[Any]) -> None:
    require_space(part.target.parent, (total or start) - start)
    bar.total = total
    bar.n = start
    bar.refresh()
    # Unbuffered, so that received bytes survive the process.
    with part.file.open("ab", buffering=0) as stream:
        while chunk := response.raw.read1(CHUNK, decode_content=False):  # does not wait for a full chunk
            stream.write(chunk)
            start += len(chunk)
            if total is not None and start > total:
                break
            bar.update(len(chunk))
    if total is not None and start > total:
        part.discard()
        raise _Interruption(f"the server sent more than the announced {total} bytes")


def _check_response(response: requests.Response) -> None:
    code, answer = response.status_code, f"{response.status_code} {response.reason}"
    if code in _BUSY or code in _REFUSED:
        patience = _REFUSALS if code in _REFUSED else len(PAUSES)
        raise _Interruption(f"the server answers {answer}", wait=_demanded_wait(response), patience=patience)
    if code not in (200, 206):
        raise InputError(f"the server answers {answer}: {_MEANING.get(code, 'it does not send the file')}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise InputError("the server sends a web page instead of the file")


def _demanded_wait(response: requests.Response) -> float | None:
    """Seconds of the header ``Retry-After``, which may also be a date."""
    value = response.headers.get("Retry-After", "")
    if (seconds := _number(value)) is not None:
        return min(float(seconds), LONGEST_WAIT)
    try:
        until = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, until - time.time()), LONGEST_WAIT)


def _version(url: str, response: requests.Response) -> _Version:
    headers = response.headers
    total = _content_range(response)[1]
    if response.status_code == 200:
        total = _number(headers.get("Content-Length", ""))
    return _Version(_digest(url), headers.get("ETag"), headers.get("Last-Modified"), total)


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """First byte and total of a ``Content-Range`` such as ``bytes 5-9/10`` or ``bytes */10``."""
    match = re.fullmatch(r"bytes (?:([0-9]+)-[0-9]+|\*)/([0-9]+|\*)", response.headers.get("Content-Range", ""))
    first, total = match.groups("") if match else ("", "")
    return _number(first), _number(total)


def _number(text: str) -> int | None:
    """A number in a header; None if it is invalid or larger than any file."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


@contextmanager
def _network_errors() -> Iterator[None]:
    """Convert errors of libraries to :class:`_Interruption`, or :class:`InputError` if a retry is pointless."""
    try:
        yield
    except _UNUSABLE as error:
        raise InputError(f"the server cannot be used ({type(error).__name__})") from None
    except (requests.ConnectTimeout, requests.ConnectionError) as error:
        if isinstance(error, requests.ConnectTimeout) or "NewConnectionError" in repr(error):
            raise _Interruption("the server cannot be reached", patience=_REFUSALS) from None
        raise _Interruption("the connection was dropped") from None
    except TooSlowError as error:
        raise _Interruption(str(error)) from None
    except (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError, TimeoutError):
        raise _Interruption(f"no data arrived for {TIMEOUT[1]:.0f} s") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, ConnectionError):
        raise _Interruption("the connection was dropped") from None
