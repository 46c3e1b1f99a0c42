"""The terms of the pretraining loss. Axes: B photos, V views, N patches, W vision width, D joint width.

Every term, its weight (an option) and where it comes from:

- distillation (``distillation_weight``): a linear map of every patch, and one of CLS, has to give the teacher's
  features, standardised by the teacher's own statistics, in mean squared error (FitNets, Romero et al. 2015; CLIP-KD,
  Yang et al. 2024, finds plain feature mimicry the best of its relatives). Natural views only.
- hints (``hint_weight``): the same between a convolutional stem's maps and a convolutional teacher's (FitNets).
- alignment (``alignment_weight``): Eqs. 8 - 11 of MP-IQE with text contexts drawn anew each step, so that the text
  tower keeps a class's meaning whatever stands in its context slots. Made distortions have a known class.
- captions (``caption_weight``): CLIP's symmetric InfoNCE (Radford et al. 2021) on the joint texts of LIQE (Zhang et al.
  2023), "a photo of a {scene} with {distortion} artifacts, which is of {quality} quality"; what is not labelled is left
  out, equal texts of a batch are one.
- score (``score_weight``): smooth L1 to the MOS standardised within its set; ``plcc_weight``: 1 - PLCC within each set
  of the batch. Asked of two linear probes, one on the mean patch embedding and one on what the last layer makes of CLS
  and patches, so that the stem is taught without waiting for the layers (deep supervision, Lee et al. 2015).
- ranking (``ranking_weight``): natural above lightly above heavily distorted, logistic (RankIQA, Liu et al. 2017).

An EfficientNet stem begins with published features, which gradients of untrained layers would spoil (Kumar et al., ICLR
2022: probe first, then fine-tune). So it is taught by linear maps of its pooled features alone: the early probe, which
begins as a ridge regression, with dropout, and one for the class of made distortions (part of alignment), which begins
at zero. The layers learn on its tokens without changing it. Without a teacher, distillation asks CLS for the stem's own
pooled last map: what ImageNet taught it of the content.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.alignment import distortion_logits, scene_logits
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.efficientnet_shape import HEAD_CHANNELS
from mpiqe.model.loss import cross_entropy
from mpiqe.model.prompts import PromptLearner
from mpiqe.pretrain.views import NATURAL, QUALITIES, Views
from mpiqe.training.options import PretrainOptions
from mpiqe.training.ridge import fit_ridge
from mpiqe.training.targets import one_hot

Statistics = Mapping[str, tuple[Tensor, Tensor]]
OWN = "own"
"""Names the stem's own features among a teacher's."""
_DROPOUT = 0.3


class Student(nn.Module):
    """A thawed CLIP with all that is only needed to teach it: two linear probes and the maps to the teacher."""

    def __init__(self, clip: FrozenCLIP, *, taught: Mapping[str, int]) -> None:
        """``taught`` names the teacher's features with their channels; ``hint<side>`` goes with the stem's map."""
        super().__init__()
        self.clip = clip
        self.scene = PromptLearner(clip=clip, classes=SCENES)
        self.distortion = PromptLearner(clip=clip, classes=DISTORTIONS)
        self.early = nn.Linear(clip.pooled_width or clip.vision_width, 1)
        self.early_mean: Tensor
        self.early_deviation: Tensor
        self.early_classes: nn.Linear | None = None
        if clip.pooled_width:
            self.register_buffer("early_mean", torch.zeros(clip.pooled_width))
            self.register_buffer("early_deviation", torch.ones(clip.pooled_width))
            self.early_classes = nn.Linear(clip.pooled_width, len(DISTORTIONS))
            nn.init.zeros_(self.early_classes.weight)
        self.late = nn.Linear(2 * clip.joint_width, 1)
        self.to_teacher = nn.ModuleDict()
        for name, channels in taught.items():
            side = name.removeprefix("hint")
            width = clip.joint_width if side == name else clip.stem_sides()[int(side)]
            self.to_teacher[name] = nn.Linear(width, channels)

    @property
    def image_size(self) -> int:
        """Side of a crop in pixels."""
        return self.clip.image_size

    def encode(self, pixels: Tensor) -> "StudentOutput":
        """uint8 RGB crops (B, 3, S, S) -> features and scores, the input of every loss term."""
        maps, pooled = self.clip.stem_maps(self.clip.preprocess(pixels), detach_tokens=True)
        embedded = maps[-1].flatten(2).transpose(1, 2)
        cls, patches = map(self.clip.project, self.clip.encode_patches(embedded))
        if pooled is None:
            early = self.early(embedded.mean(dim=1)).float().squeeze(-1)
        else:
            with torch.autocast(pooled.device.type, enabled=False):
                pooled = (pooled - self.early_mean) / self.early_deviation
                early = self.early(F.dropout(pooled, _DROPOUT, training=self.training)).squeeze(-1)
        late = self.late(torch.cat([cls, patches.mean(dim=1)], dim=1)).float().squeeze(-1)
        return StudentOutput(maps, cls, patches, (early, late), pooled)

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores (B,), standardised MOS: the early probe's of an EfficientNet stem, else the late probe's."""
        early, late = self.encode(pixels).scores
        return early if self.clip.pooled_width else late

    def begin_early(self, features: Tensor, targets: Tensor) -> None:
        """Fit the early probe to pooled features (n, F) of natural crops and their standardised MOS (n,)."""
        ridge = fit_ridge(features, targets)
        mean, deviation = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
        with torch.no_grad():
            self.early_mean.copy_(mean)
            self.early_deviation.copy_(deviation)
            self.early.weight.copy_((ridge.weight * deviation)[None])
            self.early.bias.copy_(ridge.bias + mean.double() @ ridge.weight)

    def class_features(self) -> tuple[Tensor, Tensor]:
        """V^s (9, D) and V^d (11, D) through the text tower as it is now, token embeddings included."""
        found = []
        for bank in (self.scene, self.distortion):
            bank.words = self.clip.embed_tokens(bank.ids)
            found.append(self.clip.encode_text(*bank()))
        return found[0], found[1]

    def caption_features(self, captions: Sequence[str]) -> Tensor:
        """Texts (C,) -> features (C, D); a text that is too long for the tower is cut, as CLIP does."""
        room = self.clip.text_positions - 2
        rows = [[*self.clip.start_tokens, *self.clip.tokens(text)[:room], self.clip.end_token] for text in captions]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [self.clip.end_token] * (longest - len(row)) for row in rows])
        last = torch.tensor([len(row) - 1 for row in rows])
        device = self.late.weight.device
        return self.clip.encode_text(self.clip.embed_tokens(ids.to(device)), last.to(device))

    def renew_contexts(self, *, seed: int, step: int) -> None:
        """Draw the text contexts anew, N(0, 0.02^2), as a function of the seed and the step."""
        mixed = np.random.SeedSequence((seed, step)).generate_state(1)  # torch's generator heeds 32 bits of a seed
        generator = torch.Generator().manual_seed(int(mixed[0]))
        for bank in (self.scene, self.distortion):
            if bank.context is not None:
                with torch.no_grad():
                    bank.context.copy_(0.02 * torch.randn(bank.context.shape, generator=generator))


