"""What runs in a reader process: it reads photos until its standard input ends. ``reader_frames`` says what it says.

A hostile file may make it hang, eat memory or crash; all it must not do is outlive its parent. A thread waits for
requests and ends the process when there can be no more; an alarm, which needs no turn of the interpreter, ends one that
is stuck in a decoder when nobody is left to kill it.
"""

import contextlib
import io
import os
import signal
import sys
import threading
import warnings
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from PIL import Image

from mpiqe import images
from mpiqe.decoding import describe, load_plugins
from mpiqe.errors import ImageError
from mpiqe.images import Pixels, Source
from mpiqe.scoring.reader_frames import FILE_BYTES_PER_PIXEL, receive, send
from mpiqe.view import View

LARGE = 20_000_000  # pixels; such photos are decoded one at a time
_HEADROOM = 512 << 20  # bytes of address space to open a file, whatever its size
_BYTES_PER_PIXEL = 40  # of a photo that is decoded: JPEG 2000 takes most
_LOOK = 1.0  # seconds between looks at whether the parent lives

_NOTHING = np.empty(0, dtype=np.uint8)
_Frame = tuple[dict[str, Any], Pixels]


def main(parent: int, alarm: float) -> None:
    """Read photos for the process ``parent``; no request may take longer than ``alarm`` seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    warnings.simplefilter("ignore")  # what Pillow finds odd about a file; what matters is in the answer
    requests, answers = _take_pipes()
    Image.MAX_IMAGE_PIXELS = None  # max_pixels is the limit here; a WebP plugin would look at this one too
    load_plugins()
    inbox: SimpleQueue[_Frame] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests, inbox), daemon=True).start()
    Child(parent=parent, alarm=alarm, inbox=inbox, answers=answers).run()


class Child:
    """Answers requests, one after the other."""

    def __init__(self, *, parent: int, alarm: float, inbox: "SimpleQueue[_Frame]", answers: io.FileIO) -> None:
        self._parent = parent
        self._alarm = alarm
        self._inbox = inbox
        self._answers = answers
        self._memory = _Memory()
        self._has_leave = False  # to decode a large photo; it ends with the answer

    def run(self) -> None:
        """Until there is no parent."""
        send(self._answers, {"ready": True})
        while True:
            header, crops = self._answer(*self._next())
            send(self._answers, header, crops.reshape(-1).data)

    def _answer(self, request: dict[str, Any], body: Pixels) -> tuple[dict[str, Any], Pixels]:
        content = body.tobytes()
        del body
        source: Source = os.fsdecode(content) if request["kind"] == "path" else content
        file_bytes = FILE_BYTES_PER_PIXEL * request["max_pixels"]
        positions = partial(
            images.crop_positions,
            size=request["size"],
            count=request["count"],
            mode=request["mode"],
            seed=request["seed"],
        )
        self._memory.allow(_HEADROOM + 2 * min(_bytes_of(source), file_bytes))
        self._has_leave = False
        self._set_alarm(self._alarm)
        try:
            crops, (width, height) = images.read_crops(
                source,
                size=request["size"],
                positions=positions,
                max_pixels=request["max_pixels"],
                admit=self._admit,
                view=View.from_json(request["view"]),
            )
        except ImageError as error:
            reason = str(error).removeprefix(f"{describe(source)}: ")
            if isinstance(error.__cause__, MemoryError):
                reason = f"needs more memory than the {self._memory.allowed >> 20} MB that a photo of its size may take"
            return {"error": reason}, _NOTHING
        else:
            return {"width": width, "height": height}, crops
        finally:
            self._set_alarm(0)  # before the answer is sent: a parent that is stopped by Ctrl-Z takes it later
            self._memory.allow(_HEADROOM + file_bytes)  # for the next request

    def _admit(self, width: int, height: int) -> None:
        self._memory.allow(self._memory.allowed + _BYTES_PER_PIXEL * width * height)
        if width * height > LARGE and not self._has_leave:
            self._has_leave = True
            self._set_alarm(0)  # waiting for the others' large photos takes none of this one's time
            send(self._answers, {"large": True})
            self._next()
            self._set_alarm(self._alarm)

    def _next(self) -> _Frame:
        while True:
            try:
                return self._inbox.get(timeout=_LOOK)
            except Empty:
                # Another child of the parent's may have inherited this pipe's other end, and keep it open.
                if os.name == "posix" and os.getppid() != self._parent:
                    os._exit(1)

    def _set_alarm(self, seconds: float) -> None:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, seconds)


class _Memory:
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


def _bytes_of(source: Source) -> int:
    with contextlib.suppress(OSError, ValueError):  # reading it will say what is wrong
        return len(source) if isinstance(source, bytes) else os.stat(str(source)).st_size
    return 0


def _listen(requests: io.FileIO, inbox: "SimpleQueue[_Frame]") -> None:
    try:
        while True:
            inbox.put(receive(requests))
    except (EOFError, OSError, ValueError, MemoryError):  # the parent has closed it, or it is no longer
        os._exit(0)


def _take_pipes() -> tuple[io.FileIO, io.FileIO]:
    """Standard input and output for ourselves: what a C library prints must not get among the frames."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    sys.stderr.flush()
    for taken in (0, 1, 2):
        os.dup2(nothing, taken)
    os.close(nothing)
    return io.FileIO(requests, "r"), io.FileIO(answers, "w")
