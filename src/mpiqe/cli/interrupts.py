"""Ctrl-C, kept out of what must not be left half done."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_raising: set[Any] = set()
"""The handlers of ``raising`` that are in place."""


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
    _raising.add(interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, _end)
        _raising.discard(interrupt)


def _end(_number: int, _frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"mpiqe: interrupted\n")
    os._exit(130)


def _may_handle() -> bool:
    return threading.current_thread() is threading.main_thread()  # no other may, and none is interrupted


class Interrupts:
    """While used as a context, an interrupt during ``held`` is raised at its end; at other times at once."""

    def __init__(self) -> None:
        self._holding = False
        self._came = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Finish what is inside first."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._came:
            raise KeyboardInterrupt

    def __enter__(self) -> "Interrupts":
        self._before = signal.getsignal(signal.SIGINT)
        self._ours = _may_handle() and (self._before in _raising or self._before is signal.default_int_handler)
        if self._ours:
            signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, self._before)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self._came = True
        if not self._holding:
            raise KeyboardInterrupt
