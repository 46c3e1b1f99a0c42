"""A table of the user's own: one row an image, with its path, its MOS and, if there are any, labels.

Tables come from spreadsheets, pandas, Hugging Face's ``metadata.csv`` and the datasets' own releases, so the delimiter
is found by itself, the usual names of the two required columns are known, and other columns are passed over.
"""

import csv
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mpiqe import labels
from mpiqe.data.faults import FaultsError, refuse
from mpiqe.data.inspection import image_faults
from mpiqe.data.record import Dataset, Record
from mpiqe.errors import DatasetError

_COLUMNS = ("image", "mos", "scene", "distortion", "reference")
_DELIMITERS = (",", ";", "\t", "|")
_LONGEST_HEADER = 1 << 20
# Other names of the required columns, in lower case without spaces, hyphens and underscores.
_OTHER_NAMES = {
    "image": (
        *("images", "imagename", "imagepath", "imagefile", "imgname", "imgpath", "img"),
        *("file", "filename", "filepath", "path", "name"),
    ),
    "mos": (
        *("meanopinionscore", "qualitymos", "score", "meanscore", "averagescore", "qualityscore"),
        *("rating", "meanrating", "averagerating", "quality"),
    ),
}


class _Header(NamedTuple):
    """How to read a row."""

    delimiter: str
    cells: list[str]
    places: dict[str, int]
    """The index of each of ``_COLUMNS`` that is there."""


def read_csv(
    file: Path, *, root: Path | None = None, image_column: str | None = None, mos_column: str | None = None
) -> Dataset:
    """The rows of ``file`` in their order; the dataset is called by the file's name without its suffix.

    The first line names the columns, in any order: ``image`` and ``mos``, or other usual names of theirs
    (``filename,MOS``), or ``image_column`` and ``mos_column``; optionally ``scene``, ``distortion`` and ``reference``.
    Other columns are not used. The delimiter is the comma, semicolon, tab or vertical bar that separates these names;
    but with a comma, numbers may have a decimal comma.

    Image paths are absolute or relative to ``root``, by default the table's folder; MOS are finite, in any unit, higher
    is better; several scenes are separated by ``|``; an empty scene, distortion or reference means not labelled. UTF-8,
    with or without a byte-order mark, any line ends. Raises one ``DatasetError`` with all faults and their line
    numbers. Images are decoded by ``mpiqe.data.check``; where the table itself has faults, theirs come with them.
    """
    folder = file.parent if root is None else root
    records: list[Record] = []
    faults: list[str] = []
    lines: dict[str, int] = {}
    header, rows = _read(file, {"image": image_column, "mos": mos_column})
    for line, row in rows:
        if isinstance(row, str):
            faults.append(f"{file}:{line}: {row}")
            continue
        record, wrong = _record(row, folder, decimal_comma=header.delimiter != ",")
        if record.name and record.name in lines:
            wrong.append(f"{record.name} again, after line {lines[record.name]}")
        elif record.name and not os.path.isfile(record.image):
            hint = "paths are relative to the table's folder, or to --root" if root is None else "that is --root"
            hint = "write / between folders, not \\" if os.sep == "/" and "\\" in row["image"] else hint
            wrong.append(f"no image {row['image']!r} under {folder}; {hint}")
        lines.setdefault(record.name, line)
        faults += [f"{file}:{line}: {fault}" for fault in wrong]
        records.append(record)
    if not records and not faults:
        faults.append(f"{file}: a header but no rows")
    if faults:  # then the faults of the files themselves belong into the same message
        there = {record.name: record for record in records if os.path.isfile(record.image)}
        faults += image_faults(list(there.values()))
    refuse(str(file), faults)
    return Dataset(file.stem, tuple(records), notes=_notes(header))


