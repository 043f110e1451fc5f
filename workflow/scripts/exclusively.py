"""Run a command that no other may run beside: python exclusively.py COMMAND...

Snakemake's own lock outlives a killed process and must then be removed by hand. This one is held by the kernel for as
long as the command lives, so an interrupted run can simply be started again.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path


def main() -> None:
    """Take the lock and become the command, which keeps the lock's file open until it ends."""
    folder = Path(".snakemake")
    folder.mkdir(exist_ok=True)
    lock = os.open(folder / "exclusive.lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(f"error: {folder.resolve()}: another run is under way here; wait for it or stop it")
    os.set_inheritable(lock, True)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
