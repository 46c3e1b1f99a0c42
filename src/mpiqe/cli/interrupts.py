"""Ctrl-C, kept out of what must not be left half done."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


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
        self._ours = (
            threading.current_thread() is threading.main_thread()  # no other may, and none is interrupted
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._ours:
            signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self._came = True
        if not self._holding:
            raise KeyboardInterrupt
