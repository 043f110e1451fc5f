"""The exceptions that end a command without a traceback: a problem the user can mend, and a request to stop."""

from __future__ import annotations

import errno
import os

_REMEDIES = {
    errno.ENOSPC: "free some disk space or choose another folder",
    errno.EDQUOT: "free some disk space or choose another folder",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f) or choose another disk",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "change the permissions of the file and its folder",
    errno.EPERM: "change the permissions of the file and its folder",
    errno.ENOENT: "check the path, and where it leads if it is a link",
    errno.EEXIST: "choose another name or remove what is there",
    errno.ENOTDIR: "choose a path whose folders are not files",
    errno.ELOOP: "mend the link, which leads back to itself",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def one_line(text: str) -> str:
    """``text`` with all characters escaped that end a line, move a cursor or cannot be seen."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class InputError(Exception):
    """Bad input, told in one sentence: which file or key, what is wrong, and what to do.

    The command line prints the sentence without a traceback and exits with status 1. It is one line of text whatever
    characters the names of files bring along.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(one_line(sentence))


class Diverged(InputError):
    """A network computes values that are not finite, so that it predicts nothing.

    Args:
        run: the run folder, or what else names the network.
        reason: what is not finite, and where; one clause.
    """

    def __init__(self, run: object, reason: str) -> None:
        super().__init__(
            f"{run}: the run diverged: {reason}; lower 'learning_rate' or set 'gradient_clip' and train it again"
        )
        self.reason = reason


class Interrupted(BaseException):
    """Work was put down at somebody's request, and doing it again continues; the command line exits with status 75.

    Like ``KeyboardInterrupt``, it passes whatever handles exceptions of libraries: a signal comes at any moment.
    """


def has_remedy(error: OSError) -> bool:
    """Whether the operating system refused for a reason that has its own remedy; a missing file has none."""
    return error.errno in _REMEDIES and error.errno != errno.ENOENT


def explained(error: OSError) -> str:
    """What the operating system refused, and what to do: the end of a sentence that starts with the file's name."""
    number = error.errno or 0
    return f"{os.strerror(number).lower()}; {_REMEDIES.get(number, 'check the path and the disk, and try again')}"
