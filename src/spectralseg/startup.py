"""What makes short commands short."""

from __future__ import annotations

import atexit
import gc


def spare_garbage_collection() -> None:
    """Look for garbage less often, and not at the end.

    Importing torch and its like makes a million objects that stay. Looking through them again and again, and once more
    before the process ends, takes a third of the time of a command that does little else.
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
