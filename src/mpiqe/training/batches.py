"""Which images make up each optimiser step, and which part of them falls to which process."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from mpiqe.data.crop_dataset import EpochSampler, Item, collate


class Step(NamedTuple):
    """One optimiser step."""

    images: tuple[int, ...]
    """Indices of the whole batch, over all processes."""
    parts: tuple[tuple[int, ...], ...]
    """This process's share, in the parts that are computed one after another; none of them is empty."""


class StepSampler:
    """The steps of one epoch: a function of the seed and the epoch, not of workers, parts or processes."""

    def __init__(self, length: int, *, batch_size: int, parts: int, rank: int, world: int, seed: int) -> None:
        self._order = EpochSampler(length, shuffle=True, seed=seed)
        self._length, self._batch_size = length, batch_size
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
        return [Step(tuple(batch), self._share(batch)) for batch in batches]

    def _share(self, batch: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        mine = batch[self._rank :: self._world]
        parts = (tuple(mine[part :: self._parts]) for part in range(self._parts))
        return tuple(part for part in parts if part)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in self.steps():
            for part in step.parts:
                yield [(self._order.epoch, index) for index in part]


def step_loader(dataset: TorchDataset[Item], sampler: StepSampler, *, workers: int) -> DataLoader[Item]:
    """The parts of every step as ``Batch``es, one after another."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=collate,
    )
