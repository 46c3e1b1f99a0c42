"""Which images make up each optimiser step, and which part of them falls to which process."""

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import get_worker_info

from mpiqe.data.crop_dataset import Batch, EpochSampler, Item, Key, collate
from mpiqe.data.item_loader import ItemLoader
from mpiqe.data.splits import shuffled

T = TypeVar("T")


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

    ``sets``: how many images each rated set has, in order, where every step is to have equal shares of all. An epoch
    has as many steps as without. Each set is gone through in an order of its own, again and again and across epochs: a
    small set more often than a large one. What the keys call the epoch is then how often it was gone through.
    """

    def __init__(
        self,
        length: int,
        *,
        batch_size: int,
        parts: int,
        rank: int,
        world: int,
        seed: int,
        crops: int = 1,
        sets: Sequence[int] = (),
    ) -> None:
        self._order = EpochSampler(length * crops, shuffle=True, seed=seed)
        self._length, self._batch_size, self._crops = length * crops, batch_size, crops
        self._parts, self._rank, self._world = parts, rank, world
        self._seed, self._sets = seed, tuple(size * crops for size in sets)
        self._epoch = 1

    @property
    def steps_per_epoch(self) -> int:
        """The last, smaller batch included."""
        return -(-self._length // self._batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""
        self._epoch = epoch
        self._order.set_epoch(epoch)

    def steps(self) -> list[Step]:
        """The epoch's steps in order."""
        return [
            Step(tuple(item // self._crops for _, item in batch), self._share([item for _, item in batch]))
            for batch in self._batches()
        ]

    def _batches(self) -> list[list[tuple[int, int]]]:
        """The (epoch, item) of each step, over all processes."""
        if self._sets:
            return self._balanced()
        order = list(self._order)
        return [order[start : start + self._batch_size] for start in range(0, self._length, self._batch_size)]

    def _balanced(self) -> list[list[tuple[int, int]]]:
        """Steps of equal shares; where they do not divide a step, sets take turns in giving one more."""
        count, orders, steps = len(self._sets), dict[tuple[int, int], list[int]](), []
        first = (self._epoch - 1) * self.steps_per_epoch
        begins = [sum(self._sets[:number]) for number in range(count)]
        for step in range(first, first + self.steps_per_epoch):
            batch = []
            for number, size in enumerate(self._sets):
                drawn = ((at * self._batch_size + number) // count for at in (step, step + 1))
                for place in range(*drawn):
                    turn, within = divmod(place, size)
                    if (number, turn) not in orders:
                        names = map(str, range(size))
                        orders[number, turn] = [int(i) for i in shuffled(names, f"{self._seed}:set {number}:{turn}")]
                    batch.append((turn + 1, begins[number] + orders[number, turn][within]))
            steps.append(batch)
        return steps

    def _share(self, batch: Sequence[T]) -> tuple[tuple[T, ...], ...]:
        mine = batch[self._rank :: self._world]
        parts = (tuple(mine[part :: self._parts]) for part in range(self._parts))
        return tuple(part for part in parts if part)

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in self._batches():
            for part in self._share(batch):
                yield [self._key(epoch, item) for epoch, item in part]

    def _key(self, epoch: int, item: int) -> Key:
        return (epoch, item) if self._crops == 1 else (epoch, *divmod(item, self._crops))


class StepLoader:
    """The parts of every step as ``Batch``es, one after another; iterating is an epoch.

    With ``pin`` they lie in pinned memory, prepared by a thread while the device computes, so that copies to a GPU
    overlap. What processes hand over goes through pipes, not through shared memory, of which a container may have 64 MB
    in all: a batch of 512 crops of 224 x 224 has 77.
    """

    def __init__(self, dataset: TorchDataset[Item], sampler: StepSampler, *, workers: int, pin: bool = False) -> None:
        self._pin = pin
        self._loader = ItemLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=_collate_for_a_pipe,
        )

    def __iter__(self) -> Iterator[Batch]:
        ready = (_from_a_pipe(batch, pin=self._pin) for batch in self._loader)
        return ahead(ready) if self._pin else ready


def step_loader(dataset: TorchDataset[Item], sampler: StepSampler, *, workers: int, pin: bool = False) -> StepLoader:
    """``StepLoader`` for a dataset and its steps."""
    return StepLoader(dataset, sampler, workers=workers, pin=pin)


def _collate_for_a_pipe(items: Sequence[Item]) -> Batch:
    batch = collate(items)
    if get_worker_info() is None:
        return batch
    return Batch(*(part.numpy() for part in batch))  # type: ignore[arg-type]  # arrays are pickled, tensors shared


def _from_a_pipe(batch: Batch, *, pin: bool) -> Batch:
    whole = Batch(*(part if isinstance(part, Tensor) else torch.from_numpy(part) for part in batch))
    return whole._replace(crops=whole.crops.pin_memory()) if pin else whole


def ahead(source: Iterator[T], *, count: int = 2) -> Iterator[T]:
    """The values of ``source``, which a thread asks for up to ``count`` of ahead; what it raises is raised here."""
    found: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=count)
    stopped = threading.Event()

    def fetch() -> None:
        try:
            for value in source:
                if not _put(found, (value, None), stopped):
                    return
            _put(found, (None, StopIteration()), stopped)
        except BaseException as error:
            _put(found, (None, error), stopped)

    thread = threading.Thread(target=fetch, daemon=True, name="mpiqe-batches")
    thread.start()
    try:
        while True:
            value, error = found.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield value  # type: ignore[misc]  # a value comes without an error
    finally:
        stopped.set()
        thread.join()


def _put(found: "queue.Queue[Any]", entry: Any, stopped: threading.Event) -> bool:
    """Wait for room; ``False`` if nobody takes entries any more."""
    while not stopped.is_set():
        try:
            found.put(entry, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False
