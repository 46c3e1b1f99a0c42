"""The parent's side of a child process: ``ChildProcess``, and ``Reader`` for images."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from mpiqe.errors import ConfigError, ImageError
from mpiqe.images import CropMode, Pixels
from mpiqe.isolation.protocol import Buffers, Bytes, Pipe, receive, send, widen
from mpiqe.preview import LONGEST_CAMERA, MOST_BYTES, Preview
from mpiqe.view import NATIVE, View

# The child sees the parent's modules: mpiqe from where it was imported, and everything else by the parent's sys.path.
# Not the working directory, which python -c puts first: photos may have been downloaded there with a keyword.py.
BOOT = (
    "import sys; sys.path[:] = [sys.argv[1], *sys.argv[4:]]; import mpiqe; sys.path[:] = sys.argv[4:]; "
    "from mpiqe.isolation.{child} import main; main(int(sys.argv[2]), float(sys.argv[3]))"
)
"""The code that every child process begins with; ``{child}`` is its module."""
_START_SECONDS = 60.0
LAST_SECONDS = 5.0
"""How long a process whose pipes are closed may take to end."""
GRACE = 10.0
"""Seconds by which a child's own alarm comes after its parent should have killed it."""
# Each of these is a pool of threads that reading has no use for, and address space.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


@dataclass(frozen=True)
class Cutting:
    """Which crops are taken of a photo: ``count`` of ``size`` pixels, where ``mode`` and ``seed`` say, of a view."""

    size: int
    count: int
    mode: CropMode
    seed: int
    max_pixels: int
    view: View = NATIVE
    thumbnail: int = 0
    """Pixels along the longer side of the photo's thumbnail; 0 for none."""

    @property
    def crops_bytes(self) -> int:
        """What the crops of one photo take."""
        return self.count * self.size * self.size * 3


class Reading(NamedTuple):
    """What was read of a photo."""

    crops: Pixels
    """(K, S, S, 3)."""
    size: tuple[int, int]
    """Width and height of the upright photo."""
    preview: Preview | None = None
    """Where the cutting asks for a thumbnail."""


class ChildProcess:
    """A process that reads untrusted data, one request at a time, and answers on a pipe.

    ``timeout`` seconds ``within`` which it does not answer and it is killed, by whoever calls ``tick`` now and then.
    Raises ``ConfigError``, with ``reads`` and ``advice`` in it, if it cannot be started.
    """

    def __init__(
        self, start: "Callable[[], subprocess.Popen[bytes]]", *, timeout: float, reads: str, advice: str
    ) -> None:
        self.alive = True
        self.left: float | None = None
        """Seconds that were left when the last answer came."""
        self._timeout = timeout
        self._reads = reads
        self._advice = advice
        self._lock = threading.Lock()
        self._left: float | None = None
        self._late = False
        try:
            self._process = start()
        except OSError as error:
            raise self._unstarted(str(error)) from error
        self.requests, self.answers = cast(Pipe, self._process.stdin), cast(Pipe, self._process.stdout)

    def wait_until_ready(self) -> None:
        """Wait for its first message. Raises ``ConfigError``, with the process's last output, if it cannot start."""
        try:
            with self.within(_START_SECONDS):
                receive(self.answers, most=0)
        except (EOFError, OSError, ValueError):
            ended = self.how_it_ended()
            self.kill()
            said = self._process.stderr.read().decode(errors="replace").split() if self._process.stderr else []
            self.close()
            raise self._unstarted(" ".join(said)[-400:] or ended) from None
        if self._process.stderr:
            self._process.stderr.close()

    def _unstarted(self, reason: str) -> ConfigError:
        return ConfigError(f"cannot start a process that reads {self._reads}: {reason}{self._advice}")

    def tick(self, seconds: float) -> None:
        """Subtract so many seconds from its time."""
        with self._lock:
            if self._left is not None:
                self._left -= seconds
                if self._left <= 0:
                    self._left, self._late, self.alive = None, True, False
                    self._process.kill()

    def kill(self) -> None:
        """End it now, from any thread: whoever waits for its answer gets an error."""
        self.alive = False
        self._process.kill()

    def close(self) -> None:
        """End it and leave nothing behind; only for the thread that uses it."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()

    @contextlib.contextmanager
    def within(self, seconds: float) -> Generator[None, None, None]:
        """Kill it if the body of the context takes longer."""
        with self._lock:
            self._left = seconds
        try:
            yield
        finally:
            with self._lock:
                self.left, self._left = self._left, None

    def how_it_ended(self) -> str:
        """Return why there is no answer, or none that makes sense."""
        try:
            code = self._process.wait(LAST_SECONDS)
        except subprocess.TimeoutExpired:
            return "the process that read it gave an answer without meaning"
        if self._late or -code == getattr(signal, "SIGALRM", None):
            advice = "raise read_timeout (--timeout) if it only comes slowly"
            return f"took longer than {self._timeout:g} s to read; {advice}"
        if code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                hint = "; the system ran out of memory, perhaps" if name == "SIGKILL" else ""
                return f"the process that read it died of {name}{hint}"
        return f"the process that read it ended with exit status {code}"


class Reader:
    """A process that reads photos, one at a time.

    ``timeout`` seconds without an answer and it is killed, by whoever calls ``process.tick`` now and then. Raises
    ``ConfigError`` if it cannot be started.
    """

    def __init__(self, *, timeout: float) -> None:
        self._timeout = timeout
        self.process = ChildProcess(lambda: _started(timeout), timeout=timeout, reads="photos", advice=f"; {_ADVICE}")

    @property
    def alive(self) -> bool:
        """Whether it can read another photo."""
        return self.process.alive

    def wait_until_ready(self) -> None:
        """Wait for its first message. Raises ``ConfigError``, with the process's last output, if it cannot start."""
        self.process.wait_until_ready()

    def tick(self, seconds: float) -> None:
        """Subtract so many seconds from its time."""
        self.process.tick(seconds)

    def kill(self) -> None:
        """End it now, from any thread: whoever waits for its answer gets an error."""
        self.process.kill()

    def close(self) -> None:
        """End it and leave nothing behind; only for the thread that uses it."""
        self.process.close()

    def read(
        self, kind: str, body: Bytes, cutting: Cutting, leave: AbstractContextManager[Any], buffers: Buffers
    ) -> Reading:
        """What ``cutting`` asks for of the photo in the file of which ``body`` is the path or the content.

        ``leave`` is entered while a large photo is decoded; the crops lie in one of ``buffers``. Raises ``ImageError``
        without the photo's name; look at ``alive`` then.
        """
        with contextlib.ExitStack() as until_read:
            try:
                with self.process.within(self._timeout):
                    send(self.process.requests, {"kind": kind, **asdict(cutting)}, body)
                    header, crops = receive(self.process.answers, most=cutting.crops_bytes, buffers=buffers)
                if header.get("large"):
                    until_read.enter_context(leave)
                    with self.process.within(self._timeout):
                        send(self.process.requests, {"go": True})
                        header, crops = receive(self.process.answers, most=cutting.crops_bytes, buffers=buffers)
                if "error" in header:
                    raise ImageError(None, str(header["error"]))
                preview = None
                if cutting.thumbnail:
                    with self.process.within(self._timeout):
                        also, thumbnail = receive(self.process.answers, most=MOST_BYTES)
                    taken = also["taken"]
                    camera = str(also["camera"])[:LONGEST_CAMERA]
                    preview = Preview(thumbnail.tobytes(), None if taken is None else float(taken), camera)
                size = int(header["width"]), int(header["height"])
                return Reading(crops.reshape(cutting.count, cutting.size, cutting.size, 3), size, preview)
            except (EOFError, OSError, ValueError, KeyError, TypeError):  # it ended, or no longer makes sense
                reason = self.process.how_it_ended()
                self.close()
                raise ImageError(None, reason) from None


