"""LoRA (Hu et al., ICLR 2022) on the layers of an image tower, by peft: low-rank changes beside frozen weights.

The changes are parameters of the model like any other: they are trained, kept in its checkpoint and resumed from. The
weights that they change stay buffers and no part of a checkpoint.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from mpiqe.extras import needing

LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
"""The products with weights of a transformer layer: all of them are changed."""
_CHANGE, _FROZEN = ".lora_", ".base_layer"


def add_lora(encoder: nn.Module, *, rank: int, alpha: float) -> None:
    """Put a change B A of ``rank``, times ``alpha / rank``, beside each product of the layers of ``encoder``, in place.

    B begins at zero, so that nothing changes until it is trained; A is drawn from torch's generator. Raises
    ``ConfigError`` without the extra ``[lora]``.
    """
    with needing("to tune a backbone with LoRA, or to load a model that was,"):
        from peft import LoraConfig, inject_adapter_in_model
    scale: Any = alpha  # peft's hint says int; it divides this by the rank, and a fraction is as good
    config: Any = LoraConfig(r=rank, lora_alpha=scale, target_modules=list(LAYERS), lora_dropout=0.0, bias="none")
    encoder.register_parameter("place", nn.Parameter(torch.empty(0)))  # peft asks a parameter for the device, and
    inject_adapter_in_model(config, encoder)  # frozen weights are buffers
    del encoder.place


def is_change(name: str) -> bool:
    """Whether the parameter ``name`` is one that LoRA has added."""
    return _CHANGE in name


def published_name(name: str) -> str:
    """The name of a frozen weight without LoRA."""
    return name.replace(_FROZEN, "")


def has_lora(module: nn.Module) -> bool:
    """Whether any layer has a change beside it."""
    return any(True for _ in _changed(module))


@torch.no_grad()
def merge_lora(module: nn.Module) -> None:
    """Add every change to the weight that it is of, in place; the layers are then what they were without LoRA."""
    for parent, name, layer in list(_changed(module)):
        layer.merge()
        setattr(parent, name, layer.get_base_layer())


def _changed(module: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """Each layer with a change, its name, and the module that has it."""
    for parent in module.modules():
        for name, child in parent.named_children():
            if hasattr(child, "lora_A"):
                yield parent, name, child
