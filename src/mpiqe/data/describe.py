"""Statistics of a dataset: counts beside the release's, MOS, labels, splits. Images are not opened."""

import math
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from mpiqe.data.record import Dataset, Record
from mpiqe.data.registry import DatasetSpec
from mpiqe.data.splits import NUMBERS, choose_split
from mpiqe.errors import DatasetError


@dataclass(frozen=True)
class Count:
    """How many there are, and how many the release has; ``None`` where that is not known."""

    found: int
    released: int | None


def decimals(low: float, high: float) -> int:
    """Digits to print after the point: so many that a hundredth of the range shows, and one at least."""
    return max(1, 2 - math.floor(math.log10((high - low) or 1)))


@dataclass(frozen=True)
class Ratings:
    """The MOS as it was read: in the dataset's own units, higher is better. The deviation is the population's."""

    low: float
    high: float
    mean: float
    median: float
    deviation: float

    @property
    def decimals(self) -> int:
        """How many to print."""
        return decimals(self.low, self.high)


@dataclass(frozen=True)
class Group:
    """The images of one class."""

    images: int
    mean_mos: float


@dataclass(frozen=True)
class Coverage:
    """How many images have one kind of label."""

    classes: Mapping[str, Group]
    """The most frequent first, without classes that no image has. An image may have several scenes."""
    labelled: int
    """Images with at least one label of this kind."""
    unlabelled: int
    """Images with none."""

    @property
    def several(self) -> bool:
        """Whether some image has more than one."""
        return sum(group.images for group in self.classes.values()) > self.labelled


@dataclass(frozen=True)
class Splits:
    """The ten splits: LIQE's or mpiqe's own, and the fewest and the most images of each side."""

    whose: str
    train: tuple[int, int]
    val: tuple[int, int]
    test: tuple[int, int]


@dataclass(frozen=True)
class Description:
    """The figures of one dataset; ``dataclasses.asdict`` makes JSON of them."""

    name: str
    title: str
    """As papers write it; of a user's own set its name."""
    scale: str | None
    """Scale and direction of the label as it was released; ``None`` for a user's own set."""
    rated: int
    """Images that the label files rate."""
    images: Count
    """Of those rated the ones whose file is there, beside what the release has."""
    parts: Mapping[str, Count]
    """The same by the folder or the kind of distortion that the release is divided into."""
    references: Count
    mos: Ratings
    scenes: Coverage
    distortions: Coverage
    splits: Splits | None
    """``None`` for fewer than three different contents, which cannot be split."""


def describe(dataset: Dataset, spec: DatasetSpec | None) -> Description:
    """Count what ``dataset`` holds; ``spec`` is its row in the registry, ``None`` for a table.

    Raises ``DatasetError`` for a dataset without images.
    """
    records = dataset.records
    if not records:
        raise DatasetError(f"{dataset.name}: no images to describe; is the label file empty?")
    there = [record for record in records if os.path.isfile(record.image)]
    return Description(
        name=dataset.name,
        title=dataset.name if spec is None else spec.title,
        scale=None if spec is None else spec.label,
        rated=len(records),
        images=Count(len(there), None if spec is None else spec.images),
        parts={} if spec is None else _parts(records, there, spec.parts),
        references=Count(
            len({record.reference for record in records} - {None}), None if spec is None else spec.references
        ),
        mos=_ratings([record.mos for record in records]),
        scenes=_coverage(records, lambda record: record.scenes),
        distortions=_coverage(records, lambda record: (record.distortion,) if record.distortion else ()),
        splits=_splits(dataset),
    )


def _parts(records: Sequence[Record], there: Sequence[Record], released: Mapping[str, int]) -> dict[str, Count]:
    if _part(records[0].name, released) is None:  # the release's other size has another folder
        return {}
    found = Counter(_part(record.name, released) for record in there)
    return {part: Count(found[part], number) for part, number in released.items()}


def _part(name: str, parts: Iterable[str]) -> str | None:
    """The part that an image's name puts it in: a folder of its path, or as in I01_04_05.png the word after ``_``."""
    path = PurePosixPath(name)
    words = {*path.parts[:-1], *path.stem.split("_")[1:2]}
    return next((part for part in parts if part in words), None)


def _ratings(mos: Sequence[float]) -> Ratings:
    return Ratings(min(mos), max(mos), statistics.fmean(mos), statistics.median(mos), statistics.pstdev(mos))


def _coverage(records: Sequence[Record], labels: Callable[[Record], Sequence[str]]) -> Coverage:
    ratings: dict[str, list[float]] = {}
    for record in records:
        for label in labels(record):
            ratings.setdefault(label, []).append(record.mos)
    order = sorted(ratings, key=lambda label: (-len(ratings[label]), label))
    labelled = sum(bool(labels(record)) for record in records)
    classes = {label: Group(len(ratings[label]), statistics.fmean(ratings[label])) for label in order}
    return Coverage(classes, labelled, len(records) - labelled)


def _splits(dataset: Dataset) -> Splits | None:
    try:
        ten = [choose_split(dataset, number) for number in range(1, NUMBERS + 1)]
    except DatasetError:
        return None
    sizes = [[len(side) for side in (split.train, split.val, split.test)] for split in ten]
    train, val, test = ((min(of_side), max(of_side)) for of_side in zip(*sizes, strict=True))
    return Splits("LIQE" if dataset.splits else "mpiqe", train, val, test)
