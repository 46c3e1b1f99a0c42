"""The formula against torch's own counter, which watches the operations as they happen."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mpiqe.bench import flops
from mpiqe.bench.eager import shape_of
from mpiqe.bench.plain import PlainMPIQE
from mpiqe.model.build import build_model
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.options import ModelOptions
from mpiqe.model.untrained import BACKBONE, create_untrained, shape_named

OPTIONS = ModelOptions(windows=3, decoder_layers=2)


def counted(work) -> int:
    """Operations, with attention as the two products that it is."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize("folder", ["tiny_folder", "stem_folder"])
def test_the_bare_tower_takes_what_the_formula_says(folder, request) -> None:
    clip = FrozenCLIP.from_pretrained(request.getfixturevalue(folder))
    shape = shape_of(build_model(clip, OPTIONS))
    pixels = torch.zeros(2, 3, clip.image_size, clip.image_size)
    assert counted(lambda: clip.encode_image(pixels)) == 2 * flops.tower(shape)


@pytest.mark.parametrize(
    "options",
    [
        OPTIONS,
        replace(OPTIONS, visual_depth=1),
        replace(OPTIONS, visual_depth=0),
        replace(OPTIONS, distortion_prompts=False),
        replace(OPTIONS, scene_prompts=False, distortion_prompts=False, decoder_layers=1),
    ],
    ids=["whole", "shallow", "no visual prompts", "no distortions", "visual only"],
)
def test_the_plain_model_takes_what_the_formula_says(tiny_clip, options) -> None:
    model = build_model(tiny_clip, options)
    with torch.no_grad():
        folded = model.fold()
    pixels = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert counted(lambda: PlainMPIQE(model)(pixels, folded)) == 2 * flops.plain(shape_of(model))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("width", "layers"), [(0, 1), (16, 1), (16, 2)])
def test_heads_on_an_efficientnet_stem_take_what_the_formula_says(lite_folder, mirrored, width, layers) -> None:
    clip = FrozenCLIP.from_pretrained(lite_folder).with_whole_maps().with_mirrored_pooling(mirrored)
    heads = replace(OPTIONS, stem_head=True, stem_head_width=width, stem_head_layers=layers, class_heads=True)
    model = build_model(clip, heads)
    shape = shape_of(model)
    pixels = torch.zeros(1, 3, clip.image_size, clip.image_size, dtype=torch.uint8)
    with torch.no_grad():
        folded = model.fold()
    assert counted(lambda: clip.encode_image(clip.preprocess(pixels))) == flops.tower(shape)
    assert counted(lambda: PlainMPIQE(model)(pixels, folded)) == flops.plain(shape)


@pytest.mark.slow  # 150 million random weights
def test_vit_b_16_takes_what_the_formula_says(tmp_path) -> None:
    create_untrained(tmp_path, shape_named("vit-b-16"))
    model = build_model(FrozenCLIP.from_pretrained(tmp_path / BACKBONE), ModelOptions())
    shape = shape_of(model)
    with torch.no_grad():
        folded = model.fold()
    pixels = torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
    assert counted(lambda: PlainMPIQE(model)(pixels, folded)) == flops.plain(shape)
    # CLIP's ViT-B/16 on 224 x 224 is known as 17.6 G multiply-adds, or twice that here
    assert flops.tower(shape) / 2e9 == pytest.approx(17.6, abs=0.1)


def test_fresh_prompts_cost_keys_to_look_at_and_nothing_else(tiny_clip) -> None:
    without, with_them = (
        shape_of(build_model(tiny_clip, replace(OPTIONS, visual_depth=depth, visual_length=4))) for depth in (0, 3)
    )
    # by hand: 3 layers x 4 x 17 tokens x 4 prompts x width 64
    assert flops.mpiqe(with_them) - flops.mpiqe(without) == 3 * 4 * 17 * 4 * 64


def test_shallow_prompts_go_through_the_later_layers_as_tokens(tiny_clip) -> None:
    shallow = shape_of(build_model(tiny_clip, replace(OPTIONS, visual_depth=1, visual_length=4)))
    without = replace(shallow, prompt_depth=0)
    attention = 3 * 4 * 17 * 4 * 64  # the photo's tokens look at the prompts in each of 3 layers
    asked = 2 * (20 * 4 * 64**2 + 4 * 4 * 21 * 64)  # in the first two, the prompts go on to the next one
    known = 2 * 4 * 4 * 64**2  # in the last two, they need a key and a value
    assert flops.mpiqe(shallow) - flops.mpiqe(without) == attention + asked + known
