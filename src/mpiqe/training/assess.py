"""A finished checkpoint on a dataset: what ``mpiqe evaluate`` does."""

from pathlib import Path
from typing import Literal

from mpiqe.choices import SplitSource
from mpiqe.data import check, choose_split, read_dataset
from mpiqe.data.record import Dataset
from mpiqe.model.checkpoint import load_checkpoint
from mpiqe.training.device import accelerator_for
from mpiqe.training.evaluate import Prediction, measure, predict
from mpiqe.training.reporter import Reporter

Part = Literal["train", "val", "test", "all"]


def assess(
    weights: str,
    *,
    data: str,
    root: Path | None,
    labels: Path | None,
    split: int,
    splits: SplitSource,
    part: Part,
    seed: int,
    crops: int | None,
    backbone: str | None,
    device: str,
    precision: str,
    reporter: Reporter,
) -> tuple[dict[str, float | None], list[Prediction]]:
    """The figures of ``metrics.report`` for one part of one split, and each image's prediction."""
    accelerator = accelerator_for(device=device, precision=precision)
    model, config = load_checkpoint(weights, backbone=backbone)
    dataset = read_dataset(data, root=root, labels=labels)
    indices: tuple[int, ...] = tuple(range(len(dataset.records)))
    if part != "all":
        indices = getattr(choose_split(dataset, split, source=splits, seed=seed), part)
    records = tuple(dataset.records[index] for index in indices)
    reporter.note(f"{dataset.name}: {len(records)} images, checkpoint trained on {config.dataset} ({config.split})")
    check(Dataset(dataset.name, records, twins=dataset.twins))
    model.to(accelerator.device)
    predictions = predict(model, records, accelerator=accelerator, crops=crops or config.crops)
    return measure(predictions), predictions
