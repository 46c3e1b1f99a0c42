"""Teach a compact CLIP-shaped backbone from rated photos and from distortions made of them.

The objective is MP-IQE's own (Eq. 15) with the backbone trained too, and three changes: the text contexts are drawn
anew each step, so that the text tower keeps a class's meaning whatever stands in its context slots; 1 - PLCC within
the batch joins the score loss (as in the field since NIMA's successors, "norm-in-norm" and LIQE among them, rank
agreement within a set is asked for, not its scale); and of each photo one crop is distorted at two levels, whose
class is known and which must score lower the worse it is (a logistic ranking loss, as RankIQA's). Two linear probes,
one on the mean patch embedding and one on what the last layer makes of CLS and patches, are asked the same questions as
the decoder (deep supervision), so that the stem and the layers are taught without waiting for it.

Axes: B photos, V views per photo (two natural crops, then the first of them distorted lightly and heavily).
"""

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from mpiqe import images
from mpiqe.data import check, choose_split, read_dataset
from mpiqe.data.loading import EpochSampler, scene_vector
from mpiqe.data.record import Record
from mpiqe.data.synthetic import KINDS, LEVELS, class_of, distort
from mpiqe.errors import ConfigError
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.compact import CompactOptions, create_compact
from mpiqe.model.loss import Loss
from mpiqe.model.mpiqe import MPIQE, MPIQEOutput, build_model
from mpiqe.model.options import LossOptions, ModelOptions, to_mapping
from mpiqe.training.device import accelerator_for, peak_memory_mb, resolve_precision
from mpiqe.training.evaluate import measure, predict
from mpiqe.training.options import PretrainOptions, check_pretrain
from mpiqe.training.reporter import Reporter
from mpiqe.training.run import STATE, RunFolder, as_path, start_or_check
from mpiqe.training.schedule import learning_rate
from mpiqe.training.targets import one_hot, target_statistics

NATURAL, VIEWS = 2, 4


class Views(NamedTuple):
    """One photo (or, with a first axis B, a batch of them)."""

    crops: Tensor
    """(V, 3, S, S) uint8."""
    mos: Tensor
    """() float32."""
    scene: Tensor
    """(9,) float32, zeros where not labelled."""
    natural: Tensor
    """() int64: the photo's own distortion, -1 where not labelled."""
    made: Tensor
    """() int64: the class of the distortion that was made."""


class ViewDataset(TorchDataset[Views]):
    """Two natural crops of a photo, mirrored half of the time, and the first one distorted at two levels.

    Everything drawn is a function of the seed, the epoch and the photo's name.
    """

    def __init__(self, records: Sequence[Record], *, size: int, seed: int) -> None:
        self.records, self.size, self.seed = tuple(records), size, seed

    def __len__(self) -> int:
        """The number of photos."""
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> Views:
        """The views of one photo; ``key`` is (epoch, index)."""
        epoch, index = key
        record = self.records[index]
        image = images.enlarge(images.read(record.image), self.size)
        height, width = image.shape[:2]
        text = f"{self.seed}:{epoch}:{record.name}"
        positions = images.seeded_positions(width, height, size=self.size, count=NATURAL, key=text)
        rng = np.random.default_rng(list(text.encode()))
        natural = [
            crop[:, ::-1] if rng.random() < 0.5 else crop for crop in images.cut(image, positions, size=self.size)
        ]
        kind = str(rng.choice(list(KINDS)))
        light = int(rng.integers(1, LEVELS))
        heavy = int(rng.integers(light + 1, LEVELS + 1))
        seed = int(rng.integers(2**31))
        made = [distort(np.ascontiguousarray(natural[0]), kind, level, seed=seed) for level in (light, heavy)]
        crops = np.ascontiguousarray(np.stack([*natural, *made]).transpose(0, 3, 1, 2))
        distortion = -1 if record.distortion is None else DISTORTIONS.index(record.distortion)
        return Views(
            torch.from_numpy(crops),
            torch.tensor(record.mos, dtype=torch.float32),
            scene_vector(record.scenes, "uniform"),
            torch.tensor(distortion),
            torch.tensor(DISTORTIONS.index(class_of(kind))),
        )


