"""Figure 4: t-SNE of images' features before and after training, coloured by MOS.

Above test images on a continuous scale; below training images in intervals of MOS, as the paper has them. A plane of
t-SNE shows clusters where there are none and hides some that are there, so each panel carries a figure that is computed
among the features themselves: how well the ratings of a photo's nearest neighbours tell its own.

Axes: P photos, K crops of each, B crops of several photos, D joint width, S crop side in pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mpiqe import metrics
from mpiqe.data import Dataset, Record
from mpiqe.data.crop_dataset import CropDataset, loader
from mpiqe.errors import ConfigError
from mpiqe.experiments.figures import FigureFile, check_ready
from mpiqe.experiments.trained_run import TrainedRun, read_trained_run
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.mpiqe import MPIQE, Folded
from mpiqe.plotting import GREY, WIDTH, Sheet, save_png

NAME = "figure4.png"
PERPLEXITY = 30.0
NEIGHBOURS = 10
FEWEST = 8
SEED = 0
INTERVALS = 5
"""Of equal width, of the MOS of training photos."""
_BATCH = 4  # photos

Array = NDArray[np.float64]


class Features(NamedTuple):
    """Each (P, D), the mean over a photo's crops, of unit length: compared by cosine, as CLIP's are."""

    before: Array
    """CLS of the frozen backbone without prompts, through CLIP's own projection."""
    after: Array
    """What the trained head reads the score from: the decoder's answers after the final layernorm, pooled."""
    tower: Array
    """CLS of the trained image tower, with its prompts and its projection."""


class Agreement(NamedTuple):
    """``neighbourhood`` of each of ``Features``."""

    before: float
    after: float
    tower: float


class Group(NamedTuple):
    """The photos of one row."""

    what: str
    """"test photos"."""
    planes: Sequence[Array]
    """Before and after training, each (P, 2)."""
    mos: Array
    """(P,)."""
    agreement: Agreement
    near: int
    """How many neighbours ``agreement`` is of."""
    perplexity: float
    edges: Array | None
    """Ends of the intervals of MOS that have a colour each; ``None`` for a continuous scale."""


def figure4(
    full: Path, dataset: Dataset, out: Path, *, backbone: str | Path | None = None, device: str = "auto"
) -> FigureFile:
    """Draw ``out / "figure4.png"`` of the run in the folder ``full``: its test photos, and those it was trained on.

    Test photos are this project's choice: those trained on lie in order because their ratings were learned. The paper
    shows training photos in intervals of MOS; so does the lower row, of all photos on the training side. Each photo is
    seen by the very crops that a score is made of. t-SNE: perplexity 30 (a third of the photos' number where that is
    less), PCA start, seed 0. ``backbone`` says where the run's lies, if elsewhere than when it was trained.

    Raises ``ConfigError`` for a model without decoder, fewer than 8 test photos and a missing library, ``WeightsError``
    and ``DatasetError`` for a folder that holds no finished run of this dataset.
    """
    path = out / NAME
    check_ready(path, "matplotlib", "sklearn")
    run = read_trained_run(full, dataset, backbone=backbone, device=device)
    count = len(run.tested)
    if count < FEWEST:
        raise ConfigError(f"figure 4 needs at least {FEWEST} test photos, and {full} has {count}")
    frozen = FrozenCLIP.from_pretrained(run.model.clip.name)
    groups = [_group("test photos", run, run.tested, frozen, edges=None)]
    trained = [record for record in dataset.records if record.name not in run.scores]
    if len(trained) >= FEWEST:
        edges = np.linspace(dataset.low, dataset.high, INTERVALS + 1)
        groups.append(_group("training photos", run, trained, frozen, edges=edges))
    save_png(draw(groups).figure, path)
    return FigureFile(path, _caption(run, groups))


