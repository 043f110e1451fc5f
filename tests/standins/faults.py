"""A web server on this machine that serves one file and can be told to misbehave, request by request."""

import contextlib
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

PIECE = 2**14


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer; the defaults are what a healthy server does.

    ``drop_after``: close the connection after so many bytes of the body. ``stall_after``: send no more after so many,
    but keep the connection. ``longer``: announce so many bytes more (or fewer) than there are. ``content``: serve other
    bytes.
    """

    status: int | None = None
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    drop_after: int | None = None
    stall_after: int | None = None
    longer: int = 0
    content: bytes | None = None


@dataclass
class Server:
    """The file, how it is served, what goes wrong next, and what was asked and sent so far."""

    content: bytes
    ranges: bool = True
    etag: str | None = '"one"'
    date: str | None = None
    length: bool = True
    heeds_if_range: bool = True
    piece_pause: float = 0
    over: Event = field(default_factory=Event)
    faults: deque = field(default_factory=deque)
    ranges_asked: list = field(default_factory=list)
    headers_seen: list = field(default_factory=list)
    sent: int = 0
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        state = self.server.state
        fault = state.faults.popleft() if state.faults else Fault()
        asked = self.headers.get("Range")
        state.headers_seen.append(dict(self.headers))
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        state.ranges_asked.append(start)
        self.close_connection = True
        if fault.status:
            self.send_response(fault.status)
            for name, value in {"Content-Length": len(fault.body), **fault.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(fault.body)
            return
        content = state.content if fault.content is None else fault.content
        condition = self.headers.get("If-Range") if state.heeds_if_range else None
        whole = not asked or not state.ranges or (condition is not None and condition not in (state.etag, state.date))
        start = 0 if whole else start
        if not whole and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200 if whole else 206)
        if not whole:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        for name, value in {"ETag": state.etag, "Last-Modified": state.date, **fault.headers}.items():
            if value is not None:
                self.send_header(name, value)
        if state.length:
            self.send_header("Content-Length", str(len(content) - start + fault.longer))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        self._send(state, fault, content[start:])

    def _send(self, state, fault, body):
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(body), PIECE):
                piece = body[at : at + PIECE]
                for limit in (fault.drop_after, fault.stall_after):
                    if limit is not None and at + len(piece) > limit:
                        self.wfile.write(piece[: max(0, limit - at)])
                        state.sent += max(0, limit - at)
                        if limit == fault.stall_after:
                            state.over.wait()
                        return
                self.wfile.write(piece)
                state.sent += len(piece)
                if state.piece_pause:
                    time.sleep(state.piece_pause)


@contextlib.contextmanager
def serving(content, **settings):
    """A running server as a context; its state can be changed and read at any time."""
    state = Server(content, **settings)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.state = state
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}/folder/file.zip"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        state.over.set()
        server.shutdown()
        server.server_close()
