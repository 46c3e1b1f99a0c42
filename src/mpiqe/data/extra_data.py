"""Training on several datasets at once (``--extra-data``): each is split, and each has its own MOS scale."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mpiqe.data.record import Dataset, Record
from mpiqe.data.registry import read_dataset, spec_of
from mpiqe.data.splits import choose_split, without_val
from mpiqe.errors import ConfigError, DatasetError
from mpiqe.option_types import SplitSource


@dataclass(frozen=True)
class Side:
    """The training and validation images of one dataset; its test images are in neither, or in ``train``."""

    dataset: Dataset
    train: list[Record]
    val: list[Record]


def read_extra_data(
    specs: Sequence[str],
    *,
    split: int,
    source: SplitSource = "auto",
    train_on_all: bool = False,
    validation: bool = True,
    labels: Path | None = None,
) -> list[Side]:
    """Read and split the datasets of ``--extra-data``: ``csv:FILE``, or a published one as ``NAME=FOLDER``.

    ``labels``: LIQE's label files, of those that have a name. Without ``validation`` their validation images are
    trained on, with ``train_on_all`` their test images too.
    """
    sides = []
    for spec in specs:
        dataset = read_named(spec, labels=labels)
        chosen = choose_split(dataset, split, source=source)
        chosen = chosen if validation else without_val(chosen)
        trained = sorted((*chosen.train, *chosen.test)) if train_on_all else chosen.train
        sides.append(
            Side(dataset, *([dataset.records[index] for index in indices] for indices in (trained, chosen.val)))
        )
    return sides


def read_named(spec: str, *, labels: Path | None = None) -> Dataset:
    """The dataset ``csv:FILE`` or ``NAME=FOLDER``, ``koniq:512x384=/data/koniq`` say.

    Raises ``ConfigError`` for a name without a folder and for one that no dataset has.
    """
    if spec.startswith("csv:"):
        return read_dataset(spec)
    name, equals, folder = spec.partition("=")
    if spec_of(name) is not None and not (equals and folder):
        raise ConfigError(f"extra_data {spec!r} names no folder; give it as {name}=FOLDER")
    return read_dataset(name, root=Path(folder) if folder else None, labels=labels)


def without_folder(spec: str) -> str:
    """``spec`` as ``--data`` has it: ``koniq`` for ``koniq=/data/koniq``, and a table as it is."""
    return spec if spec.startswith("csv:") else spec.partition("=")[0]


def target_statistics(records: Sequence[Record]) -> tuple[float, float]:
    """Return mean and (population) standard deviation of the records' MOS, for D10.

    Raises ``DatasetError`` where all ratings are the same: there is nothing to learn from.
    """
    ratings = [record.mos for record in records]
    mean, deviation = statistics.fmean(ratings), statistics.pstdev(ratings)
    if deviation == 0:
        raise DatasetError(f"all {len(ratings)} training images have the same MOS, {mean}: there is nothing to learn")
    return mean, deviation


def brought_to(
    scale: tuple[float, float], records: Sequence[Record], *, by: Sequence[Record] | None = None
) -> list[Record]:
    """Map the MOS of one dataset's ``records`` linearly to the mean and deviation ``scale`` of another dataset.

    Mean and deviation of this dataset are those of ``by``, if given: validation images take the training images'.
    """
    mean, deviation = target_statistics(records if by is None else by)
    to_mean, to_deviation = scale
    return [replace(r, mos=(r.mos - mean) / deviation * to_deviation + to_mean) for r in records]
