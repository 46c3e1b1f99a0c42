"""A finished checkpoint on a dataset: what ``mpiqe evaluate`` does."""

from pathlib import Path
from typing import Literal

from mpiqe.choices import ModelCropMode, Precision, SplitSource
from mpiqe.data import check, choose_split, describe_split, read_dataset
from mpiqe.data.record import Dataset
from mpiqe.model.checkpoint import load_checkpoint
from mpiqe.training.device import accelerator_for
from mpiqe.training.evaluate import Prediction, measure, predict
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

    Without ``split`` it is the number of the split that the checkpoint was trained on; ``crops``, ``view_side`` (0 is
    native) and ``crop_mode`` are the checkpoint's where they are not given.
    """
    accelerator = accelerator_for(device=device, precision=precision)
    model, config = load_checkpoint(weights, backbone=backbone)
    dataset = read_dataset(data, root=root, labels=labels, as_published=labels_as_published)
    title = f"{part} images"
    indices: tuple[int, ...] = tuple(range(len(dataset.records)))
    if part != "all":
        number = int(config.training.get("split", 1)) if split is None else split
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
    return measure(predictions), predictions, title
