"""KADID-10k, in its official layout: images/ and dmos.csv."""

import re
from collections.abc import Mapping
from pathlib import Path

from mpiqe.data.label_files import Cells, csv_lines
from mpiqe.data.readers import liqe
from mpiqe.data.readers.release_files import Files, rating, records_of, release_folder
from mpiqe.data.record import Dataset, Record
from mpiqe.data.registry import DATASETS
from mpiqe.errors import DatasetError

_SPEC = DATASETS["kadid"]
_NAME = re.compile(r"(I\d\d)_(\d\d)_0([1-5])\.png")  # reference, code of the distortion, level


def read_kadid(root: Path, labels: Path | None = None) -> Dataset:
    """The 10,125 images of KADID-10k in the order of dmos.csv; MOS 1 to 5, higher is better.

    That is what the column ``dmos`` holds: nothing is turned. ``root`` is kadid10k/ or the folder that holds it.
    Distortions are the file names' codes, by LIQE's mapping. ``labels`` is the folder that holds LIQE's IQA_Database:
    with it come scenes and LIQE's ten splits. Raises ``DatasetError`` for another layout, another count, or labels that
    disagree with the release.
    """
    release = release_folder(root, _SPEC.folder, ["images"])
    files, classes = Files(release), distortions()

    def make(cells: Cells) -> Record:
        image, reference = str(cells["dist_img"]), str(cells["ref_img"])
        match = _NAME.fullmatch(image)
        if match is None or int(match[2]) not in classes or reference != f"{match[1]}.png":
            raise DatasetError(f"{image!r} of {reference!r} is not named as I01_25_05.png of I01.png is")
        mos = rating(cells["dmos"], 1, 5)
        name = f"images/{image}"
        return Record(files.path(name), name, mos, (), classes[int(match[2])], reference, mos)

    file = release / "dmos.csv"
    lines = csv_lines(file, ("dist_img", "ref_img", "dmos"))
    dataset = Dataset("kadid", records_of(lines, make, spec=_SPEC, file=file))
    return dataset if labels is None else liqe.attach(dataset, labels, _SPEC.folder, "kadid10k")


def distortions() -> Mapping[int, str]:
    """KADID-10k's codes, 1 to 25, and the class of each by LIQE's mapping."""
    from mpiqe.data.synthetic import KINDS  # takes scikit-image along

    return {kind.code: kind.distortion for kind in KINDS.values() if kind.distortion}
