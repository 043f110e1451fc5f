"""A web server on this machine, on which the stand-ins for the download services are built."""

import contextlib
import dataclasses
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock
from urllib.parse import parse_qs, urlsplit


@dataclasses.dataclass(frozen=True)
class Request:
    """What a client asked for; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclasses.dataclass(frozen=True)
class Reply:
    """What it gets: bytes with their length, or pieces of unknown length in chunked encoding.

    After ``cut`` bytes of the body the connection is closed, whatever was announced.
    """

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cut: int | None = None


Fault = Callable[[Reply], Reply]


def status(code: int, body: bytes = b"", **headers: str) -> Fault:
    """Answer with another status."""
    return lambda _: Reply(code, body, {name.replace("_", "-"): value for name, value in headers.items()})


def cut(after: int) -> Fault:
    """Close the connection after so many bytes of the body."""
    return lambda reply: dataclasses.replace(reply, cut=after)


def ranged(request: Request, content: bytes, headers: Mapping[str, str] | None = None) -> Reply:
    """The content, or the end of it that the client still lacks, if it is still the same content."""
    tag = f'"{hashlib.md5(content).hexdigest()}"'
    headers = {"Accept-Ranges": "bytes", "ETag": tag, "Content-Type": "application/zip", **(headers or {})}
    wanted = request.headers.get("range")
    if wanted is None or request.headers.get("if-range", tag) != tag:
        return Reply(200, content, headers)
    first, last = wanted.removeprefix("bytes=").split("-")
    start, stop = int(first), int(last or len(content) - 1) + 1
    if start >= len(content):
        return Reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
    part = content[start:stop]
    return Reply(206, part, {**headers, "Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(content)}"})


class Server:
    """Answers with :meth:`answer`, which a stand-in defines; :meth:`fail` plans faults of the next answers."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._faults: list[tuple[str, Fault]] = []

    def answer(self, request: Request) -> Reply:
        raise NotImplementedError

    def fail(self, path: str, *faults: Fault) -> None:
        """Each fault spoils one answer to a path that contains ``path``, in this order."""
        self._faults += [(path, fault) for fault in faults]

    def asked(self, path: str) -> list[Request]:
        """The requests so far to paths that contain ``path``."""
        return [request for request in self.requests if path in request.path]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def running(self) -> Iterator["Server"]:
        """Serve inside the block; clients reach it directly, whatever proxy the machine has."""
        http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = http.server_port
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            with mock.patch.dict(os.environ, {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}):
                yield self
        finally:
            http.shutdown()
            http.server_close()
            thread.join()

    def _reply(self, request: Request) -> Reply:
        self.requests.append(request)
        reply = self.answer(request)
        for planned in self._faults:
            if planned[0] in request.path:
                self._faults.remove(planned)
                return planned[1](reply)
        return reply

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                address = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(address.query).items()}
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = server._reply(Request(self.command, address.path, query, headers, body))
                sized = isinstance(reply.body, bytes)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header(
                    *("Content-Length", str(len(reply.body))) if sized else ("Transfer-Encoding", "chunked")
                )
                self.end_headers()
                if self.command == "HEAD":
                    return
                left = reply.cut
                with contextlib.suppress(ConnectionError):  # a client may hang up
                    for piece in [reply.body] if sized else reply.body:
                        kept = piece if left is None else piece[:left]
                        self.wfile.write(kept if sized else b"%x\r\n%s\r\n" % (len(kept), kept))
                        left = None if left is None else left - len(kept)
                        if left == 0:
                            self.close_connection = True
                            self.wfile.flush()
                            self.connection.shutdown(socket.SHUT_RDWR)
                            return
                    if not sized:
                        self.wfile.write(b"0\r\n\r\n")

            do_POST = do_HEAD = do_GET

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler
