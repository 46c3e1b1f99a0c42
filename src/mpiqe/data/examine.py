"""Read as much of a faulty dataset as possible, so that ``mpiqe data check`` can report all faults in one run."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from mpiqe.data.faults import FaultsError
from mpiqe.data.record import Dataset
from mpiqe.data.registry import read_dataset
from mpiqe.errors import DatasetError


@dataclass(frozen=True)
class Reading:
    """The result of reading a dataset."""

    dataset: Dataset | None
    """``None`` where it could not be read at all; without labels and splits where only LIQE's files have faults."""
    faults: tuple[str, ...] = ()
    """Of label files, one line each."""
    lost: str | None = None
    """One sentence about what was not read or not checked because of these faults."""


def read_leniently(
    data: str,
    *,
    root: Path | None,
    labels: Path | None,
    as_published: bool = False,
    image_column: str | None = None,
    mos_column: str | None = None,
) -> Reading:
    """``read_dataset``, with what it refuses as a list; where ``labels`` have faults it reads again without them.

    Raises ``ConfigError`` as ``read_dataset`` does: there is no dataset of that name, or a folder is not given.
    """
    try:
        return Reading(
            read_dataset(
                data,
                root=root,
                labels=labels,
                as_published=as_published,
                image_column=image_column,
                mos_column=mos_column,
            )
        )
    except DatasetError as error:
        heading, faults = _taken_apart(error)
    if data.startswith("csv:"):  # its reader checks the images of a faulty table itself
        return Reading(
            None, faults, f"{heading}: the table could not be used, only faults of its rows and images are listed"
        )
    if labels is not None:
        with contextlib.suppress(DatasetError):  # readers begin with the release, so its faults are those already told
            without = read_dataset(data, root=root)
            return Reading(without, faults, f"{heading}: LIQE's labels and splits were left out of what follows")
    return Reading(None, faults, f"{heading}: the images were not checked")


def _taken_apart(error: DatasetError) -> tuple[str, tuple[str, ...]]:
    """What the faults are of, and the faults."""
    if isinstance(error, FaultsError):
        return error.heading, error.faults
    return "The dataset could not be read", (str(error),)
