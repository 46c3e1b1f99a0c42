"""A progress bar on stderr."""

import contextlib
import threading
import time
from collections.abc import Iterator

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

_BAR = 30
_PERIOD = 0.2  # seconds between two drawings


class ProgressLine:
    """Count, rate and time left, while used as a context and only where ``console``, by default stderr, is a terminal.

    Unlike rich's own bar it can share the terminal with another stream: rows go to stdout while this stays on stderr.
    ``shared`` says that they meet; then whatever is written to the other stream within ``aside`` comes to stand above
    the line. ``total`` is ``None`` while nobody knows it and may be set later. ``done`` were done by an earlier run:
    they count, but not towards the rate.
    """

    def __init__(
        self, *, unit: str, total: int | None, console: Console | None = None, shared: bool = False, done: int = 0
    ) -> None:
        self.console = console or Console(stderr=True)
        self.unit = unit
        self.total = total
        self.shared = shared
        self.count = self.done = done
        self._active = self.console.is_terminal and not self.console.is_dumb_terminal
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mpiqe-progress", daemon=True)

    def __enter__(self) -> "ProgressLine":
        if self._active:
            self._draw()
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._active:
            self._done.set()
            self._thread.join()
            self._erase()

    def advance(self, count: int = 1) -> None:
        """Count so many more as done."""
        self.count += count

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Hide the line while something else is written."""
        if not (self._active and self.shared):
            yield
            return
        with self._lock:
            self._erase()
            yield
            self._draw()

    def text(self, elapsed: float) -> Text:
        """The line after ``elapsed`` seconds."""
        rate = (self.count - self.done) / elapsed if elapsed > 0 else 0.0
        line = Text()
        if self.total is None:
            line.append(f"{self.count:,} {self.unit}")
        else:
            done = min(_BAR, _BAR * self.count // max(self.total, 1))
            line.append("━" * done, "green").append("━" * (_BAR - done), "bright_black")
            line.append(f"  {self.count:,} of {self.total:,} {self.unit}")
        line.append(f"  {rate:.1f} a second")
        if self.total is not None and rate:
            line.append(f"  {_clock(max(0, self.total - self.count) / rate)} left")
        return line

    def _run(self) -> None:
        while not self._done.wait(_PERIOD):
            with self._lock:
                self._erase()
                self._draw()

    def _draw(self) -> None:
        line = self.text(time.monotonic() - self._started)
        line.truncate(self.console.width - 1)
        self.console.print(line, end="", highlight=False)

    def _erase(self) -> None:
        self.console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