class Watch:
    """Measures the processes' time on a thread of its own; time in which this process was stopped does not count."""

    def __init__(self, *, timeout: float) -> None:
        self._step = min(0.5, timeout / 10)
        self._lock = threading.Lock()
        self._watched: set[Reader | ChildProcess] = set()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, process: Reader | ChildProcess) -> None:
        """From now on it is watched, too."""
        with self._lock:
            self._watched.add(process)
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._keep_time, name="mpiqe-watch", daemon=True)
                self._thread.start()

    def discard(self, process: Reader | ChildProcess) -> None:
        """From now on it is not."""
        with self._lock:
            self._watched.discard(process)

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        if self._thread and self._thread is not threading.current_thread():  # a finalizer runs wherever it likes
            self._thread.join()

    def _keep_time(self) -> None:
        last = time.monotonic()
        while not self._closed.wait(self._step):
            now = time.monotonic()
            with self._lock:
                watched = list(self._watched)
            for process in watched:
                process.tick(min(now - last, 2 * self._step))
            last = now


_ADVICE = "Scorer(isolate=False) reads in this process"


def _started(timeout: float) -> "subprocess.Popen[bytes]":
    return start_apart("image_child", timeout=timeout)


def start_apart(child: str, *, timeout: float, **environment: str) -> "subprocess.Popen[bytes]":
    """Start a process with ``main`` of the module ``mpiqe.isolation.<child>``; raises ``OSError``."""
    if not sys.executable or getattr(sys, "frozen", False):
        raise OSError("this program has no Python interpreter of its own to start")
    home = str(Path(__file__).parents[2])  # of the package mpiqe
    command = [sys.executable, "-c", BOOT.replace("{child}", child), home, str(os.getpid()), str(timeout + GRACE)]
    process = subprocess.Popen(  # noqa: S603
        [*command, *(entry for entry in sys.path if isinstance(entry, str))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env={**os.environ, **ONE_THREAD, **environment},
        start_new_session=True,  # Ctrl-C is the parent's to hear
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # likewise on Windows
    )
    for pipe in (process.stdin, process.stdout):
        widen(cast(io.FileIO, pipe))
    return process
