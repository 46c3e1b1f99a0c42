"""MP-IQE: a frozen CLIP, prompts on both its towers, and a decoder that regresses the quality score.

Axes: B crops, N patches, W vision width, D joint width, S crop side in pixels.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.alignment import distortion_logits, scene_logits, window_similarity
from mpiqe.model.backbone import Embedded
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.decoder import FoldedQueries, QualityDecoder
from mpiqe.model.prompts import DeepVisualPrompts, PromptLearner
from mpiqe.option_types import DistortionScale


class Folded(NamedTuple):
    """Everything that does not depend on the image: computed once for inference, once per step in training."""

    scene: Tensor | None
    """V^s, (9, D); ``None`` without scene prompts."""
    distortion: Tensor | None
    """V^d, (11, D); ``None`` without distortion prompts."""
    queries: FoldedQueries


@dataclass(frozen=True)
class MPIQEOutput:
    """Predictions for B crops."""

    score: Tensor
    """(B,) in the units of the training set's MOS; higher is better."""
    prediction: Tensor
    """(B,) the head's own number: the score before the target's mean and deviation are undone."""
    scene_logits: Tensor | None
    """(B, 9), the alignment's (Eq. 8), which Eq. 9 trains."""
    distortion_logits: Tensor | None
    """(B, 11), the alignment's (Eq. 10), which Eq. 11 trains."""
    window_weights: Tensor | None
    """(B, windows^2, 11): where each distortion prompt looks (Eq. 10), row by row; sums to one over the windows."""
    scene_probabilities: Tensor | None = None
    """(B, 9): a softmax of the alignment's logits, or with ``class_heads`` of theirs."""
    distortion_probabilities: Tensor | None = None
    """(B, 11): likewise."""


class ImageFeatures(NamedTuple):
    """The image side of B crops, in the space of the text features."""

    cls: Tensor
    """(B, D)."""
    patches: Tensor
    """(B, N, D)."""
    pooled: Tensor | None = None
    """(B, F), ``Embedded.pooled``."""


class AttentionMaps(NamedTuple):
    """Similarity and attention maps of B crops."""

    similarity: Tensor | None
    """(B, windows^2, 11): the cosines of Eq. 10, row by row; ``None`` without distortion prompts."""
    attention: Tensor
    """(B, layers, heads, Q, 1 + N): the decoder's cross-attention to CLS and the patches; sums to one over them."""


