"""LIQE's label and split files: tab-separated, no header; path, score, distortion, scene, scene, scene.

They lie in ``IQA_Database/DATASET/splits2``: ``STEM_all_clip.txt`` (not for BID and KADID-10k) and
``{1..10}/STEM_{train,val,test}_clip.txt``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from mpiqe import labels
from mpiqe.data.faults import refuse
from mpiqe.data.record import Dataset, Record, Split
from mpiqe.data.splits import faults_of
from mpiqe.errors import DatasetError

SPLITS = 10
_SIDES = ("train", "val", "test")
_COLUMNS = 6
_UNUSED = "invalid"


@dataclass(frozen=True)
class Row:
    """What LIQE says of one image; ``place`` is the file and line that say it."""

    name: str
    score: float
    distortion: str
    scenes: tuple[str, ...]
    place: str


@dataclass(frozen=True)
class Published:
    """All that LIQE's files say of one dataset."""

    rows: Mapping[str, Row]
    """Of every image by its name, as the ``all`` file has them or else the three sides of split 1."""
    source: Path
    """That file, or split 1's folder."""
    sides: Mapping[Path, tuple[Mapping[str, Row], ...]]
    """By the folder of each of the ten splits its train, val and test rows."""


def attach(
    dataset: Dataset, root: Path, name: str, stem: str, *, tolerance: float = 1e-4, as_published: bool = False
) -> Dataset:
    """``dataset`` with LIQE's scenes, distortions and ten splits; ``root``, ``name`` and ``stem`` are ``folder``'s.

    A distortion that the records have of their file names stays, unless ``as_published``. Names are matched whatever
    their case; the default ``tolerance`` allows for scores that are rounded. Raises ``DatasetError`` with all that is
    wrong within the files; if nothing is, with all images without a row, rows without an image and scores further than
    ``tolerance`` from a record's MOS; if there are none, with all faults of the splits.
    """
    published = read(folder(root, name, stem), stem)
    rows = {row.name.casefold(): row for row in published.rows.values()}
    known = {record.name.casefold() for record in dataset.records}
    faults = [f"{row.place}: {row.name} is not in the release" for key, row in rows.items() if key not in known]
    records: list[Record] = []
    for record in dataset.records:
        row = rows.get(record.name.casefold())
        if row is None:
            faults.append(f"{published.source}: no row for {record.name}")
        elif abs(row.score - record.mos) > tolerance:
            faults.append(f"{row.place}: {record.name} scores {row.score:g}, the release says {record.mos:g}")
        else:
            own = None if as_published else record.distortion
            records.append(replace(record, scenes=row.scenes, distortion=own or row.distortion))
    refuse(f"LIQE's labels do not fit {dataset.name}", faults)
    return replace(
        dataset, records=tuple(records), splits=splits_of(published, [record.name for record in dataset.records])
    )


def folder(root: Path, name: str, stem: str) -> Path:
    """The ``splits2`` folder of the dataset that LIQE's folders call ``name`` and its files ``stem``.

    ``root`` is the folder that holds IQA_Database, IQA_Database itself, or the dataset's folder within it. Raises
    ``DatasetError`` if there are no labels for this dataset under it.
    """
    for parent in (root / "IQA_Database" / name, root / name, root):
        splits2 = parent / "splits2"
        if any((splits2 / file).is_file() for file in (f"{stem}_all_clip.txt", f"1/{stem}_train_clip.txt")):
            return splits2
    raise DatasetError(
        f"{root}: no {name}/splits2/ with {stem}_*_clip.txt; the labels folder is the one that holds IQA_Database/"
    )


def read(splits2: Path, stem: str) -> Published:
    """The files of one dataset, each read once. All their faults come in one ``DatasetError``."""
    faults: list[str] = []
    sides = {
        splits2 / str(number): tuple(
            _rows(splits2 / str(number) / f"{stem}_{side}_clip.txt", faults) for side in _SIDES
        )
        for number in range(1, SPLITS + 1)
    }
    source = splits2 / f"{stem}_all_clip.txt"
    if source.is_file():
        rows = _rows(source, faults)
    else:
        source = splits2 / "1"
        rows = {name: row for side in sides[source] for name, row in side.items()}
    refuse(f"LIQE's label files in {splits2}", faults)
    return Published(rows, source, sides)


def read_rows(file: Path) -> dict[str, Row]:
    """The rows of one label file by image name, in the file's order. All its faults come in one ``DatasetError``."""
    faults: list[str] = []
    rows = _rows(file, faults)
    refuse(f"LIQE's label file {file.name}", faults)
    return rows


def splits_of(published: Published, names: Sequence[str]) -> tuple[Split, ...]:
    """LIQE's ten splits as indices into ``names``.

    Raises ``DatasetError`` for a split that misses an image, has one twice or on two sides, or says otherwise of it
    than ``published.rows``.
    """
    index = {name.casefold(): position for position, name in enumerate(names)}
    splits: list[Split] = []
    faults: list[str] = []
    for home, sides in published.sides.items():
        members: list[tuple[int, ...]] = []
        for side in sides:
            found = {name: index.get(name.casefold()) for name in side}
            faults += [f"{side[name].place}: {name} is not in the dataset" for name, at in found.items() if at is None]
            faults += [
                f"{side[name].place}: {name} {fault}"
                for name, at in found.items()
                if at is not None and (fault := _difference(side[name], published.rows.get(name)))
            ]
            members.append(tuple(sorted(at for at in found.values() if at is not None)))
        split = Split(*members)
        faults += [f"{home}: {fault}" for fault in faults_of(split, names)]
        splits.append(split)
    refuse("LIQE's splits", faults)
    return tuple(splits)


def _difference(row: Row, other: Row | None) -> str | None:
    if other is None:
        return "is spelt otherwise elsewhere"
    if row.score != other.score:
        return f"scores {row.score:g} here, {other.score:g} in {other.place}"
    if (row.distortion, row.scenes) != (other.distortion, other.scenes):
        return f"is {_words(row)} here, {_words(other)} in {other.place}"
    return None


def _words(row: Row) -> str:
    return f"{row.distortion}, {'|'.join(row.scenes)}"


def _rows(file: Path, faults: list[str]) -> dict[str, Row]:
    """The rows of one file by name; what is wrong with it is added to ``faults``."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{file}: cannot be read ({error}); is the copy of LIQE's labels complete?")
        return {}
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, start=1):
        place = f"{file}:{number}"
        try:
            row = _row(line, place)
        except DatasetError as error:
            faults.append(f"{place}: {error}")
            continue
        if row.name in rows:
            faults.append(f"{place}: {row.name} again, after {rows[row.name].place}")
        rows[row.name] = row
    return rows


def _row(line: str, place: str) -> Row:
    cells = line.split("\t")
    if len(cells) != _COLUMNS:
        raise DatasetError(f"{len(cells)} tab-separated columns where LIQE's files have {_COLUMNS}")
    name, score, distortion, *scenes = (cell.strip() for cell in cells)
    try:
        number = float(score)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DatasetError(f"the score {score!r} is not a finite number")
    named = tuple(_scene(scene) for scene in scenes if scene != _UNUSED)
    return Row(name, number, _distortion(distortion), named, place)


# 40 words come 100,000 times
_scene = cache(labels.scene)
_distortion = cache(labels.distortion)
