import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mpiqe import images
from mpiqe.errors import ConfigError, ImageError
from mpiqe.images import (
    crop_positions,
    cut,
    enlarge,
    grid_positions,
    read_canvas,
    read_crops,
    seeded_positions,
    sliding_positions,
)

SIZE = 32
SHAPES = [(32, 32), (33, 32), (32, 500), (64, 48), (48, 64), (400, 300), (2000, 40)]


def numbered(width, height):
    """A photo in which every pixel says where it is."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x % 256, y % 256, (x // 256 + 16 * (y // 256))], axis=-1).astype(np.uint8)


def test_seeded_positions_follow_the_written_recipe():
    digest = hashlib.blake2b(b"7:640x480/2", digest_size=16).digest()
    left = int.from_bytes(digest[:8], "little") % (640 - 224 + 1)
    top = int.from_bytes(digest[8:], "little") % (480 - 224 + 1)
    assert seeded_positions(640, 480, size=224, count=3, key="7:640x480")[2].tolist() == [left, top]
    assert crop_positions(640, 480, size=224, count=3, mode="seeded", seed=7)[2].tolist() == [left, top]


def test_seeded_positions_never_change():
    # Printed once by this very code: whatever changes them changes every score that anyone has kept.
    positions = crop_positions(640, 480, size=224, count=4, mode="seeded", seed=0)
    assert positions.tolist() == [[346, 166], [230, 127], [315, 17], [207, 104]]


def test_another_seed_or_key_cuts_elsewhere():
    first = crop_positions(640, 480, size=224, count=8, mode="seeded", seed=0)
    assert (first != crop_positions(640, 480, size=224, count=8, mode="seeded", seed=1)).any()
    training = [seeded_positions(640, 480, size=224, count=8, key=f"0:{epoch}:5") for epoch in (0, 1)]
    assert (training[0] != training[1]).any()


def test_fewer_seeded_crops_are_the_first_of_more():
    eight = crop_positions(640, 480, size=224, count=8, mode="seeded")
    np.testing.assert_array_equal(crop_positions(640, 480, size=224, count=3, mode="seeded"), eight[:3])


def test_seeded_positions_spread_over_the_whole_photo():
    positions = seeded_positions(SIZE + 9, SIZE + 4, size=SIZE, count=4000, key="spread")
    for axis, places in ((0, 10), (1, 5)):
        # 4000 / 10 = 400 and 4000 / 5 = 800 are expected in each place; 100 is five standard deviations and more
        counts = np.bincount(positions[:, axis], minlength=places)
        assert len(counts) == places
        assert np.abs(counts - 4000 / places).max() < 100 * 10 / places


@pytest.mark.parametrize(("width", "height"), SHAPES)
@pytest.mark.parametrize("mode", images.CROP_MODES)
@pytest.mark.parametrize("count", [1, 2, 5, 8, 13])
def test_every_mode_cuts_as_many_crops_as_asked_inside_the_photo(width, height, mode, count):
    positions = crop_positions(width, height, size=SIZE, count=count, mode=mode)
    assert positions.shape == (count, 2)
    assert positions.dtype == np.int64
    assert (positions >= 0).all()
    assert (positions + SIZE <= (width, height)).all()


@given(st.integers(1, 40), st.integers(SIZE, 300), st.integers(SIZE, 300))
def test_a_grid_of_several_crops_reaches_opposite_corners(count, width, height):
    positions = grid_positions(width, height, size=SIZE, count=count)
    assert len(positions) == count
    if count >= 4:
        assert positions[:, 0].max() == width - SIZE or positions[:, 1].max() == height - SIZE
        assert positions.min(axis=0).tolist() in ([0, 0], [(width - SIZE) // 2, 0], [0, (height - SIZE) // 2])


def test_a_grid_is_laid_out_as_the_photo_is():
    # 4 : 2, eight crops: two rows of four; 400 - 32 = 368, in thirds 122, 245; 200 - 32 = 168.
    wide = [[left, top] for top in (0, 168) for left in (0, 122, 245, 368)]
    assert grid_positions(400, 200, size=SIZE, count=8).tolist() == wide
    assert grid_positions(200, 400, size=SIZE, count=8).shape == (8, 2)
    assert sorted(set(grid_positions(200, 400, size=SIZE, count=8)[:, 0].tolist())) == [0, 168]
    assert grid_positions(300, 300, size=SIZE, count=1).tolist() == [[134, 134]]
    assert grid_positions(SIZE, 132, size=SIZE, count=3).tolist() == [[0, 0], [0, 50], [0, 100]]
    assert grid_positions(132, SIZE, size=SIZE, count=3).tolist() == [[0, 0], [50, 0], [100, 0]]


def test_enough_grid_crops_leave_no_pixel_unseen():
    seen = np.zeros((90, 120), dtype=bool)
    for left, top in grid_positions(120, 90, size=SIZE, count=12):
        seen[top : top + SIZE, left : left + SIZE] = True
    assert seen.all()


def test_random_positions_come_from_the_generator_and_are_fresh_without_one():
    draw = [
        crop_positions(640, 480, size=224, count=8, mode="random", generator=np.random.default_rng(3)) for _ in range(2)
    ]
    np.testing.assert_array_equal(draw[0], draw[1])
    fresh = [crop_positions(640, 480, size=224, count=8, mode="random") for _ in range(2)]
    assert (fresh[0] != fresh[1]).any()


def test_an_unknown_crop_mode_names_the_known_ones():
    with pytest.raises(ConfigError, match="'centre' is unknown; choose from seeded, grid, random"):
        crop_positions(64, 64, size=SIZE, count=1, mode="centre")


def test_a_photo_too_small_for_a_crop_is_refused():
    with pytest.raises(ImageError, match="31 x 64 pixels cannot hold a crop of 32 x 32"):
        crop_positions(31, 64, size=SIZE, count=1, mode="seeded")


@pytest.mark.parametrize("convert", [np.asarray, Image.fromarray], ids=["array", "pillow"])
def test_crops_are_the_pixels_at_their_positions(convert):
    photo = numbered(100, 80)
    crops = cut(convert(photo), np.array([[0, 0], [68, 48], [7, 3]]), size=SIZE)
    assert crops.shape == (3, SIZE, SIZE, 3)
    assert crops.dtype == np.uint8
    np.testing.assert_array_equal(crops[0], photo[:32, :32])
    np.testing.assert_array_equal(crops[1], photo[48:, 68:])
    np.testing.assert_array_equal(crops[2], photo[3:35, 7:39])
    with pytest.raises(ImageError, match=r"at \(69, 0\) of 100 x 80"):
        cut(convert(photo), np.array([[69, 0]]), size=SIZE)


def test_a_large_photo_is_not_resized():
    photo = numbered(SIZE, 50)
    assert enlarge(photo, SIZE) is photo


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(16, 16, (32, 32)), (10, 40, (32, 128)), (40, 10, (128, 32)), (31, 1000, (32, 1032)), (1, 3, (32, 96))],
)
def test_a_small_photo_is_enlarged_until_its_short_side_fits(width, height, expected):
    photo = numbered(width, height)
    large = enlarge(photo, SIZE)
    assert large.shape == (expected[1], expected[0], 3)
    # Bicubic, by Pillow itself: the array and the Pillow road are one.
    np.testing.assert_array_equal(large, Image.fromarray(photo).resize(expected, Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(large, enlarge(Image.fromarray(photo), SIZE))


def test_a_strip_that_would_become_enormous_is_refused():
    strip = np.zeros((20_000, 1, 3), dtype=np.uint8)
    with pytest.raises(ImageError, match=r"1 x 20000 pixels would become 224 x 4480000 .* over the limit of 200000000"):
        enlarge(strip, 224)
    assert enlarge(strip[:100], 224, max_pixels=224 * 22_400).shape == (22_400, 224, 3)


@pytest.mark.parametrize(("width", "height"), [(100, 80), (20, 30)])
def test_read_crops_equals_read_enlarge_and_cut(tmp_path, width, height):
    path = tmp_path / "photo.png"
    Image.fromarray(numbered(width, height)).save(path)

    def positions(width, height):
        return seeded_positions(width, height, size=SIZE, count=5, key="k")

    crops, size = read_crops(path, size=SIZE, positions=positions)
    photo = enlarge(images.read(path), SIZE)
    assert size == (width, height)
    np.testing.assert_array_equal(crops, cut(photo, positions(photo.shape[1], photo.shape[0]), size=SIZE))


def test_a_small_photo_is_admitted_with_the_size_to_which_it_is_enlarged():
    told = []
    photo = Image.fromarray(numbered(20, 30))
    read_crops(photo, size=SIZE, positions=lambda *_: np.array([[0, 0]]), admit=lambda *size: told.append(size))
    assert told == [(20, 30), (32, 48)]


def test_read_crops_names_the_strip_that_it_refuses(tmp_path):
    path = tmp_path / "strip.png"
    Image.new("RGB", (1, 20_000)).save(path)
    with pytest.raises(ImageError, match=r"strip\.png: a strip of 1 x 20000"):
        read_crops(path, size=224, positions=lambda width, height: grid_positions(width, height, size=224, count=1))


@settings(deadline=None)
@given(width=st.integers(32, 400), height=st.integers(32, 400), most=st.integers(1, 300), size=st.integers(8, 32))
def test_sliding_crops_cover_every_pixel_from_edge_to_edge_and_overlap(width, height, most, size):
    positions = sliding_positions(width, height, size=size, most=most)
    assert positions.dtype == np.int64
    lefts, tops = (sorted(set(positions[:, axis].tolist())) for axis in (0, 1))
    assert len(positions) == len(lefts) * len(tops)  # a full grid, none of them twice
    for starts, length in ((lefts, width), (tops, height)):
        assert (starts[0], starts[-1]) == (0, length - size)
        steps = np.diff(starts)
        assert (steps <= max(1, size * 7 // 8)).all()
        assert steps.size == 0 or (steps > 0).all()
    if len(positions) > most:  # only where they are as far apart as they may be
        step = max(1, size // 2, size * 7 // 8)
        assert len(positions) == (-(-(width - size) // step) + 1) * (-(-(height - size) // step) + 1)


def test_sliding_crops_are_half_a_crop_apart_while_there_are_few():
    assert sliding_positions(96, 32, size=32, most=5).tolist() == [[0, 0], [16, 0], [32, 0], [48, 0], [64, 0]]
    assert sliding_positions(48, 33, size=32, most=4).tolist() == [[0, 0], [16, 0], [0, 1], [16, 1]]  # row by row
    assert sliding_positions(96, 32, size=32, most=4).tolist() == [[0, 0], [21, 0], [42, 0], [64, 0]]
    assert len(sliding_positions(96, 32, size=32, most=1)) == 4  # 28 pixels apart are three steps to 64 as well


def test_a_photo_of_100_megapixels_takes_a_bounded_number_of_sliding_crops():
    assert len(sliding_positions(4000, 3000, size=224, most=1024)) <= 1024
    count = len(sliding_positions(11_600, 8_700, size=224, most=1024))
    assert count == 60 * 45  # ceil(11376 / 196) + 1 and ceil(8476 / 196) + 1


def test_a_canvas_has_room_for_a_crop_and_the_photo_is_as_it_was(tmp_path):
    Image.fromarray(numbered(20, 10)).save(tmp_path / "small.png")
    photo, canvas = read_canvas(tmp_path / "small.png", size=32)
    assert (photo.size, canvas.size) == ((20, 10), (64, 32))
    assert (np.asarray(photo) == numbered(20, 10)).all()
    with pytest.raises(ImageError, match=r"small\.png: a strip of 20 x 10"):
        read_canvas(tmp_path / "small.png", size=32, max_pixels=2000)
