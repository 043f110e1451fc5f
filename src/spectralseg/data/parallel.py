"""Process cases in parallel with deterministic results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import cv2

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_in_order(function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int) -> Iterator[_Result]:
    """As the built-in ``map``, with up to ``threads`` calls in parallel.

    With one thread, calls run in the calling thread. Further threads help where decoders, compressors and array
    operations release the GIL. OpenCV's own threads are disabled meanwhile. Memory is bounded: at most ``threads`` + 1
    items are started before the result of the first of them is consumed. After an error, no further call starts.

    Args:
        function: called in worker threads.
        items: may be infinite.
        threads: at least 1.
    """
    pending: deque[Future[_Result]] = deque()
    with _one_opencv_thread():
        if threads == 1:  # a tenth faster than a pool of one thread
            yield from map(function, items)
            return
        pool = ThreadPoolExecutor(threads)
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
