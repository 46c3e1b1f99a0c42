from mpiqe.training.batches import StepSampler


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
