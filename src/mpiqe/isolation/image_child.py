"""The child process that reads images until its standard input ends; ``protocol`` describes its messages.

``child`` is what keeps a hostile photo from more than its own row.
"""

import contextlib
import io
import os
import signal
import warnings
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from mpiqe import images
from mpiqe.decoding import load_plugins
from mpiqe.errors import ImageError
from mpiqe.images import Pixels, Source
from mpiqe.isolation.child import Memory, Requests, set_alarm, take_pipes
from mpiqe.isolation.protocol import FILE_BYTES_PER_PIXEL, send
from mpiqe.preview import Preview, Previews
from mpiqe.view import View

LARGE = 20_000_000  # pixels; such photos are decoded one at a time
HEADROOM = 512 << 20  # bytes of address space to open a file, whatever its size
BYTES_PER_PIXEL = 40  # of a photo that is decoded: JPEG 2000 takes most

_NOTHING = np.empty(0, dtype=np.uint8)


def main(parent: int, alarm: float) -> None:
    """Read photos for the process ``parent``; no request may take longer than ``alarm`` seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    warnings.simplefilter("ignore")  # what Pillow finds odd about a file; what matters is in the answer
    requests, answers = take_pipes()
    Image.MAX_IMAGE_PIXELS = None  # max_pixels is the limit here; a WebP plugin would look at this one too
    load_plugins()
    Child(alarm=alarm, requests=Requests(requests, parent=parent), answers=answers).run()


class Child:
    """Answers requests, one after the other."""

    def __init__(self, *, alarm: float, requests: Requests, answers: io.FileIO) -> None:
        self._alarm = alarm
        self._requests = requests
        self._answers = answers
        self._memory = Memory()
        self._has_leave = False  # to decode a large photo; it ends with the answer

    def run(self) -> None:
        """Run until there is no parent."""
        send(self._answers, {"ready": True})
        while True:
            header, crops, preview = self._answer(*self._requests.next())
            send(self._answers, header, crops.reshape(-1).data)
            if preview:
                send(self._answers, {"taken": preview.taken, "camera": preview.camera}, preview.thumbnail)

    def _answer(self, request: dict[str, Any], body: Pixels) -> tuple[dict[str, Any], Pixels, Preview | None]:
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
        self._memory.allow(HEADROOM + 2 * min(_bytes_of(source), file_bytes))
        self._has_leave = False
        set_alarm(self._alarm)
        previews = Previews(request["thumbnail"])
        try:
            crops, (width, height) = images.read_crops(
                source,
                size=request["size"],
                positions=positions,
                max_pixels=request["max_pixels"],
                admit=self._admit,
                view=View.from_json(request["view"]),
                on_decoded=previews.take,
            )
        except ImageError as error:
            reason = error.reason
            if isinstance(error.__cause__, MemoryError):
                reason = f"needs more memory than the {self._memory.allowed >> 20} MB that a photo of its size may take"
            return {"error": reason}, _NOTHING, None
        else:
            return {"width": width, "height": height}, crops, previews.last
        finally:
            set_alarm(0)  # before the answer is sent: a parent that is stopped by Ctrl-Z takes it later
            self._memory.allow(HEADROOM + file_bytes)  # for the next request

    def _admit(self, width: int, height: int) -> None:
        self._memory.allow(self._memory.allowed + BYTES_PER_PIXEL * width * height)
        if width * height > LARGE and not self._has_leave:
            self._has_leave = True
            set_alarm(0)  # waiting for the others' large photos takes none of this one's time
            send(self._answers, {"large": True})
            self._requests.next()
            set_alarm(self._alarm)


def _bytes_of(source: Source) -> int:
    with contextlib.suppress(OSError, ValueError):  # reading it will say what is wrong
        return len(source) if isinstance(source, bytes) else os.stat(str(source)).st_size
    return 0
