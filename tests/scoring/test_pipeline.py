import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice

import pytest

from mpiqe.scoring import pipeline
from mpiqe.scoring.pipeline import batches, in_order, uninterrupted


def test_results_come_in_the_order_of_the_items():
    def slow_if_even(i):
        time.sleep(0.01 * (i % 2 == 0))
        return i * i

    assert list(in_order(slow_if_even, range(20), workers=4, ahead=6)) == [i * i for i in range(20)]


def test_endless_items_are_drawn_only_so_far_ahead():
    drawn = []
    items = (drawn.append(i) or i for i in count())
    results = in_order(lambda i: i, items, workers=2, ahead=5)
    assert list(islice(results, 3)) == [0, 1, 2]
    assert len(drawn) == 3 + 5
    results.close()


def test_work_overlaps():
    together = threading.Barrier(3, timeout=10)  # breaks unless three are at work at once
    assert len(list(in_order(lambda _: together.wait(), range(6), workers=3, ahead=3))) == 6


def test_an_exception_comes_in_its_turn():
    results = in_order(lambda i: 1 // (i - 2), range(5), workers=2, ahead=4)
    assert [next(results), next(results)] == [-1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def failing(number):
    """So many items, and then an exception."""
    yield from range(number)
    raise LookupError("no more")


@pytest.mark.parametrize("number", [0, 1, 3, 8])
def test_what_the_source_raises_comes_after_the_results_of_all_it_gave(number):
    results = in_order(lambda i: i * i, failing(number), workers=2, ahead=4)
    got = [next(results) for _ in range(number)]
    with pytest.raises(LookupError, match="no more"):
        next(results)
    assert got == [i * i for i in range(number)]


@pytest.mark.parametrize("number", [0, 1, 3, 8])
def test_what_the_source_raises_comes_after_a_batch_of_what_it_gave(number):
    batch_of = batches(failing(number), 3)
    got = [next(batch_of) for _ in range(-(-number // 3))]
    with pytest.raises(LookupError, match="no more"):
        next(batch_of)
    assert [item for batch in got for item in batch] == list(range(number))


def test_closing_drops_what_has_not_begun():
    begun = []
    second, gate = threading.Event(), threading.Event()

    def work(i):
        begun.append(i)
        if i:
            second.set()
            gate.wait(10)
        return i

    results = in_order(work, range(100), workers=1, ahead=50)
    assert next(results) == 0
    assert second.wait(10)
    threading.Timer(0.5, gate.set).start()  # long after the rest was dropped
    results.close()
    assert begun == [0, 1]


@pytest.mark.parametrize("early", [True, False])
def test_what_the_work_waits_for_is_released_before_it_is_waited_for(early):
    gate = threading.Event()
    results = in_order(lambda i: i == 1 and gate.wait(10), range(3), workers=1, ahead=1, release=gate.set)
    if early:
        next(results)
        results.close()  # would take ten seconds
    else:
        threading.Timer(0.1, gate.set).start()
        assert list(results) == [False, True, False]
    assert gate.is_set()


def test_batches_have_one_size_but_the_last():
    assert list(batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches([], 3)) == []


def test_an_interrupt_waits_for_the_end_of_what_must_not_be_torn():
    steps = []

    def work():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            steps.append("whole")
        steps.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["whole"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_while_a_pool_takes_an_item_comes_when_it_has_it(monkeypatch):
    taken = []

    class Interrupted(ThreadPoolExecutor):
        def submit(self, *arguments, **named):
            signal.raise_signal(signal.SIGINT)
            taken.append(super().submit(*arguments, **named))
            return taken[-1]

    monkeypatch.setattr(pipeline, "ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(in_order(abs, [-1, -2, -3], workers=2, ahead=2))
    assert len(taken) == 1
