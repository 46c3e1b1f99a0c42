"""Towers of a published shape with random weights, made quickly: transformers' own initialisation takes minutes."""

from typing import Any

import torch


def random_model(kind: Any, config: Any, *, seed: int = 0) -> Any:
    """A model in eval mode: normal weights of deviation 0.02, layer norms that begin as they do."""
    with torch.device("meta"):
        model = kind(config)  # shapes alone
    model = model.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name.rpartition(".")[0].rpartition(".")[2]:
                parameter.fill_(float(name.endswith("weight")))
            else:
                parameter.normal_(0, 0.02, generator=generator)
        for name, buffer in model.named_buffers():
            assert name.endswith("position_ids"), name
            buffer.copy_(torch.arange(buffer.shape[1])[None])
    return model
