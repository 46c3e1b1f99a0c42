"""Training, validation and test splits (decision D13), and Table 5's smaller training sets."""

import hashlib
from collections.abc import Iterable, Sequence

from mpiqe.data.faults import refuse
from mpiqe.data.record import Dataset, Record, Split
from mpiqe.errors import ConfigError, DatasetError
from mpiqe.option_types import SplitSource

NUMBERS = 10
_TEST = 0.2  # the paper's 20 %
_VALIDATION = 0.125  # of the training side, as in LIQE's files: 70 : 10 : 20


def choose_split(dataset: Dataset, number: int, *, source: SplitSource = "auto", seed: int = 0) -> Split:
    """Split ``number`` (1 to 10) of a dataset (D13 ``splits``).

    ``auto`` is LIQE's where the dataset has them, else the project's own; ``seed`` matters to the latter only, and it
    is not a run's: with the default every run, evaluation and pretraining means the same images. Raises
    ``ConfigError`` for a number or a source that does not exist.
    """
    if source not in ("auto", "liqe", "own"):
        raise ConfigError(f"no source of splits is called {source!r}; known are auto, liqe, own")
    if source == "liqe" or (source == "auto" and dataset.splits):
        return liqe_split(dataset, number)
    return own_split(dataset, number, seed=seed)


def describe_split(dataset: Dataset, number: int, *, source: SplitSource = "auto") -> str:
    """Return the name of the split that ``choose_split`` gives: "LIQE's 1" or "mpiqe's 1"."""
    liqe = source == "liqe" or (source == "auto" and dataset.splits)
    return f"{'LIQE' if liqe else 'mpiqe'}'s {number}"


def liqe_split(dataset: Dataset, number: int) -> Split:
    """LIQE's public split ``number`` (1 to 10); ``ConfigError`` where the dataset was read without LIQE's labels."""
    _check_number(number)
    if not dataset.splits:
        raise ConfigError(
            f"{dataset.name} was read without LIQE's splits; give --labels, or take the project's own splits"
        )
    return dataset.splits[number - 1]


def own_split(dataset: Dataset, number: int, *, seed: int = 0) -> Split:
    """The project's split ``number`` (1 to 10): 70 % train, 10 % val, 20 % test, the same on every machine.

    It is drawn by the records' names, which are paths as a table writes them: relative ones are the same everywhere.
    Images of one reference stay on one side, and so do the dataset's twins; any other image without a reference is a
    content of its own, and it is contents that are counted. Raises ``DatasetError`` for fewer than three contents.
    """
    _check_number(number)
    first = {twin: name for name, twin in dataset.twins}
    contents = [_content(record, first.get(record.name, record.name)) for record in dataset.records]
    order = shuffled(set(contents), f"{seed}:{number}")
    if len(order) < 3:
        raise DatasetError(
            f"{len(order)} different contents cannot be split into train, val and test; at least 3 are needed"
        )
    test = round(_TEST * len(order))  # 1 of 3 at the least
    val = max(1, round(_VALIDATION * (len(order) - test)))
    side = {
        content: "test" if rank < test else "val" if rank < test + val else "train"
        for rank, content in enumerate(order)
    }
    members: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for index, content in enumerate(contents):
        members[side[content]].append(index)
    split = Split(tuple(members["train"]), tuple(members["val"]), tuple(members["test"]))
    check_split(split, dataset.records)
    return split


def fraction(split: Split, share: float, *, seed: int = 0) -> Split:
    """``split`` with only ``share`` (0 to 1) of its training images, val and test untouched (Table 5).

    Smaller shares of one seed lie within larger ones. Raises ``ConfigError`` for a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ConfigError(f"the fraction of the training images is {share!r}; it must be above 0 and at most 1")
    order = shuffled(map(str, split.train), f"{seed}:fraction")
    kept = order[: max(1, round(share * len(order)))]
    return Split(tuple(sorted(map(int, kept))), split.val, split.test)


def without_val(split: Split) -> Split:
    """``split`` with its val images moved to train: the whole 80 %, for runs that do not pick an epoch (D14)."""
    return Split(tuple(sorted((*split.train, *split.val))), (), split.test)


def shuffled(names: Iterable[str], key: str) -> list[str]:
    """``names`` (unique) in an order that depends on ``key`` and on the names themselves, not on how they came.

    It is the same on every machine, in every process and with every version of every library.
    """
    return sorted(names, key=lambda name: (hashlib.sha256(f"{key}:{name}".encode()).digest(), name))


def check_split(split: Split, records: Sequence[Record]) -> None:
    """Raise one ``DatasetError`` unless every record is on exactly one side and train and test have some."""
    refuse("split", faults_of(split, [record.name for record in records]))


def faults_of(split: Split, names: Sequence[str]) -> list[str]:
    """Find unknown, repeated and missing images and empty sides of a split of the dataset with images ``names``."""
    sides: dict[int, list[str]] = {}
    for side, members in (("train", split.train), ("val", split.val), ("test", split.test)):
        for index in members:
            sides.setdefault(index, []).append(side)
    faults = [f"there are no {side} images" for side in ("train", "test") if not getattr(split, side)]
    for index, found in sorted(sides.items()):
        if not 0 <= index < len(names):
            faults.append(f"index {index} ({found[0]}) is outside the dataset's {len(names)} images")
        elif len(found) > 1:
            faults.append(f"{names[index]} is in {' and in '.join(found)}")
    faults += [f"{name} is on no side" for index, name in enumerate(names) if index not in sides]
    return faults


def _content(record: Record, name: str) -> str:
    return f"image {name}" if record.reference is None else f"reference {record.reference}"


def _check_number(number: int) -> None:
    if not 1 <= number <= NUMBERS:
        raise ConfigError(f"there is no split {number}; splits are numbered 1 to {NUMBERS}")
