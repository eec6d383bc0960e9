"""Computing ahead: order, memory bound and errors."""

import threading

import pytest

from pipelines.core.prefetch import prefetch


def test_values_come_in_the_order_of_the_items():
    second_done = threading.Event()

    def slow_first(item):
        if item == 0:
            assert second_done.wait(10)
        else:
            second_done.set()
        return 10 * item

    assert list(prefetch(slow_first, range(4), threads=2, ahead=3)) == [0, 10, 20, 30]


def test_the_number_of_items_taken_ahead_is_limited():
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    values = prefetch(str, items(), threads=2, ahead=3)
    next(values)
    assert len(taken) == 4  # three waiting, and one returned
    values.close()


def test_an_error_is_raised_in_place_of_its_value():
    values = prefetch(lambda item: 1 // item, [1, 0, 1], threads=1, ahead=3)
    assert next(values) == 1
    with pytest.raises(ZeroDivisionError):
        next(values)


def test_threads_end_when_the_caller_stops_early():
    before = threading.active_count()
    values = prefetch(str, range(100), threads=3, ahead=5)
    next(values)
    values.close()
    assert threading.active_count() == before
