from pathlib import Path

import numpy as np
import pytest
import torch

from mpiqe import images
from mpiqe.data import Record
from mpiqe.data.crop_dataset import Batch, CropDataset, EpochSampler, loader, scene_vector
from mpiqe.errors import ConfigError, DatasetError
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.view import View

SIZE, COUNT = 16, 3


@pytest.fixture
def records(tmp_path, paint) -> list[Record]:
    labels = [((), None), (("human",), "blur"), (("human", "plant"), "noise"), (("others",), None), ((), "others")]
    return [
        Record(paint(tmp_path / f"{n}.png", width=40 + n, seed=n), f"{n}.png", 10.0 + n, scenes, distortion)
        for n, (scenes, distortion) in enumerate(labels)
    ]


def _crops(records, *, crops="training", seed=0, count=COUNT, **options) -> CropDataset:
    return CropDataset(records, size=SIZE, count=count, seed=seed, crops=crops, **options)


def _epoch(loaded, epoch: int) -> list[Batch]:
    loaded.sampler.set_epoch(epoch)
    return list(loaded)


def _same(left: list[Batch], right: list[Batch]) -> bool:
    return all(torch.equal(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True))


def test_a_batch_has_every_label_in_its_place(records):
    (batch,) = loader(_crops(records), batch_size=5, shuffle=False, workers=0)
    assert batch.crops.shape == (5, COUNT, 3, SIZE, SIZE)
    assert batch.crops.dtype == torch.uint8
    assert batch.mos.tolist() == [10, 11, 12, 13, 14]
    assert batch.index.tolist() == [0, 1, 2, 3, 4]
    assert batch.scene.shape == (5, len(SCENES))
    assert batch.scene.sum(dim=1).tolist() == [0, 1, 1, 1, 0]
    assert batch.scene[2, SCENES.index("human")] == batch.scene[2, SCENES.index("plant")] == 0.5
    distortions = [DISTORTIONS[number] if number >= 0 else None for number in batch.distortion.tolist()]
    assert distortions == [record.distortion for record in records]


def test_training_crops_are_the_images_own_pixels_at_the_keyed_positions(records):
    seed, epoch, index = 4, 7, 2
    image = images.read(records[index].image)
    positions = images.seeded_positions(42, 30, size=SIZE, count=COUNT, key="4:7:2.png")
    item = _crops(records, seed=seed)[epoch, index]
    for crop, (left, top) in zip(item.crops, positions.tolist(), strict=True):
        assert np.array_equal(crop.permute(1, 2, 0).numpy(), image[top : top + SIZE, left : left + SIZE])


@pytest.mark.parametrize("mode", ["seeded", "grid"])
def test_evaluation_crops_are_the_scorers_and_the_same_in_every_epoch(records, mode):
    dataset = _crops(records, crops=mode, seed=3)
    expected = images.crop_positions(41, 30, size=SIZE, count=COUNT, mode=mode, seed=3)
    cut = images.cut(images.read(records[1].image), expected, size=SIZE)
    assert np.array_equal(dataset[0, 1].crops.permute(0, 2, 3, 1).numpy(), cut)
    assert torch.equal(dataset[0, 1].crops, dataset[5, 1].crops)


def test_a_small_image_is_enlarged(records, tmp_path, paint):
    small = Record(paint(tmp_path / "small.png", width=9, height=6), "small.png", 1.0)
    assert _crops([small])[0, 0].crops.shape == (COUNT, 3, SIZE, SIZE)


def test_an_image_is_decoded_once_for_all_its_crops(records, monkeypatch):
    opened = []
    read = images.open_photo
    monkeypatch.setattr(images, "open_photo", lambda source, *others: opened.append(source) or read(source, *others))
    list(loader(_crops(records, count=8), batch_size=2, shuffle=True, workers=0))
    assert sorted(opened) == [record.image for record in records]


