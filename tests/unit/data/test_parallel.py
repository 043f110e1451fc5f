import itertools
import threading
import time

import cv2
import pytest

from spectralseg.data.parallel import map_in_order


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(threads):
    def slow_if_even(number):
        time.sleep(0.01 * (number % 2 == 0))
        return number * number

    assert list(map_in_order(slow_if_even, range(20), threads)) == [n * n for n in range(20)]


def test_no_items_give_no_results():
    assert list(map_in_order(str, [], 3)) == []


def test_as_many_calls_as_threads_run_at_a_time():
    meeting = threading.Barrier(3)  # passed by three concurrent calls
    assert len(list(map_in_order(lambda _: meeting.wait(), range(9), 3))) == 9


def test_few_items_are_started_before_a_result_is_consumed():
    taken = 0
    begun = itertools.count()

    def item_is_near(number):
        next(begun)
        return number - taken

    distances = []
    for distance in map_in_order(item_is_near, range(50), 2):
        distances.append(distance)
        taken += 1
    assert max(distances) <= 2
    assert next(begun) == 50


def test_infinite_sources_are_read_lazily():
    numbers = itertools.count()
    results = map_in_order(lambda number: number, numbers, 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    results.close()
    assert next(numbers) <= 6


def test_an_error_reaches_the_caller_and_cancels_pending_items():
    called = []

    def fail_at_three(number):
        called.append(number)
        if number == 3:
            raise ValueError("three")
        return number

    with pytest.raises(ValueError, match="three"):
        list(map_in_order(fail_at_three, range(1000), 2))
    assert max(called) <= 6


def test_opencv_threads_are_restored():
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        assert set(map_in_order(lambda _: cv2.getNumThreads(), range(4), 2)) == {1}
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)
