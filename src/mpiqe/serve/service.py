"""Scores photos for many callers at a time, within bounds. Knows no HTTP.

Each photo is decoded in a process apart (``isolation``); the crops of all photos that are ready when the model is free
go through it in one call, and none waits for others to fill a batch.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from mpiqe.decoding import release
from mpiqe.errors import ImageError
from mpiqe.isolation.pool import Readers
from mpiqe.isolation.process import Reading
from mpiqe.scoring.score import Score
from mpiqe.scoring.scorer import Scorer
from mpiqe.serve.options import ServeOptions

_LONGEST_RETRY = 30  # seconds
_LAST = 64  # photos whose time says how quick the service is


class BusyError(Exception):
    """There is too much work: ``bound`` says of what, and ``retry_after`` in how many seconds to ask again."""

    def __init__(self, bound: str, reason: str, retry_after: int) -> None:
        super().__init__(reason)
        self.bound = bound
        self.retry_after = retry_after


class ScoringService:
    """Photos in, ``Future``s of their ``Score`` out; any thread may call it.

    ``on_batch`` is called with the number of photos of each call of the model.
    """

    def __init__(self, scorer: Scorer, options: ServeOptions, *, on_batch: Callable[[int], object]) -> None:
        self._scorer = scorer
        self._options = options
        self._on_batch = on_batch
        self._lock = threading.Lock()
        self._taken = 0
        self._held = 0
        self._done: deque[float] = deque(maxlen=_LAST)
        self._readers = Readers(cutting=scorer.cutting(), timeout=scorer.read_timeout)
        self._reading = ThreadPoolExecutor(scorer.workers, thread_name_prefix="mpiqe-read")
        # Crops that wait for the model: enough for its next call, so that memory does not grow with the queue.
        self._room = threading.Semaphore(2 * scorer.batch_size + scorer.workers)
        self._ready: SimpleQueue[_Ready | None] = SimpleQueue()
        self._predicting = threading.Thread(target=self._predict, name="mpiqe-predict", daemon=True)
        self._predicting.start()

    @property
    def taken(self) -> int:
        """Photos that are being read and scored, or wait for it."""
        return self._taken

    @property
    def held(self) -> int:
        """Bytes of all bodies that are held."""
        return self._held

    @contextmanager
    def request(self) -> Iterator["Share"]:
        """Take one request's share of the queue, for one photo, and give it back at the end.

        Raises ``BusyError`` if the queue is full.
        """
        share = Share(self)
        share.resize(1)
        try:
            yield share
        finally:
            share.close()

    def submit(self, content: bytes) -> "Future[Score]":
        """Score the photo in a file of this content; its share of the queue has been taken.

        The future raises ``ImageError`` without a name for a photo that cannot be read, ``BusyError`` for one that
        waited too long, ``ConfigError`` if no process can be started to read in, and ``WeightsError`` for predictions
        that are not finite. It can be cancelled until the photo is read.
        """
        future: Future[Score] = Future()
        self._reading.submit(self._read, [content], time.monotonic() + self._options.timeout, future)
        return future

    def close(self) -> None:
        """End it: what is being read is given up, what is not read yet is dropped."""
        self._readers.close()
        self._reading.shutdown(cancel_futures=True)
        self._ready.put(None)
        self._predicting.join()

    def change(self, photos: int, held: int) -> None:
        """Take or give back places in the queue and bytes; raises ``BusyError``, and takes neither, if one is full."""
        with self._lock:
            if photos > 0 and self._taken + photos > self._options.queue:
                raise BusyError("queue", f"{self._taken} photos are waiting, of {self._options.queue}", self._wait())
            if held > 0 and self._held + held > self._options.held_bytes:
                reason = f"{self._held} bytes of photos are waiting, of {self._options.held_bytes}"
                raise BusyError("bytes", reason, self._wait())
            self._taken += photos
            self._held += held

    def _wait(self) -> int:
        """Estimate the seconds until the queue is done, at the rate of the last photos."""
        if len(self._done) < 2:
            return 1
        each = (time.monotonic() - self._done[0]) / len(self._done)
        return min(_LONGEST_RETRY, max(1, math.ceil(each * self._taken)))

    def _read(self, holder: list[bytes], deadline: float, future: "Future[Score]") -> None:
        content = holder.pop()  # the only reference: it ends when the photo is read
        if not future.set_running_or_notify_cancel():
            return
        if time.monotonic() > deadline:
            with self._lock:
                wait = self._wait()
            future.set_exception(BusyError("waited", f"waited {self._options.timeout:g} s to be read", wait))
            return
        self._room.acquire()
        try:
            photo = self._readers.read(content)
        except Exception as error:
            self._room.release()
            release(error)
            reason = ImageError(None, error.reason) if isinstance(error, ImageError) else error
            future.set_exception(reason)
            self._note_done(1)
            return
        self._ready.put(_Ready(photo, future))

    def _predict(self) -> None:
        while (first := self._ready.get()) is not None:
            batch = [first, *self._more(self._scorer.batch_size - 1)]
            try:
                scores = self._scorer.score_crops([each.photo for each in batch])
            except Exception as error:  # a runtime's may be any; the next photos have their own chance
                release(error)
                for each in batch:
                    each.future.set_exception(error)
            else:
                for each, score in zip(batch, scores, strict=True):
                    each.future.set_result(score)
            self._on_batch(len(batch))
            self._note_done(len(batch))
            self._room.release(len(batch))
            del first, batch

    def _more(self, most: int) -> Iterator["_Ready"]:
        """What is ready by now."""
        for _ in range(most):
            try:
                found = self._ready.get_nowait()
            except Empty:
                return
            if found is None:
                self._ready.put(None)
                return
            yield found

    def _note_done(self, photos: int) -> None:
        with self._lock:
            self._done.extend([time.monotonic()] * photos)


class Share:
    """One request's part of the queue and of the bytes that may be held."""

    def __init__(self, service: ScoringService) -> None:
        self._service = service
        self._photos = 0
        self._held = 0

    def resize(self, photos: int) -> None:
        """Have so many places in the queue; raises ``BusyError`` if there are not as many."""
        self._service.change(photos - self._photos, 0)
        self._photos = photos

    def hold(self, size: int) -> None:
        """Hold so many bytes more; raises ``BusyError`` if too many are held."""
        self._service.change(0, size)
        self._held += size

    def close(self) -> None:
        """Give everything back."""
        self._service.change(-self._photos, -self._held)
        self._photos = self._held = 0


class _Ready:
    """A photo that was read and waits for the model."""

    def __init__(self, photo: Reading, future: "Future[Score]") -> None:
        self.photo = photo
        self.future = future
