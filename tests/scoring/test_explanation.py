import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import mpiqe
from mpiqe.errors import ConfigError, ImageError, WeightsError
from mpiqe.model.build import build_model
from mpiqe.model.checkpoint import CheckpointConfig
from mpiqe.model.options import ModelOptions
from mpiqe.scoring.explanation import explain, most_probable, window_weights
from mpiqe.scoring.predictor import AttentionMaps
from mpiqe.scoring.score import Score
from mpiqe.scoring.scorer import Scorer
from mpiqe.scoring.torch_predictor import TorchPredictor

OPTIONS = ModelOptions(windows=3, decoder_layers=2)
CONFIG = CheckpointConfig(
    options=OPTIONS,
    backbone="tiny",
    backbone_digest="",
    target_mean=50.0,
    target_std=20.0,
    dataset="livec",
    mos_low=3.0,
    mos_high=92.5,
)


@pytest.fixture
def tiny_scorer(tiny_model):
    return Scorer(predictor=TorchPredictor(model=tiny_model, config=CONFIG, device="cpu"), workers=1)


@pytest.fixture
def red_explainer(brightness):
    """A predictor whose class "none", always the likeliest, is all the more like a window the redder the window is."""

    class Red(type(brightness)):
        window_temperature = 0.1
        sizes = ()

        def attention_maps(self, crops):
            self.sizes += (len(crops),)
            red = (crops[..., 0] / np.float32(255)).reshape(-1, 4, 8, 4, 8).mean(axis=(2, 4))  # 4 x 4 windows
            others = np.zeros((*red.shape, 2), np.float32)
            return AttentionMaps(np.concatenate([others, red[..., None]], axis=-1), 1 + red)

    return Red()


@pytest.fixture
def half_red():
    """Black and, on the right half of it, red."""
    pixels = np.zeros((100, 160, 3), np.uint8)
    pixels[:, 80:, 0] = 255
    return pixels


def test_eq_10_over_the_windows_of_all_crops_by_hand():
    similarity = np.array([[[0.1, 0.2], [0.3, 0.4]], [[0.1, 0.1], [0.1, 0.5]]], np.float32)  # two crops, 2 x 2 windows
    e = [math.exp(s / 0.05) for s in (0.1, 0.2, 0.3, 0.4, 0.1, 0.1, 0.1, 0.5)]
    weights = window_weights(similarity, 0.05)
    assert weights.ravel().tolist() == pytest.approx([value / sum(e) for value in e], rel=1e-4)
    assert weights.sum() == pytest.approx(1)  # over both crops together, not each


def test_cosines_that_are_far_apart_do_not_overflow():
    weights = window_weights(np.array([[[1.0]], [[-1.0]]], np.float32), 1e-4)
    assert weights.ravel().tolist() == [1, 0]


def test_a_crop_without_the_distortion_is_dark_beside_one_that_has_it(red_explainer, half_red):
    explanation = explain(Scorer(predictor=red_explainer), half_red)
    assert explanation.distortion == "none"
    found = explanation.distortion_map
    assert (found.shape, found.dtype) == ((100, 160), np.float32)
    assert found.max() == 1
    assert found.min() >= 0
    assert found[:, 100:].min() > 0.9
    assert found[:, :60].max() == pytest.approx(math.exp(-1 / 0.1), rel=0.01)
    np.testing.assert_allclose(explanation.attention_map[:, 100:], 2, rtol=1e-6)
    np.testing.assert_allclose(explanation.attention_map[:, :60], 1, rtol=1e-6)


def test_the_distortion_that_is_shown_is_the_scores_likeliest_not_the_crops(red_explainer, half_red):
    scorer = Scorer(predictor=red_explainer)
    score = replace(scorer(half_red), distortion={"dull": 0.6, "red-eyed": 0.1, "none": 0.3})
    explanation = explain(scorer, half_red, score=score)
    assert explanation.score is score
    assert explanation.distortion == "dull"
    assert (explanation.distortion_map == 1).all()  # its cosines are all the same


def test_the_score_is_the_scorers_bit_for_bit(tiny_scorer, rated_photos):
    for path in sorted(rated_photos.parent.glob("*.png"))[:3]:
        score = tiny_scorer(path)
        explanation = explain(tiny_scorer, path)
        assert explanation.score == score
        assert explanation.scale == tiny_scorer.scale
        assert explanation.distortion == max(score.distortion, key=score.distortion.get)


def test_the_map_of_one_crop_is_the_models_own_window_weights(tiny_scorer, tiny_model, pixels):
    photo = pixels[0].permute(1, 2, 0).numpy()
    explanation = explain(tiny_scorer, photo)
    index = CONFIG.distortions.index(explanation.distortion)
    weights = tiny_model(pixels[:1]).window_weights[0, :, index].detach().numpy().reshape(3, 3)
    middles = [round((i + 0.5) * 32 / 3 - 0.5) for i in range(3)]  # of the windows, in pixels
    found = explanation.distortion_map[np.ix_(middles, middles)]
    np.testing.assert_allclose(found / found.max(), weights / weights.max(), atol=0.05)  # a pixel off


