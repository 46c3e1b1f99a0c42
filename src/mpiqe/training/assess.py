"""A finished checkpoint on a dataset: what ``mpiqe evaluate`` does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mpiqe.data import check, choose_split, describe_split, read_dataset
from mpiqe.data.extra_data import target_statistics
from mpiqe.data.record import Dataset, Record
from mpiqe.data.registry import TABLE
from mpiqe.data.scales import Scale, on_one_scale, scale_of
from mpiqe.errors import ConfigError
from mpiqe.intervals import IntervalModel
from mpiqe.model.checkpoint import CheckpointConfig, load_checkpoint
from mpiqe.option_types import ModelCropMode, Precision, SplitSource
from mpiqe.training.device import about_emulation, accelerator_for
from mpiqe.training.evaluate import Prediction, measure, measure_interval, nearly_constant, predict
from mpiqe.training.reporter import Reporter
from mpiqe.training.run_folder import CONFIG
from mpiqe.view import View

Part = Literal["train", "val", "test", "all"]


@dataclass(frozen=True)
class Evaluated:
    """What to evaluate on. What is ``None`` is as in the checkpoint's own training, if that is known."""

    data: str | None = None
    root: Path | None = None
    labels: Path | None = None
    labels_as_published: bool = False
    image_column: str | None = None
    mos_column: str | None = None
    splits: SplitSource | None = None
    split: int | None = None
    part: Part = "test"


def assess(
    weights: str,
    *,
    on: Evaluated,
    crops: int | None,
    view_side: int | None = None,
    crop_mode: ModelCropMode | None = None,
    backbone: str | None,
    device: str,
    precision: Precision | None = None,
    reporter: Reporter,
) -> tuple[dict[str, float | None], list[Prediction], str]:
    """The figures of ``metrics.report`` for one part of one split, each image's prediction, and what they are of.

    Without ``on.data`` the dataset is the checkpoint's own, with its folders and columns. ``crops``, ``view_side`` (0
    is native) and ``crop_mode`` are the checkpoint's where they are not given, and the split has the number of the one
    that it was trained on. ``precision`` is by default fp32, as in scoring, but of a run folder on its own dataset the
    one that it was tested in, so that the run's test figures come out again: in bf16 scores have three digits, and
    where they differ little, rounding alone changes SRCC.

    RMSE is ``None`` where the scores and the MOS are on different scales; RMSE after the logistic fit is always there.
    For a model with an interval, also its coverage and mean width. The MOS of another dataset than the model's first
    are brought to its scale for that, by mean and deviation of the set's training side (of all images for ``all``).

    Raises ``ConfigError`` where the checkpoint's own dataset is asked for and not known or not there.
    """
    model, config = load_checkpoint(weights, backbone=backbone)
    on = _completed(on, config, weights)
    dataset = read_dataset(
        str(on.data),
        root=on.root,
        labels=on.labels,
        as_published=on.labels_as_published,
        image_column=on.image_column,
        mos_column=on.mos_column,
    )
    for note in dataset.notes:
        reporter.note(f"{dataset.name}: {note}")
    part, splits = on.part, on.splits or "auto"
    title = f"{part} images"
    indices: tuple[int, ...] = tuple(range(len(dataset.records)))
    number = int(config.training.get("split", 1)) if on.split is None else on.split
    if part != "all":
        whose = describe_split(dataset, number, source=splits)
        indices, title = getattr(choose_split(dataset, number, source=splits), part), f"{part} images of split {whose}"
        if part == "test" and config.dataset == dataset.name:
            if config.training.get("train_on_all"):
                reporter.note("careful: the checkpoint was trained with --train-on-all, on test images too")
            elif config.split != whose:
                reporter.note(
                    f"careful: the checkpoint was trained on split {config.split}, perhaps on some of these images"
                )
    records = tuple(dataset.records[index] for index in indices)
    precision = precision or _precision(weights, config, dataset, device, reporter)
    accelerator = accelerator_for(device=device, precision=precision)
    if slow := about_emulation(device=device, precision=precision):
        reporter.note(slow)
    reporter.note(
        f"{dataset.name}: {len(records)} images, checkpoint trained on {config.dataset}, split {config.split}"
    )
    check(Dataset(dataset.name, records, twins=dataset.twins))
    if config.options.tune == "prompts":
        model.clip.fuse()  # as in training, so that the run's figures come out to the last digit
    model.to(accelerator.device)
    predictions = predict(
        model,
        records,
        accelerator=accelerator,
        crops=crops or config.crops,
        crop_mode=crop_mode or config.crop_mode,
        view=config.view if view_side is None else View.of_side(view_side, square=config.view.kind == "square"),
    )
    result = measure(predictions)
    if alike := nearly_constant(predictions, low=config.mos_low, high=config.mos_high):
        reporter.note(alike)
    ours, theirs = scale_of(dataset.name, dataset.low, dataset.high), _scale_of_scores(config)
    comparable = on_one_scale(ours, theirs)
    if not comparable:
        reporter.note(
            f"RMSE is left out: the MOS of {dataset.name} are from {ours.low:g} to {ours.high:g}, the scores are on "
            f"the scale of {config.dataset}, {theirs.low:g} to {theirs.high:g}; RMSE after the logistic fit is given"
        )
        result["rmse"] = None
    if config.interval is None or (crops or config.crops) < config.interval.crops:
        return result, predictions, title
    if dataset.name == config.dataset and comparable:  # two tables may have the same name
        return {**result, **measure_interval(config.interval, predictions)}, predictions, title
    reference = dataset.records
    if part != "all":
        reference = tuple(dataset.records[index] for index in choose_split(dataset, number, source=splits).train)
    if len({record.mos for record in reference}) > 1:
        reporter.note(f"the interval is measured with the MOS of {dataset.name} brought to those of {config.dataset}")
        scaled = _on_scale(predictions, reference, config.interval)
        result = {**result, **measure_interval(config.interval, scaled)}
    return result, predictions, title


