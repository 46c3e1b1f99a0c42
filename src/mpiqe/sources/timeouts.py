"""Blocking calls with a timeout, run in helper threads.

A thread cannot be ended from outside, so one that hangs stays until its call returns; it does not keep the process from
ending. The number of such threads is bounded, per store and in all.
"""

import contextlib
import errno
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import Any, TypeVar

from mpiqe.errors import ImageError

Result = TypeVar("Result")

_STEP = 0.1  # seconds between two looks at whether it is still worth while
MOST_OF_ONE = 64  # calls of a store that may hang before it is asked no more
MOST = 512  # of all stores; a thread that hangs costs some ten kilobytes


def call(work: Callable[[], Result], *, store: str, timeout: float) -> Result:
    """Run ``work()`` on a helper thread: the same one for the same calling thread as long as no call hangs.

    Raises ``TimeoutError``, with a ``strerror``, after ``timeout`` seconds, be it that the call takes so long or that
    as many of the same ``store`` hang already as may; ``ImageError`` where ``stopped_by`` ends it; ``OSError`` if the
    system has no more threads; and whatever ``work`` does.
    """
    end = time.monotonic() + timeout
    with _hanging.changed:
        while _hanging.too_many(store):
            _look(
                end, f"not asked: {_hanging.of[store]} earlier requests there, {_hanging.of.total()} in all, still hang"
            )
            _hanging.changed.wait(_STEP)
    task = _Task(work, store)
    helper = _here.helper
    if helper is None or not helper.alive:  # as after a fork
        try:
            helper = _here.helper = _Helper()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from error
    try:
        helper.tasks.put(task)
        while not task.done.wait(_STEP):
            _look(end, f"no answer within {timeout:g} s; raise --timeout if it only comes slowly")
    except BaseException:
        _here.helper = None
        helper.tasks.put(None)  # it ends with what it is doing
        _hanging.leave(task)
        raise
    return task.result()  # type: ignore[no-any-return] # it is that of the work


@contextlib.contextmanager
def stopped_by(event: threading.Event) -> Generator[None, None, None]:
    """Give up the calls of this thread, made within the context, once the event is set."""
    before, _here.stop = _here.stop, event
    try:
        yield
    finally:
        _here.stop = before


def check() -> None:
    """Raise ``ImageError`` if the job of this thread was stopped."""
    if _here.stop is not None and _here.stop.is_set():
        raise ImageError(None, "reading was stopped")


def pause(seconds: float) -> None:
    """Sleep; raises ``ImageError`` as soon as the job is stopped."""
    if _here.stop is None:
        time.sleep(seconds)
    else:
        _here.stop.wait(seconds)
    check()


class _Task:
    """A call and its result."""

    def __init__(self, work: Callable[[], Any], store: str) -> None:
        self.work = work
        self.store = store
        self.given_up = threading.Event()
        self.done = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            with stopped_by(self.given_up):
                self._value = self.work()
        except BaseException as error:  # it is raised where it was asked for
            self._error = error
        with _hanging.changed:
            self.done.set()
            if self.given_up.is_set():
                _hanging.came_back(self)

    def result(self) -> Any:
        try:
            if self._error is not None:
                raise self._error
            return self._value
        finally:
            self._error = None  # its traceback holds this frame


class _Helper:
    """A thread that runs the calls of another one, until that ends or gives up a call.

    Always the same, since fsspec keeps a connection for each thread that uses a store.
    """

    def __init__(self) -> None:
        self.tasks: SimpleQueue[_Task | None] = SimpleQueue()
        name = f"fetch for {threading.current_thread().name}"
        self._thread = threading.Thread(target=_serve, args=[self.tasks], name=name, daemon=True)
        self._thread.start()
        weakref.finalize(self, self.tasks.put, None).atexit = False  # a process that ends need not wake it

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()


def _serve(tasks: "SimpleQueue[_Task | None]") -> None:
    while task := tasks.get():
        task.run()
        del task  # what came of it may be large


class _Here(threading.local):
    helper: _Helper | None = None
    stop: threading.Event | None = None


class _Hanging:
    """The calls that were given up and have not returned."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.of: Counter[str] = Counter()

    def too_many(self, store: str) -> bool:
        return self.of[store] >= MOST_OF_ONE or self.of.total() >= MOST

    def leave(self, task: _Task) -> None:
        with self.changed:
            task.given_up.set()
            if not task.done.is_set():
                self.of[task.store] += 1

    def came_back(self, task: _Task) -> None:
        self.of[task.store] -= 1
        self.of += Counter()  # drops those that are none
        self.changed.notify_all()


_here = _Here()
_hanging = _Hanging()


def _look(end: float, reason: str) -> None:
    check()
    if time.monotonic() >= end:
        raise TimeoutError(errno.ETIMEDOUT, reason)
