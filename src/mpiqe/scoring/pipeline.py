"""Bounded pipelines of threads that keep the order of their items."""

import contextlib
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import FrameType
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    ahead: int,
    release: Callable[[], object] | None = None,
    waits: Callable[[], bool] | None = None,
) -> Generator[Result, None, None]:
    """Yield ``map(work, items)``, computed on ``workers`` threads at most ``ahead`` items in advance.

    Results come in the order of the items, whichever is ready first; an exception of ``work`` comes out in its turn,
    and one that ``items`` raises after the results of all items before it. ``items`` is drawn from lazily and in the
    caller's thread. Closing the iterator waits for the work in hand and drops the rest; so do an exception of ``work``
    and Ctrl-C. ``release`` is called at the end, before that wait: it may cut it short. Where ``waits`` says that the
    next item would have to be waited for, what is in hand is yielded first.
    """
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="mpiqe") as pool:
        fault: Exception | None = None
        rest = iter(items)
        try:
            while True:
                if pending and waits is not None and waits():
                    yield pending.popleft().result()
                    continue
                try:
                    item = next(rest)
                except StopIteration:
                    break
                except Exception as error:
                    fault = error
                    break
                with uninterrupted():
                    pending.append(pool.submit(work, item))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
            if fault is not None:
                raise fault
        finally:
            with uninterrupted():
                for future in pending:
                    future.cancel()
            if release:
                release()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C until the end of this context.

    Raised between the steps with which a pool takes its lock, ``KeyboardInterrupt`` would leave the lock taken, and the
    threads that are to be joined would wait for it without end.
    """
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if came:
        handler(*came[0])


def batches(items: Iterable[Item], size: int, *, waits: Callable[[], bool] | None = None) -> Iterator[list[Item]]:
    """Yield the items in lists of ``size``; the last, or one before an exception of ``items``, may be shorter.

    So may one after which ``waits`` says that the next item would have to be waited for.
    """
    rest = iter(items)
    while True:
        batch, fault = taken(rest, size, waits=waits)
        if batch:
            yield batch
        if fault is not None:
            raise fault
        if not batch:
            return


def taken(
    items: Iterator[Item], size: int, *, waits: Callable[[], bool] | None = None
) -> tuple[list[Item], Exception | None]:
    """Return up to ``size`` of the next items, and the exception that ``items`` raised instead of one more.

    They are fewer, but one at least, where ``waits`` says that the next would have to be waited for.
    """
    batch: list[Item] = []
    try:
        for item in islice(items, size):
            batch.append(item)  # one by one: what came before an exception is kept
            if waits is not None and waits():
                break
    except Exception as error:
        return batch, error
    return batch, None
