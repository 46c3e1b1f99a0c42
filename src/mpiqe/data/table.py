"""A dataset of the user's own: a CSV with the columns image,mos[,scene,distortion,reference]."""

import csv
import math
import os
from collections.abc import Iterator
from pathlib import Path

from mpiqe import labels
from mpiqe.data.check import image_faults
from mpiqe.data.faults import refuse
from mpiqe.data.record import Dataset, Record
from mpiqe.errors import DatasetError

_REQUIRED = ("image", "mos")
_COLUMNS = (*_REQUIRED, "scene", "distortion", "reference")


def read_csv(file: Path) -> Dataset:
    """The rows of ``file`` in their order; the dataset is called by the file's name without its suffix.

    Image paths are absolute or relative to the CSV's folder; ``mos`` is finite, in any unit, higher is better; several
    scenes are separated by ``|``; an empty scene, distortion or reference means not labelled. UTF-8, with or without
    a byte-order mark, any line ends, columns in any order. Raises one ``DatasetError`` with all faults and their line
    numbers. Images are decoded by ``mpiqe.data.check``; where the table itself has faults, theirs come with them.
    """
    records: list[Record] = []
    faults: list[str] = []
    lines: dict[str, int] = {}
    for line, row in _rows(file):
        if isinstance(row, str):
            faults.append(f"{file}:{line}: {row}")
            continue
        record, wrong = _record(row, file.parent)
        if record.name and record.name in lines:
            wrong.append(f"{record.name} again, after line {lines[record.name]}")
        elif record.name and not record.image.is_file():
            wrong.append(f"no image {row['image']!r} under {file.parent}; paths are relative to the CSV's folder")
        lines.setdefault(record.name, line)
        faults += [f"{file}:{line}: {fault}" for fault in wrong]
        records.append(record)
    if not records and not faults:
        faults.append(f"{file}: a header but no rows")
    if faults:  # then the faults of the files themselves belong into the same message
        there = {record.name: record for record in records if record.image.is_file()}
        faults += image_faults(list(there.values()))
    refuse(str(file), faults)
    return Dataset(file.stem, tuple(records))


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Each row's first line number with its stripped cells by column, or with what keeps it from being a row."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            _check_header(header, file)
            line = reader.line_num + 1
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    if len(cells) == len(header):
                        yield line, dict(zip(header, (cell.strip() for cell in cells), strict=True))
                    else:
                        yield line, f"{len(cells)} cells where the header has {len(header)}"
                line = reader.line_num + 1
    except OSError as error:
        raise DatasetError(f"{file}: {error.strerror}; csv:FILE takes the path of a CSV file") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file}: is not UTF-8 ({error}); save it as UTF-8") from error
    except csv.Error as error:
        raise DatasetError(
            f"{file}:{reader.line_num}: {error}; quotes must be closed and doubled within a cell"
        ) from error


def _check_header(header: list[str], file: Path) -> None:
    faults = [f"no column {column!r}" for column in _REQUIRED if column not in header]
    faults += [f"unknown column {column!r}" for column in header if column not in _COLUMNS]
    faults += [f"column {column!r} more than once" for column in _COLUMNS if header.count(column) > 1]
    if faults:
        faults.append(f"columns are {','.join(_COLUMNS)}, separated by commas; the first two are required")
    refuse(f"{file}:1", faults)


def _record(row: dict[str, str], folder: Path) -> tuple[Record, list[str]]:
    """The record of one row as far as it can be read, and what is wrong with the row."""
    faults: list[str] = []
    if not row["image"]:
        faults.append("no image path")
    name = _name(row["image"], folder)
    mos = math.nan
    try:
        mos = float(row["mos"])
    except ValueError:
        faults.append(f"mos {row['mos']!r} is not a number")
    else:
        if not math.isfinite(mos):
            faults.append(f"mos {row['mos']!r} is not finite")
    scenes: list[str] = []
    for word in filter(None, (part.strip() for part in row.get("scene", "").split("|"))):
        try:
            scenes.append(labels.scene(word))
        except DatasetError as error:
            faults.append(str(error))
    distortion = None
    if row.get("distortion"):
        try:
            distortion = labels.distortion(row["distortion"])
        except DatasetError as error:
            faults.append(str(error))
    if len(set(scenes)) < len(scenes):
        faults.append(f"scene {row['scene']!r} names a scene twice")
    return Record(folder / name, name, mos, tuple(scenes), distortion, row.get("reference") or None), faults


def _name(cell: str, folder: Path) -> str:
    """One spelling per file, the same wherever ``folder`` lies, unless the cell is an absolute path out of it."""
    if not cell:
        return ""
    home = os.path.abspath(folder)
    path = os.path.normpath(os.path.join(home, cell))
    if os.path.isabs(cell) and not Path(path).is_relative_to(home):
        return Path(path).as_posix()
    return Path(os.path.relpath(path, home)).as_posix()
