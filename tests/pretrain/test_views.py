import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photos_of_scikit_image
from torch import Tensor
from torch.utils.data import DataLoader

from mpiqe import images
from mpiqe.data import read_csv
from mpiqe.data.crop_dataset import EpochSampler
from mpiqe.data.record import Record
from mpiqe.data.synthetic import ALL_KINDS, CODECS, distort
from mpiqe.errors import DatasetError
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.pretrain.features import FeatureCache, fill
from mpiqe.pretrain.views import (
    MADE,
    NATURAL,
    QUALITIES,
    Place,
    ViewDataset,
    Views,
    crops_of,
    draw_kinds,
    place_of,
    rate,
    resized,
    shifted,
    squared,
)

SLOTS = 4


def _views(table: Path, **how: object) -> ViewDataset:
    return ViewDataset(rate(read_csv(table).records, 0), size=64, seed=3, **how)  # type: ignore[arg-type]


def _same(one: Views, other: Views) -> bool:
    fields = [name for name in Views._fields if name != "taught"]
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in fields)


def _cache(folder: Path, table: Path) -> FeatureCache:
    """A teacher that says of every crop its mean colour and its left half's."""
    records = read_csv(table).records

    def compute(places: range) -> dict[str, Tensor]:
        crops = np.stack([crop for place in places for crop in crops_of(records[place], range(SLOTS), size=64, seed=3)])
        halves = crops[:, :, :32].mean(axis=(1, 2)), crops.mean(axis=(1, 2))
        return {"cls": torch.from_numpy(np.concatenate(halves, axis=1))}

    return fill(folder, photos=len(records), slots=SLOTS, about={}, compute=compute, progress=lambda done, total: None)


def test_views_are_a_crop_and_the_same_place_of_the_photo_at_two_levels_of_distortion(rated_photos: Path) -> None:
    views = _views(rated_photos)
    assert len(views) == 16
    for index in range(4):
        item = views[1, index]
        natural, light, heavy = item.crops
        assert (item.crops.shape, item.crops.dtype) == ((NATURAL + MADE, 3, 64, 64), torch.uint8)
        assert not torch.equal(light, heavy)
        errors = [(made.float() - natural.float()).square().mean().item() for made in (light, heavy)]
        assert 0 < errors[0] < errors[1]
        assert -1 <= item.made < len(DISTORTIONS)
        assert item.taught == {}


def test_without_made_views_the_natural_crop_is_the_only_one(rated_photos: Path) -> None:
    with_made, alone = _views(rated_photos), _views(rated_photos, made=False)
    for index in range(4):
        assert alone[1, index].crops.shape == (NATURAL, 3, 64, 64)
        assert torch.equal(alone[1, index].crops, with_made[1, index].crops[:NATURAL])


def test_every_view_is_a_function_of_seed_epoch_and_name(rated_photos: Path) -> None:
    views, again = _views(rated_photos), _views(rated_photos)
    other = ViewDataset(views.photos, size=64, seed=4)
    assert _same(views[1, 5], again[1, 5])
    for different in (views[2, 5], other[1, 5]):
        for one, two in zip(views[1, 5].crops, different.crops, strict=True):
            assert not torch.equal(one, two)
    alone = ViewDataset(views.photos[5:6], size=64, seed=3)
    assert _same(views[1, 5], alone[1, 0])


def test_the_photo_of_another_set_is_distorted_in_another_way(rated_photos: Path) -> None:
    records = read_csv(rated_photos).records
    one, other = (ViewDataset(rate(records, group), size=64, seed=3) for group in (0, 1))
    assert [int(one[1, 0].group), int(other[1, 0].group)] == [0, 1]
    assert not torch.equal(one[1, 0].crops[1:], other[1, 0].crops[1:])


def test_both_mirrorings_and_many_distortion_classes_come_up(rated_photos: Path) -> None:
    views = _views(rated_photos)
    record = views.photos[0].record
    photo, mirrored = images.read(record.image), 0
    for draw in range(20):
        (crop,) = crops_of(record, [draw], size=64, seed=3)
        place = place_of(record, draw, seed=3)
        left, top = round(place.across * (200 - 64)), round(place.down * (160 - 64))
        plain = photo[top : top + 64, left : left + 64]
        assert np.array_equal(crop, plain) != np.array_equal(crop, plain[:, ::-1])
        mirrored += not np.array_equal(crop, plain)
    assert 4 <= mirrored <= 16  # 10 expected, deviation 2.2
    classes = {int(views[epoch, index].made) for epoch in range(2) for index in range(16)}
    assert len(classes) >= 6  # of 11


