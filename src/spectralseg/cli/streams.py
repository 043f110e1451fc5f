"""Standard output and standard error whose reader may be gone or whose disk may be full."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from typing import TextIO

from spectralseg.redaction import redact


def print_error(message: str) -> None:
    """Print a message on standard error, after everything printed before it."""
    disconnect_failed_streams()
    with contextlib.suppress(OSError):
        print(redact(message), file=sys.stderr)
    disconnect_failed_streams()


def disconnect_failed_streams() -> str:
    """Point standard streams that cannot be written to at the null device, or the interpreter would fail at its exit.

    Returns:
        The name of the first such stream; empty if there is none.
    """
    failed = ""
    for name, stream in {"standard output": sys.stdout, "standard error": sys.stderr}.items():
        try:
            stream.flush()
            if not _reader_gone(stream):
                continue
        except OSError:
            pass
        failed = failed or name
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    return failed


def _reader_gone(stream: TextIO) -> bool:
    """Whether a stream is a pipe without a reader, which flushing an unbuffered stream does not detect."""
    if not stream.isatty() and hasattr(select, "poll"):
        with contextlib.suppress(OSError, ValueError):  # a stream that replaces the standard one may have no file
            poll = select.poll()
            poll.register(stream.fileno(), select.POLLERR)
            return any(event & select.POLLERR for _, event in poll.poll(0))
    return False