@pytest.mark.parametrize(("width", "height"), [(60, 40), (20, 12), (33, 200), (300, 40), (1, 3), (32, 32)])
def test_the_maps_have_the_photos_size_whatever_its_shape(tiny_scorer, width, height):
    photo = Image.effect_noise((width, height), 60).convert("RGB")
    explanation = explain(tiny_scorer, photo)
    assert explanation.score.size == (width, height)
    assert explanation.distortion_map.shape == explanation.attention_map.shape == (height, width)
    assert (explanation.photo == np.asarray(photo)).all()
    assert explanation.distortion_map.dtype == explanation.attention_map.dtype == np.float32
    assert explanation.distortion_map.min() >= 0
    assert explanation.distortion_map.max() == 1
    assert np.isfinite(explanation.attention_map).all()


def test_maps_of_large_photos_are_reduced_and_their_crops_come_in_small_batches(red_explainer):
    scorer = Scorer(predictor=red_explainer)
    photo = np.zeros((400, 1500, 3), np.uint8)
    photo[:, 750:, 0] = 255
    explanation = explain(scorer, photo, longest=150)
    assert explanation.distortion_map.shape == explanation.attention_map.shape == (40, 150)
    assert explanation.photo.shape == (40, 150, 3)
    assert explanation.score.size == (1500, 400)
    assert explanation.distortion_map[:, 80:].min() > 0.9
    assert explanation.distortion_map[:, :70].max() < 0.01
    assert max(red_explainer.sizes) == 32
    assert sum(red_explainer.sizes) == 60 * 16  # ceil(1468 / 25) + 1 and ceil(368 / 25) + 1: half a crop makes 2,232


def test_the_upright_photo_is_explained(red_explainer, half_red):
    turned = Image.fromarray(half_red)
    turned.getexif()[0x0112] = 6  # to be turned by a quarter to the right: what was right is below
    explanation = explain(Scorer(predictor=red_explainer), turned)
    assert explanation.distortion_map.shape == (160, 100)
    assert explanation.distortion_map[100:].min() > 0.9
    assert explanation.distortion_map[:60].max() < 0.01


def test_the_five_most_probable_labels_are_of_both_kinds():
    score = Score(
        score=1.0,
        spread=0.0,
        scene={"human": 0.5, "animal": 0.3, "others": 0.2},
        distortion={"blur": 0.55, "noise": 0.05, "others": 0.4},
        size=(1, 1),
    )
    assert most_probable(score) == (
        ("distortion", "blur", 0.55),
        ("scene", "human", 0.5),
        ("distortion", "others", 0.4),
        ("scene", "animal", 0.3),
        ("scene", "others", 0.2),
    )
    assert most_probable(replace(score, distortion={}), 2) == (("scene", "human", 0.5), ("scene", "animal", 0.3))


def test_a_model_without_distortions_is_explained_by_its_decoder(tiny_clip):
    options = replace(OPTIONS, distortion_prompts=False)
    predictor = TorchPredictor(model=build_model(tiny_clip, options), config=replace(CONFIG, options=options))
    explanation = explain(Scorer(predictor=predictor), Image.new("RGB", (50, 40)))
    assert (explanation.distortion, explanation.distortion_map) == (None, None)
    assert explanation.attention_map.shape == (40, 50)
    assert {label.kind for label in explanation.labels} == {"scene"}


def test_what_cannot_be_explained_says_why(make_scorer, red_explainer, tmp_path):
    with pytest.raises(ConfigError, match=r"Brightness cannot explain: it has no attention_maps\(\)"):
        explain(make_scorer(), Image.new("RGB", (50, 40)))
    with pytest.raises(ConfigError, match="at least 1, not 0 and 1024"):
        explain(Scorer(predictor=red_explainer), Image.new("RGB", (50, 40)), longest=0)
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"empty\.jpg: empty file"):
        explain(Scorer(predictor=red_explainer), tmp_path / "empty.jpg")
    with pytest.raises(ImageError, match="over the limit of 1999"):
        explain(Scorer(predictor=red_explainer, max_pixels=1999), Image.new("RGB", (50, 40)))


def test_attention_maps_that_are_not_finite_are_the_weights_fault(red_explainer):
    class Broken(type(red_explainer)):
        def attention_maps(self, crops):
            return super().attention_maps(crops)._replace(attention=np.full((len(crops), 4, 4), np.nan, np.float32))

    with pytest.raises(WeightsError, match="not finite"):
        explain(Scorer(predictor=Broken()), Image.new("RGB", (50, 40)))


def test_the_packages_names_are_these():
    assert mpiqe.explain is explain
    assert mpiqe.Explanation.__module__ == "mpiqe.scoring.explanation"
    assert mpiqe.draw.__module__ == "mpiqe.scoring.render"


def test_crops_slide_over_the_scaled_photo_and_the_map_lies_over_the_whole_one(red_explainer, half_red):
    photo = np.repeat(np.repeat(half_red, 4, axis=0), 4, axis=1)  # 640 x 400
    scorer = Scorer(predictor=red_explainer, view_side=64, crops=4, crop_mode="grid")
    explanation = explain(scorer, photo)
    assert explanation.distortion_map.shape == explanation.attention_map.shape == (400, 640)
    assert np.array_equal(explanation.photo, photo)
    assert explanation.score.size == (640, 400)
    assert explanation.distortion_map[:, 400:].min() > 0.9
    assert explanation.distortion_map[:, :240].max() < 0.05
    assert sum(red_explainer.sizes) == 4 * 3  # of 80 x 50 pixels, half a crop apart; at native resolution 39 * 24
