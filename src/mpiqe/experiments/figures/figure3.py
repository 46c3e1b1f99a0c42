"""Figure 3: Grad-CAM for low quality on the worst-rated test images, without and with text prompts.

The visual-only model has the same image tower with its visual prompts, a decoder of one layer, and one learned query in
the place of the 20 text features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mpiqe.data import Dataset, Record
from mpiqe.data.describe import decimals
from mpiqe.errors import ConfigError
from mpiqe.experiments.figures import FigureFile, check_ready
from mpiqe.experiments.figures.gradcam import PhotoMap, photo_map
from mpiqe.experiments.trained_run import TrainedRun, read_trained_run
from mpiqe.plotting import GREY, WIDTH, Sheet, save_png
from mpiqe.scoring.render import colours, overlay

NAME = "figure3.png"
_MAPPED = 640  # pixels along the longer side of a map: more than a panel ever has


@dataclass(frozen=True, eq=False)
class Column:
    """One photo with both models' maps and scores."""

    record: Record
    maps: tuple[PhotoMap, PhotoMap]
    """Visual-only, MP-IQE."""
    scores: tuple[float, float]
    """The same, as in ``predictions.csv``."""
    digits: int = 1
    """To print after a rating's point."""

    @property
    def aspect(self) -> float:
        """Width over height."""
        height, width, _ = self.maps[0].photo.shape
        return float(width / height)


def figure3(
    full: Path,
    visual_only: Path,
    dataset: Dataset,
    out: Path,
    *,
    backbone: str | Path | None = None,
    photos: int = 4,
    device: str = "auto",
) -> FigureFile:
    """Draw ``out / "figure3.png"``: the ``photos`` test photos with the lowest MOS, a column each.

    ``full`` and ``visual_only`` are run folders of one split of ``dataset``; ``backbone`` says where theirs lies, if
    elsewhere than when they were trained. All scores are those of the runs' ``predictions.csv``.

    Raises ``ConfigError`` for two runs that cannot be compared, models of another kind and a missing library,
    ``WeightsError`` and ``DatasetError`` for folders that hold no finished run of this dataset, ``ImageError`` for a
    photo that cannot be read.
    """
    path = out / NAME
    check_ready(path, "matplotlib")
    if photos < 1:
        raise ConfigError(f"figure 3 needs at least one photo, not {photos}")
    runs = tuple(read_trained_run(folder, dataset, backbone=backbone, device=device) for folder in (visual_only, full))
    _check(*runs)
    shown = worst(runs[0].tested, photos)
    columns = [
        Column(
            record,
            (_map(runs[0], record), _map(runs[1], record)),
            (runs[0].scores[record.name], runs[1].scores[record.name]),
            decimals(dataset.low, dataset.high),
        )
        for record in shown
    ]
    save_png(draw(columns).figure, path)
    return FigureFile(path, _caption(columns, runs[1]))


def worst(records: Sequence[Record], count: int) -> list[Record]:
    """The ``count`` of lowest MOS, the lowest first; of equal ones the first by name."""
    return sorted(records, key=lambda record: (record.mos, record.name))[:count]


def _map(run: TrainedRun, record: Record) -> PhotoMap:
    return photo_map(run.model, record.image, longest=_MAPPED, view=run.config.view)


def _check(visual_only: TrainedRun, full: TrainedRun) -> None:
    faults = []
    if visual_only.has_text:
        faults.append(f"{visual_only.folder} has prompts on the text side, so it is not the visual-only model")
    if not full.has_text:
        faults.append(f"{full.folder} has no prompts on the text side, so it is not MP-IQE")
    apart = set(visual_only.scores) ^ set(full.scores)
    if apart:
        faults.append(
            f"{visual_only.folder} and {full.folder} were tested on different photos ({len(apart)} on one side only, "
            f"{min(apart)!r} among them): give two runs of one split"
        )
    if faults:
        raise ConfigError("; ".join(faults))


def _caption(columns: Sequence[Column], full: TrainedRun) -> str:
    view = full.config.view
    seen = "at native resolution" if view.side is None else f"of the photo at {view.side} x {view.side} pixels or less,"
    return (
        f"The {len(columns)} worst-rated test photos of {full.what}, and in them what lowers the score of the "
        "visual-only model (no text; one learned query, a decoder of one layer) and of MP-IQE: Grad-CAM of minus the "
        f"score on the last layer's patches, over crops {seen} that slide over the photo. Every map has "
        "its own scale, from 0 to its highest value: compare shapes, not strengths. MOS is the true "
        "mean rating; predictions are the means over each photo's test crops, in the same units. One run of each; "
        "the photos were chosen by MOS alone."
    )


# Inches.
_EDGE, _LABEL, _GAP, _LINE, _HIGHEST, _FOOT = 0.12, 0.3, 0.1, 0.25, 3.2, 0.46
_BAR = (2.6, 0.11)


def draw(columns: Sequence[Column]) -> Sheet:
    """A column a photo: itself, the visual-only model's map, MP-IQE's; under each its MOS or predicted score."""
    room = WIDTH - 2 * _EDGE - _LABEL - _GAP * (len(columns) - 1)
    height = min(_HIGHEST, room / sum(column.aspect for column in columns))
    row = height + _LINE + _GAP
    sheet = Sheet(_EDGE + 3 * row + _FOOT)
    for index, label in enumerate(("photo", "visual-only", "MP-IQE")):
        how = {"rotation": 90, "va": "center", "ha": "center", "weight": "bold"}
        sheet.text(_EDGE + _LABEL / 2 - 0.04, _EDGE + index * row + height / 2, label, size=10.5, **how)
    left = _EDGE + _LABEL
    for column in columns:
        width = height * column.aspect
        photo = column.maps[0].photo
        pictures = [photo, *(overlay(each.photo, each.values) for each in column.maps)]
        digits = column.digits
        texts = [
            f"true MOS {column.record.mos:.{digits}f}",
            *(f"predicted {score:.{digits}f}" for score in column.scores),
        ]
        for index, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
            top = _EDGE + index * row
            sheet.image(left, top, width, height, picture, interpolation="lanczos")
            weight = "normal" if index else "bold"
            sheet.text(left + width / 2, top + height + 0.05, text, size=10.5, ha="center", weight=weight)
        left += width + _GAP
    _scale(sheet, _EDGE + 3 * row + 0.06)
    return sheet


def _scale(sheet: Sheet, top: float) -> None:
    """The colour bar that all maps share."""
    left, (width, height) = _EDGE + _LABEL, _BAR
    ramp = np.rint(colours(np.linspace(0, 1, 256, dtype=np.float32))[None]).astype(np.uint8)
    sheet.image(left, top, width, height, ramp)
    sheet.text(left, top + height + 0.05, "0", size=8.5, color=GREY)
    sheet.text(left + width, top + height + 0.05, "the map's highest", size=8.5, color=GREY, ha="right")
    text = "what speaks for low quality (Grad-CAM of minus the score), each map on its own scale"
    sheet.text(left + width + 0.2, top + height / 2, text, size=9.5, va="center", color=GREY)
