"""The ``Backbone`` protocol: two towers into one joint space; the image tower takes prompts.

``FrozenCLIP`` is one, of a CLIP or a SigLIP; another ViT becomes one by these members.

Axes: B crops, N patches, P prompt tokens, W vision width, F pooled features; C prompts, L tokens, T text width; D joint
width.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Embedded(NamedTuple):
    """Output of the image tower's stem for B crops, which can be cached while the stem is frozen."""

    patches: Tensor
    """(B, N, W), before any layer and without positions."""
    pooled: Tensor | None
    """(B, F) in fp32, an ``EfficientNetStem``'s pooled features; ``None`` for other stems."""

    def joined(self) -> Tensor:
        """Both in one tensor (B, N W + F), as a cache keeps them."""
        flat = self.patches.flatten(1)
        return flat if self.pooled is None else torch.cat([flat, self.pooled.to(flat.dtype)], dim=1)


class Backbone(Protocol):
    """A pretrained pair of towers, with frozen or trainable weights."""

    image_size: int
    """Side of a crop in pixels."""
    grid: int
    """Patches along a side of a crop; N is its square."""
    vision_width: int
    vision_layers: int
    pooled_width: int
    """F; 0 without pooled features."""
    text_width: int
    text_positions: int
    """The most tokens of a text."""
    joint_width: int

    @property
    def logit_scale(self) -> Tensor:
        """Inverse temperature of cosines, a scalar."""

    @property
    def logit_bias(self) -> Tensor:
        """What is added to these before a sigmoid, a scalar; 0 where the backbone learned with a softmax."""

    @property
    def start_tokens(self) -> list[int]:
        """Ids of the tokens that begin a text: one or none."""

    @property
    def end_token(self) -> int:
        """Id of the token that ends a text."""

    def tokens(self, text: str) -> list[int]:
        """Token ids of ``text`` without the start and the end marker."""

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """(..., L) token ids -> (..., L, T), without positions."""

    def encode_text(self, embeddings: Tensor, last: Tensor) -> Tensor:
        """Token embeddings (C, L, T) and the place of each end marker (C,) -> features (C, D), not normalised."""

    def preprocess(self, pixels: Tensor) -> Tensor:
        """uint8 RGB (B, 3, S, S) -> what ``embed`` takes."""

    def embed(self, pixels: Tensor) -> Embedded:
        """Preprocessed pixels (B, 3, S, S) -> patch embeddings, and pooled features if the stem has them."""

    def split_embedded(self, packed: Tensor) -> Embedded:
        """``Embedded.joined`` undone."""

    def encode_patches(self, patches: Tensor, prompts: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Patch embeddings (B, N, W) and prompts (depth, P, W) -> CLS (B, W) and patches (B, N, W), normalised."""

    def project(self, tokens: Tensor) -> Tensor:
        """Image tokens (..., W) -> (..., D)."""

    def digest(self) -> str:
        """Of everything that features depend on."""