def renew_contexts(model: MPIQE, *, seed: int, step: int) -> None:
    """Draw the text contexts anew, N(0, 0.02^2), as a function of the seed and the step."""
    generator = torch.Generator().manual_seed((seed << 32) + step)
    for bank in (model.scene_prompts, model.distortion_prompts):
        if bank is not None and bank.context is not None:
            with torch.no_grad():
                bank.context.copy_(0.02 * torch.randn(bank.context.shape, generator=generator))


class Probes(nn.Module):
    """Scores by short ways, so that the stem and the layers are taught without waiting for the decoder."""

    def __init__(self, model: MPIQE) -> None:
        super().__init__()
        self.early = nn.Linear(model.clip.vision_width, 1)
        self.late = nn.Linear(2 * model.clip.joint_width, 1)

    def forward(self, embedded: Tensor, cls: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Patch embeddings (B, N, W), CLS (B, D) and patches (B, N, D) -> two scores (B,)."""
        early = self.early(embedded.mean(dim=1))
        late = self.late(torch.cat([cls, patches.mean(dim=1)], dim=1))
        return early.float().squeeze(-1), late.float().squeeze(-1)


def objective(
    output: MPIQEOutput, probed: Sequence[Tensor], views: Views, target: Tensor, loss: Loss, options: PretrainOptions
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum and its parts.

    ``output`` and the probes' scores ``probed`` are over B x V crops, ``target`` (B,) is standardised MOS.
    """
    photos = len(target)
    labels = torch.stack([views.natural] * NATURAL + [views.made] * (VIEWS - NATURAL), dim=1)  # (B, V)
    scene = views.scene[:, None].expand(-1, VIEWS, -1).flatten(0, 1)
    distortion = one_hot(labels.flatten(), len(DISTORTIONS))
    aligned = loss(output, scene=scene, distortion=distortion, target=output.prediction.detach())
    rated = plcc = ranking = torch.zeros((), device=target.device)
    for scores in (output.prediction, *probed):
        predicted = scores.view(photos, VIEWS)
        natural = predicted[:, :NATURAL]
        rated = rated + F.smooth_l1_loss(natural, target[:, None].expand(-1, NATURAL))
        plcc = plcc + 1 - correlation(natural.mean(dim=1), target)
        pairs = torch.stack([predicted[:, 0] - predicted[:, 2], predicted[:, 2] - predicted[:, 3]])
        ranking = ranking + F.softplus(1 - 3 * pairs).mean()
    quality = rated + options.plcc_weight * plcc + options.ranking_weight * ranking
    total = options.alignment_weight * aligned.total + quality
    parts = {
        "scene": float(aligned.scene.detach()),
        "distortion": float(aligned.distortion.detach()),
        "score": float(rated.detach()),
        "plcc": float(plcc.detach()),
        "ranking": float(ranking.detach()),
    }
    return total, parts


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of two vectors (B,); zero where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    lengths = torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b)
    correlated: Tensor = (a * b).sum() / lengths.clamp(min=1e-8)
    return correlated


WORDS = frozenset(
    word for name in (*SCENES, *DISTORTIONS) for word in re.findall(r"[a-z]+|[0-9]|[^a-z0-9 ]+", name.lower())
) | {"."}
"""What the compact vocabulary holds whole: the labels' words as CLIP's tokeniser parts them."""


