"""Learnable prompts of both towers: text contexts (Eqs. 1, 2, 6) and deep visual prompts (Eq. 7).

Axes: B crops, N patches, P prompt tokens, W vision width; C classes, M context tokens, L tokens, T text width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mpiqe.errors import ConfigError
from mpiqe.model.backbone import Backbone
from mpiqe.option_types import ClassPosition


class PromptLearner(nn.Module):
    """One bank of prompts, ``[SOS] [V]_1 .. [V]_M [class tokens] . [EOS]``; its classes share the contexts.

    ``class_position`` (D1): ``end`` is Eq. 6; ``middle`` puts the class between two halves of the context and
    ``front`` before it, as CoOp does. ``length=0`` leaves the bare class name.
    """

    def __init__(
        self, *, clip: Backbone, classes: Sequence[str], length: int = 8, class_position: ClassPosition = "end"
    ) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.length = length
        if length:
            self.context = nn.Parameter(0.02 * torch.randn(length, clip.text_width))
        else:
            self.register_parameter("context", None)

        before = {"end": length, "middle": length // 2, "front": 0}[class_position]
        rows, slots = [], []
        for name in self.classes:
            words, stop = clip.tokens(name), clip.tokens(".")
            head, tail = clip.start_tokens, [*stop, clip.end_token]
            blank = [clip.end_token]  # a stand-in that the context vectors replace
            rows.append(head + blank * before + words + blank * (length - before) + tail)
            first, second = len(head), len(head) + before + len(words)
            slots.append([*range(first, first + before), *range(second, second + length - before)])
        longest = max(map(len, rows))
        if longest > clip.text_positions:
            raise ConfigError(
                f"a prompt of {longest} tokens ({length} of them contexts) does not fit the {clip.text_positions} "
                f"positions of the text tower; lower context_length"
            )
        ids = torch.tensor([row + [clip.end_token] * (longest - len(row)) for row in rows])
        self.register_buffer("last", torch.tensor([len(row) - 1 for row in rows]), persistent=False)
        self.register_buffer("slots", torch.tensor(slots, dtype=torch.long), persistent=False)
        self.register_buffer("ids", ids, persistent=False)
        self.register_buffer("words", clip.embed_tokens(ids).detach().clone(), persistent=False)
        self.last: Tensor
        self.slots: Tensor
        self.ids: Tensor
        self.words: Tensor

    def forward(self) -> tuple[Tensor, Tensor]:
        """Token embeddings (C, L, T), cut to this bank's longest prompt, and the place of each [EOS] (C,)."""
        if self.context is None:
            return self.words, self.last
        classes, _, width = self.words.shape
        index = self.slots[:, :, None].expand(-1, -1, width)
        return self.words.scatter(1, index, self.context.expand(classes, -1, -1)), self.last


class DeepVisualPrompts(nn.Module):
    """Learnable tokens between CLS and patches, renewed before each prompted layer.

    ``depth=0`` leaves CLIP untouched, 1 is shallow prompting (the tokens enter once and stay), the tower's depth is
    the paper's. They have no position embedding and no layer shares them with another.
    """

    def __init__(self, *, depth: int, length: int, width: int) -> None:
        super().__init__()
        self.depth, self.length = depth, length
        if depth and length:
            self.tokens = nn.Parameter(0.02 * torch.randn(depth, length, width))
        else:
            self.register_parameter("tokens", None)

    def forward(self) -> Tensor | None:
        """The tokens (depth, P, W) that enter before the first ``depth`` layers; ``None``: none do."""
        tokens: Tensor | None = self.tokens
        return tokens
