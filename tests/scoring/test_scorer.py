import random
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mpiqe.errors import ConfigError, ImageError, WeightsError
from mpiqe.images import crop_positions, cut, read
from mpiqe.intervals import IntervalModel
from mpiqe.runtimes.base import Scale
from mpiqe.scoring.scorer import Scorer
from mpiqe.view import View


def test_a_score_is_the_mean_over_crops_and_spread_their_deviation(make_scorer, photos):
    photo = read(photos[5])
    height, width, _ = photo.shape
    positions = crop_positions(width, height, size=32, count=8, mode="seeded", seed=3)
    crops = cut(photo, positions, size=32).mean(axis=(1, 2, 3))
    score = make_scorer(seed=3)(photos[5])
    assert score.score == pytest.approx(crops.mean(), abs=1e-4)
    assert score.spread == pytest.approx(np.sqrt(((crops - crops.mean()) ** 2).mean()), abs=1e-4)
    assert score.spread > 1
    assert score.scene == pytest.approx({"night": 1 - crops.mean() / 255, "day": crops.mean() / 255})
    assert sum(score.distortion.values()) == pytest.approx(1)
    assert list(score.distortion) == ["dull", "red-eyed", "none"]
    assert score.size == (width, height)


def test_one_crop_has_no_spread(make_scorer, photos):
    assert make_scorer(crops=1)(photos[5]).spread == 0


def test_the_size_is_that_of_the_upright_photo_before_it_is_enlarged(make_scorer):
    image = Image.new("RGB", (20, 10))
    image.getexif()[0x0112] = 6
    assert make_scorer()(image).size == (10, 20)


@pytest.mark.parametrize(
    ("workers", "batch_size"),
    [(1, 1), (3, 4), (2, 10), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((1, 4), (8, 64)))],
)
def test_a_photo_scores_the_same_alone_in_a_batch_in_any_order_and_with_any_workers(
    make_scorer, photos, workers, batch_size
):
    alone = {path: make_scorer(workers=1, batch_size=1)(path) for path in photos}
    shuffled = random.Random(workers).sample(photos, len(photos))  # noqa: S311
    scorer = make_scorer(workers=workers, batch_size=batch_size)
    assert scorer(shuffled) == [alone[path] for path in shuffled]
    assert [row.score for row in scorer.rows(shuffled)] == [alone[path] for path in shuffled]


def test_a_photo_scores_the_same_whatever_it_is_given_as(make_scorer, photos):
    scorer = make_scorer()
    pixels = read(photos[4])
    with open(photos[4], "rb") as file:
        content = file.read()
    sources = [photos[4], content, Image.open(photos[4]), pixels, torch.tensor(pixels).permute(2, 0, 1)]
    scores = scorer(sources)
    assert scores == [scores[0]] * len(sources)
    assert [scorer(source) for source in sources] == scores


def test_batches_are_full_whatever_the_sizes_of_the_photos(make_scorer, brightness, photos):
    list(make_scorer(batch_size=4, crops=5, isolate=False).rows(photos))
    assert brightness.batches == [20, 20, 10]


@pytest.mark.parametrize(("crops", "batch_size"), [(1000, None), (300, 3), (5, 64)])
def test_no_call_has_more_crops_than_suit_the_predictor(make_scorer, brightness, photos, crops, batch_size):
    scores = make_scorer(crops=crops, batch_size=batch_size)(photos)
    assert max(brightness.batches) <= brightness.crops_at_once
    assert sum(brightness.batches) == crops * len(photos)
    brightness.crops_at_once = 10**6
    assert make_scorer(crops=crops, batch_size=batch_size)(photos) == scores


def test_a_list_gives_a_list_and_so_does_any_iterable(make_scorer, photos):
    scorer = make_scorer()
    scores = scorer(photos[:3])
    assert isinstance(scores, list)
    assert scorer(tuple(photos[:3])) == scorer(iter(photos[:3])) == scores
    assert scorer([]) == []


def test_the_first_bad_photo_of_a_list_is_named(make_scorer, photos, tmp_path):
    (tmp_path / "first.jpg").touch()
    (tmp_path / "second.jpg").touch()
    bad = [*photos[:3], tmp_path / "first.jpg", *photos[3:], tmp_path / "second.jpg"]
    with pytest.raises(ImageError, match=r"first\.jpg: empty file"):
        make_scorer(batch_size=2)(bad)
    with pytest.raises(ImageError, match="not a path"):
        make_scorer()(None)