def pretrain(options: PretrainOptions, run: RunFolder, *, resume: bool = False, reporter: Reporter) -> Path:
    """Teach a compact backbone and return its folder, ``RUN/backbone``: the epoch best on the validation photos.

    With ``resume`` a run that was stopped goes on from its last whole epoch.
    """
    check_pretrain(options)
    options = replace(options, precision=resolve_precision(device=options.device, precision=options.precision))
    accelerator = accelerator_for(device=options.device, precision=options.precision)
    if accelerator.num_processes > 1:
        raise ConfigError("mpiqe pretrain runs in one process; start it without torchrun")
    dataset = read_dataset(options.data, root=as_path(options.root), labels=as_path(options.labels))
    split = choose_split(dataset, options.split)
    train, val = ([dataset.records[index] for index in side] for side in (split.train, split.val))
    reporter.note(
        f"{len(train)} photos to learn from, {len(val)} to validate on; {len(split.test)} are never looked at"
    )
    check(dataset)
    mean, std = target_statistics(train)
    start_or_check(run, to_mapping(options), digests={"data": dataset.digest}, resume=resume)

    fresh = run.path / "fresh"
    if not (fresh / "model.safetensors").exists():
        create_compact(fresh, words=WORDS, options=CompactOptions(), seed=options.seed)
    model, average = (_model(fresh, options.seed) for _ in range(2))
    for each in (model, average):
        each.target_mean, each.target_std = mean, std
        each.to(accelerator.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        probes = Probes(model).to(accelerator.device)
    loss = Loss(LossOptions())
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": list(probes.parameters()), "weight_decay": options.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    bare = torch.optim.AdamW(groups, lr=options.learning_rate)
    optimiser = accelerator.prepare_optimizer(bare)
    both = nn.ModuleDict({"model": model, "average": average, "probes": probes})

    # With 50 tokens a crop, plain attention is quicker on a CPU than the blocked kernel.
    attention = SDPBackend.MATH if accelerator.device.type == "cpu" else list(SDPBackend.__members__.values())
    steps_per_epoch = -(-len(train) // options.batch_size)
    progress: dict[str, Any] = {"epoch": 0, "best": -2.0}
    if resume and (run.path / STATE).exists():
        progress = run.load_state(both, bare)
    run.keep_metrics(progress["epoch"])
    reporter.begin(steps=steps_per_epoch * options.epochs, done=steps_per_epoch * progress["epoch"])

    views = ViewDataset(train, size=model.image_size, seed=options.seed)
    sampler = EpochSampler(len(views), shuffle=True, seed=options.seed)
    batches = DataLoader(
        views,
        batch_size=options.batch_size,
        sampler=sampler,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
    )
    for epoch in range(progress["epoch"] + 1, options.epochs + 1):
        sampler.set_epoch(epoch)
        started, sums = time.monotonic(), dict[str, float]()
        for number, batch in enumerate(batches):
            step = (epoch - 1) * steps_per_epoch + number
            rate = learning_rate(
                step,
                steps_per_epoch=steps_per_epoch,
                epochs=options.epochs,
                warmup_epochs=options.warmup_epochs,
                peak=options.learning_rate,
            )
            for group in bare.param_groups:
                group["lr"] = rate
            seen = Views(*(tensor.to(accelerator.device) for tensor in batch))
            renew_contexts(model, seed=options.seed, step=step)
            with sdpa_kernel(attention):
                with accelerator.autocast():
                    embedded = model.clip.embed_patches(model.clip.preprocess(seen.crops.flatten(0, 1)))
                    cls, patches = model.look_at(embedded)
                    output = model.answer(model.fold(), cls, patches)
                    probed = probes(embedded, cls, patches)
                total, parts = objective(output, probed, seen, (seen.mos - mean) / std, loss, options)
                accelerator.backward(total)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            follow(average, model, keep=min(options.averaging, (step + 1) / (step + 10)))
            for key, value in parts.items():
                sums[key] = sums.get(key, 0.0) + value / steps_per_epoch
            reporter.step(run.finite(total, epoch))
        seconds = time.monotonic() - started
        average.eval()
        agreement = measure(predict(average, val, accelerator=accelerator, crops=8))
        row = {
            "epoch": epoch,
            "learning_rate": rate,
            **{f"loss_{key}": value for key, value in sums.items()},
            "val_srcc": agreement["srcc"],
            "val_plcc": agreement["plcc"],
            "images_per_second": len(train) / seconds,
            "crops_per_second": len(train) * VIEWS / seconds,
            "peak_memory_mb": peak_memory_mb(accelerator.device),
        }
        if (agreement["srcc"] or -1.0) > progress["best"]:
            progress["best"] = agreement["srcc"] or -1.0
            average.clip.save(run.path / "backbone", dtype=torch.float16)
        progress["epoch"] = epoch
        run.add_metrics(row)
        run.save_state(both, bare, progress)
        reporter.epoch(row)
    return run.path / "backbone"


def _model(folder: Path, seed: int) -> MPIQE:
    """MP-IQE without visual prompts on a thawed backbone."""
    clip = FrozenCLIP.from_pretrained(folder)
    model = build_model(clip, ModelOptions(visual_depth=0), seed=seed)
    clip.thaw()
    return model


def follow(average: nn.Module, model: nn.Module, *, keep: float) -> None:
    """Move the running mean of the weights a step towards ``model``; running statistics are copied."""
    with torch.no_grad():
        for weight, newer in zip(average.parameters(), model.parameters(), strict=True):
            weight.lerp_(newer, 1 - keep)
        for statistic, latest in zip(average.buffers(), model.buffers(), strict=True):
            statistic.copy_(latest)
