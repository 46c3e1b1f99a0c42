"""MP-IQE as one would first write it, to be measured against: prompts are real tokens of every layer, in fp32.

It answers what the package's own model answers, and is kept apart from it so that it stays as it is while that one
gets quicker. Axes: B crops, N patches, P prompt tokens, W vision width, D joint width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpiqe.model.mpiqe import MPIQE, Folded, ImageFeatures, MPIQEOutput


class PlainMPIQE(nn.Module):
    """Shares all weights with ``model``, and trains them too."""

    def __init__(self, model: MPIQE) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, folded: Folded) -> MPIQEOutput:
        """uint8 RGB crops (B, 3, S, S) -> scores and logits."""
        return self.model.decode(folded, self.encode_image(pixels))

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        """uint8 RGB crops (B, 3, S, S) -> CLS (B, D) and patches (B, N, D)."""
        clip, bank = self.model.clip, self.model.visual_prompts
        tower, fresh = clip.clip.vision_model, bank.tokens
        length = 0 if fresh is None else bank.length
        patches, pooled = clip.embed(clip.preprocess(pixels), pooled=bool(self.model.pooled_heads))
        cls = tower.embeddings.class_embedding.expand(len(patches), 1, -1)
        tokens = tower.pre_layrnorm(torch.cat([cls, patches], dim=1) + tower.embeddings.position_embedding.weight)
        heads = clip.clip.config.vision_config.num_attention_heads
        for index, layer in enumerate(tower.encoder.layers):
            if fresh is not None and index < bank.depth:
                rest = tokens[:, 1 + (length if index else 0) :]
                tokens = torch.cat([tokens[:, :1], fresh[index].expand(len(tokens), -1, -1), rest], dim=1)
            tokens = _layer(layer, tokens, heads)
        tokens = tower.post_layernorm(torch.cat([tokens[:, :1], tokens[:, 1 + length :]], dim=1))
        project = self.model.projection or clip.project
        return ImageFeatures(project(tokens[:, 0]), project(tokens[:, 1:]), pooled)


def _layer(layer: Any, states: Tensor, heads: int) -> Tensor:
    """One pre-norm layer of a ViT, (B, L, W) -> (B, L, W)."""
    attention, normed = layer.self_attn, layer.layer_norm1(states)

    def split(project: nn.Module) -> Tensor:
        headed: Tensor = project(normed).view(*states.shape[:2], heads, -1).transpose(1, 2)
        return headed

    attended = F.scaled_dot_product_attention(split(attention.q_proj), split(attention.k_proj), split(attention.v_proj))
    states = states + attention.out_proj(attended.transpose(1, 2).flatten(2))
    mixed: Tensor = states + layer.mlp(layer.layer_norm2(states))
    return mixed