def test_each_epoch_has_its_own_order_and_crops_and_a_run_is_a_function_of_its_seed(records):
    def run(seed):
        loaded = loader(_crops(records, seed=seed), batch_size=2, shuffle=True, workers=0)
        return [_epoch(loaded, epoch) for epoch in (1, 2)]

    first = run(0)
    assert all(_same(left, right) for left, right in zip(first, run(0), strict=True))
    assert not _same(*first)
    assert not _same(first[0], run(1)[0])
    assert [batch.index.tolist() for batch in first[0]] != [batch.index.tolist() for batch in run(1)[0]]
    by_index = [
        torch.cat([batch.crops for batch in epoch])[torch.cat([b.index for b in epoch]).argsort()] for epoch in first
    ]
    assert not torch.equal(*by_index)


def test_workers_change_nothing_and_see_every_new_epoch(records):
    alone = loader(_crops(records), batch_size=2, shuffle=True, workers=0)
    helped = loader(_crops(records), batch_size=2, shuffle=True, workers=2)
    for epoch in (0, 1, 2):
        assert _same(_epoch(alone, epoch), _epoch(helped, epoch))


def test_an_images_crops_do_not_depend_on_the_other_records(records):
    assert torch.equal(_crops(records)[3, 4].crops, _crops(records[4:])[3, 0].crops)


def test_the_last_batch_is_smaller_and_no_image_is_lost(records):
    batches = list(loader(_crops(records), batch_size=2, shuffle=True, workers=0))
    assert [len(batch.mos) for batch in batches] == [2, 2, 1]
    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_vanishes_during_the_run_stops_it_by_name(records, workers):
    loaded = loader(_crops(records), batch_size=2, shuffle=False, workers=workers)
    records[3].image.unlink()
    with pytest.raises(DatasetError, match=r"3\.png: No such file"):
        list(loaded)


def test_the_order_of_an_epoch_is_that_of_the_first_version():
    sampler = EpochSampler(8, shuffle=True, seed=1)
    sampler.set_epoch(2)
    assert list(sampler) == [(2, index) for index in [7, 1, 6, 5, 0, 2, 4, 3]]


def test_without_shuffling_the_order_is_the_records():
    assert list(EpochSampler(3, shuffle=False)) == [(0, 0), (0, 1), (0, 2)]


def test_scene_targets_are_uniform_or_the_first():
    scenes = ("plant", "animal", "human")
    uniform, first = scene_vector(scenes, "uniform"), scene_vector(scenes, "first")
    third = pytest.approx(1 / 3)
    assert [uniform[SCENES.index(scene)].item() for scene in scenes] == [third] * 3
    assert first.nonzero().tolist() == [[SCENES.index("plant")]]
    assert uniform.sum().item() == pytest.approx(1)
    assert first.sum().item() == 1


def test_no_scene_is_no_target():
    assert not scene_vector((), "uniform").any()
    assert not scene_vector((), "first").any()


def test_an_unknown_scene_target_is_refused():
    with pytest.raises(ConfigError, match="'second' is not known; take one of uniform, first"):
        CropDataset([Record(Path("a"), "a", 1.0)], size=8, count=1, seed=0, crops="grid", scene_target="second")


@pytest.mark.parametrize("mode", ["training", "grid"])
def test_crops_are_cut_from_the_view(records, mode):
    item = _crops(records, crops=mode, view=View("scaled", 20))[1, 0]  # 40 x 30 -> 23 x 17
    if mode == "training":
        positions = images.seeded_positions(23, 17, size=SIZE, count=COUNT, key="0:1:0.png")
    else:
        positions = images.grid_positions(23, 17, size=SIZE, count=COUNT)
    _, canvas = images.read_canvas(records[0].image, size=SIZE, view=View("scaled", 20))
    assert canvas.size == (23, 17)
    expected = images.cut(canvas, positions, size=SIZE)
    assert np.array_equal(item.crops.permute(0, 2, 3, 1).numpy(), expected)