def test_the_teacher_saw_exactly_the_pixels_of_the_natural_views(tmp_path: Path, rated_photos: Path) -> None:
    views = _views(rated_photos, cache=_cache(tmp_path, rated_photos))
    slots_seen: set[int] = set()
    for index in range(16):
        item = views[1, index]
        record = views.photos[index].record
        every = [torch.from_numpy(crop.transpose(2, 0, 1)) for crop in crops_of(record, range(SLOTS), size=64, seed=3)]
        slots_seen.add(next(slot for slot in range(SLOTS) if torch.equal(item.crops[0], every[slot])))
        assert item.taught["cls"].shape == (1, 6)
        for crop, said in zip(item.crops[:1].float(), item.taught["cls"].float(), strict=True):
            expected = torch.cat([crop[:, :, :32].mean(dim=(1, 2)), crop.mean(dim=(1, 2))])
            torch.testing.assert_close(said, expected, atol=0.1, rtol=0)  # float16 at 128 steps by 0.125
    assert slots_seen == set(range(SLOTS))


def test_a_worker_gives_the_same_batches(tmp_path: Path, rated_photos: Path) -> None:
    views = _views(rated_photos, cache=_cache(tmp_path, rated_photos))
    assert views.cache is not None
    assert views.cache.arrays  # mapped here already
    sampler = EpochSampler(4, shuffle=True, seed=1)
    here, there = (list(DataLoader(views, batch_size=3, sampler=sampler, num_workers=number)) for number in (0, 1))
    assert [len(batch.crops) for batch in here] == [3, 1]
    for one, other in zip(here, there, strict=True):
        assert _same(one, other)
        assert torch.equal(one.taught["cls"], other.taught["cls"])


def test_labels_become_indices_and_minus_one_where_there_are_none(rated_photos: Path) -> None:
    views = _views(rated_photos)
    clean, blurred = views[1, 0], views[1, 1]  # of the astronaut, whose scenes are two
    human, indoor = SCENES.index("human"), SCENES.index("indoor scene")
    assert clean.scene[[human, indoor]].tolist() == [0.5, 0.5]
    assert clean.scene.sum() == 1
    assert (int(clean.natural), int(blurred.natural)) == (-1, DISTORTIONS.index("blur"))
    assert {int(views[epoch, 0].named_scene) for epoch in range(12)} == {human, indoor}
    bare = ViewDataset(
        rate([Record(p.record.image, p.record.name, p.record.mos) for p in views.photos], 0), size=64, seed=3
    )
    assert int(bare[1, 0].named_scene) == -1
    assert bare[1, 0].scene.sum() == 0


def test_quality_is_the_fifth_of_the_set_and_the_target_its_standardised_mos(tmp_path: Path) -> None:
    ratings = [30.0, 10.0, 50.0, 20.0, 40.0, 60.0, 80.0, 70.0, 90.0]
    records = [Record(tmp_path, str(mos), mos) for mos in ratings]
    rated = rate(records, 2)
    # The fifths of nine ratings 10 .. 90 part at 20, 40, 60 and 80; a rating on an edge counts as the better.
    named = {10: "bad", 20: "poor", 30: "poor", 40: "fair", 50: "fair", 60: "good", 70: "good", 80: "excellent"}
    named[90] = "excellent"
    assert [QUALITIES[photo.quality] for photo in rated] == [named[mos] for mos in ratings]
    deviation = statistics.pstdev(ratings)
    assert [photo.target for photo in rated] == pytest.approx([(mos - 50) / deviation for mos in ratings])
    assert {photo.group for photo in rated} == {2}


def test_ratings_of_one_value_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="have the same MOS"):
        rate([Record(tmp_path, str(number), 5.0) for number in range(3)], 0)


