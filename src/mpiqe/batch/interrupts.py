"""Delay Ctrl-C until a row is written."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class JobInterrupted(KeyboardInterrupt):
    """A job was interrupted: ``rows`` are written, and ``can_resume`` says whether a later job can go on from there."""

    def __init__(self, rows: int, *, can_resume: bool) -> None:
        super().__init__(rows, can_resume)
        self.rows = rows
        self.can_resume = can_resume

    def __str__(self) -> str:
        return f"{self.rows} rows are written"


class Interrupts:
    """While used as a context, an interrupt during ``held`` is handled at its end; at other times at once.

    The handler that was in place handles it. Where the program has none in Python, and in a thread that no interrupt
    comes to, this does nothing.
    """

    def __init__(self) -> None:
        self._holding = False
        self._waiting = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Delay interrupts until the end of this context."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._waiting:
            self._waiting = False
            self._hand_on(signal.SIGINT, None)

    def __enter__(self) -> "Interrupts":
        self._before = signal.getsignal(signal.SIGINT)
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._is_ours = in_main_thread and callable(self._before)
        if self._is_ours:
            signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_ours:
            signal.signal(signal.SIGINT, self._before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._holding:
            self._waiting = True
        else:
            self._hand_on(number, frame)

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        if callable(self._before):
            self._before(number, frame)
