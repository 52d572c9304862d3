"""Half of a batch in a second thread."""

import threading

import pytest

from signerd.second_thread import SecondThread


@pytest.mark.parametrize("count", [0, 1, 2, 3, 16, 17])
def test_the_results_are_in_the_order_of_the_items(count: int) -> None:
    assert SecondThread("test").map(lambda item: item * item, range(count)) == [item * item for item in range(count)]


def test_half_of_the_items_are_done_beside_the_other_half() -> None:
    both = threading.Barrier(2)
    done_by = SecondThread("test").map(lambda _: (both.wait(10), threading.current_thread().name)[1], range(2))
    assert done_by[0].startswith("test")
    assert done_by[1] == threading.current_thread().name


def test_what_fails_in_either_thread_is_raised() -> None:
    for items in [0, 1, 1, 1], [1, 1, 1, 0]:
        with pytest.raises(ZeroDivisionError):
            SecondThread("test").map(lambda item: 1 // item, items)
