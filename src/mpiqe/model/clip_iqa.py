"""CLIP-IQA and CLIP-IQA+ (Wang, Chan, Loy; AAAI 2023), to compare with (Table 2).

An image is as good as CLS is nearer to "Good photo." than to "Bad photo.". CLIP-IQA asks CLIP as it is; CLIP-IQA+
learns contexts in front of the pair, which both share, and nothing else. Here both look at crops with the same frozen
ViT as MP-IQE does; the original has a ResNet without position embedding and looks at whole images.

Axes: B crops, D joint width, S crop side in pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpiqe.errors import ConfigError
from mpiqe.model.backbone import Embedded
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.mpiqe import AttentionMaps, MPIQEOutput
from mpiqe.model.prompts import PromptLearner
from mpiqe.option_types import ClassPosition

PAIR = ("Good photo", "Bad photo")  # the full stop is the prompt learner's


class CLIPIQA(nn.Module):
    """score = softmax(cos(CLS, pair) / T)[good]; ``length`` context tokens are learned, none make it zero-shot.

    ``target_mean`` and ``target_std`` bring that probability to the training set's units: the lowest rating and the
    distance from it to the highest. Without a training set the score is the probability itself.
    """

    def __init__(self, *, clip: FrozenCLIP, length: int, class_position: ClassPosition = "end") -> None:
        super().__init__()
        self.clip = clip
        self.prompts = PromptLearner(clip=clip, classes=PAIR, length=length, class_position=class_position)
        self.target_mean = 0.0
        self.target_std = 1.0

    @property
    def image_size(self) -> int:
        """Side of a crop in pixels."""
        return self.clip.image_size

    def fold(self) -> Tensor:
        """The features of the pair, (2, D): the same for every image."""
        return self.clip.encode_text(*self.prompts())

    def forward(self, pixels: Tensor, folded: Tensor | None = None) -> MPIQEOutput:
        """uint8 RGB crops (B, 3, S, S) -> scores; there are no scenes and no distortions."""
        return self.forward_embedded(self.clip.embed(self.clip.preprocess(pixels), pooled=False), folded)

    def forward_embedded(self, embedded: Embedded, folded: Tensor | None = None) -> MPIQEOutput:
        """``forward`` from cached outputs of the frozen stem."""
        pair = self.fold() if folded is None else folded
        cls, _ = self.clip.encode_patches(embedded.patches)
        cls = self.clip.project(cls)
        with torch.autocast(cls.device.type, enabled=False):  # a cosine over 1/100 needs more than bf16's three digits
            cosines = F.normalize(cls.float(), dim=-1) @ F.normalize(pair.float(), dim=-1).T  # (B, 2)
            good = (self.clip.logit_scale * cosines).softmax(dim=1)[:, 0]
            return MPIQEOutput(good * self.target_std + self.target_mean, good, None, None, None)

    def attention_maps(self, _pixels: Tensor, _folded: Tensor) -> AttentionMaps:
        """Raises ``ConfigError``: CLIP-IQA uses CLS alone."""
        raise ConfigError("CLIP-IQA has no maps, since it uses CLS alone; use an MP-IQE model")
