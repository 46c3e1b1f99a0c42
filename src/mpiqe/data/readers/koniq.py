"""KonIQ-10k, in its official layout: 1024x768/, 512x384/ and label files beside them.

There are two MOS, and two label files whose column ``MOS`` means different ones. In
``koniq10k_scores_and_distributions.csv`` it is the mean of the five-point ratings, beside ``MOS_zscore``; in
``koniq10k_distributions_sets.csv`` it is the one of z-scores, beside the shares ``c1`` to ``c5`` of the five ratings.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from mpiqe.data.label_files import Cells, csv_lines
from mpiqe.data.readers import liqe
from mpiqe.data.readers.release_files import Files, rating, records_of, release_folder
from mpiqe.data.record import Dataset, Record
from mpiqe.data.registry import DATASETS
from mpiqe.errors import DatasetError

Size = Literal["1024x768", "512x384"]
Mos = Literal["mos", "zscore"]
SIZES: tuple[Size, ...] = get_args(Size)
MOS: tuple[Mos, ...] = get_args(Mos)
_SPEC = DATASETS["koniq"]
_SCORES = "koniq10k_scores_and_distributions.csv"
_SETS = "koniq10k_distributions_sets.csv"
_SHARES = ("c1", "c2", "c3", "c4", "c5")


def read_koniq(root: Path, labels: Path | None = None, *, size: Size = "1024x768", mos: Mos = "mos") -> Dataset:
    """The 10,073 images of KonIQ-10k in the order of its label file; MOS 1 to 5, higher is better.

    That is the mean of the five-point ratings, which LIQE's files and papers have; ``mos="zscore"`` takes the release's
    other one, 0 to 100. ``root`` is koniq-10k/ or the folder that holds it. Where both label files are there, it is
    koniq10k_scores_and_distributions.csv that is read. ``labels`` is the folder that holds LIQE's IQA_Database: with it
    come scenes, distortions and LIQE's ten splits, whatever the size, without it none of them. Without it the project's
    own splits are drawn by name, so those of the two sizes are not the same. Raises ``DatasetError`` for another
    layout, another count, or labels that disagree with the release.
    """
    release = release_folder(root, _SPEC.folder, [size])
    files = Files(release)
    zscores: dict[str, float] = {}
    sets = not (release / _SCORES).is_file() and (release / _SETS).is_file()

    def make(cells: Cells) -> Record:
        name = f"1024x768/{cells['image_name']}"  # LIQE's, until its labels are attached
        zscores[name] = rating(cells["MOS" if sets else "MOS_zscore"], 0, 100)
        mean = _mean(cells) if sets else rating(cells["MOS"], 1, 5)
        return Record(release / name, name, mean, label=mean)

    file = release / (_SETS if sets else _SCORES)
    lines = csv_lines(file, ("image_name", "MOS", *(_SHARES if sets else ("MOS_zscore",))))
    dataset = Dataset("koniq", records_of(lines, make, spec=_SPEC, file=file))
    if labels is not None:
        dataset = liqe.attach(dataset, labels, _SPEC.folder, "koniq10k")
    records = []
    for record in dataset.records:
        name = f"{size}/{record.name.removeprefix('1024x768/')}"
        value = zscores[record.name] if mos == "zscore" else record.mos
        records.append(replace(record, image=files.path(name), name=name, mos=value, label=value))
    return replace(dataset, records=tuple(records))


def _mean(cells: Mapping[str, object]) -> float:
    """The mean of the five-point ratings from their shares."""
    shares = [rating(cells[column], 0, 1) for column in _SHARES]
    if abs(sum(shares) - 1) > 0.01:
        raise DatasetError(f"the shares c1 to c5 add up to {sum(shares):g}, not to 1")
    return sum(number * share for number, share in enumerate(shares, start=1)) / sum(shares)
