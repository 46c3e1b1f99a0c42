"""Score images with a predictor. Does not import torch.

Axes: K crops of a photo, S pixels along a crop's side, N = crops of a whole batch.
"""

import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from copy import copy, deepcopy
from functools import lru_cache, partial
from itertools import chain
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from mpiqe import bounds, images
from mpiqe.decoding import reason_of, release
from mpiqe.errors import ConfigError, ImageError, MPIQEError, WeightsError, image_named
from mpiqe.images import CropMode, Source, describe
from mpiqe.isolation.pool import Readers, read_here
from mpiqe.isolation.process import Cutting, Reading
from mpiqe.preview import LARGEST_SIDE as LARGEST_THUMBNAIL
from mpiqe.preview import Preview
from mpiqe.runtimes.base import Predictor, Scale, ViewedPredictor, interval_model_of, predict_in_parts
from mpiqe.scoring.given import Resolver, are_many
from mpiqe.scoring.pipeline import batches, in_order, taken
from mpiqe.scoring.score import Row, Score
from mpiqe.sources import timeouts
from mpiqe.sources.photo import Limits, Photo
from mpiqe.view import LARGEST_SIDE, NATIVE, View

_Result = tuple[str, Score | ImageError, Preview | None]


class Scorer:
    """Scores photos with a predictor.

    A score is in the units of the dataset that the model was trained on: ``scorer.scale`` says which they are, the
    range that they lie in and that higher is better. The same photo gets the same score alone, in a batch, in any order
    and with any number of workers (``random`` crops apart).

    ``crops``: how many per photo. ``view_side``: 0 cuts them at the photo's native resolution, another number from the
    photo brought down, never up, to at most ``view_side * view_side`` pixels, or resized to that square if the model
    sees squares. ``crop_mode`` (D12): ``seeded`` positions
    drawn from ``seed`` and the size alone, ``grid``, or ``random``. Both are the model's own by default, which are
    native and ``seeded`` where the predictor says nothing. ``batch_size`` counts photos, by default as many as suit the
    predictor. ``workers``: how many photos are read at once, by default one for each processor and 16 at most.
    ``max_pixels``: larger photos are refused. ``isolate``: whether ``rows`` reads in processes apart from this one, so
    that a file that crashes a decoder, or keeps it longer than ``read_timeout`` seconds, costs no more than its row.
    Raises ``ConfigError`` for invalid values.

    A scorer from ``mpiqe.load`` can be pickled: what is written is the options and ``reload``, a call that loads the
    same weights, not the model, so it is small and the weights must be found where it is read. Reading it raises what
    ``mpiqe.load`` does, and ``WeightsError`` if the model there is another. Copies share the model. Without ``reload``
    a predictor is pickled and copied as it is.
    """

    def __init__(
        self,
        *,
        predictor: Predictor,
        crops: int = 8,
        view_side: int | None = None,
        crop_mode: CropMode | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        workers: int | None = None,
        max_pixels: int = images.DEFAULT_MAX_PIXELS,
        isolate: bool = True,
        read_timeout: float = 60.0,
        reload: Callable[[], Predictor] | None = None,
    ) -> None:
        workers = processors() if workers is None else workers
        checked = [
            bounds.whole_number("crops", crops, most=bounds.MOST_CROPS),
            batch_size is not None and bounds.whole_number("batch_size", batch_size, most=bounds.MOST_BATCH),
            bounds.whole_number("workers", workers, most=bounds.MOST_WORKERS),
            bounds.whole_number("max_pixels", max_pixels, most=bounds.MOST_PIXELS),
        ]
        faults = [fault for fault in checked if fault]
        if not faults:
            suited = min(predictor.crops_at_once, bounds.MOST_BATCH)
            batch_size = max(1, suited // crops) if batch_size is None else batch_size
            if batch_size * crops > bounds.MOST_BATCH:
                faults.append(
                    f"batch_size {batch_size} x crops {crops} must be at most {bounds.MOST_BATCH} crops in memory"
                )
        own = predictor if isinstance(predictor, ViewedPredictor) else None
        if crop_mode is None:
            crop_mode = own.crop_mode if own else "seeded"
        if crop_mode not in images.CROP_MODES:
            faults.append(f"crop_mode must be one of {', '.join(images.CROP_MODES)}, not {crop_mode!r}")
        if view_side is not None and not 0 <= view_side <= LARGEST_SIDE:
            faults.append(f"view_side must be from 0 (native) to {LARGEST_SIDE}, not {view_side}")
        elif own and own.view.kind == "square" and view_side and view_side < predictor.crop_size:
            faults.append(
                f"view_side {view_side}: this model sees whole photos as squares, of at least {predictor.crop_size} "
                "pixels; 0 cuts crops at the photo's own resolution"
            )
        if fault := bounds.seconds("read_timeout", read_timeout):
            faults.append(fault)
        if faults or batch_size is None:
            raise ConfigError("; ".join(faults))
        self.predictor = predictor
        self.crops = crops
        self.view = self._calibrated_view = own.view if own else NATIVE
        if view_side is not None:
            self.view = View.of_side(view_side, square=self.view.kind == "square")
        self.crop_mode = crop_mode
        self.seed = seed
        self.batch_size = batch_size
        self.workers = workers
        self.max_pixels = max_pixels
        self.isolate = isolate
        self.read_timeout = read_timeout
        self._loaded = None if reload is None else _Loaded(predictor, reload)

    @property
    def scale(self) -> Scale:
        """Unit, range and direction of the scores."""
        return self.predictor.scale

    def content(self, source: Source) -> Source:
        """Return a source that can be read more than once: of an address or an open file the bytes.

        Raises ``ImageError`` with its name.
        """
        resolved = self._resolver.one(source)
        return resolved.source() if isinstance(resolved, Photo) else resolved

    def __getstate__(self) -> dict[str, Any]:
        """Return the options and, of a model that can be loaded again, how."""
        state = dict(self.__dict__)
        loaded = state.pop("_loaded")
        if loaded is not None and loaded.predictor is self.predictor:
            state["predictor"] = None
            state["_reload"] = loaded.reload, self.scale.model
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load the model again, if the state says how: one of this process, if it was the last that was loaded so."""
        state = dict(state)
        reload, version = state.pop("_reload", (None, ""))
        self.__dict__.update(state)
        self._loaded = None
        if reload is not None:
            self.predictor = _loaded_again(reload, version, os.getpid())
            self._loaded = _Loaded(self.predictor, reload)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Scorer":
        """Copy the options; the copy has the same model, which no prediction changes, if that came from weights."""
        copied = copy(self)
        if self._loaded is None or self._loaded.predictor is not self.predictor:
            copied.predictor = deepcopy(self.predictor, memo)
        return copied

    def __copy__(self) -> "Scorer":
        """Copy the options; the copy has the same predictor."""
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    @overload  # a str is an Iterable[str], but the first overload takes it
    def __call__(self, source: Source) -> Score: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, source: Iterable[Source]) -> list[Score]: ...

    def __call__(self, source: "Source | Iterable[Source]") -> Score | list[Score]:
        """Return the ``Score`` of one photo, or a list of them, in order, for several.

        A photo is a path, an address (``https://host/x.jpg``), the bytes of a file, an open file or ``io.BytesIO``, a
        PIL image, an array (H, W, 3) or (3, H, W) or a torch tensor (3, H, W), uint8 or floating point in [0, 1].
        A batch of N, a tensor or array (N, 3, H, W) or an array (N, H, W, 3), is N photos. Raises ``ImageError`` naming
        the first photo that cannot be read, a folder or pattern for one; ``rows`` goes on past such photos, and
        takes those.
        """
        read = partial(_read, partial(read_here, cutting=self.cutting()), threading.Event())
        if are_many(source):
            with closing(self._stream(map(self._resolver.one, source), read)) as results:
                return [_score_or_raise(result) for _, result, _ in results]
        return _score_or_raise(self._predict([read(self._resolver.one(source))])[0][1])

    def rows(
        self,
        sources: "Source | Iterable[Source | Photo]",
        *,
        thumbnail: int = 0,
        waits: Callable[[], bool] | None = None,
    ) -> Generator[Row, None, None]:
        """Yield a ``Row`` for each photo, in order; a photo that cannot be read has its ``error`` there.

        ``sources`` are one or more of what a call takes. A path may also be a folder, a pattern, an archive, a table,
        an address of a store or a list (``@FILE``), as on the command line, and has a row for each photo in it.
        ``sources`` may be without end: they are read only a few batches ahead. Close the rows to stop before their end.
        Where ``waits`` says that the next source would have to be waited for, rows of those in hand come first.

        A single photo is read in this process, ``isolate`` or not: no other can suffer from it. ``thumbnail``: pixels
        along the longer side of a thumbnail that is made of each photo in the same reading; 0 for none. Raises
        ``ConfigError`` if no process can be started to read in, and what ``sources`` raise after the rows of all that
        came before.
        """
        if not 0 <= thumbnail <= LARGEST_THUMBNAIL:
            raise ConfigError(f"thumbnail must be from 0 (none) to {LARGEST_THUMBNAIL} pixels, not {thumbnail}")
        rest = self._resolver.every(sources)
        has_to_wait = False

        def waiting() -> bool:
            nonlocal has_to_wait
            has_to_wait = waits is not None and waits()
            return has_to_wait

        first, fault = taken(rest, 2, waits=waiting)
        photos = chain(first, rest if fault is None else _raising(fault))
        isolate = self.isolate and (len(first) > 1 or has_to_wait)
        readers = Readers(cutting=self.cutting(thumbnail), timeout=self.read_timeout, isolate=isolate)
        read = partial(_read, readers.read, readers.closed)
        with closing(rest), closing(self._stream(photos, read, release=readers.close, waits=waits)) as results:
            for name, result, preview in results:
                if isinstance(result, Score):
                    yield Row(name, result, None, preview=preview)
                else:
                    yield Row(name, None, result.reason)

    def _stream(
        self,
        items: Iterable["Source | Photo"],
        read: Callable[["Source | Photo"], tuple[str, Reading | ImageError]],
        *,
        release: Callable[[], object] | None = None,
        waits: Callable[[], bool] | None = None,
    ) -> Generator[_Result, None, None]:
        """Read on ``workers`` threads and predict on one more, both while the caller uses the results."""
        ahead, drawn, given = self.batch_size + 2 * self.workers, 0, 0

        def sources() -> Iterator["Source | Photo"]:
            nonlocal drawn
            for item in items:
                drawn += 1
                yield item

        def counted(photos: Iterable[tuple[str, Reading | ImageError]]) -> Iterator[tuple[str, Reading | ImageError]]:
            nonlocal given
            for photo in photos:
                given += 1
                yield photo

        idle = None if waits is None else lambda: drawn == given and waits()  # nothing is being read either
        with (
            closing(
                in_order(read, sources(), workers=self.workers, ahead=ahead, release=release, waits=waits)
            ) as photos,
            closing(
                in_order(
                    self._predict,
                    batches(counted(photos), self.batch_size, waits=idle),
                    workers=1,
                    ahead=1,
                    waits=idle,
                )
            ) as answers,
        ):
            for batch in answers:
                yield from batch

    @property
    def _resolver(self) -> Resolver:
        return Resolver(Limits(timeout=self.read_timeout), self.max_pixels)

    def cutting(self, thumbnail: int = 0) -> Cutting:
        """Return which crops are cut from a photo, for whoever reads photos in processes apart (``isolation.pool``).

        ``thumbnail``: pixels along the longer side of a thumbnail that is made of it as well; 0 for none.
        """
        return Cutting(
            size=self.predictor.crop_size,
            count=self.crops,
            mode=self.crop_mode,
            seed=self.seed,
            max_pixels=self.max_pixels,
            view=self.view,
            thumbnail=thumbnail,
        )

    def _predict(self, batch: list[tuple[str, Reading | ImageError]]) -> list[_Result]:
        scores = iter(self.score_crops([photo for _, photo in batch if isinstance(photo, Reading)]))
        return [
            (name, photo, None) if isinstance(photo, ImageError) else (name, next(scores), photo.preview)
            for name, photo in batch
        ]

    def score_crops(self, photos: list[Reading]) -> list[Score]:
        """Return the ``Score`` of each photo, in order, from crops that ``cutting`` describes.

        Raises ``WeightsError`` for predictions that are not finite.
        """
        if not photos:
            return []
        crops = photos[0].crops if len(photos) == 1 else np.concatenate([photo.crops for photo in photos])
        answer = predict_in_parts(self.predictor, crops)
        score, scene, distortion = (  # (N, ...) -> (photos, K, ...); sums of many float32 are safer in double
            values.astype(np.float64).reshape(len(photos), self.crops, *values.shape[1:]) for values in answer
        )
        means, spreads = score.mean(axis=1), score.std(axis=1)
        interval = interval_model_of(self.predictor)
        if interval is not None and (self.crops < interval.crops or self.view != self._calibrated_view):
            interval = None  # fewer crops, or other ones, have other errors
        return [
            Score(
                score=float(means[i]),
                spread=float(spreads[i]),
                scene=_by_name(self.predictor.scenes, scene[i]),
                distortion=_by_name(self.predictor.distortions, distortion[i]),
                size=photo.size,
                interval=interval.around(float(means[i]), float(spreads[i])) if interval else None,
                quality=self.scale.quality(float(means[i])),
            )
            for i, photo in enumerate(photos)
        ]


class _Loaded(NamedTuple):
    """A model that was loaded, and the call that loads it again."""

    predictor: Predictor
    reload: Callable[[], Predictor]


@lru_cache(maxsize=1)
def _loaded_again(reload: Callable[[], Predictor], version: str, _process: int) -> Predictor:
    """Load the model of a pickled scorer; kept, since ``Pool.map`` and Spark read the same one for every few photos.

    Kept for the one process: the threads of a runtime are not there after a fork.
    """
    predictor = reload()
    if predictor.scale.model != version:
        raise WeightsError(
            f"the scorer was made with the model {version!r}, and its weights are those of {predictor.scale.model!r} "
            "now; use the same on both sides"
        )
    return predictor


def _by_name(names: tuple[str, ...], probabilities: NDArray[np.float64]) -> dict[str, float]:
    """Return the mean over crops (K, classes) by class name."""
    return dict(zip(names, probabilities.mean(axis=0).tolist(), strict=True))


def _read(
    read: Callable[[Source], Reading], stopped: threading.Event, source: "Source | Photo"
) -> tuple[str, Reading | ImageError]:
    """The name of a source with what was read of it, or with the reason why it was not; given up once ``stopped``.

    Whatever fetching it raises is that reason; what reading it raises but for ``ImageError`` is no fault of the photo.
    """
    name = source.name if isinstance(source, Photo) else describe(source)
    try:
        with timeouts.stopped_by(stopped), image_named(name):
            return name, read(_fetched(source) if isinstance(source, Photo) else source)
    except ImageError as error:
        release(error)
        return name, error


def _fetched(photo: Photo) -> str | bytes:
    """The path or the bytes of a photo; raises ``ImageError`` for whatever a library makes of what is foreign."""
    try:
        return photo.source()
    except MPIQEError:
        raise
    except Exception as error:
        release(error)
        raise ImageError(photo.name, reason_of(error)) from error


def _raising(fault: Exception) -> Iterator[str]:
    """An iterator without items that raises instead of ending."""
    raise fault
    yield


def _score_or_raise(result: Score | ImageError) -> Score:
    if isinstance(result, ImageError):  # a new one: frames that it passes refer to the old one, and would keep it
        raise ImageError(result.name, result.reason) from result.__cause__
    return result


def processors() -> int:
    """How many photos are read at once by default."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, usable)
