"""CSIQ, in its official layout: dst_imgs/ with a folder for each distortion, src_imgs/ and csiq.DMOS.xlsx."""

from pathlib import Path

from mpiqe.data.label_files import Cells, sheet_lines
from mpiqe.data.readers import liqe
from mpiqe.data.readers.release_files import Files, rating, records_of, release_folder, whole
from mpiqe.data.record import Dataset, Record
from mpiqe.data.registry import DATASETS
from mpiqe.errors import DatasetError

_SPEC = DATASETS["csiq"]
_SHEET = "csiq.DMOS.xlsx"
_COLUMNS = ("image", "dst_type", "dst_lev", "dmos")  # dst_idx says dst_type again, dmos_std is not used
# The sheet's word for a distortion: its folder, the word in its file names (both as LIQE spells them), its class.
_TYPES = {
    "noise": ("awgn", "AWGN", "noise"),
    "jpeg": ("jpeg", "JPEG", "JPEG compression"),
    "jpeg 2000": ("jpeg2000", "jpeg2000", "JPEG2000 compression"),
    "fnoise": ("fnoise", "fnoise", "noise"),
    "blur": ("blur", "BLUR", "blur"),
    "contrast": ("contrast", "contrast", "contrast"),
}
_TOLERANCE = 0.00051  # LIQE's file rounds CSIQ to three decimals


def read_csiq(root: Path, labels: Path | None = None) -> Dataset:
    """The 866 distorted images of CSIQ in the order of its sheet ``all_by_image``.

    The release has DMOS, 0 to 1, lower is better; MOS is 1 - DMOS, which LIQE's file rounds to three decimals. ``root``
    is CSIQ/ or the folder that holds it. Copies differ in the case of folders and files (dst_imgs/awgn, dst_imgs/AWGN):
    names are spelt as LIQE does, files are found either way. Distortions are the file names'. ``labels`` is the folder
    that holds LIQE's IQA_Database: with it come scenes and LIQE's ten splits. Raises ``DatasetError`` for another
    layout, another count, or labels that disagree with the release.
    """
    release = release_folder(root, _SPEC.folder, ["dst_imgs"])
    files = Files(release)

    def make(cells: Cells) -> Record:
        image, kind = _word(cells["image"]), _word(cells["dst_type"])
        if not image or kind not in _TYPES:
            raise DatasetError(f"image {image!r}, dst_type {kind!r}: known types are {', '.join(_TYPES)}")
        folder, word, distortion = _TYPES[kind]
        name = f"dst_imgs/{folder}/{image}.{word}.{whole(cells['dst_lev'], 1, 5)}.png"
        dmos = rating(cells["dmos"], 0, 1)
        return Record(files.path(name), name, 1 - dmos, (), distortion, f"{image}.png", dmos)

    file = release / _SHEET
    records = records_of(sheet_lines(file, _COLUMNS, "all_by_image"), make, spec=_SPEC, file=file)
    dataset = Dataset("csiq", records)
    return dataset if labels is None else liqe.attach(dataset, labels, _SPEC.folder, "csiq", tolerance=_TOLERANCE)


def _word(cell: object) -> str:
    """A name in lower case; the image 1600 stands in the sheet as a number."""
    return "" if cell is None else str(cell).strip().lower()