def _read(file: Path, chosen: dict[str, str | None]) -> tuple[_Header, Iterator[tuple[int, dict[str, str] | str]]]:
    """The header, and each row's first line number with its cells by ``_COLUMNS``, or with why it is no row."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            first = lines.readline(_LONGEST_HEADER)
    except OSError as error:
        raise DatasetError(f"{file}: {error.strerror}; csv:FILE takes the path of a CSV file") from error
    except UnicodeDecodeError as error:
        raise _not_utf8(file, error) from error
    header = _header(first, chosen, file)
    return header, _rows(file, header)


def _rows(file: Path, header: _Header) -> Iterator[tuple[int, dict[str, str] | str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, strict=True, delimiter=header.delimiter)
            next(reader)
            line = reader.line_num + 1
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    if len(cells) == len(header.cells):
                        yield line, {column: cells[place].strip() for column, place in header.places.items()}
                    else:
                        yield line, f"{len(cells)} cells where the header has {len(header.cells)}"
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise _not_utf8(file, error) from error
    except csv.Error as error:
        raise DatasetError(
            f"{file}:{reader.line_num}: {error}; quotes must be closed and doubled within a cell"
        ) from error


def _not_utf8(file: Path, error: UnicodeDecodeError) -> DatasetError:
    return DatasetError(f"{file}: is not UTF-8 ({error}); save it as UTF-8")


def _header(line: str, chosen: dict[str, str | None], file: Path) -> _Header:
    """The first line by the delimiter that lets it name the required columns."""
    tried = []
    for delimiter in _DELIMITERS:
        try:
            cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
        except csv.Error as error:
            raise DatasetError(f"{file}:1: {error}; is it a CSV file with a line that names the columns?") from error
        places, faults = _places(cells, chosen)
        if not faults:
            return _Header(delimiter, cells, places)
        tried.append((len(cells), faults))
    _, faults = max(tried, key=lambda each: each[0])
    faults.append(
        f"the first line names the columns: {','.join(_COLUMNS)}, of which the first two are required and may have "
        "other names: --image-column NAME, --mos-column NAME"
    )
    raise FaultsError(f"{file}:1", faults)


def _places(cells: Sequence[str], chosen: dict[str, str | None]) -> tuple[dict[str, int], list[str]]:
    """Where each column is, and what keeps the header from being one."""
    plain = [re.sub(r"[\s_-]+", "", cell.casefold()) for cell in cells]
    places: dict[str, int] = {}
    faults: list[str] = []
    for column in _COLUMNS:
        name = chosen.get(column)
        if name is not None:
            found = [place for place, cell in enumerate(cells) if cell == name.strip()]
            if not found:
                faults.append(f"no column {name!r} but {_listed(cells)}")
        else:
            found = [place for place, cell in enumerate(plain) if cell == column]
            found = found or [place for place, cell in enumerate(plain) if cell in _OTHER_NAMES.get(column, ())]
            if not found and column in _OTHER_NAMES:
                faults.append(f"no column {column!r} but {_listed(cells)}")
                if column == "mos" and "dmos" in plain:
                    faults.append(
                        "DMOS is not taken for MOS, since lower is better in most: name it with --mos-column if higher "
                        "is better there, else write a column mos with the highest DMOS minus each"
                    )
        if len({cells[place] for place in found}) > 1:
            named = " and ".join(repr(cells[place]) for place in found)
            what = f"choose with --{column}-column NAME" if column in _OTHER_NAMES else "rename all but one"
            faults.append(f"{named} could each be the column {column!r}; {what}")
        elif len(found) > 1:
            faults.append(f"column {cells[found[0]]!r} more than once")
        elif found:
            places[column] = found[0]
    if "image" in places and places["image"] == places.get("mos"):
        faults.append(f"column {cells[places['image']]!r} cannot be both image and mos")
    return places, faults


def _listed(cells: Sequence[str]) -> str:
    return ", ".join(map(repr, cells)) or "an empty line"


def _notes(header: _Header) -> tuple[str, ...]:
    """How the columns were understood, where they are not simply those of ``_COLUMNS``."""
    unused = [cell or "(no name)" for place, cell in enumerate(header.cells) if place not in header.places.values()]
    renamed = [
        f"{column} is {header.cells[place]!r}"
        for column, place in header.places.items()
        if header.cells[place] != column
    ]
    notes = [f"columns: {', '.join(renamed)}"] if renamed else []
    return (*notes, *([f"columns that are not used: {', '.join(unused)}"] if unused else []))


def _record(row: dict[str, str], folder: Path, *, decimal_comma: bool) -> tuple[Record, list[str]]:
    """The record of one row as far as it can be read, and what is wrong with the row."""
    faults: list[str] = []
    if not row["image"]:
        faults.append("no image path")
    name = _name(row["image"], folder)
    mos = math.nan
    try:
        text = row["mos"].replace("_", "?")  # Python alone takes 3_5 for 35
        mos = float(text.replace(",", ".") if decimal_comma else text)
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
