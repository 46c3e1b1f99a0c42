"""Options of backbones and models that are small enough for tests."""

from dataclasses import replace

from mpiqe.model.compact import CompactOptions
from mpiqe.model.options import ModelOptions

TINY = CompactOptions(
    stem_channels=(),
    patch_size=8,
    vision_width=64,
    vision_layers=3,
    text_width=64,
    text_layers=2,
    joint_width=32,
    image_size=32,
)
STEM = replace(TINY, stem_channels=(8, 16, 64), stem_blocks=(0, 1, 0), vision_layers=1, text_layers=1)
TINY_OPTIONS = ModelOptions(windows=3, decoder_layers=2)
