"""Faster start and exit of short commands."""

from __future__ import annotations

import atexit
import gc


def spare_garbage_collection() -> None:
    """Run the garbage collector less often, and not at the exit of the process.

    Importing torch and similar packages creates about a million permanent objects. Collecting among them repeatedly
    takes a third of the time of a short command.
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
