import contextlib
import os
import threading
import time

import pytest

from mpiqe.errors import ImageError
from mpiqe.sources import timeouts


@pytest.fixture
def gate():
    """What hanging calls wait for; at the end nothing hangs any more."""
    gate = threading.Event()
    yield gate
    gate.set()
    end = time.monotonic() + 10
    while timeouts._hanging.of:
        assert time.monotonic() < end
        time.sleep(0.01)


def fails(work, *, store="a", timeout=0.01):
    with pytest.raises(TimeoutError) as error:
        timeouts.call(work, store=store, timeout=timeout)
    return error.value.strerror


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_calls_of_a_thread_are_made_on_one_other_and_its_answers_come_back():
    found = {timeouts.call(threading.get_ident, store="a", timeout=10) for _ in range(20)}
    assert len(found) == 1
    assert found != {threading.get_ident()}
    with pytest.raises(ZeroDivisionError):
        timeouts.call(lambda: 1 // 0, store="a", timeout=10)
    others = []
    in_thread(lambda: others.append(timeouts.call(threading.get_ident, store="a", timeout=10)))
    assert others != list(found)


def test_a_helper_ends_with_the_thread_that_it_helps():
    helpers = []
    in_thread(lambda: helpers.append(timeouts.call(threading.current_thread, store="a", timeout=10)))
    helpers[0].join(5)
    assert not helpers[0].is_alive()


def test_a_call_that_hangs_costs_its_time_out_and_no_more(gate):
    started = time.monotonic()
    assert fails(gate.wait, timeout=0.3) == "no answer within 0.3 s; raise --timeout if it only comes slowly"
    assert 0.3 <= time.monotonic() - started < 1.5
    assert timeouts.call(lambda: 7, store="a", timeout=10) == 7


def test_threads_that_hang_do_not_pile_up_and_a_store_that_wakes_is_asked_again(gate, monkeypatch):
    monkeypatch.setattr(timeouts, "MOST_OF_ONE", 3)
    monkeypatch.setattr(timeouts, "MOST", 5)
    before = threading.active_count()
    told = [fails(gate.wait) for _ in range(10)]
    assert [reason.startswith("no answer") for reason in told] == [True] * 3 + [False] * 7
    assert told[3] == "not asked: 3 earlier requests there, 3 in all, still hang"
    assert timeouts.call(lambda: 7, store="b", timeout=10) == 7
    assert [fails(gate.wait, store="b")[:2] for _ in range(3)] == ["no", "no", "no"]
    assert fails(gate.wait, store="c") == "not asked: 0 earlier requests there, 5 in all, still hang"
    assert threading.active_count() <= before + 5
    threading.Timer(0.2, gate.set).start()
    assert timeouts.call(lambda: 7, store="a", timeout=10) == 7


def test_a_call_that_nobody_waits_for_any_more_is_left_and_told(gate):
    stop, told = threading.Event(), threading.Event()

    def work():
        try:
            timeouts.pause(20)
        except ImageError:
            told.set()

    threading.Timer(0.2, stop.set).start()
    started = time.monotonic()
    with timeouts.stopped_by(stop), pytest.raises(ImageError, match="reading was stopped"):
        timeouts.call(work, store="a", timeout=20)
    assert time.monotonic() - started < 2
    assert told.wait(2)
    with timeouts.stopped_by(stop), pytest.raises(ImageError, match="reading was stopped"):
        timeouts.call(gate.wait, store="a", timeout=20)
    assert timeouts.call(lambda: 7, store="a", timeout=20) == 7


def test_a_system_without_threads_to_spare_is_an_error_of_the_call(monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    def work():
        monkeypatch.setattr(threading.Thread, "start", start)
        with pytest.raises(OSError, match="can't start new thread"):
            timeouts.call(lambda: 7, store="a", timeout=1)
        monkeypatch.undo()

    in_thread(work)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_has_a_helper_of_its_own():
    assert timeouts.call(lambda: 7, store="a", timeout=10) == 7
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            status = timeouts.call(lambda: 0, store="a", timeout=5)
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
