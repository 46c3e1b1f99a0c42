"""Counters of a server as Prometheus reads them (text format 0.0.4)."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_PHOTOS = (1, 2, 4, 8, 16, 32, 64)
_OUTCOMES = ("scored", "unreadable", "refused", "failed", "abandoned")


class Histogram:
    """Counts of values up to each of ``bounds``, their sum and their number."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str) -> Iterator[str]:
        """Its samples; each bound counts the values below it as well."""
        total = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """What a server has done so far; any thread may count."""

    def __init__(self, gauges: Mapping[str, tuple[str, Callable[[], float]]], *, model: str) -> None:
        """``gauges``: by name, the help and a function that returns the value. ``model`` goes into ``mpiqe_info``."""
        self._lock = threading.Lock()
        self._gauges = dict(gauges)
        self._model = model
        self._requests: Counter[tuple[str, int]] = Counter()
        self._photos: Counter[str] = Counter(
            dict.fromkeys(("scored", "unreadable", "refused", "failed", "abandoned"), 0)
        )
        self._refused: Counter[str] = Counter(dict.fromkeys(("queue", "bytes", "waited"), 0))
        self._seconds = Histogram(_SECONDS)
        self._batches = Histogram(_PHOTOS)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered, ``seconds`` after its header came."""
        with self._lock:
            self._requests[path, status] += 1
            if path == "/score":
                self._seconds.add(seconds)

    def photo(self, outcome: str) -> None:
        """Count a photo by its outcome: ``refused`` after a long wait, ``abandoned`` by its caller, or as it says."""
        with self._lock:
            self._photos[outcome] += 1

    def refused(self, reason: str) -> None:
        """Count a request that was refused because of too much work, by the bound that it met."""
        with self._lock:
            self._refused[reason] += 1

    def batch(self, photos: int) -> None:
        """Count a call of the model."""
        with self._lock:
            self._batches.add(photos)

    def text(self) -> str:
        """Return all of them in Prometheus' text format."""
        with self._lock:
            return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield from _head("mpiqe_info", "The model that is served.", "gauge")
        yield f'mpiqe_info{{model="{_escaped(self._model)}"}} 1'
        yield from _head("mpiqe_requests_total", "Requests that were answered.", "counter")
        for (path, status), count in sorted(self._requests.items()):
            yield f'mpiqe_requests_total{{path="{path}",status="{status}"}} {count}'
        yield from _head("mpiqe_photos_total", "Photos, by what became of them.", "counter")
        for outcome, count in self._photos.items():
            yield f'mpiqe_photos_total{{outcome="{outcome}"}} {count}'
        yield from _head("mpiqe_refused_total", "Requests answered with 503, by the bound that they met.", "counter")
        for reason, count in self._refused.items():
            yield f'mpiqe_refused_total{{bound="{reason}"}} {count}'
        for name, (text, value) in self._gauges.items():
            yield from _head(name, text, "gauge")
            yield f"{name} {value():g}"
        yield from _head("mpiqe_request_seconds", "Seconds until a request to /score was answered.", "histogram")
        yield from self._seconds.lines("mpiqe_request_seconds")
        yield from _head("mpiqe_batch_photos", "Photos of each call of the model.", "histogram")
        yield from self._batches.lines("mpiqe_batch_photos")


def _head(name: str, text: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
