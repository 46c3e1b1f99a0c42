"""Pre-norm transformer layers, as CLIP's and SigLIP's towers have them, with tokens that enter between them.

Axes: B crops, L tokens, P prompt tokens, W width.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def prompted_layers(
    layers: Iterable[nn.Module],
    tokens: Tensor,
    prompts: Tensor | None,
    *,
    leading: int,
    heads: int,
    checkpointing: bool = False,
) -> Tensor:
    """Tokens (B, L, W) -> (B, L, W) through all ``layers``; prompts (depth, P, W) stand behind the ``leading`` tokens.

    The prompts of a layer take the place of those before; those of the last of the first ``depth`` layers stay, and are
    left out at the end. With ``checkpointing`` layers are computed again in the backward pass.
    """
    all_layers = list(layers)
    number, depth = tokens.shape[1] - leading, 0 if prompts is None else len(prompts)
    for index, layer in enumerate(all_layers):
        entering = prompts[index] if prompts is not None and index < depth else None
        if entering is not None and index == depth - 1 < len(all_layers) - 1:  # no others replace them
            staying = entering.to(tokens.dtype).expand(tokens.shape[0], -1, -1)
            tokens = torch.cat([tokens[:, :leading], staying, tokens[:, leading:]], dim=1)
            entering = None
        if checkpointing and torch.is_grad_enabled():
            tokens = checkpoint(
                partial(transformer_layer, layer, heads=heads, causal=False, aside=entering),
                tokens,
                use_reentrant=False,
                preserve_rng_state=False,  # nothing is drawn in it
            )
        else:
            tokens = transformer_layer(layer, tokens, heads, causal=False, aside=entering)
    return torch.cat([tokens[:, :leading], tokens[:, -number:]], dim=1)


def transformer_layer(
    layer: nn.Module, states: Tensor, heads: int, *, causal: bool, aside: Tensor | None = None
) -> Tensor:
    """One pre-norm transformer layer of either tower, (B, L, W) -> (B, L, W).

    ``aside``: tokens (P, W) that the others attend to and that are gone afterwards, as deep prompts are. What they
    themselves would become is left out, and their keys and values are computed once for the whole batch.
    """
    attention: Any = layer.self_attn
    batch, length, width = states.shape
    normed = layer.layer_norm1(states)  # type: ignore[operator]
    beside = None if aside is None else layer.layer_norm1(aside)  # type: ignore[operator]

    def split(projected: Tensor) -> Tensor:
        return projected.view(batch, -1, heads, width // heads).transpose(1, 2)

    def seen(projection: nn.Module) -> Tensor:
        projected: Tensor = projection(normed)
        if beside is not None:
            projected = torch.cat([projected, projection(beside).expand(batch, -1, -1)], dim=1)
        return split(projected)

    attended = F.scaled_dot_product_attention(
        split(attention.q_proj(normed)), seen(attention.k_proj), seen(attention.v_proj), is_causal=causal
    )
    states = states + attention.out_proj(attended.transpose(1, 2).reshape(batch, length, width))
    mixed: Tensor = states + layer.mlp(layer.layer_norm2(states))  # type: ignore[operator]
    return mixed
