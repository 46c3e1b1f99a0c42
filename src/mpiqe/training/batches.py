"""Which images make up each optimiser step, and which part of them falls to which process."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from mpiqe.data.crop_dataset import EpochSampler, Item, Key, collate


class Step(NamedTuple):
    """One optimiser step."""

    images: tuple[int, ...]
    """Indices of the whole batch's images, over all processes; one that gives several crops apart is there as often."""
    parts: tuple[tuple[int, ...], ...]
    """This process's share, in the parts that are computed one after another; none of them is empty.

    Indices of images, or of ``image * crops + crop`` where crops are drawn apart.
    """


class StepSampler:
    """The steps of one epoch: a function of the seed and the epoch, not of workers, parts or processes.

    ``batch_size`` counts images of ``length``. With ``crops`` above 1 it counts crops, so many of each image, that are
    drawn one by one: the keys are then (epoch, image, crop).
    """

    def __init__(
        self, length: int, *, batch_size: int, parts: int, rank: int, world: int, seed: int, crops: int = 1
    ) -> None:
        self._order = EpochSampler(length * crops, shuffle=True, seed=seed)
        self._length, self._batch_size, self._crops = length * crops, batch_size, crops
        self._parts, self._rank, self._world = parts, rank, world

    @property
    def steps_per_epoch(self) -> int:
        """The last, smaller batch included."""
        return -(-self._length // self._batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""
        self._order.set_epoch(epoch)

    def steps(self) -> list[Step]:
        """The epoch's steps in order."""
        order = [index for _, index in self._order]
        batches = (order[start : start + self._batch_size] for start in range(0, self._length, self._batch_size))
        return [Step(tuple(item // self._crops for item in batch), self._share(batch)) for batch in batches]

    def _share(self, batch: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        mine = batch[self._rank :: self._world]
        parts = (tuple(mine[part :: self._parts]) for part in range(self._parts))
        return tuple(part for part in parts if part)

    def __iter__(self) -> Iterator[list[Key]]:
        for step in self.steps():
            for part in step.parts:
                yield [self._key(item) for item in part]

    def _key(self, item: int) -> Key:
        if self._crops == 1:
            return self._order.epoch, item
        return self._order.epoch, *divmod(item, self._crops)


def step_loader(dataset: TorchDataset[Item], sampler: StepSampler, *, workers: int) -> DataLoader[Item]:
    """The parts of every step as ``Batch``es, one after another."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=collate,
    )