def test_a_bad_photo_costs_its_own_row_only(make_scorer, photos, tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.touch()
    paths = [photos[0], "missing.jpg", photos[1], empty, *photos[2:]]
    scorer = make_scorer(batch_size=3)
    rows = list(scorer.rows(paths))
    assert [row.path for row in rows] == list(map(str, paths))
    assert [row.error for row in rows if row.error] == ["No such file or directory", "empty file"]
    assert [row.score for row in rows if row.score] == scorer(photos)
    assert all((row.score is None) == (row.error is not None) for row in rows)


def test_photos_that_are_all_bad_ask_nothing_of_the_model(make_scorer, brightness):
    names = [f"{i}.jpg" for i in range(7)]
    assert [row.path for row in make_scorer(batch_size=2, isolate=False).rows(iter(names))] == names
    assert brightness.batches == []


def test_endless_paths_are_streamed(make_scorer, photos):
    def endless():
        while True:
            yield from photos

    rows = make_scorer(batch_size=2, workers=2).rows(endless())
    assert [next(rows).path for _ in range(25)] == (photos * 3)[:25]
    rows.close()


def test_too_thin_and_too_large_photos_are_refused_by_name(make_scorer, photos, tmp_path):
    strip = tmp_path / "strip.png"
    Image.new("RGB", (9000, 1)).save(strip)
    scorer = make_scorer(max_pixels=1_000_000)
    with pytest.raises(ImageError, match=r"strip\.png: a strip of 9000 x 1"):
        scorer(strip)
    with pytest.raises(ImageError, match=r"photo0\.png: 20 x 100 pixels are over the limit of 1999"):
        make_scorer(max_pixels=1999)(photos[0])


def test_crop_modes_reach_the_crops(make_scorer, photos):
    seeded = make_scorer()(photos[5])
    assert make_scorer(seed=1)(photos[5]) != seeded
    assert make_scorer(crop_mode="grid")(photos[5]) == make_scorer(crop_mode="grid", seed=1)(photos[5]) != seeded
    scorer = make_scorer(crop_mode="random")
    assert scorer(photos[5]) != scorer(photos[5])


def test_all_options_that_cannot_be_meant_are_named_at_once(make_scorer):
    with pytest.raises(ConfigError, match=r"crops .* not 0; batch_size .* not -1; workers .* not 0; .*'middle'"):
        make_scorer(crops=0, batch_size=-1, workers=0, crop_mode="middle")


def test_an_answer_that_is_no_number_is_the_weights_fault(brightness, photos):
    class Broken(type(brightness)):
        def predict(self, crops):
            return super().predict(crops)._replace(score=np.full(len(crops), np.nan, dtype=np.float32))

    with pytest.raises(WeightsError, match="not finite"):
        list(Scorer(predictor=Broken(), isolate=False).rows(photos))


def test_a_model_without_scenes_gives_none(brightness, photos):
    class Sceneless(type(brightness)):
        scenes = ()

        def predict(self, crops):
            return super().predict(crops)._replace(scene=np.zeros((len(crops), 0), dtype=np.float32))

    assert Scorer(predictor=Sceneless())(photos[0]).scene == {}


def test_the_scale_says_what_a_score_means(make_scorer):
    assert str(make_scorer().scale) == "grey levels, about 0 to 255, higher is better"


@pytest.mark.parametrize("number", [0, 1, 2, 7])
def test_rows_come_for_all_photos_that_the_source_gave_before_it_failed(make_scorer, photos, number):
    def paths():
        yield from photos[:number]
        raise LookupError("no more")

    with closing(make_scorer(batch_size=4, isolate=number == 7).rows(paths())) as rows:
        scored = [next(rows) for _ in range(number)]
        with pytest.raises(LookupError, match="no more"):
            next(rows)
    assert [row.path for row in scored] == photos[:number]
    assert all(row.score for row in scored)


def test_a_view_is_the_predictors_own_unless_asked_otherwise(make_scorer, brightness):
    native = make_scorer()
    assert (native.view, native.crop_mode) == (View(), "seeded")
    brightness.view, brightness.crop_mode = View("scaled", 48), "grid"
    own = make_scorer()
    assert (own.view, own.crop_mode) == (View("scaled", 48), "grid")
    asked = make_scorer(view_side=0, crop_mode="seeded")
    assert (asked.view, asked.crop_mode) == (View(), "seeded")
    assert make_scorer(view_side=64).view == View("scaled", 64)
    with pytest.raises(ConfigError, match=r"view_side must be from 0 \(native\) to 16384, not -1"):
        make_scorer(view_side=-1)


def test_a_scaled_view_shows_the_whole_photo_and_the_score_states_its_own_size(make_scorer, tmp_path):
    pixels = np.zeros((400, 600, 3), np.uint8)
    pixels[:, 300:] = 200
    Image.fromarray(pixels).save(tmp_path / "half.jpg", quality=95)
    scorer = make_scorer(view_side=32, crops=2, crop_mode="grid", workers=1)
    alone = scorer(tmp_path / "half.jpg")
    assert alone.size == (600, 400)
    assert alone.score == pytest.approx(100, abs=8)  # two crops that together show both halves
    assert make_scorer(crops=1, crop_mode="grid")(pixels[:, :299]).score == 0
    rows = list(scorer.rows([tmp_path / "half.jpg", tmp_path / "half.jpg"]))  # read in processes apart
    assert [row.score for row in rows] == [alone, alone]


def test_a_calibrated_model_says_how_sure_it_is(make_scorer, brightness, photos):
    plain = make_scorer(crops=4)(photos)
    assert all(score.interval is None for score in plain)
    brightness.interval_model = IntervalModel(level=0.9, quantile=12.5, crops=4)
    for score, before in zip(make_scorer(crops=4)(photos), plain, strict=True):
        assert score.interval == (score.score - 12.5, score.score + 12.5)
        assert replace(score, interval=None) == before


def test_fewer_crops_than_in_calibration_have_no_interval(make_scorer, brightness, photos):
    brightness.interval_model = IntervalModel(level=0.9, quantile=12.5, crops=4)
    assert make_scorer(crops=3)(photos[0]).interval is None
    assert make_scorer(crops=5)(photos[0]).interval is not None


def test_another_view_than_in_calibration_has_no_interval(make_scorer, brightness, photos):
    brightness.interval_model = IntervalModel(level=0.9, quantile=12.5, crops=4)
    assert make_scorer(crops=4, view_side=64)(photos[0]).interval is None
    assert make_scorer(crops=4, view_side=0)(photos[0]).interval is not None  # its own: crops at native resolution


@pytest.mark.parametrize(
    ("option", "values", "most"),
    [
        ("crops", [4097, 10**9, 10**20, 10**5000], "at most 4096"),
        ("batch_size", [65_537, 10**20], "at most 65536"),
        ("workers", [257, 10**9, 10**20], "at most 256"),
        ("max_pixels", [10**10 + 1, 2**62, 2**63, 10**30], "at most 10000000000"),
        ("read_timeout", [86_401, 1e12, 1e308, float("inf"), 10**400], "at most 86400"),
    ],
)
def test_a_number_that_nobody_can_mean_is_refused_in_one_sentence(make_scorer, option, values, most):
    for value in values:
        with pytest.raises(ConfigError, match=rf"^{option} must be [^;]*{most}") as raised:
            make_scorer(**{option: value})
        assert "\n" not in str(raised.value)


def test_the_largest_numbers_that_are_taken_work(make_scorer, photos):
    largest = make_scorer(max_pixels=10**10, read_timeout=86_400, workers=2)
    assert [row.score for row in largest.rows(photos[:2])] == make_scorer()(photos[:2])
    assert make_scorer(crops=4096, batch_size=16)(photos[0]).score > 0


@pytest.mark.parametrize("value", [2.5, "8", None, float("nan")])
def test_what_is_no_whole_number_is_refused(make_scorer, value):
    for option in ("crops", "max_pixels"):
        with pytest.raises(ConfigError, match=f"^{option} must be a whole number from 1 to "):
            make_scorer(**{option: value})


def test_a_batch_of_many_photos_of_many_crops_is_refused(make_scorer):
    with pytest.raises(ConfigError, match="batch_size 4096 x crops 100 must be at most 65536 crops in memory"):
        make_scorer(batch_size=4096, crops=100)


def test_quality_is_the_position_on_the_scale_whatever_its_direction(make_scorer, photos):
    score = make_scorer()(photos[5])
    assert score.quality == pytest.approx(score.score / 255)
    scale = Scale(10, 30, "x")
    assert [scale.quality(value) for value in (0, 10, 25, 99)] == [0, 0, 0.75, 1]
    assert replace(scale, higher_is_better=False).quality(25) == 0.25
    assert Scale(5, 5, "x").quality(5) == 0
