from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from mpiqe.data import read_csv
from mpiqe.data.crop_dataset import CropDataset
from mpiqe.training.batches import StepSampler, ahead, step_loader


def _sampler(parts: int = 1, rank: int = 0, world: int = 1) -> StepSampler:
    return StepSampler(10, batch_size=4, parts=parts, rank=rank, world=world, seed=3)


def test_every_image_is_in_exactly_one_step_of_an_epoch() -> None:
    steps = _sampler().steps()
    assert [len(step.images) for step in steps] == [4, 4, 2]
    assert sorted(index for step in steps for index in step.images) == list(range(10))


def test_processes_and_parts_share_the_same_steps_without_overlap() -> None:
    whole = _sampler().steps()
    shares = [_sampler(parts=2, rank=rank, world=3).steps() for rank in range(3)]
    for number, step in enumerate(whole):
        assert all(share[number].images == step.images for share in shares)
        seen = [index for share in shares for part in share[number].parts for index in part]
        assert sorted(seen) == sorted(step.images)
        assert all(part for share in shares for part in share[number].parts)


def test_epochs_differ_and_repeat_themselves() -> None:
    sampler = _sampler()
    sampler.set_epoch(1)
    first = sampler.steps()
    sampler.set_epoch(2)
    assert sampler.steps() != first
    sampler.set_epoch(1)
    assert sampler.steps() == first


def test_the_loader_is_given_the_epoch_with_each_index() -> None:
    sampler = _sampler(parts=2)
    sampler.set_epoch(5)
    given = list(sampler)
    assert [len(part) for part in given] == [2, 2, 2, 2, 1, 1]
    assert {epoch for part in given for epoch, _ in part} == {5}


def test_crops_that_are_drawn_apart_fall_to_many_steps_each_once_an_epoch() -> None:
    sampler = StepSampler(10, batch_size=4, parts=1, rank=0, world=1, seed=3, crops=8)
    sampler.set_epoch(2)
    steps, given = sampler.steps(), list(sampler)
    assert [len(step.images) for step in steps] == [4] * 20
    keys = [key for part in given for key in part]
    assert sorted(keys) == [(2, image, crop) for image in range(10) for crop in range(8)]
    assert [image for _, image, _ in keys] == [image for step in steps for image in step.images]
    together = [len(set(step.images)) for step in steps]
    assert sum(together) / len(together) > 3  # of 4: an image's crops are rarely in one step


def test_what_processes_hand_over_is_the_same_and_takes_no_shared_memory(rated_photos: Path) -> None:
    crops = CropDataset(read_csv(rated_photos).records, size=32, count=4, seed=0, crops="training")
    sampler = StepSampler(16, batch_size=32, parts=1, rank=0, world=1, seed=3, crops=4)
    alone = list(step_loader(crops, sampler, workers=0))
    processes = step_loader(crops, sampler, workers=2)
    handed = [type(batch.crops) for batch in processes._loader]
    assert handed == [np.ndarray] * 2  # pickled into the pipe: a tensor would go through /dev/shm
    for one, other in zip(alone, processes, strict=True):
        assert all(torch.equal(mine, its) for mine, its in zip(one, other, strict=True))


def test_a_thread_asks_ahead_and_what_it_meets_is_raised_here() -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number
            if number == 50:
                raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(ahead(numbers()))
    assert taken[-1] == 50
    assert list(ahead(iter(range(7)))) == list(range(7))


def test_a_thread_that_nobody_asks_any_more_ends() -> None:
    source = ahead(iter(range(1000)))
    assert [next(source), next(source)] == [0, 1]
    source.close()  # type: ignore[attr-defined]  # joins the thread
