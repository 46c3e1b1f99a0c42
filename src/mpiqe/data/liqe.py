"""LIQE's label and split files: tab-separated, no header; path, score, distortion, scene, scene, scene.

They lie in ``IQA_Database/DATASET/splits2``: ``STEM_all_clip.txt`` and ``{1..10}/STEM_{train,val,test}_clip.txt``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mpiqe import labels
from mpiqe.data.faults import refuse
from mpiqe.data.record import Split
from mpiqe.data.splits import faults_of
from mpiqe.errors import DatasetError

SPLITS = 10
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


def folder(root: Path, dataset: str, stem: str) -> Path:
    """The ``splits2`` folder of one dataset.

    ``root`` is the folder that holds IQA_Database, IQA_Database itself, or the dataset's folder within it. Raises
    ``DatasetError`` if there are no labels for this dataset under it.
    """
    for parent in (root / "IQA_Database" / dataset, root / dataset, root):
        if (parent / "splits2" / f"{stem}_all_clip.txt").is_file():
            return parent / "splits2"
    raise DatasetError(
        f"{root}: no {dataset}/splits2/{stem}_all_clip.txt; the labels folder is the one that holds IQA_Database/"
    )


def read_rows(file: Path) -> dict[str, Row]:
    """The rows of one label file by image name, in the file's order. All its faults come in one ``DatasetError``."""
    rows: dict[str, Row] = {}
    faults: list[str] = []
    for number, line in enumerate(_text(file).splitlines(), start=1):
        place = f"{file}:{number}"
        try:
            row = _row(line, place)
        except DatasetError as error:
            faults.append(f"{place}: {error}")
            continue
        if row.name in rows:
            faults.append(f"{place}: {row.name} again, after {rows[row.name].place}")
        rows[row.name] = row
    refuse(f"LIQE's label file {file.name}", faults)
    return rows


def read_splits(splits2: Path, stem: str, rows: Mapping[str, Row], names: Sequence[str]) -> tuple[Split, ...]:
    """LIQE's ten splits as indices into ``names``.

    Raises ``DatasetError`` for a split that misses an image, has one twice or on two sides, or scores it otherwise
    than ``rows`` (of the ``all`` file) does.
    """
    index = {name: position for position, name in enumerate(names)}
    splits: list[Split] = []
    faults: list[str] = []
    for number in range(1, SPLITS + 1):
        sides: list[tuple[int, ...]] = []
        for side in ("train", "val", "test"):
            members = read_rows(splits2 / str(number) / f"{stem}_{side}_clip.txt")
            for name, row in members.items():
                if name not in index:
                    faults.append(f"{row.place}: {name} is not in the dataset")
                elif row.score != rows[name].score:
                    faults.append(
                        f"{row.place}: {name} scores {row.score:g} here, {rows[name].score:g} in {rows[name].place}"
                    )
            sides.append(tuple(sorted(index[name] for name in members if name in index)))
        split = Split(*sides)
        faults += [f"{splits2 / str(number)}: {fault}" for fault in faults_of(split, names)]
        splits.append(split)
    refuse("LIQE's splits", faults)
    return tuple(splits)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: cannot be read ({error}); is the copy of LIQE's labels complete?") from error


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
    named = tuple(labels.scene(scene) for scene in scenes if scene != _UNUSED)
    return Row(name, number, labels.distortion(distortion), named, place)
