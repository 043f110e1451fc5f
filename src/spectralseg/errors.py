"""Exceptions that end a command without a traceback: an error that the user can correct, and an interruption."""

from __future__ import annotations

import errno
import os

__all__ = ["InputError"]

_REMEDIES = {
    errno.ENOSPC: "free some disk space or choose another folder",
    errno.EDQUOT: "free some disk space or choose another folder",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f) or choose another disk",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "change the permissions of the file and its folder",
    errno.EPERM: "change the permissions of the file and its folder",
    errno.ENOENT: "check the path, and the target if it is a link",
    errno.EEXIST: "choose another name or remove the existing file",
    errno.ENOTDIR: "choose a path in which no folder is a file",
    errno.ELOOP: "correct the link, which points to itself",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def one_line(text: str) -> str:
    """``text`` with all unprintable characters escaped, such as line ends and control sequences."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class InputError(Exception):
    """Invalid input, described in one sentence: which file or key, what is wrong, and what to do.

    The command line prints the message without a traceback and exits with status 1, or with the status of the command
    for errors. The message is one line of text,
    whatever characters it quotes from file names.

    Examples:
        >>> from spectralseg.errors import InputError
        >>> from spectralseg.objectives import build_objective
        >>> try:
        ...     build_objective("dise")
        ... except InputError as error:
        ...     print(error)
        objective 'dise' is unknown; did you mean 'dice'? ...
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class FindingsError(InputError):
    """A check of valid input has findings; the command line exits with status 1."""


class Diverged(InputError):
    """A network computes values that are not finite.

    Args:
        run: the run folder, or another name of the network.
        reason: which values are not finite, and where; one clause.
    """

    def __init__(self, run: object, reason: str) -> None:
        super().__init__(f"{run}: the run diverged: {reason}; lower 'learning_rate' or set 'gradient_clip' and retrain")
        self.reason = reason


class Interrupted(BaseException):
    """Work was interrupted on request, and a rerun resumes it; the command line exits with status 75.

    Like ``KeyboardInterrupt``, it is not an ``Exception``: a signal arrives at any moment, and code that
    handles the errors of libraries must not catch it.
    """


def has_remedy(error: OSError) -> bool:
    """Whether an error of the operating system has a specific remedy; a missing file has none."""
    return error.errno in _REMEDIES and error.errno != errno.ENOENT


def explained(error: OSError) -> str:
    """Cause and remedy of an error of the operating system, as the end of a message that starts with the file name."""
    number = error.errno or 0
    return f"{os.strerror(number).lower()}; {_REMEDIES.get(number, 'check the path and the disk, and try again')}"
