"""SigLIP's two towers (Zhai et al., ICCV 2023; SigLIP 2: Tschannen et al., 2025), run layer by layer like CLIP's.

What differs from CLIP: the image tower has no CLS, but a head in which one learned query attends to all patches; its
output is the image's feature, without a projection. The text tower is not causal and reads its feature at the last
of all its positions, so that every text is padded to all of them. Texts begin without a marker and are in lower case.
A pair's logit is the cosine times a scale plus a bias, for a sigmoid; a softmax over texts does not see the bias.

Patches get into the space of the texts by the same head: as if its query attended to that patch alone.

Axes: B crops, N patches, W vision width, which is the joint width too, C prompts, L tokens, T text width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mpiqe.model.layers import prompted_layers, transformer_layer

MEAN_AND_STD = (0.5, 0.5, 0.5)
"""Of each channel of SigLIP's pixels, both."""


def encode_patches(
    tower: Any, patches: Tensor, prompts: Tensor | None, *, heads: int, checkpointing: bool
) -> tuple[Tensor, Tensor]:
    """Patch embeddings (B, N, W) -> the image's feature (B, W) and the patches' (B, N, W), both as texts have them."""
    tokens = patches + tower.embeddings.position_embedding.weight
    tokens = prompted_layers(tower.encoder.layers, tokens, prompts, leading=0, heads=heads, checkpointing=checkpointing)
    tokens = tower.post_layernorm(tokens)
    head = tower.head
    query_weight, key_weight, value_weight = head.attention.in_proj_weight.chunk(3)
    query_bias, key_bias, value_bias = head.attention.in_proj_bias.chunk(3)
    batch, _, width = tokens.shape

    def split(states: Tensor) -> Tensor:
        return states.view(states.shape[0], -1, heads, width // heads).transpose(1, 2)

    values = F.linear(tokens, value_weight, value_bias)
    pooled = F.scaled_dot_product_attention(
        split(F.linear(head.probe, query_weight, query_bias)).expand(batch, -1, -1, -1),
        split(F.linear(tokens, key_weight, key_bias)),
        split(values),
    )
    pooled = pooled.transpose(1, 2).reshape(batch, 1, width)
    states = head.attention.out_proj(torch.cat([pooled, values], dim=1))
    states = states + head.mlp(head.layernorm(states))
    return states[:, 0], states[:, 1:]


def encode_text(tower: Any, embeddings: Tensor, last: Tensor, *, padding: int, heads: int) -> Tensor:
    """Token embeddings (C, L, T), the place of each end marker (C,) and the padding token's id -> features (C, W).

    Whatever stands behind an end marker is padding, up to the tower's last position.
    """
    places = tower.embeddings.position_embedding.weight
    blank = tower.embeddings.token_embedding.weight[padding].to(embeddings.dtype)
    padded = blank.expand(len(embeddings), len(places), -1)
    told = torch.arange(embeddings.shape[1], device=last.device) <= last[:, None]
    words = torch.where(told[..., None], embeddings, padded[:, : embeddings.shape[1]])
    states = torch.cat([words, padded[:, embeddings.shape[1] :]], dim=1) + places
    for layer in tower.encoder.layers:
        states = transformer_layer(layer, states, heads, causal=False)
    features: Tensor = tower.head(tower.final_layer_norm(states)[:, -1])
    return features