class StudentOutput:
    """The student's output for B x V crops."""

    def __init__(
        self,
        maps: list[Tensor],
        cls: Tensor,
        patches: Tensor,
        scores: tuple[Tensor, Tensor],
        pooled: Tensor | None = None,
    ) -> None:
        self.maps, self.cls, self.patches, self.scores = maps, cls, patches, scores
        self.pooled = pooled
        """An EfficientNet stem's pooled features (B * V, F), standardised."""


def objective(
    student: Student, output: StudentOutput, views: Views, statistics: Statistics, options: PretrainOptions
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum and its parts. ``output`` is of all B x V crops, photo by photo."""
    with torch.autocast(output.cls.device.type, enabled=False):
        parts = {
            **_distillation(student, output, views, statistics),
            **_alignment(student, output, views),
            "captions": _captions(student, output, views),
            **rating(output.scores, views),
        }
    weights = {
        "distillation": options.distillation_weight,
        "hints": options.hint_weight,
        "scene": options.alignment_weight,
        "distortion": options.alignment_weight,
        "stem_distortion": options.alignment_weight,
        "captions": options.caption_weight,
        "score": options.score_weight,
        "plcc": options.plcc_weight,
        "ranking": options.ranking_weight,
    }
    total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
    return total, {name: float(part.detach()) for name, part in parts.items()}


def _distillation(student: Student, output: StudentOutput, views: Views, statistics: Statistics) -> dict[str, Tensor]:
    none = output.cls.new_zeros((), dtype=torch.float32)
    if not views.taught:
        return _own_distillation(student, output, views)
    errors: dict[str, list[Tensor]] = {"distillation": [], "hints": []}
    by_side = {stage.shape[-1]: stage for stage in output.maps}
    for name, wanted in views.taught.items():
        mean, deviation = statistics[name]
        target = wanted.flatten(0, 1).float()  # (B * 2, C, ..)
        target = target.reshape(len(target), len(mean), -1)  # (B * 2, C, places); CLS has one place
        target = (target - mean[:, None]) / deviation[:, None]
        if name == "cls":
            own = output.cls[:, None]
        elif name == "patches":
            own = output.patches
        else:
            own = by_side[int(name.removeprefix("hint"))].flatten(2).transpose(1, 2)
        natural = _natural(own, views).float()
        answer = student.to_teacher[name](natural).transpose(1, 2)
        errors["hints" if name.startswith("hint") else "distillation"].append(F.mse_loss(answer, target))
    return {kind: torch.stack(found).mean() if found else none for kind, found in errors.items()}


def _own_distillation(student: Student, output: StudentOutput, views: Views) -> dict[str, Tensor]:
    """CLS has to give the stem's pooled last map."""
    if output.pooled is None or OWN not in student.to_teacher:
        return {}
    answer = student.to_teacher[OWN](_natural(output.cls, views).float())
    return {"distillation": F.mse_loss(answer, _natural(output.pooled, views)[:, :HEAD_CHANNELS].detach())}


def _natural(of_views: Tensor, views: Views) -> Tensor:
    """(B * V, ..) -> (B * NATURAL, ..)."""
    return of_views.view(*views.crops.shape[:2], *of_views.shape[1:])[:, :NATURAL].flatten(0, 1)


def _alignment(student: Student, output: StudentOutput, views: Views) -> dict[str, Tensor]:
    scenes, distortions = student.class_features()
    scale = student.clip.logit_scale
    by_scene = scene_logits(output.cls.float(), scenes, scale)
    by_distortion, _ = distortion_logits(
        output.patches.float(), distortions, scale, windows=student.clip.grid, window_temperature=0.05
    )
    scene = views.scene[:, None].expand(-1, views.crops.shape[1], -1).flatten(0, 1)
    distortion = one_hot(distortion_labels(views).flatten(), len(DISTORTIONS))
    found = {"scene": cross_entropy(by_scene, scene), "distortion": cross_entropy(by_distortion, distortion)}
    if student.early_classes is not None and output.pooled is not None:
        found["stem_distortion"] = cross_entropy(student.early_classes(output.pooled), distortion)
    return found


def distortion_labels(views: Views) -> Tensor:
    """(B, V) int64: the photo's own for its natural views, what was made of it for the others; -1 is not labelled."""
    return torch.stack([views.natural] * NATURAL + [views.made] * (views.crops.shape[1] - NATURAL), dim=1)


def captions_of(views: Views) -> list[str]:
    """The joint text of each of the B x V views, photo by photo."""
    texts = []
    labels = zip(views.named_scene.tolist(), views.quality.tolist(), distortion_labels(views).tolist(), strict=True)
    for scene, quality, distortions in labels:
        for place, distortion in enumerate(distortions):
            texts.append(caption(scene, distortion, quality if place < NATURAL else -1))
    return texts


def caption(scene: int, distortion: int, quality: int) -> str:
    """LIQE's joint text; a part whose index is -1 is left out."""
    text = "a photo"
    if scene >= 0:
        text += f" of a {SCENES[scene]}"
    if distortion >= 0:
        text += f" with {DISTORTIONS[distortion]} artifacts"
    if quality >= 0:
        text += f", which is of {QUALITIES[quality]} quality"
    return text


def _captions(student: Student, output: StudentOutput, views: Views) -> Tensor:
    texts = captions_of(views)
    different = sorted(set(texts))
    features = F.normalize(student.caption_features(different), dim=-1)
    logits = student.clip.logit_scale * F.normalize(output.cls.float(), dim=-1) @ features.T  # (B * V, C)
    holds = one_hot(torch.tensor([different.index(text) for text in texts]), len(different)).to(logits.device)
    to_text = cross_entropy(logits, holds)
    to_image = cross_entropy(logits.T, holds.T / holds.sum(dim=0)[:, None])
    return (to_text + to_image) / 2


def rating(scores: Sequence[Tensor], views: Views) -> dict[str, Tensor]:
    """Score, plcc and ranking, summed over the probes' ``scores`` (B * V,); no ranking without made views."""
    target, sets = views.target, sorted(set(views.group.tolist()))
    score = plcc = ranking = torch.zeros((), device=target.device)
    for each in scores:
        predicted = each.view(len(target), -1)
        natural = predicted[:, :NATURAL]
        score = score + F.smooth_l1_loss(natural, target[:, None].expand(-1, NATURAL))
        for group in sets:
            own = views.group == group
            plcc = plcc + own.float().mean() * (1 - correlation(natural[own].mean(dim=1), target[own]))
        if predicted.shape[1] == NATURAL:
            continue
        light, heavy = predicted[:, NATURAL], predicted[:, NATURAL + 1]
        pairs = torch.stack([predicted[:, 0] - light, light - heavy])
        ranking = ranking + F.softplus(1 - 3 * pairs).mean()
    return {"score": score, "plcc": plcc, "ranking": ranking}


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of two vectors (B,); zero where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    lengths = torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b)
    correlated: Tensor = (a * b).sum() / lengths.clamp(min=1e-8)
    return correlated
