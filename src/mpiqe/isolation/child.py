"""What every child process is built on, on the child's side: its pipes, its limits and its end.

Hostile bytes may make such a process hang, eat memory or crash; all it must not do is outlive its parent. A thread
waits for requests and ends the process when there can be no more; an alarm, which needs no turn of the interpreter,
ends one that is stuck in a library when nobody is left to kill it.
"""

import contextlib
import io
import os
import signal
import sys
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from mpiqe.images import Pixels
from mpiqe.isolation.protocol import receive

Frame = tuple[dict[str, Any], Pixels]

_LOOK = 1.0  # seconds between looks at whether the parent lives


class Requests:
    """The frames that the process ``parent`` sends, one after the other."""

    def __init__(self, pipe: io.FileIO, *, parent: int) -> None:
        self._parent = parent
        self._inbox: SimpleQueue[Frame] = SimpleQueue()
        threading.Thread(target=self._listen, args=(pipe,), daemon=True).start()

    def next(self) -> Frame:
        """Wait for the next one; ends the process where there is no parent any more."""
        while True:
            try:
                return self._inbox.get(timeout=_LOOK)
            except Empty:
                # Another child of the parent's may have inherited this pipe's other end, and keep it open.
                if os.name == "posix" and os.getppid() != self._parent:
                    os._exit(1)

    def _listen(self, pipe: io.FileIO) -> None:
        try:
            while True:
                self._inbox.put(receive(pipe))
        except (EOFError, OSError, ValueError, MemoryError):  # the parent has closed it, or it is no longer
            os._exit(0)


class Memory:
    """Bounds the address space to what the process has at first and what it is allowed, where the system can."""

    def __init__(self) -> None:
        self.allowed = 0
        self._first = 0
        with contextlib.suppress(OSError, ImportError):  # neither Windows nor macOS
            import resource

            self._first = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            self._hard = resource.getrlimit(resource.RLIMIT_AS)[1]
            self._unlimited = resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            Path("/proc/self/oom_score_adj").write_text("500")  # if one must go, a reader before its parent

    def allow(self, size: int) -> None:
        """From now on ``size`` bytes."""
        self.allowed = size
        if self._first:
            import resource

            limit = self._first + size
            if self._hard != self._unlimited:
                limit = min(limit, self._hard)
            resource.setrlimit(resource.RLIMIT_AS, (limit, self._hard))


def set_alarm(seconds: float) -> None:
    """End the process after so many seconds; 0 for not at all."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def take_pipes() -> tuple[io.FileIO, io.FileIO]:
    """Standard input and output for ourselves: what a C library prints must not get among the frames."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    sys.stderr.flush()
    for taken in (0, 1, 2):
        os.dup2(nothing, taken)
    os.close(nothing)
    return io.FileIO(requests, "r"), io.FileIO(answers, "w")
