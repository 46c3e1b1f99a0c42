from dataclasses import replace

import numpy as np
import pytest

from mpiqe.scoring.explanation import Explanation, Label
from mpiqe.scoring.render import INFERNO, colours, draw, overlay
from mpiqe.scoring.score import Scale, Score

SCALE = Scale(low=0, high=100, unit="MOS of livec")
LABELS = tuple(Label("distortion", name, 0.5) for name in ("blur", "JPEG2000 compression")) + tuple(
    Label("scene", name, 0.2) for name in ("still-life", "indoor scene", "others")
)


def explained(width=90, height=60, *, size=None, score=40.0, scale=SCALE, distortion="blur", attention=None):
    rng = np.random.default_rng(0)
    return Explanation(
        score=Score(score=score, spread=3.0, scene={"others": 1.0}, distortion={"blur": 1.0}, size=size or (90, 60)),
        scale=scale,
        labels=LABELS,
        distortion=distortion,
        distortion_map=None if distortion is None else rng.random((height, width), np.float32),
        attention_map=rng.random((height, width), np.float32) if attention is None else attention,
        photo=rng.integers(0, 256, (height, width, 3), np.uint8),
    )


def ink_columns(picture):
    return np.flatnonzero((np.asarray(picture) < 250).any(axis=(0, 2)))


def ink_rows(picture):
    return np.flatnonzero((np.asarray(picture) < 250).any(axis=(1, 2)))


@pytest.mark.parametrize(
    ("width", "height"),
    [(90, 60), (60, 90), (1024, 768), (1024, 171), (171, 1024), (1024, 1), (1, 1024), (1, 1), (1024, 512), (8, 3)],
)
def test_a_photo_of_any_shape_has_a_picture_of_a_bounded_size_with_a_margin(width, height):
    picture = draw(explained(width, height))
    assert picture.mode == "RGB"
    assert 900 < picture.width < 2500
    assert 500 < picture.height < 2600
    for ink, side in ((ink_columns(picture), picture.width), (ink_rows(picture), picture.height)):
        assert 30 < ink[0] < 50  # nothing is cut off on the left and above,
        assert ink[-1] < side - 30  # nor on the right and below


def test_a_panorama_has_its_panels_below_each_other():
    across, down = draw(explained(900, 600)), draw(explained(1024, 200))
    assert across.width > 2 * across.height
    assert down.height > down.width


def test_high_is_yellow_low_leaves_the_photo_grey():
    photo = np.full((1, 2, 3), (200, 100, 50), np.uint8)
    low, high = overlay(photo, np.array([[0, 1]], np.float32))[0]
    grey = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    assert low.tolist() == pytest.approx([0.7 * grey, 0.7 * grey, 0.7 * grey + 0.3 * 4], abs=1)
    assert high.tolist() == pytest.approx([0.25 * grey + 0.75 * c for c in (252, 255, 164)], abs=1)


def test_the_colours_are_infernos_and_grow_ever_brighter():
    values = np.linspace(0, 1, 1000, dtype=np.float32)
    found = colours(values)
    assert found[0].tolist() == [0, 0, 4]
    assert found[-1].tolist() == [252, 255, 164]
    np.testing.assert_allclose(colours(np.float32(1 / 9)), INFERNO[1], atol=0.01)
    np.testing.assert_allclose(colours(np.array(0.5)), (188, 55, 84), atol=3)  # matplotlib's inferno(0.5)
    assert (np.diff(found @ (0.2126, 0.7152, 0.0722)) > 0).all()


def test_each_map_lies_over_its_own_panel():
    hot = np.full((60, 90), 2.0, np.float32)
    hot[:, :45] = 0.5
    plain, seen = (
        np.asarray(draw(explained(attention=attention)), np.int64)
        for attention in (np.full((60, 90), 2.0, np.float32), hot)
    )
    columns = np.flatnonzero((plain != seen).any(axis=(0, 2)))
    assert len(plain[0]) * 0.5 < columns[0]  # the third panel alone
    assert columns[-1] < len(plain[0]) * 0.82


def test_attention_that_is_nearly_even_is_shown_as_even():
    even = draw(explained(attention=np.full((60, 90), 1.0, np.float32)))
    nearly = np.full((60, 90), 1.0, np.float32)
    nearly[:30] = 1.01
    difference = np.abs(np.asarray(draw(explained(attention=nearly)), np.int64) - np.asarray(even, np.int64))
    assert 0 < difference.max() < 12


@pytest.mark.parametrize(("score", "higher_is_better", "colour"), [
    (90, True, (46, 139, 87)), (50, True, (214, 158, 20)), (10, True, (200, 62, 52)), (10, False, (46, 139, 87)),
    (1000, True, (46, 139, 87)), (-1000, True, (200, 62, 52)),
])  # fmt: skip
def test_the_score_has_its_colour_even_beyond_its_scale(score, higher_is_better, colour):
    scale = Scale(low=0, high=100, unit="levels", higher_is_better=higher_is_better)
    pixels = np.asarray(draw(explained(score=score, scale=scale)))
    assert (pixels == colour).all(axis=-1).sum() > 200


def test_a_model_without_distortions_has_a_panel_less():
    whole, less = draw(explained()), draw(explained(distortion=None))
    assert less.width < whole.width - 300


def test_a_long_unit_is_written_smaller_not_cut():
    unit = "MOS of a dataset with a name that nobody will remember tomorrow, version"
    first, second = (draw(explained(scale=Scale(low=0, high=100, unit=f"{unit} {n}"))) for n in (1, 2))
    assert first.size == second.size
    assert (np.asarray(first) != np.asarray(second)).any()  # its end can be read


@pytest.mark.parametrize(("ends", "places"), [((40, 60), (0.4, 0.6)), ((20, 80), (0.2, 0.8)), ((-50, 900), (0, 1))])
def test_the_interval_is_written_and_drawn_across_the_rail(ends, places):
    given = explained(score=50.0)
    plain, drawn = (
        np.asarray(draw(replace(given, score=replace(given.score, interval=interval))), np.int64)
        for interval in (None, ends)
    )
    changed = (plain != drawn).any(axis=-1)
    below = np.flatnonzero(changed.any(axis=1))[-1]  # the foot of the bars at the line's ends, 9 under its middle
    columns = np.flatnonzero(changed[below - 9])
    start = np.flatnonzero((plain[below - 9] == (214, 158, 20)).all(axis=-1))[0]
    assert columns.tolist() == list(range(columns[0], columns[-1] + 1))
    assert columns[[0, -1]] == pytest.approx(start + 400 * np.array(places), abs=2)
    assert changed[: below - 30].sum() > 100  # the numbers, above
    assert drawn.shape == plain.shape
