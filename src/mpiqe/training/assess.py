"""A finished checkpoint on a dataset: what ``mpiqe evaluate`` does."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from mpiqe.choices import ModelCropMode, Precision, SplitSource
from mpiqe.data import check, choose_split, describe_split, read_dataset
from mpiqe.data.record import Dataset, Record
from mpiqe.data.several import target_statistics
from mpiqe.intervals import IntervalModel
from mpiqe.model.checkpoint import load_checkpoint
from mpiqe.training.device import accelerator_for
from mpiqe.training.evaluate import Prediction, measure, measure_interval, predict
from mpiqe.training.reporter import Reporter
from mpiqe.view import View

Part = Literal["train", "val", "test", "all"]


def assess(
    weights: str,
    *,
    data: str,
    root: Path | None,
    labels: Path | None,
    labels_as_published: bool = False,
    split: int | None,
    splits: SplitSource,
    part: Part,
    crops: int | None,
    view_side: int | None = None,
    crop_mode: ModelCropMode | None = None,
    backbone: str | None,
    device: str,
    precision: Precision,
    reporter: Reporter,
) -> tuple[dict[str, float | None], list[Prediction], str]:
    """The figures of ``metrics.report`` for one part of one split, each image's prediction, and what they are of.

    For a model with an interval, also its coverage and mean width. The MOS of another set than the model's first are
    brought to its scale for that, by mean and deviation of the set's training side (of all images for ``all``).

    Without ``split`` it is the number of the split that the checkpoint was trained on; ``crops``, ``view_side`` (0 is
    native) and ``crop_mode`` are the checkpoint's where they are not given.
    """
    accelerator = accelerator_for(device=device, precision=precision)
    model, config = load_checkpoint(weights, backbone=backbone)
    dataset = read_dataset(data, root=root, labels=labels, as_published=labels_as_published)
    title = f"{part} images"
    indices: tuple[int, ...] = tuple(range(len(dataset.records)))
    number = int(config.training.get("split", 1)) if split is None else split
    if part != "all":
        whose = describe_split(dataset, number, source=splits)
        indices, title = getattr(choose_split(dataset, number, source=splits), part), f"{part} images of split {whose}"
        if part == "test" and config.dataset == dataset.name:
            if config.training.get("whole"):
                reporter.note("careful: the checkpoint was trained with --whole, on test images too")
            elif config.split != whose:
                reporter.note(
                    f"careful: the checkpoint was trained on split {config.split}, perhaps on some of these images"
                )
    records = tuple(dataset.records[index] for index in indices)
    reporter.note(
        f"{dataset.name}: {len(records)} images, checkpoint trained on {config.dataset}, split {config.split}"
    )
    check(Dataset(dataset.name, records, twins=dataset.twins))
    model.to(accelerator.device)
    predictions = predict(
        model,
        records,
        accelerator=accelerator,
        crops=crops or config.crops,
        crop_mode=crop_mode or config.crop_mode,
        view=config.view if view_side is None else View.of_side(view_side),
    )
    result = measure(predictions)
    if config.interval is None or (crops or config.crops) < config.interval.crops:
        return result, predictions, title
    if dataset.name == config.dataset:
        return {**result, **measure_interval(config.interval, predictions)}, predictions, title
    whole = dataset.records
    if part != "all":
        whole = tuple(dataset.records[index] for index in choose_split(dataset, number, source=splits).train)
    if len({record.mos for record in whole}) > 1:
        reporter.note(f"the interval is measured with the MOS of {dataset.name} brought to those of {config.dataset}")
        scaled = _on_scale(predictions, whole, config.interval)
        result = {**result, **measure_interval(config.interval, scaled)}
    return result, predictions, title


def _on_scale(
    predictions: Sequence[Prediction], records: Sequence[Record], interval: IntervalModel
) -> list[Prediction]:
    """The predictions of another set, their MOS brought to the model's scale by the line of ``records``."""
    mean, deviation = target_statistics(records)
    to_mean, to_deviation = interval.mos_mean, interval.mos_deviation
    return [replace(item, mos=(item.mos - mean) / deviation * to_deviation + to_mean) for item in predictions]
