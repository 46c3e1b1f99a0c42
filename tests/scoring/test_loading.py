from dataclasses import replace

import pytest
from PIL import Image

import mpiqe
from mpiqe.model.checkpoint import CheckpointConfig, load_checkpoint, save_checkpoint
from mpiqe.model.options import ModelOptions
from mpiqe.scoring import loading
from mpiqe.scoring.scorer import Scorer
from mpiqe.view import NATIVE, View


@pytest.fixture
def run(tiny_model, tiny_folder, tmp_path):
    config = CheckpointConfig(
        options=ModelOptions(windows=3, decoder_layers=2),
        backbone=str(tiny_folder),
        backbone_digest=tiny_model.clip.digest(),
        target_mean=50.0,
        target_std=20.0,
        dataset="livec",
        mos_low=3.0,
        mos_high=92.5,
        crops=3,
    )
    save_checkpoint(tmp_path / "mpiqe.safetensors", tiny_model, config)
    return tmp_path


def test_a_run_folder_and_its_file_load_as_the_same_scorer(run):
    photo = Image.effect_noise((80, 60), 50).convert("RGB")
    scorer = mpiqe.load(run)
    assert isinstance(scorer, Scorer)
    assert scorer(photo) == mpiqe.load(str(run / "mpiqe.safetensors"))(photo)
    assert scorer(photo).score == pytest.approx(50, abs=60)
    assert scorer.scale.unit == "MOS of livec"


def test_crops_are_as_in_training_unless_asked_otherwise(run):
    assert mpiqe.load(run).crops == 3
    scorer = mpiqe.load(run, crops=5, seed=9, crop_mode="grid", batch_size=2, workers=3, max_pixels=99)
    assert (scorer.crops, scorer.seed, scorer.crop_mode) == (5, 9, "grid")
    assert (scorer.batch_size, scorer.workers, scorer.max_pixels) == (2, 3, 99)


def test_weights_that_are_not_there_are_named(tmp_path):
    with pytest.raises(mpiqe.WeightsError, match="nowhere"):
        mpiqe.load(tmp_path / "nowhere")


def test_a_package_without_the_embedded_model_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "PACKAGE_FOLDER", tmp_path / "weights")
    with pytest.raises(mpiqe.WeightsError, match=r"mpiqe\.json is missing.*a run folder"):
        mpiqe.load()


def test_public_names_are_there_and_no_others():
    for name in mpiqe.__all__:
        assert getattr(mpiqe, name)
        assert name in dir(mpiqe)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = mpiqe.lode


@pytest.mark.parametrize("wrong", [{"runtime": "tensorrt"}, {"precision": "fp16"}])
def test_a_runtime_or_precision_that_there_is_not_is_refused(wrong):
    with pytest.raises(mpiqe.ConfigError, match="must be one of auto, "):
        mpiqe.load(**wrong)


def test_the_view_is_the_checkpoints_unless_asked_otherwise(run, tmp_path):
    assert (mpiqe.load(run).view, mpiqe.load(run).crop_mode) == (NATIVE, "seeded")
    model, config = load_checkpoint(run)
    save_checkpoint(tmp_path / "viewed.safetensors", model, replace(config, view=View("scaled", 40), crop_mode="grid"))
    viewed = mpiqe.load(tmp_path / "viewed.safetensors")
    assert (viewed.view, viewed.crop_mode) == (View("scaled", 40), "grid")
    photo = Image.effect_noise((300, 200), 50).convert("RGB")
    assert viewed(photo) == mpiqe.load(run, view_side=40, crop_mode="grid")(photo)
    assert viewed(photo) != mpiqe.load(run)(photo)
    native = mpiqe.load(tmp_path / "viewed.safetensors", view_side=0, crop_mode="seeded")
    assert native(photo) == mpiqe.load(run)(photo)
