"""Batches of crops from images, as a torch dataset. Axes: B images, K crops per image, S crop side in pixels.

An image is decoded once per epoch, and all its K crops are cut from that one decode.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from mpiqe import images
from mpiqe.data.item_loader import ItemLoader
from mpiqe.data.photo_cache import PhotoCache
from mpiqe.data.record import Record
from mpiqe.data.splits import shuffled
from mpiqe.errors import ConfigError, DatasetError, ImageError
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.option_types import SceneTarget
from mpiqe.view import NATIVE, View

Key: TypeAlias = tuple[int, int] | tuple[int, int, int]
"""(epoch, image), or (epoch, image, crop) for one crop of the image alone."""


class Item(NamedTuple):
    """One image of a ``Batch``; the fields are the batch's without their first axis."""

    crops: Tensor
    mos: float
    scene: Tensor
    distortion: int
    index: int  # type: ignore[assignment]  # tuple.index is of no use here


class Batch(NamedTuple):
    """B images with their labels, on the CPU."""

    crops: Tensor
    """(B, K, 3, S, S) uint8, RGB, not normalised; from a ``StemCache`` (B, K, N, W) float16, embedded patches."""
    mos: Tensor
    """(B,) float32, the dataset's own units."""
    scene: Tensor
    """(B, scenes) float32, a distribution over ``SCENES``; all zeros: not labelled."""
    distortion: Tensor
    """(B,) int64, an index into ``DISTORTIONS``; -1: not labelled."""
    index: Tensor  # type: ignore[assignment]
    """(B,) int64, which of the records each image is."""


class CropDataset(TorchDataset[Item]):
    """K crops of every record, for training (new ones each epoch) or for evaluation (the scorer's own).

    ``crops`` is "training", where positions are drawn from the seed, the epoch and the image's name, or one of the
    scorer's modes (D12), with which evaluation sees exactly the pixels that scoring does. Both cut them from the
    ``view`` of the photo; ``photos`` keeps those that are decoded. ``scene_target`` (D3):
    ``uniform`` spreads the target evenly over an image's scenes, ``first`` takes the first of them.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        size: int,
        count: int,
        seed: int,
        crops: Literal["training"] | images.CropMode,
        scene_target: SceneTarget = "uniform",
        view: View = NATIVE,
        photos: PhotoCache | None = None,
    ) -> None:
        if scene_target not in get_args(SceneTarget):
            raise ConfigError(
                f"scene_target {scene_target!r} is not known; take one of {', '.join(get_args(SceneTarget))}"
            )
        self.records = tuple(records)
        self.size = size
        self.count = count
        self.seed = seed
        self.crops = crops
        self.scene_target = scene_target
        self.view = view
        self.photos = photos

    def __len__(self) -> int:
        """The number of images."""
        return len(self.records)

    def __getitem__(self, key: Key) -> Item:
        """The crops of one image in one epoch, or one of them; ``key`` is (epoch, index) or (epoch, index, crop).

        Raises ``DatasetError`` for an image that cannot be read: none is ever left out silently.
        """
        epoch, index, *apart = key
        record = self.records[index]

        def positions(width: int, height: int) -> images.Positions:
            if self.crops == "training":
                name = f"{self.seed}:{epoch}:{record.name}"
                places = images.seeded_positions(width, height, size=self.size, count=self.count, key=name)
            else:
                places = images.crop_positions(
                    width, height, size=self.size, count=self.count, mode=self.crops, seed=self.seed
                )
            return places[apart] if apart else places

        try:
            if self.photos is None:
                pixels, _ = images.read_crops(record.image, size=self.size, positions=positions, view=self.view)
            else:
                canvas = self.photos.canvas(index, record.image, size=self.size, view=self.view)
                pixels = images.cut(canvas, positions(canvas.shape[1], canvas.shape[0]), size=self.size)
        except ImageError as error:
            raise DatasetError(f"{error}; no image is left out, so the run ends here") from error
        # (K, S, S, 3) -> (K, 3, S, S)
        return self.item(index, torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))))

    def item(self, index: int, crops: Tensor) -> Item:
        """``crops`` of one image, or what was made of them, with its labels."""
        record = self.records[index]
        distortion = -1 if record.distortion is None else DISTORTIONS.index(record.distortion)
        return Item(crops, record.mos, scene_vector(record.scenes, self.scene_target), distortion, index)


class EpochSampler(Sampler[tuple[int, int]]):
    """Every index once per epoch, as (epoch, index): the epoch reaches persistent workers with the work itself.

    The order is a function of the seed and the epoch alone, or the records' own without ``shuffle``.
    """

    def __init__(self, length: int, *, shuffle: bool, seed: int = 0) -> None:
        self.length = length
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        """The number of images."""
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = map(str, range(self.length))
        indices = map(int, shuffled(order, f"{self.seed}:{self.epoch}") if self.shuffle else order)
        return ((self.epoch, index) for index in indices)


def loader(dataset: CropDataset, *, batch_size: int, shuffle: bool, workers: int) -> ItemLoader[Item]:
    """Batches of ``batch_size`` images, the last one smaller rather than dropped; iterating gives ``Batch``es.

    ``workers`` is the number of processes that decode; 0 decodes in this one. What comes out does not depend on it.
    Before each epoch of a shuffled loader call ``loader.sampler.set_epoch(epoch)``.
    """
    return ItemLoader(
        dataset,
        batch_size=batch_size,
        sampler=EpochSampler(len(dataset), shuffle=shuffle, seed=dataset.seed),
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
    )


def collate(items: Sequence[Item]) -> Batch:
    """Stack B items into one ``Batch``."""
    return Batch(
        crops=torch.stack([item.crops for item in items]),
        mos=torch.tensor([item.mos for item in items], dtype=torch.float32),
        scene=torch.stack([item.scene for item in items]),
        distortion=torch.tensor([item.distortion for item in items], dtype=torch.int64),
        index=torch.tensor([item.index for item in items], dtype=torch.int64),
    )


def scene_vector(scenes: Sequence[str], target: SceneTarget) -> Tensor:
    """The target distribution over ``SCENES``, (scenes,) float32, summing to 1, or all zeros for no scenes."""
    vector = torch.zeros(len(SCENES))
    meant = scenes[:1] if target == "first" else scenes
    for scene in meant:
        vector[SCENES.index(scene)] += 1 / len(meant)
    return vector
