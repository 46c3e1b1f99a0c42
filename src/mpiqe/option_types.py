"""The values that each named option can take. Decisions D1 - D19 are explained in docs/decisions.md."""

from typing import Literal

EMBEDDED = "embedded"
"""What names the package's own model, and as a backbone its own backbone."""

Method = Literal["mp-iqe", "clip-iqa", "liqe"]
Tune = Literal["prompts", "all", "lora"]
ClassPosition = Literal["end", "middle", "front"]  # D1
Projection = Literal["clip", "linear"]  # D2
SceneTarget = Literal["uniform", "first"]  # D3
Pooling = Literal["mean", "max"]  # D8
ScoreLoss = Literal["smooth_l1", "l1"]  # D9
Target = Literal["standardised", "raw"]  # D10
BatchUnit = Literal["images", "crops"]  # D11
CropMode = Literal["seeded", "grid", "random"]  # D12
ModelCropMode = Literal["seeded", "grid"]  # D12, as a model's own: "random" crops cannot be repeated
ViewShape = Literal["photo", "square"]
SplitSource = Literal["auto", "liqe", "own"]  # D13
Epoch = Literal["last", "val"]  # D14
DistortionScale = Literal["clip", "none"]  # D17
Sampling = Literal["images", "sets"]  # D18
Lines = Literal["fixed", "learned"]  # D18

Precision = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
Device = Literal["auto", "cpu"]

ScoringPrecision = Literal["auto", "fp32", "bf16"]
GraphPrecision = Literal["fp32", "int8"]