def test_a_photo_that_cannot_be_read_ends_the_run_by_name(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"broken\.png.*no image is left out, so the run ends here"):
        crops_of(Record(broken, "broken.png", 1.0), [0], size=64, seed=0)


def test_a_photo_smaller_than_a_crop_is_enlarged(rated_photos: Path) -> None:
    record = read_csv(rated_photos).records[0]  # 200 x 160 pixels
    (crop,) = crops_of(record, [0], size=224, seed=0)
    assert crop.shape == (224, 224, 3)


@pytest.mark.parametrize("shift", [(0, 0), (3, 5), (6, 1)])
def test_the_blocks_of_jpeg_do_not_begin_where_the_crop_does(shift: tuple[int, int]) -> None:
    crop = photos_of_scikit_image.astronaut()[:128, 200:328]
    made = shifted(crop, shift, ["JPEG"], 5, seed=0)
    assert made.shape == crop.shape
    for axis, down in enumerate(shift):
        edges = np.abs(np.diff(made.mean(axis=2), axis=axis)).mean(axis=1 - axis)  # between place i and i + 1
        by_phase = [edges[phase::8].mean() for phase in range(8)]
        assert (int(np.argmax(by_phase)) + 1 + down) % 8 == 0


def test_codecs_come_up_often_and_chains_of_two_have_no_class() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_kinds(rng) for _ in range(2000)]
    chains = [kinds for kinds in drawn if len(kinds) == 2]
    assert 0.08 < len(chains) / len(drawn) < 0.16
    assert all(kinds[1] in CODECS for kinds in chains)
    assert sum(kinds[0] in CODECS for kinds in drawn) > len(drawn) / 3
    assert {kinds[0] for kinds in drawn} == set(ALL_KINDS)


def test_a_chain_is_one_distortion_after_the_other() -> None:
    photo = photos_of_scikit_image.astronaut()[:96, 200:296]
    both = shifted(photo, (0, 0), ["gaussian blur", "JPEG"], 3, seed=5)
    expected = distort(distort(photo, "gaussian blur", 3, seed=5), "JPEG", 3, seed=5)
    assert np.array_equal(both, expected)


def test_shrinking_leaves_the_crops_size_and_changes_what_they_show(rated_photos: Path) -> None:
    whole, shrunken = _views(rated_photos), _views(rated_photos, smallest=0.75)
    assert whole[1, 0].crops.shape == shrunken[1, 0].crops.shape
    assert not torch.equal(whole[1, 0].crops[0], shrunken[1, 0].crops[0])
    assert resized(np.zeros((100, 80, 3), np.uint8), 0.5).shape == (50, 40, 3)


def test_square_photos_are_shown_as_squares_and_the_made_ones_in_the_same_frame(rated_photos: Path) -> None:
    views = _views(rated_photos, whole=True)[1, 0].crops
    assert views.shape == (3, 3, 64, 64)
    differences = (views[1:].float() - views[0].float()).abs().mean(dim=(1, 2, 3))
    mirrored = (views[0].flip(-1).float() - views[0].float()).abs().mean()
    assert 0 < differences[0] < mirrored  # the same part of the photo, the same way round
    (natural,) = _views(rated_photos, whole=True, made=False)[1, 0].crops
    photo = images.read(read_csv(rated_photos).records[0].image)
    small = np.asarray(Image.fromarray(photo).resize((64, 64), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    either = (np.abs(each.astype(float) - natural.numpy()).mean() for each in (small, small[:, :, ::-1]))
    assert min(either) < 1


def test_a_square_is_the_rectangle_at_its_place_resized() -> None:
    photo = np.zeros((100, 200, 3), np.uint8)
    photo[50:, 100:] = 200  # the lower right quarter
    lower_right = squared(photo, Place(1.0, 1.0, False), (0.5, 0.5), size=10)
    assert (lower_right[4:, 4:] == 200).all()  # the filter reaches beyond the rectangle
    assert (squared(photo, Place(0.0, 0.0, False), (0.5, 0.5), size=10)[:-4, :-4] == 0).all()
    whole = squared(photo, Place(0.3, 0.3, True), (1.0, 1.0), size=10)
    assert whole.shape == (10, 10, 3)
    assert whole[8, 1, 0] == 200
    assert whole[8, 8, 0] == whole[1, 1, 0] == 0
