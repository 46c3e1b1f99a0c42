"""Delay Ctrl-C until a row is written."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """Let an interrupt end the process at once, with one line and status 130, but for the time of a ``raising``.

    For start-up and exit, when nothing is half done: ``KeyboardInterrupt`` out of a module that is being imported ends
    in a traceback, or in another error that the module makes of it.
    """
    ours = _may_handle() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def raising() -> Iterator[threading.Event]:
    """Within ``ending_at_once``: let an interrupt raise ``KeyboardInterrupt``, for work that has something to close.

    Sets the event when one came: a library may make another error of it (``ImportError: initialization failed``).
    """
    came = threading.Event()
    if not (_may_handle() and signal.getsignal(signal.SIGINT) is _end):
        yield came
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.set()
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, _end)


def _end(_number: int, _frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"mpiqe: interrupted\n")
    os._exit(130)


def _may_handle() -> bool:
    return threading.current_thread() is threading.main_thread()  # no other may, and none is interrupted
