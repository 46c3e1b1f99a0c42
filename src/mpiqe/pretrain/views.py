"""Training samples: a natural crop of a photo and (``made``) the same crop of two distorted versions.

Axes: B photos, V views per photo, S crop side in pixels.
"""

import statistics
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from mpiqe import images
from mpiqe.data.crop_dataset import scene_vector
from mpiqe.data.extra_data import target_statistics
from mpiqe.data.record import Record
from mpiqe.data.synthetic import ALL_KINDS, CODECS, LEVELS, class_of, distort
from mpiqe.errors import DatasetError, ImageError
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.pretrain.features import FeatureCache

NATURAL, MADE = 1, 2
_CODEC_SHARE, _CHAIN_SHARE = 0.35, 0.12  # of photos
_ENLARGED = 1.6  # at most, of small photos before they are distorted
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
    """() int64: the class of the distortion that was made; -1 for one without, and for two after another."""
    taught: dict[str, Tensor]
    """The teacher's features of the natural crop, (1, ...) float16 each; empty without a teacher."""


class ViewDataset(TorchDataset[Views]):
    """A natural crop of a photo, mirrored half of the time, and the same place of the whole photo distorted twice.

    Before it is cut a photo is shrunk by a random factor between ``smallest`` and 1. Everything drawn is a function of
    the seed, the epoch and the photo's name. With a teacher the crop is one of its cache, and nothing is shrunk.
    Without ``made`` the natural crop is the only view.

    With ``whole`` a view is not a crop but a rectangle of at least ``smallest`` of each side, resized to the square.
    Photos with a side under ``size`` are then enlarged by a random factor before they are distorted, so that a
    distortion is also seen smaller than it is in their pixels, as in larger photos.
    """

    def __init__(
        self,
        photos: Sequence[Rated],
        *,
        size: int,
        seed: int,
        cache: FeatureCache | None = None,
        smallest: float = 1.0,
        made: bool = True,
        whole: bool = False,
    ) -> None:
        self.photos, self.size, self.seed, self.cache, self.made = tuple(photos), size, seed, cache, made
        self.smallest = 1.0 if cache else smallest
        self.whole = whole

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
        photo_pixels = read_photo(record)
        places = [place_of(record, draw, seed=self.seed) for draw in draws]
        kinds = draw_kinds(rng)
        light = int(rng.integers(1, LEVELS))
        heavy = int(rng.integers(light + 1, LEVELS + 1))
        seed = int(rng.integers(2**31))
        shift = tuple(rng.integers(0, _GRID, 2).tolist())
        levels = (light, heavy) if self.made else ()
        if self.whole:
            shown = rng.uniform(self.smallest, 1.0, 2).tolist()
            small = min(photo_pixels.shape[:2]) < self.size
            larger = resized(photo_pixels, rng.uniform(1.0, _ENLARGED)) if small and self.made else photo_pixels
            made = [
                squared(shifted(larger, shift, kinds, level, seed=seed), places[0], shown, size=self.size)
                for level in levels
            ]
            natural = [squared(photo_pixels, place, shown, size=self.size) for place in places]
        else:
            factor = rng.uniform(self.smallest, 1.0)
            made = [
                cut_one(resized(shifted(photo_pixels, shift, kinds, level, seed=seed), factor), place, size=self.size)
                for place in places[:1]
                for level in levels
            ]
            natural = [cut_one(resized(photo_pixels, factor), place, size=self.size) for place in places]
        crops = np.ascontiguousarray(np.stack([*natural, *made]).transpose(0, 3, 1, 2))
        made_class = class_of(kinds[0]) if len(kinds) == 1 else None
        return Views(
            crops=torch.from_numpy(crops),
            target=torch.tensor(photo.target, dtype=torch.float32),
            group=torch.tensor(photo.group),
            quality=torch.tensor(photo.quality),
            scene=scene_vector(record.scenes, "uniform"),
            named_scene=torch.tensor(SCENES.index(str(rng.choice(record.scenes))) if record.scenes else -1),
            natural=torch.tensor(-1 if record.distortion is None else DISTORTIONS.index(record.distortion)),
            made=torch.tensor(-1 if made_class is None else DISTORTIONS.index(made_class)),
            taught=self.cache.read(index, slots) if self.cache else {},
        )


