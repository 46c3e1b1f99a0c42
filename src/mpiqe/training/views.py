"""Photos as a backbone is taught with them: two natural crops, and the first of them distorted at two levels.

Axes: B photos, V views per photo, S crop side in pixels.
"""

import statistics
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from mpiqe import images
from mpiqe.data.loading import scene_vector
from mpiqe.data.record import Record
from mpiqe.data.several import target_statistics
from mpiqe.data.synthetic import KINDS, LEVELS, class_of, distort
from mpiqe.errors import DatasetError, ImageError
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.training.features import FeatureCache

NATURAL, VIEWS = 2, 4
_GRID = 16  # pixels: a JPEG block of halved chroma
QUALITIES = ("bad", "poor", "fair", "good", "excellent")


@dataclass(frozen=True)
class Rated:
    """A photo of one of several rated sets, each with a scale of its own."""

    record: Record
    group: int
    """Which set."""
    target: float
    """MOS, standardised within the set."""
    quality: int
    """An index into ``QUALITIES``, by fifths of the set."""


def rate(records: Sequence[Record], group: int) -> list[Rated]:
    """The photos of one set with their standing within it."""
    mean, deviation = target_statistics(records)
    steps = statistics.quantiles([record.mos for record in records], n=len(QUALITIES))
    return [Rated(record, group, (record.mos - mean) / deviation, bisect(steps, record.mos)) for record in records]


class Views(NamedTuple):
    """One photo (or, with a first axis B, a batch of them); -1 stands for a label that is not there."""

    crops: Tensor
    """(V, 3, S, S) uint8."""
    target: Tensor
    """() float32: MOS, standardised within its set."""
    group: Tensor
    """() int64: which set."""
    quality: Tensor
    """() int64: an index into ``QUALITIES``."""
    scene: Tensor
    """(9,) float32, zeros where not labelled."""
    named_scene: Tensor
    """() int64: one of the labelled scenes, for a caption."""
    natural: Tensor
    """() int64: the photo's own distortion."""
    made: Tensor
    """() int64: the class of the distortion that was made."""
    taught: dict[str, Tensor]
    """The teacher's features of the natural crops, (2, ...) float16 each; empty without a teacher."""


class ViewDataset(TorchDataset[Views]):
    """Two natural crops of a photo, mirrored half of the time, and the first one distorted at two levels.

    Everything drawn is a function of the seed, the epoch and the photo's name. With a teacher the crops are those of
    its cache: two of the photo's slots.
    """

    def __init__(self, photos: Sequence[Rated], *, size: int, seed: int, cache: FeatureCache | None = None) -> None:
        self.photos, self.size, self.seed, self.cache = tuple(photos), size, seed, cache

    def __len__(self) -> int:
        """The number of photos."""
        return len(self.photos)

    def __getitem__(self, key: tuple[int, int]) -> Views:
        """The views of one photo; ``key`` is (epoch, index)."""
        epoch, index = key
        photo = self.photos[index]
        record = photo.record
        rng = np.random.default_rng(list(f"{self.seed}:{epoch}:{photo.group}:{record.name}".encode()))
        slots = rng.choice(self.cache.slots, NATURAL, replace=False).tolist() if self.cache else []
        draws = slots or [NATURAL * epoch + place for place in range(NATURAL)]
        natural = crops_of(record, draws, size=self.size, seed=self.seed)
        kind = str(rng.choice(list(KINDS)))
        light = int(rng.integers(1, LEVELS))
        heavy = int(rng.integers(light + 1, LEVELS + 1))
        seed = int(rng.integers(2**31))
        shift = tuple(rng.integers(0, _GRID, 2).tolist())
        made = [shifted(natural[0], shift, kind, level, seed=seed) for level in (light, heavy)]
        crops = np.ascontiguousarray(np.stack([*natural, *made]).transpose(0, 3, 1, 2))
        return Views(
            crops=torch.from_numpy(crops),
            target=torch.tensor(photo.target, dtype=torch.float32),
            group=torch.tensor(photo.group),
            quality=torch.tensor(photo.quality),
            scene=scene_vector(record.scenes, "uniform"),
            named_scene=torch.tensor(SCENES.index(str(rng.choice(record.scenes))) if record.scenes else -1),
            natural=torch.tensor(-1 if record.distortion is None else DISTORTIONS.index(record.distortion)),
            made=torch.tensor(DISTORTIONS.index(class_of(kind))),
            taught=self.cache.read(index, slots) if self.cache else {},
        )


def shifted(crop: images.Pixels, shift: tuple[int, int], kind: str, level: int, *, seed: int) -> images.Pixels:
    """``crop`` distorted as a part of a larger photo: the grid of JPEG or pixelation begins ``shift`` outside of it."""
    down, across = shift
    larger = np.pad(crop, ((down, 0), (across, 0), (0, 0)), mode="reflect")
    return np.ascontiguousarray(distort(larger, kind, level, seed=seed)[down:, across:])


def crops_of(record: Record, draws: Sequence[int], *, size: int, seed: int) -> list[images.Pixels]:
    """One crop (S, S, 3) of the photo for each of ``draws``, mirrored half of the time; a function of seed and draw.

    Raises ``DatasetError`` for a photo that cannot be read.
    """
    try:
        image = images.enlarge(images.read(record.image), size)
    except ImageError as error:
        raise DatasetError(f"{error}; no image is left out, so the run ends here") from error
    height, width = image.shape[:2]
    crops = []
    for draw in draws:
        text = f"{seed}:{draw}:{record.name}"
        (crop,) = images.cut(image, images.seeded_positions(width, height, size=size, count=1, key=text), size=size)
        mirrored = np.random.default_rng(list(text.encode())).random() < 0.5
        crops.append(np.ascontiguousarray(crop[:, ::-1] if mirrored else crop))
    return crops
