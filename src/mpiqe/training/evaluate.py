"""Score the images of a dataset exactly as the scorer does, and measure how well the order agrees with people."""

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from mpiqe import metrics
from mpiqe.data.crop_dataset import Batch, CropDataset, collate, loader
from mpiqe.data.extra_data import target_statistics
from mpiqe.data.record import Record
from mpiqe.images import CropMode
from mpiqe.intervals import Calibration, IntervalModel, calibrate
from mpiqe.model.build import QualityModel
from mpiqe.view import NATIVE, View

_HARDLY = 0.1


@dataclass(frozen=True)
class Prediction:
    """One image's rating and the model's answer, both in the dataset's units."""

    name: str
    mos: float
    score: float
    spread: float
    """Standard deviation of the score over the crops."""


def predict(
    model: QualityModel,
    records: Sequence[Record],
    *,
    accelerator: Accelerator,
    crops: int,
    crop_mode: CropMode = "seeded",
    view: View = NATIVE,
    batch_size: int = 16,
    workers: int = 0,
    stored: Mapping[Path, Tensor] | None = None,
) -> list[Prediction]:
    """The mean score over each image's crops, in the records' order; several processes share the work.

    The crops are the scorer's (D12), with its default seed 0. With ``stored`` (``stem_cache.Stored``) they are taken
    behind the frozen stem, in half precision, and no image is read.
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    mine = records[rank::world]
    dataset = CropDataset(mine, size=model.image_size, count=crops, seed=0, crops=crop_mode, view=view)
    found: list[tuple[int, float, float]] = []
    with torch.inference_mode(), accelerator.autocast():
        folded = model.fold()
        for batch in _batches(dataset, batch_size, workers, stored):
            given = batch.crops.flatten(0, 1).to(accelerator.device)
            if stored is None:
                output = model(given, folded)
            else:
                output = model.forward_embedded(model.clip.split_embedded(given), folded)  # type: ignore[arg-type]
            scores = output.score.cpu().double().view(-1, crops)
            spread = scores.std(dim=1, correction=0)
            places = (batch.index * world + rank).tolist()
            found += zip(places, scores.mean(dim=1).tolist(), spread.tolist(), strict=True)
    if world > 1:
        found = gather_object(found)
    by_place = {place: (score, spread) for place, score, spread in found}
    return [Prediction(record.name, record.mos, *by_place[index]) for index, record in enumerate(records)]


def _batches(
    dataset: CropDataset, batch_size: int, workers: int, stored: Mapping[Path, Tensor] | None
) -> Iterable[Batch]:
    if stored is None:
        yield from loader(dataset, batch_size=batch_size, shuffle=False, workers=workers)
        return
    for start in range(0, len(dataset), batch_size):
        part = range(start, min(start + batch_size, len(dataset)))
        yield collate([dataset.item(index, stored[dataset.records[index].image].float()) for index in part])


def measure(predictions: Sequence[Prediction]) -> dict[str, float | None]:
    """SRCC, PLCC raw and after the logistic fit (D15), KRCC, RMSE; ``None`` where a figure does not exist.

    None of them does for fewer than three images.
    """
    if len(predictions) < metrics.FEWEST:
        return {**dict.fromkeys(metrics.NAMES), "count": len(predictions)}
    report = metrics.report([item.score for item in predictions], [item.mos for item in predictions])
    return {key: value if value is not None and math.isfinite(value) else None for key, value in report.items()}


def nearly_constant(predictions: Sequence[Prediction], *, low: float, high: float) -> str | None:
    """What to say of scores that hardly differ; ``None`` where they do, or where the MOS do not.

    ``low`` and ``high``: the range of the scores' scale. Scores are nearly constant if their deviation, as a share of
    that range, is under a tenth of what the deviation of the MOS is of theirs: a model whose scores explain as little
    as a tenth of the MOS's deviation still has more.
    """
    scores, mos = [item.score for item in predictions], [item.mos for item in predictions]
    if len(predictions) < metrics.FEWEST or min(mos) == max(mos) or low >= high:
        return None
    spread, rated = statistics.pstdev(scores), statistics.pstdev(mos)
    if spread / (high - low) >= _HARDLY * rated / (max(mos) - min(mos)):
        return None
    return (
        f"careful: the scores of these {len(predictions)} images hardly differ (their standard deviation is "
        f"{spread:.2g}, that of the MOS {rated:.2g}): the model gives nearly the same number for every image. It needs "
        "more epochs, more images or a higher learning rate"
    )


def calibrate_on(
    sets: Mapping[str, Sequence[Prediction]], *, trained: Sequence[Record], crops: int
) -> IntervalModel | None:
    """The interval that fits the predictions for images which the model was not trained on; ``None`` for too few.

    All MOS are on the scale of the model's scores, which is that of the images it was ``trained`` on.
    """
    found = [(name, item) for name, predictions in sets.items() for item in predictions]
    mos, score, spread = (
        np.array([getattr(item, key) for _, item in found], dtype=np.float64) for key in ("mos", "score", "spread")
    )
    photos = Calibration(mos, score, spread, np.array([name for name, _ in found], dtype=np.str_))
    return calibrate(photos, crops=crops, mos=target_statistics(trained))


def measure_interval(interval: IntervalModel | None, predictions: Sequence[Prediction]) -> dict[str, float]:
    """``interval_coverage`` and ``interval_width``, its mean, on rated images; nothing for a model without interval."""
    if interval is None or not predictions:
        return {}
    coverage, width = interval.measure(
        [item.mos for item in predictions],
        [item.score for item in predictions],
        [item.spread for item in predictions],
    )
    return {"interval_coverage": coverage, "interval_width": width}


def beats(value: float | None, best: float | None) -> bool:
    """Whether an epoch's figure is better than the best so far; while no epoch has one, the latest counts."""
    return best is None or (value is not None and value > best)


def to_csv(predictions: Sequence[Prediction]) -> str:
    """``image,mos,score,spread`` lines, exact to the last bit."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "mos", "score", "spread"])
    writer.writerows([item.name, repr(item.mos), repr(item.score), repr(item.spread)] for item in predictions)
    return text.getvalue()