def draw_kinds(rng: np.random.Generator) -> tuple[str, ...]:
    """Draw the distortions of a photo: one kind, or two in sequence; codecs more often than others."""
    first = str(rng.choice(list(CODECS) if rng.random() < _CODEC_SHARE else list(ALL_KINDS)))
    return (first, str(rng.choice(list(CODECS)))) if rng.random() < _CHAIN_SHARE else (first,)


def shifted(
    photo: images.Pixels, shift: tuple[int, ...], kinds: Sequence[str], level: int, *, seed: int
) -> images.Pixels:
    """``photo`` distorted as a part of a larger one: the grid of JPEG or pixelation begins ``shift`` outside of it."""
    down, across = shift
    larger = np.pad(photo, ((down, 0), (across, 0), (0, 0)), mode="reflect")
    for kind in kinds:
        larger = distort(larger, kind, level, seed=seed)
    return np.ascontiguousarray(larger[down:, across:])


def resized(photo: images.Pixels, factor: float) -> images.Pixels:
    """``photo`` with its sides multiplied by ``factor``."""
    if factor == 1:
        return photo
    height, width = photo.shape[:2]
    image = Image.fromarray(photo).resize((round(width * factor), round(height * factor)), Image.Resampling.LANCZOS)
    return np.asarray(image)


class Place(NamedTuple):
    """Where a crop is cut, as shares of the room that it has, and whether it is mirrored."""

    across: float
    down: float
    mirrored: bool


def place_of(record: Record, draw: int, *, seed: int) -> Place:
    """A random place, a function of the seed, the draw and the photo's name."""
    across, down, mirror = np.random.default_rng(list(f"{seed}:{draw}:{record.name}".encode())).random(3)
    return Place(float(across), float(down), bool(mirror < 0.5))


def cut_one(photo: images.Pixels, place: Place, *, size: int) -> images.Pixels:
    """The crop (S, S, 3) of ``photo`` at ``place``; a photo with a side under ``size`` is enlarged."""
    photo = images.enlarge(photo, size)
    height, width = photo.shape[:2]
    left, top = round(place.across * (width - size)), round(place.down * (height - size))
    crop = photo[top : top + size, left : left + size]
    return np.ascontiguousarray(crop[:, ::-1] if place.mirrored else crop)


def squared(photo: images.Pixels, place: Place, shown: Sequence[float], *, size: int) -> images.Pixels:
    """The rectangle of ``photo`` at ``place``, ``shown`` of its width and height, resized to (S, S, 3)."""
    height, width = photo.shape[:2]
    across, down = shown[0] * width, shown[1] * height
    left, top = place.across * (width - across), place.down * (height - down)
    image = Image.fromarray(photo).resize(
        (size, size), Image.Resampling.LANCZOS, (left, top, left + across, top + down), images.REDUCING_GAP
    )
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[:, ::-1] if place.mirrored else pixels)


def read_photo(record: Record) -> images.Pixels:
    """The whole photo. Raises ``DatasetError`` for one that cannot be read."""
    try:
        return images.read(record.image)
    except ImageError as error:
        raise DatasetError(f"{error}; no image is left out, so the run ends here") from error


def crops_of(record: Record, draws: Sequence[int], *, size: int, seed: int, whole: bool = False) -> list[images.Pixels]:
    """One crop (S, S, 3) of the photo for each of ``draws``, mirrored half of the time; a function of seed and draw.

    With ``whole`` all of the photo, resized. Raises ``DatasetError`` for a photo that cannot be read.
    """
    photo = read_photo(record)
    places = [place_of(record, draw, seed=seed) for draw in draws]
    if whole:
        return [squared(photo, place, (1.0, 1.0), size=size) for place in places]
    return [cut_one(photo, place, size=size) for place in places]
