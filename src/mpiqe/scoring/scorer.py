"""Photos in, scores out, one or a million. Knows nothing of torch.

Axes: K crops of a photo, S pixels along a crop's side, N = crops of a whole batch.
"""

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TypeGuard, cast, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mpiqe import images
from mpiqe.decoding import is_tensor
from mpiqe.errors import ConfigError, ImageError, WeightsError
from mpiqe.images import CropMode, Pixels, Source
from mpiqe.scoring.pipeline import batches, in_order
from mpiqe.scoring.predictor import Predictor
from mpiqe.scoring.score import Row, Scale, Score
from mpiqe.scoring.sources.found import Fetched


@dataclass(frozen=True)
class _Photo:
    """A source that was read: its crops (K, S, S, 3) and its own (width, height)."""

    crops: Pixels
    size: tuple[int, int]


class Scorer:
    """Scores photos with a predictor.

    A score is in the units of the dataset that the model was trained on: ``scorer.scale`` says which they are, the
    range that they lie in and that higher is better. The same photo gets the same score alone, in a batch, in any order
    and with any number of workers (``random`` crops apart).

    ``crops``: how many per photo, at its native resolution. ``crop_mode`` (D12): ``seeded`` positions drawn from
    ``seed`` and the photo's size alone, ``grid``, or ``random``. ``batch_size`` counts photos. ``workers``: threads
    that read photos, by default one for each processor and 16 at most. ``max_pixels``: larger photos are refused.
    Raises ``ConfigError`` for values that cannot be meant.
    """

    def __init__(
        self,
        *,
        predictor: Predictor,
        crops: int = 8,
        crop_mode: CropMode = "seeded",
        seed: int = 0,
        batch_size: int = 16,
        workers: int | None = None,
        max_pixels: int = images.DEFAULT_MAX_PIXELS,
    ) -> None:
        workers = _processors() if workers is None else workers
        counts = {"crops": crops, "batch_size": batch_size, "workers": workers, "max_pixels": max_pixels}
        faults = [f"{name} must be at least 1, not {value}" for name, value in counts.items() if value < 1]
        if crop_mode not in images.CROP_MODES:
            faults.append(f"crop_mode must be one of {', '.join(images.CROP_MODES)}, not {crop_mode!r}")
        if faults:
            raise ConfigError("; ".join(faults))
        self.predictor = predictor
        self.crops = crops
        self.crop_mode = crop_mode
        self.seed = seed
        self.batch_size = batch_size
        self.workers = workers
        self.max_pixels = max_pixels

    @property
    def scale(self) -> Scale:
        """Unit, range and direction of the scores."""
        return self.predictor.scale

    @overload  # a str is an Iterable[str], but the first overload takes it
    def __call__(self, source: Source) -> Score: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, source: Iterable[Source]) -> list[Score]: ...

    def __call__(self, source: "Source | Iterable[Source]") -> Score | list[Score]:
        """The ``Score`` of one photo, or a list of them, in order, for several.

        A photo is a path, the bytes of a file, a PIL image, an array (H, W, 3) uint8, or a torch tensor (3, H, W),
        uint8 or floating point in [0, 1]. Raises ``ImageError`` naming the first photo that cannot be read; ``rows``
        goes on past such photos.
        """
        if _are_many(source):
            return [_score_or_raise(result) for _, result in self._stream(source)]
        return _score_or_raise(self._predict([self._read(cast("Source", source))])[0][1])

    def rows(self, paths: Iterable[str | os.PathLike[str] | Fetched]) -> Generator[Row, None, None]:
        """A ``Row`` for each path, in order and as they come; a photo that cannot be read has its ``error`` there.

        ``paths`` may be without end: it is read only a few batches ahead. Close the rows to stop before their end.
        """
        for name, result in self._stream(paths):
            if isinstance(result, Score):
                yield Row(name, result, None)
            else:
                yield Row(name, None, str(result).removeprefix(f"{name}: "))

    def _stream(self, sources: "Iterable[Source | Fetched]") -> Iterator[tuple[str, Score | ImageError]]:
        """Photos are read on ``workers`` threads and predicted on one more, both while the caller uses the results."""
        ahead = self.batch_size + 2 * self.workers
        with (
            closing(in_order(self._read, sources, workers=self.workers, ahead=ahead)) as photos,
            closing(in_order(self._predict, batches(photos, self.batch_size), workers=1, ahead=1)) as answers,
        ):
            for batch in answers:
                yield from batch

    def _read(self, source: "Source | Fetched") -> tuple[str, _Photo | ImageError]:
        if isinstance(source, Fetched):
            name = source.name
            try:
                content = source.fetch()
            except ImageError as error:
                return name, error
            result = self._read(content)[1]
            if isinstance(result, ImageError):
                return name, ImageError(f"{name}: {str(result).removeprefix(f'{images.describe(content)}: ')}")
            return name, result
        size, name = self.predictor.crop_size, images.describe(source)
        positions = partial(images.crop_positions, size=size, count=self.crops, mode=self.crop_mode, seed=self.seed)
        try:
            photo = _Photo(*images.read_crops(source, size=size, positions=positions, max_pixels=self.max_pixels))
        except ImageError as error:
            return name, error
        return name, photo

    def _predict(self, batch: list[tuple[str, _Photo | ImageError]]) -> list[tuple[str, Score | ImageError]]:
        scores = iter(self._scores([photo for _, photo in batch if isinstance(photo, _Photo)]))
        return [(name, photo if isinstance(photo, ImageError) else next(scores)) for name, photo in batch]

    def _scores(self, photos: list[_Photo]) -> list[Score]:
        if not photos:
            return []
        answer = self.predictor.predict(np.concatenate([photo.crops for photo in photos]))
        if not all(np.isfinite(values).all() for values in answer):
            raise WeightsError("the model answers with values that are not finite: its weights are damaged")
        score, scene, distortion = (  # (N, ...) -> (photos, K, ...); sums of many float32 are safer in double
            values.astype(np.float64).reshape(len(photos), self.crops, *values.shape[1:]) for values in answer
        )
        return [
            Score(
                score=float(score[i].mean()),
                spread=float(score[i].std()),
                scene=_by_name(self.predictor.scenes, scene[i]),
                distortion=_by_name(self.predictor.distortions, distortion[i]),
                size=photo.size,
            )
            for i, photo in enumerate(photos)
        ]


def _by_name(names: tuple[str, ...], probabilities: NDArray[np.float64]) -> dict[str, float]:
    """Mean over crops (K, classes) by class name."""
    return dict(zip(names, probabilities.mean(axis=0).tolist(), strict=True))


def _are_many(source: "Source | Iterable[Source]") -> TypeGuard[Iterable[Source]]:
    one = isinstance(source, (str, bytes, os.PathLike, Image.Image, np.ndarray)) or is_tensor(source)
    return isinstance(source, Iterable) and not one


def _score_or_raise(result: Score | ImageError) -> Score:
    if isinstance(result, ImageError):
        raise result
    return result


def _processors() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, usable)