class MPIQE(nn.Module):
    """The whole model. Its parameters are exactly what MP-IQE trains; CLIP's weights are not among them.

    Without prompts on the text side, ``query`` is one learned vector (1, D) that questions the image in their place:
    the visual-only model of Fig. 3.

    Three parts are not the paper's (D16). With ``linear_head`` a linear map of CLS and the mean patch is added to the
    decoder's number; with ``stem_head`` a linear map of the stem's pooled features, or with ``stem_head_width`` hidden
    units in each of ``stem_head_layers`` layers an MLP, which ``mpiqe train`` fits before the rest and does not change
    afterwards. With ``class_heads`` two more of that kind name scene and distortion in place of the alignment, which is
    trained all the same and says where a distortion is.

    Without ``scene_labels`` or ``distortion_labels`` those prompts question the image like the others, but there are no
    logits: nothing taught them their classes.

    ``target_mean`` and ``target_std`` bring the head's number to the training set's units (D10).
    """

    def __init__(
        self,
        *,
        clip: FrozenCLIP,
        scene_prompts: PromptLearner | None,
        distortion_prompts: PromptLearner | None,
        visual_prompts: DeepVisualPrompts,
        decoder: QualityDecoder,
        projection: nn.Linear | None = None,
        query: Tensor | None = None,
        linear_head: bool = False,
        stem_head: bool = False,
        stem_head_width: int = 0,
        stem_head_layers: int = 1,
        class_heads: bool = False,
        windows: int = 7,
        window_temperature: float = 0.05,
        scene_labels: bool = True,
        distortion_labels: bool = True,
        distortion_scale: DistortionScale = "clip",
    ) -> None:
        super().__init__()
        self.clip = clip
        self.scene_prompts = scene_prompts
        self.distortion_prompts = distortion_prompts
        self.visual_prompts = visual_prompts
        self.decoder = decoder
        self.projection = projection
        self.register_parameter("query", None if query is None else nn.Parameter(query))
        self.query: Tensor | None
        self.linear: nn.Linear | None = None
        if linear_head:
            self.linear = nn.Linear(2 * clip.joint_width, 1)
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)
        made = partial(make_stem_head, clip.pooled_width, stem_head_width, layers=stem_head_layers)
        self.stem_head: nn.Module | None = None
        if stem_head:
            self.stem_head = made().requires_grad_(False)
        self.scene_head: nn.Module | None = None
        self.distortion_head: nn.Module | None = None
        if class_heads and scene_prompts is not None:
            self.scene_head = made(outputs=len(SCENES)).requires_grad_(False)
        if class_heads and distortion_prompts is not None:
            self.distortion_head = made(outputs=len(DISTORTIONS)).requires_grad_(False)
        self.windows = windows
        self.window_temperature = window_temperature
        self.scene_labels, self.distortion_labels = scene_labels, distortion_labels
        self.distortion_scale = distortion_scale
        self.target_mean = 0.0
        self.target_std = 1.0

    @property
    def image_size(self) -> int:
        """Side of a crop in pixels."""
        return self.clip.image_size

    @property
    def pooled_heads(self) -> list[nn.Module]:
        """The heads that read the stem's pooled features (D16), ``stem_head`` first."""
        heads = (self.stem_head, self.scene_head, self.distortion_head)
        return [head for head in heads if head is not None]

    def text_features(self, *, pad_to: int = 0) -> tuple[Tensor | None, Tensor | None]:
        """V^s (9, D) and V^d (11, D), one pass for all 20 prompts, cut to the longest (at least ``pad_to`` tokens)."""
        banks = [bank() if bank else None for bank in (self.scene_prompts, self.distortion_prompts)]
        used = [bank for bank in banks if bank is not None]
        if not used:
            return None, None
        longest = max(pad_to, *(words.shape[1] for words, _ in used))
        words = torch.cat([F.pad(words, (0, 0, 0, longest - words.shape[1])) for words, _ in used])
        features = self.clip.encode_text(words, torch.cat([last for _, last in used]))
        parts = iter(torch.split(features, [len(words) for words, _ in used]))
        scene, distortion = (None if bank is None else next(parts) for bank in banks)
        return scene, distortion

    def fold(self) -> Folded:
        """Compute everything that does not depend on the image."""
        scene, distortion = self.text_features()
        asked = [features for features in (scene, distortion, self.query) if features is not None]
        queries = torch.cat(asked)  # Eq. 12
        return Folded(scene, distortion, self.decoder.fold(queries))

    def forward(self, pixels: Tensor, folded: Folded | None = None) -> MPIQEOutput:
        """uint8 RGB crops (B, 3, S, S) -> scores and logits; ``folded`` saves the text side's work."""
        return self.decode(folded or self.fold(), self.encode_image(pixels))

    def forward_embedded(self, embedded: Embedded, folded: Folded | None = None) -> MPIQEOutput:
        """``forward`` from cached outputs of the frozen stem."""
        return self.decode(folded or self.fold(), self.encode_embedded(embedded))

    def attention_maps(self, pixels: Tensor, folded: Folded) -> AttentionMaps:
        """uint8 RGB crops (B, 3, S, S) -> similarities of Eq. 10 and attention weights of the decoder."""
        return self.attention_maps_of(folded, self.encode_image(pixels, pooled=False))

    def attention_maps_of(self, folded: Folded, image: ImageFeatures) -> AttentionMaps:
        """``attention_maps`` from image features."""
        cls, patches, _ = image
        attention = self.decoder.attention(folded.queries, torch.cat([cls[:, None], patches], dim=1))
        if folded.distortion is None or not self.distortion_labels:
            return AttentionMaps(None, attention)
        with torch.autocast(cls.device.type, enabled=False):  # as in ``decode``
            similarity = window_similarity(patches.float(), folded.distortion.float(), windows=self.windows)
        return AttentionMaps(similarity, attention)

    def encode_image(self, pixels: Tensor, *, pooled: bool = True) -> ImageFeatures:
        """uint8 RGB crops (B, 3, S, S) -> CLS and patches through the prompted image tower (Eq. 7), projected.

        With what the heads read of an EfficientNet stem, if there are heads and ``pooled`` asks for it.
        """
        read = pooled and bool(self.pooled_heads)
        return self.encode_embedded(self.clip.embed(self.clip.preprocess(pixels), pooled=read))

    def encode_embedded(self, embedded: Embedded) -> ImageFeatures:
        """``encode_image`` from cached outputs of the stem."""
        cls, patches = self.clip.encode_patches(embedded.patches, self.visual_prompts())
        project = self.projection or self.clip.project
        return ImageFeatures(project(cls), project(patches), embedded.pooled)

    def decode(self, folded: Folded, image: ImageFeatures) -> MPIQEOutput:
        """Score and logits from image features and text features.

        Cosines over a temperature of 1/100 and the head's last steps are computed in fp32 under autocast too: bf16 has
        three digits.
        """
        cls, patches, pooled = image
        states = self.decoder(folded.queries, torch.cat([cls[:, None], patches], dim=1))
        with torch.autocast(cls.device.type, enabled=False):
            pooled = None if pooled is None else pooled.float()
            return self._output(folded, states.float(), ImageFeatures(cls.float(), patches.float(), pooled))

    def _output(self, folded: Folded, states: Tensor, image: ImageFeatures) -> MPIQEOutput:
        cls, patches, pooled = image
        prediction = self.decoder.regress(states)
        if self.linear is not None:
            prediction = prediction + self.linear(torch.cat([cls, patches.mean(dim=1)], dim=1)).squeeze(-1)
        if self.stem_head is not None:
            prediction = prediction + self.stem_head(pooled).squeeze(-1)
        scenes = distortions = weights = None
        if folded.scene is not None and self.scene_labels:
            scenes = scene_logits(cls, folded.scene.float(), self.clip.logit_scale)
        if folded.distortion is not None and self.distortion_labels:
            distortions, weights = distortion_logits(
                patches,
                folded.distortion.float(),
                self.clip.logit_scale if self.distortion_scale == "clip" else 1.0,
                windows=self.windows,
                window_temperature=self.window_temperature,
            )
        score = prediction * self.target_std + self.target_mean
        named = (
            None if logits is None else (logits if head is None else head(pooled)).softmax(dim=1)
            for logits, head in ((scenes, self.scene_head), (distortions, self.distortion_head))
        )
        return MPIQEOutput(score, prediction, scenes, distortions, weights, *named)


def make_stem_head(features: int, width: int, *, outputs: int = 1, layers: int = 1) -> nn.Module:
    """A map of (B, F) features to (B, outputs), zero until it is fitted: linear, or ``layers`` of ``width`` units."""
    last = nn.Linear(width or features, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    if not width:
        return last
    hidden = [nn.Sequential(nn.Linear(before, width), nn.GELU()) for before in (features, *[width] * (layers - 1))]
    return nn.Sequential(*(part for pair in hidden for part in pair), last)


def linear_layers(head: nn.Module) -> list[nn.Linear]:
    """The layers of what ``make_stem_head`` has made, the first one first."""
    return [part for part in head.modules() if isinstance(part, nn.Linear)]
