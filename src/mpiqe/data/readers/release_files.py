"""Shared by the readers: find a release and its image files, and make records of the rows of its label file."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mpiqe.data.faults import refuse
from mpiqe.data.label_files import Cells, Line
from mpiqe.data.record import Record
from mpiqe.data.registry import DatasetSpec
from mpiqe.errors import DatasetError


def release_folder(root: Path, name: str, holds: Sequence[str]) -> Path:
    """The folder ``name`` in ``root``, or ``root``, whichever has the folders ``holds``; else ``DatasetError``."""
    for release in (root / name, root):
        if all((release / folder).is_dir() for folder in holds):
            return release
    raise DatasetError(
        f"{root}: no {' and '.join(f'{folder}/' for folder in holds)}; the root is the folder that holds {name}/, or "
        "that folder itself"
    )


class Files:
    """Find the files of a release by name, whatever the case on the disk; copies of CSIQ differ in it."""

    def __init__(self, release: Path) -> None:
        self._release = release
        self._entries: dict[Path, dict[str, str]] = {}

    def path(self, name: str) -> Path:
        """Where ``name`` (with forward slashes) lies; what is not there keeps its spelling."""
        path = self._release
        for part in name.split("/"):
            entries = self._entries_of(path)
            path = path / entries.get(part, entries.get(part.casefold(), part))
        return path

    def _entries_of(self, folder: Path) -> dict[str, str]:
        if folder not in self._entries:
            there = sorted(os.listdir(folder)) if folder.is_dir() else []
            self._entries[folder] = {entry.casefold(): entry for entry in there} | {entry: entry for entry in there}
        return self._entries[folder]


def records_of(
    lines: Sequence[Line], make: Callable[[Cells], Record], *, spec: DatasetSpec, file: Path
) -> tuple[Record, ...]:
    """Make a record of each line of ``file`` with ``make``, in their order.

    Raises one ``DatasetError`` with every line that ``make`` refuses by one, every name that comes twice (whatever
    its case), and a count of lines that is not the release's.
    """
    records: dict[str, Record] = {}
    places: dict[str, str] = {}
    faults: list[str] = []
    for place, cells in lines:
        try:
            record = make(cells)
        except DatasetError as error:
            faults.append(f"{place}: {error}")
            continue
        key = record.name.casefold()
        if key in records:
            faults.append(f"{place}: {record.name} again, after {places[key]}")
        records[key], places[key] = record, place
    if len(lines) != spec.images:
        faults.append(f"{file}: rates {len(lines)} images, the release has {spec.images}; is the copy complete?")
    refuse(f"The labels of {spec.title}", faults)
    return tuple(records.values())


def rating(cell: object, low: float, high: float) -> float:
    """The number in ``cell``; ``DatasetError`` if it is none or outside ``low`` to ``high``: another scale."""
    try:
        number = float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high:
        raise DatasetError(f"{cell!r} is not a number from {low:g} to {high:g}")
    return number


def whole(cell: object, low: int, high: int) -> int:
    """The whole number in ``cell``, which a sheet may hold as 3.0; ``DatasetError`` as for ``rating``."""
    number = rating(cell, low, high)
    if number != int(number):
        raise DatasetError(f"{cell!r} is not a whole number")
    return int(number)
