"""Distance of trained parameters from their initial values: tells whether a run was long enough."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

MOVED = "moved_"
"""What the names of these figures begin with."""
_PARTS = {
    "contexts": ("scene_prompts.", "distortion_prompts.", "prompts."),
    "visual_tokens": ("visual_prompts.",),
    "decoder": ("decoder.",),
}
MOVED_PARTS = tuple(_PARTS)


def initial(model: nn.Module) -> dict[str, Tensor]:
    """A copy of every trained parameter."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def movement(model: nn.Module, start: Mapping[str, Tensor]) -> dict[str, float]:
    """Root mean square of the change of each part's parameters, in units of their initial standard deviation.

    Only weights count, not biases and gains, which begin at a constant. A part that is not there has no entry.
    """
    found = {}
    for part, prefixes in _PARTS.items():
        names = [name for name, value in start.items() if name.startswith(prefixes) and value.ndim > 1]
        if names:
            now = dict(model.named_parameters())
            change = torch.cat([(now[name].detach() - start[name]).flatten() for name in names])
            began = torch.cat([start[name].flatten() for name in names])
            found[f"{MOVED}{part}"] = float(change.square().mean().sqrt() / began.std())
    return found