def _group(what: str, run: TrainedRun, records: Sequence[Record], frozen: FrozenCLIP, *, edges: Array | None) -> Group:
    features = extract(run, frozen, records)
    mos = np.array([record.mos for record in records])
    near = min(NEIGHBOURS, len(records) // 4)
    perplexity = min(PERPLEXITY, len(records) / 3)
    agreement = Agreement(*(neighbourhood(each, mos, count=near) for each in features))
    planes = [plane(each, perplexity=perplexity) for each in features[:2]]
    return Group(what, planes, mos, agreement, near, perplexity, edges)


def extract(run: TrainedRun, frozen: FrozenCLIP, records: Sequence[Record]) -> Features:
    """The features of photos, in their order; ``frozen`` is the backbone as it was before training."""
    model, crops = run.model, run.config.crops
    device = next(model.parameters()).device
    frozen = frozen.to(device)
    mode, view = run.config.crop_mode, run.config.view
    dataset = CropDataset(records, size=model.image_size, count=crops, seed=0, crops=mode, view=view)  # the scorer's
    found: tuple[list[Tensor], ...] = ([], [], [])
    with torch.inference_mode():
        folded = model.fold()
        for batch in loader(dataset, batch_size=_BATCH, shuffle=False, workers=0):
            pixels = batch.crops.flatten(0, 1).to(device)  # (photos * K, 3, S, S)
            before, _ = frozen.encode_image(frozen.preprocess(pixels))
            after, tower = head_input(model, pixels, folded)
            for parts, part in zip(found, (frozen.project(before), after, tower), strict=True):
                parts.append(part.double().cpu().view(-1, crops, part.shape[1]).mean(dim=1))
    return Features(*(_unit(torch.cat(parts).numpy()) for parts in found))


def head_input(model: MPIQE, pixels: Tensor, folded: Folded) -> tuple[Tensor, Tensor]:
    """uint8 RGB crops (B, 3, S, S) -> what the decoder's head is given (B, D), and the image tower's CLS (B, D)."""
    given: list[Tensor] = []

    def keep(_module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given.append(inputs[0])

    handle = model.decoder.head.register_forward_pre_hook(keep)
    try:
        image = model.encode_image(pixels)
        model.decode(folded, image)
    finally:
        handle.remove()
    return given[0], image.cls


def neighbourhood(features: Array, mos: Array, *, count: int) -> float:
    """SRCC of each photo's MOS with the mean MOS of its ``count`` nearest others by cosine; features (P, D), mos (P,).

    1 where neighbours are of like quality, about 0 where the features say nothing of it.
    """
    unit = _unit(features)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :count]  # (P, count)
    return metrics.srcc(mos[nearest].mean(axis=1), mos)


def plane(features: Array, *, perplexity: float, seed: int = SEED) -> Array:
    """t-SNE from (P, D) to (P, 2)."""
    from sklearn.manifold import TSNE

    tsne = TSNE(n_components=2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
    placed: Array = tsne.fit_transform(features).astype(np.float64)
    return placed


def _unit(features: Array) -> Array:
    unit: Array = features / np.linalg.norm(features, axis=1, keepdims=True)
    return unit


def _caption(run: TrainedRun, groups: Sequence[Group]) -> str:
    first = groups[0]
    told = [
        f"{group.agreement.before:.3f} before, {group.agreement.after:.3f} after, and {group.agreement.tower:.3f} for "
        f"the trained image tower's CLS, which the decoder has not touched, among {len(group.mos)} {group.what}"
        for group in groups
    ]
    below = (
        " Below: the photos of its training side, in intervals of MOS as in the paper; there the order after training "
        "was learned by heart and is no evidence."
        if len(groups) > 1
        else ""
    )
    return (
        f"t-SNE (perplexity {first.perplexity:.0f}, PCA start, seed {SEED}) of the {len(first.mos)} test photos of "
        f"{run.what}, which this run did not train on, coloured by MOS.{below} Before: CLS of the frozen "
        "backbone without prompts, through CLIP's projection. After: what the trained model's head reads the score "
        f"from, the decoder's pooled answers. A photo is the mean over its {run.config.crops} test crops, as a unit "
        "vector. The places in a plane prove nothing; the SRCC over each is that of a photo's MOS with the mean MOS of "
        f"its {first.near} nearest neighbours by cosine among the features themselves: {'; '.join(told)}."
    )


# Inches.
_EDGE, _HEAD, _GAP, _SIDE, _BAR = 0.14, 0.84, 0.2, 0.8, 0.14


def draw(groups: Sequence[Group]) -> Sheet:
    """Before and after side by side with one colour bar, a row for each group of photos."""
    width = (WIDTH - 2 * _EDGE - _GAP - _SIDE) / 2
    height = _HEAD + width + _EDGE
    sheet = Sheet(height * len(groups))
    for row, group in enumerate(groups):
        _draw_row(sheet, row * height, width, group)
    return sheet


def _draw_row(sheet: Sheet, top: float, width: float, group: Group) -> None:
    from matplotlib.colors import BoundaryNorm

    heads = (
        ("before training", "the frozen backbone's CLS, no prompts", group.agreement.before),
        ("after training", "what the score is read from: the decoder's pooled answers", group.agreement.after),
    )
    norm = None if group.edges is None else BoundaryNorm(group.edges, 256)
    for index, (placed, (title, what, figure)) in enumerate(zip(group.planes, heads, strict=True)):
        left = _EDGE + index * (width + _GAP)
        sheet.text(left, top + _EDGE, f"{group.what}, {title}", size=12, weight="bold")
        sheet.text(left, top + _EDGE + 0.24, what, size=9, color=GREY)
        text = f"a photo's MOS and that of its {group.near} nearest neighbours: SRCC {figure:.3f}"
        sheet.text(left, top + _EDGE + 0.42, text, size=9)
        axes = sheet.bare_axes(left, top + _HEAD, width, width)
        axes.spines[:].set(visible=True, color="#cccccc")
        axes.margins(0.05)
        points = axes.scatter(
            placed[:, 0], placed[:, 1], c=group.mos, cmap="viridis", norm=norm, s=26, linewidths=0.4, edgecolors="white"
        )
    bar = sheet.figure.colorbar(points, cax=sheet.bare_axes(WIDTH - _EDGE - _SIDE + 0.22, top + _HEAD, _BAR, width))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8.5, length=2, colors=GREY)
    bar.set_label("MOS", size=9.5)
