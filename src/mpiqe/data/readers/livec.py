"""LIVE In the Wild Image Quality Challenge Database, in its official layout: Data/*.mat and Images/."""

from pathlib import Path

from mpiqe.data.label_files import mat_texts, mat_variable
from mpiqe.data.readers import liqe
from mpiqe.data.readers.release_files import release_folder
from mpiqe.data.record import Dataset, Record
from mpiqe.data.registry import DATASETS
from mpiqe.errors import DatasetError

_SPEC = DATASETS["livec"]
_TRAINING = tuple(f"t{number}.bmp" for number in range(1, 8))  # shown to the study's subjects before they rated
_TWINS = (("Images/246.bmp", "Images/333.bmp"),)  # one picture, rated twice: 52.03 and 51.09


def read_livec(root: Path, labels: Path | None = None) -> Dataset:
    """The 1,162 images of LIVE Challenge in the order of its .mat files; MOS 0 to 100, higher is better.

    ``root`` is ChallengeDB_release or the folder that holds it. ``labels`` is the folder that holds LIQE's
    IQA_Database (or a folder within): with it come scenes, distortions and LIQE's ten splits, without it none of them.
    Raises ``DatasetError`` for another layout, another count, or labels that disagree with the release. Images are not
    opened here: ``mpiqe.data.check`` does that.
    """
    release = release_folder(root, _SPEC.folder, ["Data", "Images"])
    records = tuple(
        Record(release / "Images" / name, f"Images/{name}", mos, label=mos)
        for name, mos in _mos(release / "Data").items()
    )
    dataset = Dataset("livec", records, twins=_TWINS)
    return dataset if labels is None else liqe.attach(dataset, labels, _SPEC.folder, "clive")


def _mos(data: Path) -> dict[str, float]:
    """File name to MOS of the images that were rated, in the release's order."""
    names = mat_texts(data / "AllImages_release.mat", "AllImages_release")
    scores = [float(score) for score in mat_variable(data / "AllMOS_release.mat", "AllMOS_release").ravel()]
    if len(names) != len(scores):
        raise DatasetError(f"{data}: {len(names)} image names but {len(scores)} scores; is it the official release?")
    if tuple(names[: len(_TRAINING)]) != _TRAINING:
        raise DatasetError(
            f"{data}: the first images are {', '.join(names[: len(_TRAINING)])}, not the study's seven training images "
            f"{', '.join(_TRAINING)}; is it the official release?"
        )
    rated = dict(zip(names[len(_TRAINING) :], scores[len(_TRAINING) :], strict=True))
    if len(rated) != _SPEC.images or len(names) != _SPEC.images + len(_TRAINING):
        raise DatasetError(
            f"{data}: {len(rated)} different rated images, the release has {_SPEC.images}; is the copy complete?"
        )
    return rated
