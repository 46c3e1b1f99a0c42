"""LIQE's published files beside what a reader made of them: labels by image, and the ten splits.

A row is a line of such a file: name, score, distortion and up to three scenes, in LIQE's words.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.data.release_folders import liqe_rows

from mpiqe.data import Dataset, Record

AUTHENTIC = {  # LIQE's words in the files of BID, KonIQ-10k and LIVE Challenge, and the paper's classes
    "other realistic": "others",
    "overexposure": "over-exposure",
    "realistic blur": "blur",
    "realistic contrast change": "contrast",
    "realistic noise": "noise",
    "underexposure": "under-exposure",
}
SCENES = {"still_life": "still-life", "night": "night scene", "indoor": "indoor scene"}
SIDES = ("train", "val", "test")


def rows_of_split(splits2: Path, stem: str, number: int) -> list[list[str]]:
    """All rows of one split; together its sides are the dataset."""
    return [row for side in SIDES for row in liqe_rows(splits2 / str(number) / f"{stem}_{side}_clip.txt")]


def assert_labels_are_liqes(
    records: Iterable[Record], rows: Iterable[Sequence[str]], classes: Mapping[str, str]
) -> None:
    """Distortion and scenes of each row's image; ``classes`` has the paper's class of each of LIQE's words."""
    by_name = {record.name: record for record in records}
    for name, _, distortion, *scenes in rows:
        record = by_name[name]
        assert record.distortion == classes[distortion], name
        assert list(record.scenes) == [SCENES.get(scene, scene) for scene in scenes if scene != "invalid"], name


def assert_splits_are_liqes(dataset: Dataset, splits2: Path, stem: str, *, references: int | None = None) -> None:
    """All ten, image by image; with ``references`` no reference is on two sides, and so many there are."""
    assert len(dataset.splits) == 10
    for number, split in enumerate(dataset.splits, start=1):
        assert sorted((*split.train, *split.val, *split.test)) == list(range(len(dataset.records)))
        on_sides = []
        for side in SIDES:
            members = [dataset.records[index] for index in getattr(split, side)]
            rows = liqe_rows(splits2 / str(number) / f"{stem}_{side}_clip.txt")
            assert {record.name for record in members} == {row[0] for row in rows}, (number, side)
            on_sides.append({record.reference for record in members})
        if references is not None:
            assert len(set.union(*on_sides)) == sum(map(len, on_sides)) == references, number