def _completed(on: Evaluated, config: CheckpointConfig, weights: str) -> Evaluated:
    """``on`` with what the checkpoint's training says, where the dataset is its own."""
    if on.data is not None:
        return on
    training: Mapping[str, Any] = config.training
    data = training.get("data")
    if not isinstance(data, str):
        raise ConfigError(f"{weights} does not say which dataset it was trained on; give --data, e.g. --data {TABLE}")
    root, labels = on.root or _path(training.get("root")), on.labels or _path(training.get("labels"))
    table = _path(data.partition(":")[2]) if data.startswith("csv:") else None
    for flag, path in (("--data", table), ("--root", root), ("--labels", labels)):
        if path is not None and not path.exists():
            raise ConfigError(
                f"{weights} was trained on {data}, and {path} is not there (seen from {Path.cwd()}); give {flag}"
            )
    return replace(
        on,
        data=data,
        root=root,
        labels=labels,
        labels_as_published=on.labels_as_published or bool(training.get("labels_as_published")),
        image_column=on.image_column or training.get("image_column"),
        mos_column=on.mos_column or training.get("mos_column"),
        splits=on.splits or training.get("splits"),
    )


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _precision(weights: str, config: CheckpointConfig, dataset: Dataset, device: str, reporter: Reporter) -> Precision:
    """Of a run folder, on the dataset that it was trained on, the precision that it was tested in, where the device has
    it; else fp32, as in scoring.
    """
    own, _, _ = str(config.training.get("data_digest")).partition("+")
    if own != dataset.digest or not (Path(weights) / CONFIG).is_file():
        return "fp32"
    precision: Precision = config.training.get("precision", "fp32")
    try:
        accelerator_for(device=device, precision=precision)
    except ConfigError:
        reporter.note(f"the checkpoint was tested in {precision}, which this device does not have: fp32 is taken")
        return "fp32"
    return precision


def _scale_of_scores(config: CheckpointConfig) -> Scale:
    """The scale of the MOS that the model was trained on."""
    return scale_of(config.dataset, config.mos_low, config.mos_high)


def _on_scale(
    predictions: Sequence[Prediction], records: Sequence[Record], interval: IntervalModel
) -> list[Prediction]:
    """The predictions of another set, their MOS brought to the model's scale by the line of ``records``."""
    mean, deviation = target_statistics(records)
    to_mean, to_deviation = interval.mos_mean, interval.mos_deviation
    return [replace(item, mos=(item.mos - mean) / deviation * to_deviation + to_mean) for item in predictions]
