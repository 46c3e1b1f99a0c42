"""Blurred Image Database (BID), in its official layout: ImageDatabase/ and DatabaseGrades.xls."""

from pathlib import Path

from mpiqe.data.label_files import Cells, sheet_lines
from mpiqe.data.readers import liqe
from mpiqe.data.readers.release_files import Files, rating, records_of, release_folder, whole
from mpiqe.data.record import Dataset, Record
from mpiqe.data.registry import DATASETS
from mpiqe.errors import DatasetError

_SPEC = DATASETS["bid"]
_NUMBER, _GRADE = "Image Number", "Average Subjective Grade"


def read_bid(root: Path, labels: Path | None = None) -> Dataset:
    """The 586 images of BID in the order of its sheet; MOS 0 to 5, higher is better.

    The paper says 585 images; the release and LIQE's files have 586, numbered 1 to 590 without 2, 346, 413 and 439.
    ``root`` is the folder that holds ImageDatabase/, or the one that holds it as BID/. Grades come from
    DatabaseGrades.xls, or from another Excel file if it is the only one beside ImageDatabase/. ``labels`` is the folder
    that holds LIQE's IQA_Database: with it come scenes, distortions and LIQE's ten splits, without it none of them.
    Raises ``DatasetError`` for another layout, another count, or labels that disagree with the release.
    """
    release = release_folder(root, _SPEC.folder, ["ImageDatabase"])
    files = Files(release)

    def make(cells: Cells) -> Record:
        name = f"ImageDatabase/DatabaseImage{whole(cells[_NUMBER], 1, 9999):04d}.JPG"
        mos = rating(cells[_GRADE], 0, 5)
        return Record(files.path(name), name, mos, label=mos)

    file = _grades(release)
    records = records_of(sheet_lines(file, (_NUMBER, _GRADE)), make, spec=_SPEC, file=file)
    dataset = Dataset("bid", records)
    return dataset if labels is None else liqe.attach(dataset, labels, _SPEC.folder, "bid")


def _grades(release: Path) -> Path:
    sheets = (file for file in release.iterdir() if file.suffix.lower() in (".xls", ".xlsx"))
    there = sorted(file for file in sheets if not file.name.startswith("~$"))  # those an open Excel leaves
    official = [file for file in there if file.name.lower() == "databasegrades.xls"]
    if len(official or there) != 1:
        raise DatasetError(
            f"{release}: {', '.join(file.name for file in there) or 'no Excel file'} beside ImageDatabase/, where the "
            "release has DatabaseGrades.xls"
        )
    return (official or there)[0]
