"""Progress of a job, reported to a callback."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mpiqe.batch.summary import Scores
from mpiqe.errors import MPIQEError
from mpiqe.scoring.score import Row
from mpiqe.sources.find import count
from mpiqe.sources.names import Names

_FIRST_LOOK = 0.2  # seconds; a small number of inputs is counted by then
_LAST_LOOK = 5.0  # seconds for the count to stop


@dataclass(frozen=True)
class Progress:
    """State of a job after a row, or with Ray after a shard."""

    done: int
    """Rows that are written, those of an earlier run included."""
    failed: int
    """Rows among them that have an error in place of a score."""
    total: int | None
    """How many there will be; ``None`` while nobody knows it."""
    row: Row | None
    """The row that was written last; ``None`` at the beginning, and with Ray."""


OnProgress: TypeAlias = Callable[[Progress], None]


class Tracker:
    """Counts the rows of a job and calls ``on_progress``."""

    def __init__(
        self, on_progress: OnProgress | None, *, done: int = 0, failed: int = 0, scores: Scores | None = None
    ) -> None:
        self.on_progress = on_progress
        self.scores = scores or Scores()
        self.done = done
        self.failed = failed
        self.total: int | None = None

    def report(self, row: Row | None = None) -> None:
        """Call ``on_progress``."""
        if self.on_progress is not None:
            self.on_progress(Progress(self.done, self.failed, self.total, row))

    def add(self, row: Row) -> None:
        """Count a row and report."""
        self.scores.add(row.path, None if row.score is None else row.score.score)
        self.add_many(1, failed=int(row.score is None), row=row)

    def add_many(self, rows: int, *, failed: int, row: Row | None = None) -> None:
        """Count so many rows and report."""
        self.done += rows
        self.failed += failed
        self.report(row)


@contextlib.contextmanager
def counting(
    tracker: Tracker,
    paths: Sequence[str],
    output: Path | None,
    *,
    wanted: bool,
    names: Names | None = None,
    null: bool = False,
) -> Iterator[None]:
    """Count the inputs in the background, where that is ``wanted``, and set the tracker's ``total``."""
    stopped = threading.Event()

    def run() -> None:
        with contextlib.suppress(MPIQEError, OSError):  # the job itself meets it, and raises it
            tracker.total = count(paths, output=output, stopped=stopped, names=names, null=null)

    if not wanted or tracker.on_progress is None:
        yield
        return
    thread = threading.Thread(target=run, name="mpiqe-count", daemon=True)
    thread.start()
    thread.join(_FIRST_LOOK)
    try:
        yield
    finally:
        stopped.set()
        thread.join(_LAST_LOOK)
