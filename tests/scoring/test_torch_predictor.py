import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from mpiqe.errors import ConfigError
from mpiqe.model.build import build_model
from mpiqe.model.checkpoint import CheckpointConfig
from mpiqe.model.options import ModelOptions
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
def crops():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def test_a_prediction_is_the_models_own(tiny_model, crops):
    tiny_model.target_mean, tiny_model.target_std = 50.0, 20.0
    prediction = TorchPredictor(model=tiny_model, config=CONFIG, device="cpu").predict(crops)
    with torch.no_grad():
        output = tiny_model(torch.from_numpy(crops).permute(0, 3, 1, 2))
    np.testing.assert_allclose(prediction.score, output.score, rtol=1e-5)
    np.testing.assert_allclose(prediction.scene, output.scene_logits.softmax(1), atol=1e-5)
    np.testing.assert_allclose(prediction.distortion, output.distortion_logits.softmax(1), atol=1e-5)
    assert all(values.dtype == np.float32 for values in prediction)


def test_the_attention_maps_are_the_models_own_in_squares(tiny_model, crops):
    predictor = TorchPredictor(model=tiny_model, config=CONFIG, device="cpu")
    assert predictor.window_temperature == tiny_model.window_temperature
    similarity, attention = predictor.attention_maps(crops)
    assert (similarity.shape, attention.shape) == ((5, 3, 3, 11), (5, 4, 4))
    assert similarity.dtype == attention.dtype == np.float32
    with torch.no_grad():
        gaze = tiny_model.attention_maps(torch.from_numpy(crops).permute(0, 3, 1, 2), tiny_model.fold())
    np.testing.assert_allclose(similarity[2, 1, 0], gaze.similarity[2, 3], atol=1e-6)  # row 1, column 0
    by_hand = gaze.attention[2].mean(dim=(0, 1, 2))  # over layers, heads and queries: CLS and 16 patches
    np.testing.assert_allclose(attention[2, 1, 0], 17 * by_hand[1 + 4], rtol=1e-5)  # 17 places share evenly by 1
    np.testing.assert_allclose(attention.sum(axis=(1, 2))[2], 17 * (1 - by_hand[0]), rtol=1e-5)


def test_the_attention_maps_of_a_model_without_distortions_has_no_cosines(tiny_clip, crops):
    options = replace(OPTIONS, distortion_prompts=False)
    predictor = TorchPredictor(model=build_model(tiny_clip, options), config=replace(CONFIG, options=options))
    similarity, attention = predictor.attention_maps(crops)
    assert (len(similarity), similarity.shape[-1], attention.shape) == (5, 0, (5, 4, 4))


def test_the_attention_maps_in_bf16_are_close_to_that_in_fp32(tiny_model, crops):
    exact = TorchPredictor(model=tiny_model, config=CONFIG, device="cpu", precision="fp32").attention_maps(crops)
    rough = TorchPredictor(model=tiny_model, config=CONFIG, device="cpu", precision="bf16").attention_maps(crops)
    np.testing.assert_allclose(rough.similarity, exact.similarity, atol=0.03)
    np.testing.assert_allclose(rough.attention, exact.attention, atol=0.05)
    assert (rough.similarity != exact.similarity).any()


def test_names_and_scale_are_the_checkpoints(tiny_model):
    predictor = TorchPredictor(model=tiny_model, config=CONFIG)
    assert predictor.crop_size == 32
    assert (predictor.scenes, predictor.distortions) == (CONFIG.scenes, CONFIG.distortions)
    unit, model = str(predictor.scale).split(" (")
    assert unit == "MOS of livec, about 3 to 92.5, higher is better"
    assert re.fullmatch(r"checkpoint [0-9a-f]{8}\)", model)


def test_a_model_without_scene_prompts_predicts_no_scene(tiny_clip, crops):
    options = replace(OPTIONS, scene_prompts=False)
    predictor = TorchPredictor(model=build_model(tiny_clip, options), config=replace(CONFIG, options=options))
    assert predictor.scenes == ()
    assert predictor.predict(crops).scene.shape == (5, 0)
    assert predictor.predict(crops).distortion.shape == (5, 11)


def test_bf16_is_close_to_fp32_but_not_the_same(tiny_model, crops):
    exact = TorchPredictor(model=tiny_model, config=CONFIG, device="cpu", precision="fp32").predict(crops)
    rough = TorchPredictor(model=tiny_model, config=CONFIG, device="cpu", precision="bf16").predict(crops)
    np.testing.assert_allclose(rough.score, exact.score, atol=0.05)  # in standard deviations of the target
    assert (rough.score != exact.score).any()
    assert TorchPredictor(model=tiny_model, config=CONFIG, device="cpu").dtype is torch.float32


@pytest.mark.parametrize(("asked", "computes"), [("auto", "torch fp32 cpu"), ("bf16", "torch bf16 cpu")])
def test_it_says_what_it_computes_with_and_not_what_was_asked_for(tiny_model, asked, computes):
    predictor = TorchPredictor(model=tiny_model, config=CONFIG, device="cpu", precision=asked)
    assert predictor.computes == computes


def test_a_photo_scores_the_same_alone_in_a_batch_and_in_any_order(tiny_model, rated_photos):
    tiny_model.target_mean, tiny_model.target_std = 50.0, 20.0
    predictor = TorchPredictor(model=tiny_model, config=CONFIG, device="cpu", precision="fp32")
    paths = sorted(rated_photos.parent.glob("*.png"))
    alone = [Scorer(predictor=predictor)(path).score for path in paths]
    assert max(alone) - min(alone) > 0.01
    tolerance = 1e-4 * (CONFIG.mos_high - CONFIG.mos_low)
    for workers, batch_size in ((1, 3), (4, 16)):
        scorer = Scorer(predictor=predictor, workers=workers, batch_size=batch_size)
        assert [score.score for score in scorer(paths)] == pytest.approx(alone, abs=tolerance)
        assert [score.score for score in scorer(paths[::-1])] == pytest.approx(alone[::-1], abs=tolerance)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "meta"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(tiny_model, device):
    with pytest.raises(ConfigError, match=f"'{device}'.* cpu"):
        TorchPredictor(model=tiny_model, config=CONFIG, device=device)


def test_an_unknown_precision_is_refused(tiny_model):
    with pytest.raises(ConfigError, match="one of auto, fp32, bf16, not 'fp8'"):
        TorchPredictor(model=tiny_model, config=CONFIG, precision="fp8")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(tiny_model, crops):
    expected = TorchPredictor(model=tiny_model, config=CONFIG, device="cpu").predict(crops)
    exact = TorchPredictor(model=tiny_model, config=CONFIG, precision="fp32")
    np.testing.assert_allclose(exact.predict(crops).score, expected.score, atol=2e-3)  # cuDNN convolves in TF32
    rough = TorchPredictor(model=tiny_model, config=CONFIG)
    assert rough.device.type == "cuda"
    assert rough.dtype is torch.bfloat16
    assert (exact.computes, rough.computes) == ("torch fp32 cuda", "torch bf16 cuda")
    np.testing.assert_allclose(rough.predict(crops).score, expected.score, atol=0.1)
    with pytest.raises(ConfigError, match="cuda:99"):
        TorchPredictor(model=tiny_model, config=CONFIG, device="cuda:99")
