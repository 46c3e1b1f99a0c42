"""The multi-modal decoder: 20 text features attend to the image (Eqs. 12 - 14).

Axes: B crops, Q queries (9 scenes and 11 distortions), I image tokens (CLS and N patches), D joint width.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpiqe.errors import ConfigError
from mpiqe.option_types import Pooling


class FoldedQueries(NamedTuple):
    """The queries after everything that does not depend on the image, (1, Q, D) each."""

    states: Tensor
    """The queries after the first self-attention."""
    projected: Tensor
    """Their query projection for the first cross-attention."""


class Attention(nn.Module):
    """Multi-head attention whose query projection can be computed ahead."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def attend(self, projected: Tensor, memory: Tensor) -> Tensor:
        """Projected queries (1 or B, Q, D) over memory (B, I, D) -> (B, Q, D)."""
        keys, values = self.split(self.key(memory)), self.split(self.value(memory))
        queries = self.split(projected).expand(memory.shape[0], -1, -1, -1)
        attended = F.scaled_dot_product_attention(queries, keys, values)
        result: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return result

    def weights(self, projected: Tensor, memory: Tensor) -> Tensor:
        """The attention weights of ``attend``, (B, heads, Q, I) in fp32; they sum to one over I.

        A function of its own: torch's fused attention never forms the weights, and only explanations need them.
        """
        queries, keys = self.split(projected), self.split(self.key(memory))
        products: Tensor = queries @ keys.transpose(-1, -2)
        weights: Tensor = (products.float() / queries.shape[-1] ** 0.5).softmax(dim=-1)
        return weights

    def split(self, states: Tensor) -> Tensor:
        """(B, L, D) -> (B, heads, L, D / heads)."""
        divided: Tensor = states.view(*states.shape[:-1], self.heads, -1).transpose(1, 2)
        return divided


class DecoderLayer(nn.Module):
    """Pre-norm self-attention, cross-attention to the image (Eqs. 13, 14) and a feed-forward of 4 D with GELU."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.self_norm, self.cross_norm, self.feed_norm = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention = Attention(width=width, heads=heads)
        self.cross_attention = Attention(width=width, heads=heads)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def self_attend(self, states: Tensor) -> FoldedQueries:
        """Self-attention and the query projection of the cross-attention; states (B or 1, Q, D)."""
        normed = self.self_norm(states)
        states = states + self.self_attention.attend(self.self_attention.query(normed), normed)
        return FoldedQueries(states, self.cross_attention.query(self.cross_norm(states)))

    def cross_attend(self, folded: FoldedQueries, image: Tensor) -> Tensor:
        """Cross-attention to the image tokens (B, I, D) and the feed-forward -> (B, Q, D)."""
        states = folded.states + self.cross_attention.attend(folded.projected, image)
        mixed: Tensor = states + self.feed_forward(self.feed_norm(states))
        return mixed


class QualityDecoder(nn.Module):
    """Queries and image tokens -> one number a crop, in the units of the training target.

    ``layers`` is D7, ``pooling`` over the queries D8; the head is an MLP of one hidden layer of D / 4.
    """

    def __init__(self, *, width: int, layers: int = 3, heads: int = 8, pooling: Pooling = "mean") -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ConfigError(f"decoder_heads={heads} does not divide the joint width {width} of this backbone")
        if layers < 1:
            raise ConfigError(f"decoder_layers={layers}: the decoder needs at least one layer")
        self.pooling = pooling
        self.layers = nn.ModuleList(DecoderLayer(width=width, heads=heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Linear(width, width // 4), nn.GELU(), nn.Linear(width // 4, 1))

    def fold(self, queries: Tensor) -> FoldedQueries:
        """The part that does not depend on the image; queries (Q, D) of Eq. 12."""
        first: DecoderLayer = self.layers[0]  # type: ignore[assignment]
        return first.self_attend(queries[None])

    def forward(self, folded: FoldedQueries, image: Tensor) -> Tensor:
        """Folded queries and image tokens (B, I, D) -> the queries' states (B, Q, D), for ``regress``."""
        first, *rest = self.layers
        states: Tensor = first.cross_attend(folded, image)  # type: ignore[operator]
        for layer in rest:
            states = layer.cross_attend(layer.self_attend(states), image)  # type: ignore[operator]
        return states

    def attention(self, folded: FoldedQueries, image: Tensor) -> Tensor:
        """The cross-attention's weights in ``forward``, (B, layers, heads, Q, I); they sum to one over I."""
        layers: list[DecoderLayer] = list(self.layers)  # type: ignore[arg-type]
        weights = [layers[0].cross_attention.weights(folded.projected, image)]
        for before, layer in pairwise(layers):
            folded = layer.self_attend(before.cross_attend(folded, image))
            weights.append(layer.cross_attention.weights(folded.projected, image))
        return torch.stack(weights, dim=1)

    def regress(self, states: Tensor) -> Tensor:
        """States (B, Q, D) -> final layernorm, pooling, head -> (B,)."""
        states = self.norm(states)
        pooled = states.mean(dim=1) if self.pooling == "mean" else states.amax(dim=1)
        score: Tensor = self.head(pooled)
        return score.squeeze(-1)
