"""The model that comes with the package, on the photos that come with the repository."""

import io
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mpiqe
from mpiqe import images
from mpiqe.demo import score_photos

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES, WEIGHTS = ROOT / "examples", Path(mpiqe.__file__).parent / "weights"
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


@pytest.fixture(scope="module")
def scorer() -> mpiqe.Scorer:
    """Loaded with every way to a network closed."""
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("the embedded model must not ask the network")

        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        return mpiqe.load()


@pytest.fixture(scope="module")
def scores(scorer: mpiqe.Scorer) -> dict[str, mpiqe.Score]:
    """Of all examples, by their names."""
    paths = sorted(EXAMPLES.glob("*.jpg"))
    return {path.stem: score for path, score in zip(paths, scorer(paths), strict=True)}


WORSE = [(photo, how) for photo in PHOTOS for how in ("blur", "noise", "jpeg", "dark")]


@pytest.mark.parametrize(("photo", "how"), WORSE)
def test_a_degraded_photo_scores_below_the_original(scores: dict[str, mpiqe.Score], photo: str, how: str) -> None:
    assert scores[f"{photo}-{how}"].score < scores[photo].score


@pytest.mark.parametrize(("how", "name"), [("noise", "noise"), ("blur", "blur"), ("jpeg", "JPEG compression")])
def test_noise_blur_and_jpeg_are_called_by_their_names(scores: dict[str, mpiqe.Score], how: str, name: str) -> None:
    found = [scores[f"{photo}-{how}"].distortion for photo in PHOTOS]
    assert all(max(each, key=each.__getitem__) == name for each in found)


@pytest.mark.slow
def test_each_curve_of_the_demo_falls_at_every_level(scorer: mpiqe.Scorer) -> None:
    for series in score_photos(scorer):
        for kind, versions in series.versions.items():
            curve = [series.score.score, *(score.score for _, score in versions)]
            assert curve == sorted(set(curve), reverse=True), (series.name, kind, curve)


def test_every_score_has_an_interval_around_it_and_the_scale_names_the_version(scorer: mpiqe.Scorer) -> None:
    score = scorer(EXAMPLES / "coffee.jpg")
    assert score.interval is not None
    low, high = score.interval
    assert low < score.score < high
    assert scorer.scale.model == "mpiqe-embedded 8"


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_it_knows_how_far_two_shots_of_one_scene_have_to_be_apart(runtime: str) -> None:
    scale = mpiqe.load(runtime=runtime).scale
    assert scale.shot_difference is not None
    assert 0 < scale.shot_difference < 0.2 * (scale.high - scale.low)  # much less than half an interval of one score


def test_another_side_of_the_view_is_a_square_too_and_no_smaller_than_a_crop(scorer: mpiqe.Scorer) -> None:
    photo = EXAMPLES / "rocket.jpg"  # 640 x 427
    assert mpiqe.load(view_side=320)(photo).score == scorer(photo).score
    assert mpiqe.load(view_side=0).view.kind == "native"
    with pytest.raises(mpiqe.ConfigError, match="squares, of at least 320 pixels"):
        mpiqe.load(view_side=200)


def test_a_large_photo_scores_like_the_same_photo_brought_down(scorer: mpiqe.Scorer) -> None:
    photo = Image.open(EXAMPLES / "coffee.jpg").convert("RGB")
    large = photo.resize((4 * photo.width, 4 * photo.height), Image.Resampling.LANCZOS)
    assert scorer(large).score == pytest.approx(scorer(photo).score, abs=0.04 * (scorer.scale.high - scorer.scale.low))


def test_a_call_takes_as_many_crops_as_half_a_million_pixels_hold() -> None:
    predictor = mpiqe.load(runtime="onnx").predictor
    assert predictor.crop_size == 320
    assert predictor.crops_at_once == 5  # of which ONNX Runtime takes 90 MB each


def test_the_table_has_a_column_of_the_spread_where_there_is_one(tmp_path: Path) -> None:
    for crops, view_side in ((1, None), (4, 0)):
        lines = io.StringIO()
        mpiqe.score_to([EXAMPLES / "coffee.jpg"], lines, file_format="table", crops=crops, view_side=view_side)
        assert ("spread" in lines.getvalue()) == (crops > 1)


def test_scores_lie_on_the_scale_and_differ(scorer: mpiqe.Scorer, scores: dict[str, mpiqe.Score]) -> None:
    found = [score.score for score in scores.values()]
    assert len(found) == 20
    assert all(scorer.scale.low <= score <= scorer.scale.high for score in found)
    assert np.std(found) > 10
    assert scorer.scale.higher_is_better


@pytest.mark.slow
def test_a_photo_scores_the_same_alone_in_a_batch_in_any_order_and_from_any_source(scorer: mpiqe.Scorer) -> None:
    paths = sorted(EXAMPLES.glob("*.jpg"))
    tolerance = 1e-4 * (scorer.scale.high - scorer.scale.low)
    together = [score.score for score in scorer(paths)]
    backwards = [score.score for score in scorer(paths[::-1])][::-1]
    other = mpiqe.load(batch_size=3, workers=1)
    alone = [other(images.read(path)).score for path in paths]
    assert together == pytest.approx(backwards, abs=tolerance)
    assert together == pytest.approx(alone, abs=tolerance)


def test_the_package_carries_at_most_25_mb_of_model_and_its_card() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= 25e6
    card = (WEIGHTS / "MODEL_CARD.md").read_text(encoding="utf-8")
    for words in (
        "Copyright (c) 2015 The University of Texas at Austin",
        "mpiqe pretrain",
        "mpiqe train",
        "SRCC",
        "not good for",
    ):
        assert words in card


def test_the_embedded_backbone_can_be_trained_on_by_name() -> None:
    from mpiqe.model.backbone_digest import same_backbone
    from mpiqe.model.checkpoint import read_config
    from mpiqe.model.clip import FrozenCLIP

    clip = FrozenCLIP.from_pretrained("embedded")
    assert same_backbone(read_config(WEIGHTS / "mpiqe.safetensors").backbone_digest, clip.digest())
