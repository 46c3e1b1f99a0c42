"""LIQE (Zhang et al., CVPR 2023), to compare with: one softmax over texts of quality, scene and distortion at once.

CLS is compared with 5 x 9 x 11 fixed texts, "a photo of a {scene} with {distortion} artifacts, which is of {quality}
quality". A softmax of the cosines over CLIP's temperature is their joint probability; its marginals name scene and
distortion, and the expected quality, from 1 to 5, is the score.

Axes: B crops, T texts, Q qualities, C scenes, K distortions, L tokens, D joint width, S crop side in pixels.
"""

from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpiqe.errors import ConfigError
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.backbone import Backbone, Embedded
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.mpiqe import AttentionMaps, MPIQEOutput
from mpiqe.model.prompts import DeepVisualPrompts

QUALITIES = ("bad", "poor", "fair", "good", "perfect")
"""Worth 1 to 5."""
SCENE_WORDS = ("animal", "cityscape", "human", "indoor", "landscape", "night", "plant", "still_life", "others")
"""LIQE's words for ``SCENES``, in their order."""
DISTORTION_WORDS = (
    "blur",
    "color",
    "contrast",
    "jpeg compression",
    "jpeg2000 compression",
    "noise",
    "overexposure",
    "quantization",
    "underexposure",
    "spatial",
    "other",
)
"""LIQE's words for ``DISTORTIONS``, in their order."""


class Marginals(NamedTuple):
    """What a joint distribution over the texts says of B crops or images."""

    quality: Tensor
    """(B,) the expected quality, from 1 (bad) to 5 (perfect)."""
    scene: Tensor | None
    """(B, 9) probabilities; ``None`` where the texts name no scene."""
    distortion: Tensor | None
    """(B, 11) probabilities; ``None`` where the texts name no distortion."""


