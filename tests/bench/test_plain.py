from dataclasses import replace

import pytest
import torch

from mpiqe.bench.plain import PlainMPIQE
from mpiqe.model.build import build_model
from mpiqe.model.options import ModelOptions

OPTIONS = ModelOptions(windows=3, decoder_layers=2)


@pytest.mark.parametrize("depth", [None, 0, 1, 2])
def test_the_plain_model_answers_what_the_model_answers(tiny_clip, pixels, depth) -> None:
    model = build_model(tiny_clip, replace(OPTIONS, visual_depth=depth)).eval()
    with torch.no_grad():
        folded = model.fold()
        quick, plain = model(pixels, folded), PlainMPIQE(model)(pixels, folded)
    torch.testing.assert_close(plain.score, quick.score)
    torch.testing.assert_close(plain.distortion_logits, quick.distortion_logits)


def test_the_plain_model_leaves_the_same_gradients(tiny_clip, pixels) -> None:
    model = build_model(tiny_clip, OPTIONS)
    gradients = []
    for forward in (model, PlainMPIQE(model)):
        model.zero_grad()
        output = forward(pixels, model.fold())
        (output.score.sum() + output.scene_logits.square().mean()).backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)