class LIQE(nn.Module):
    """LIQE on a frozen or a tuned backbone.

    ``visual_prompts`` are what is trained on a frozen one, and no part of the original, which tunes both towers.
    Without ``scenes`` or ``distortions`` the texts leave those out, as the original's variants do. Without
    ``scene_labels`` or ``distortion_labels`` the texts have them, but the model does not tell them: nothing taught it.

    ``target_mean`` and ``target_std`` bring the expected quality to the training set's units; without a training set
    the score is the expected quality itself.
    """

    def __init__(
        self,
        *,
        clip: FrozenCLIP,
        visual_prompts: DeepVisualPrompts,
        scenes: bool = True,
        distortions: bool = True,
        scene_labels: bool = True,
        distortion_labels: bool = True,
    ) -> None:
        super().__init__()
        self.clip = clip
        self.visual_prompts = visual_prompts
        self.scenes = len(SCENES) if scenes else 0
        self.distortions = len(DISTORTIONS) if distortions else 0
        self.scene_labels, self.distortion_labels = scene_labels, distortion_labels
        self.target_mean = 0.0
        self.target_std = 1.0
        ids, last = tokenise(clip, texts(scenes=scenes, distortions=distortions))
        self.register_buffer("ids", ids, persistent=False)
        self.register_buffer("last", last, persistent=False)
        self.ids: Tensor
        self.last: Tensor
        fixed = None
        if not list(clip.parameters()):  # a frozen tower says the same of the texts for ever
            with torch.no_grad():
                fixed = self._encode_texts()
        self.register_buffer("fixed", fixed, persistent=False)
        self.fixed: Tensor | None

    @property
    def image_size(self) -> int:
        """Side of a crop in pixels."""
        return self.clip.image_size

    def fold(self) -> Tensor:
        """The features of the texts, (T, D), of unit length: the same for every image."""
        return self._encode_texts() if self.fixed is None else self.fixed

    def _encode_texts(self) -> Tensor:
        features = self.clip.encode_text(self.clip.embed_tokens(self.ids), self.last)
        return F.normalize(features.float(), dim=-1)

    def joint_logits(self, pixels: Tensor, folded: Tensor) -> Tensor:
        """uint8 RGB crops (B, 3, S, S) -> (B, T), cosines over CLIP's temperature; by quality, scene, distortion."""
        return self.joint_logits_embedded(self.clip.embed(self.clip.preprocess(pixels), pooled=False), folded)

    def joint_logits_embedded(self, embedded: Embedded, folded: Tensor) -> Tensor:
        """``joint_logits`` from cached outputs of the frozen stem."""
        cls, _ = self.clip.encode_patches(embedded.patches, self.visual_prompts())
        cls = self.clip.project(cls)
        with torch.autocast(cls.device.type, enabled=False):  # a cosine over 1/100 needs more than bf16's three digits
            cosines = F.normalize(cls.float(), dim=-1) @ folded.float().T
            return self.clip.logit_scale.detach() * cosines  # the original does not train the temperature either

    def marginals(self, logits: Tensor) -> Marginals:
        """Expected quality, and the probabilities of scenes and distortions, of joint logits (B, T)."""
        joint = logits.float().softmax(dim=1).reshape(-1, len(QUALITIES), self.scenes or 1, self.distortions or 1)
        worth = torch.arange(1, len(QUALITIES) + 1, dtype=joint.dtype, device=joint.device)
        return Marginals(
            quality=joint.sum(dim=(2, 3)) @ worth,
            scene=joint.sum(dim=(1, 3)) if self.scenes else None,
            distortion=joint.sum(dim=(1, 2)) if self.distortions else None,
        )

    def forward(self, pixels: Tensor, folded: Tensor | None = None) -> MPIQEOutput:
        """uint8 RGB crops (B, 3, S, S) -> scores and probabilities; there are no logits of either kind alone."""
        return self._output(self.joint_logits(pixels, self.fold() if folded is None else folded))

    def forward_embedded(self, embedded: Embedded, folded: Tensor | None = None) -> MPIQEOutput:
        """``forward`` from cached outputs of the frozen stem."""
        return self._output(self.joint_logits_embedded(embedded, self.fold() if folded is None else folded))

    def _output(self, logits: Tensor) -> MPIQEOutput:
        with torch.autocast(logits.device.type, enabled=False):
            quality, scene, distortion = self.marginals(logits)
            return MPIQEOutput(
                score=quality * self.target_std + self.target_mean,
                prediction=quality,
                scene_logits=None,
                distortion_logits=None,
                window_weights=None,
                scene_probabilities=scene if self.scene_labels else None,
                distortion_probabilities=distortion if self.distortion_labels else None,
            )

    def attention_maps(self, _pixels: Tensor, _folded: Tensor) -> AttentionMaps:
        """Raises ``ConfigError``: LIQE uses CLS alone."""
        raise ConfigError("LIQE has no maps, since it uses CLS alone; use an MP-IQE model")


def texts(*, scenes: bool = True, distortions: bool = True) -> list[str]:
    """The texts by quality, then scene, then distortion; of the original's variants where one of these is left out."""
    found = []
    for quality, scene, distortion in product(
        QUALITIES, SCENE_WORDS if scenes else ("",), DISTORTION_WORDS if distortions else ("",)
    ):
        photo = (
            "a photo" + (f" of a {scene}" if scene else "") + (f" with {distortion} artifacts" if distortion else "")
        )
        found.append(
            f"{photo}, which is of {quality} quality" if scene or distortion else f"{photo} with {quality} quality"
        )
    return found


def tokenise(clip: Backbone, sentences: list[str]) -> tuple[Tensor, Tensor]:
    """Token ids (T, L) with both markers, cut to the longest, and the place of each end marker (T,).

    Raises ``ConfigError`` where one of them does not fit the text tower.
    """
    rows = [[*clip.start_tokens, *clip.tokens(sentence), clip.end_token] for sentence in sentences]
    longest = max(map(len, rows))
    if longest > clip.text_positions:
        raise ConfigError(
            f"a text of LIQE has {longest} tokens and the text tower has {clip.text_positions} positions; take another "
            "backbone"
        )
    ids = torch.tensor([row + [clip.end_token] * (longest - len(row)) for row in rows])
    return ids, torch.tensor([len(row) - 1 for row in rows])
