"""LIVE In the Wild Image Quality Challenge Database, in its official layout: Data/*.mat and Images/."""

from pathlib import Path
from typing import Any

from scipy.io import loadmat

from mpiqe.data import liqe
from mpiqe.data.faults import refuse
from mpiqe.data.record import Dataset, Record
from mpiqe.errors import DatasetError

IMAGES = 1162
_TRAINING = tuple(f"t{number}.bmp" for number in range(1, 8))  # shown to the study's subjects before they rated
_TWINS = (("Images/246.bmp", "Images/333.bmp"),)  # one picture, rated twice: 52.03 and 51.09
_RELEASE = "ChallengeDB_release"
_TOLERANCE = 1e-4  # LIQE's files round to six decimals


def read_livec(root: Path, labels: Path | None = None) -> Dataset:
    """The 1,162 images of LIVE Challenge in the order of its .mat files; MOS 0 to 100, higher is better.

    ``root`` is ChallengeDB_release or the folder that holds it. ``labels`` is the folder that holds LIQE's
    IQA_Database (or a folder within): with it come scenes, distortions and LIQE's ten splits, without it none of them.
    Raises ``DatasetError`` for another layout, another count, or labels that disagree with the release. Images are not
    opened here: ``mpiqe.data.check`` does that.
    """
    release = _release(root)
    mos = _mos(release / "Data")
    names = [f"Images/{name}" for name in mos]
    if labels is None:
        unlabelled = tuple(Record(release / name, name, value) for name, value in zip(names, mos.values(), strict=True))
        return Dataset("livec", unlabelled, twins=_TWINS)
    splits2 = liqe.folder(labels, _RELEASE, "clive")
    rows = liqe.read_rows(splits2 / "clive_all_clip.txt")
    records: list[Record] = []
    faults = [f"{row.place}: {name} is not in the release" for name, row in rows.items() if name not in set(names)]
    for name, value in zip(names, mos.values(), strict=True):
        if name not in rows:
            faults.append(f"{splits2 / 'clive_all_clip.txt'}: no row for {name}")
        elif abs(rows[name].score - value) > _TOLERANCE:
            faults.append(f"{rows[name].place}: {name} scores {rows[name].score:g}, the release says {value:g}")
        else:
            records.append(Record(release / name, name, value, rows[name].scenes, rows[name].distortion))
    refuse("LIQE's labels do not fit LIVE Challenge", faults)
    return Dataset("livec", tuple(records), liqe.read_splits(splits2, "clive", rows, names), _TWINS)


def _release(root: Path) -> Path:
    for release in (root / _RELEASE, root):
        if (release / "Data").is_dir() and (release / "Images").is_dir():
            return release
    raise DatasetError(
        f"{root}: no Data/ and Images/; the root is the folder that holds {_RELEASE}/, or that folder itself"
    )


def _mos(data: Path) -> dict[str, float]:
    """File name to MOS of the images that were rated, in the release's order."""
    names = [str(cell[0]) for cell in _variable(data, "AllImages_release").ravel()]
    scores = [float(score) for score in _variable(data, "AllMOS_release").ravel()]
    if len(names) != len(scores):
        raise DatasetError(f"{data}: {len(names)} image names but {len(scores)} scores; is it the official release?")
    if tuple(names[: len(_TRAINING)]) != _TRAINING:
        raise DatasetError(
            f"{data}: the first images are {', '.join(names[: len(_TRAINING)])}, not the study's seven training images "
            f"{', '.join(_TRAINING)}; is it the official release?"
        )
    rated = dict(zip(names[len(_TRAINING) :], scores[len(_TRAINING) :], strict=True))
    if len(rated) != IMAGES or len(names) != IMAGES + len(_TRAINING):
        raise DatasetError(
            f"{data}: {len(rated)} different rated images, the release has {IMAGES}; is the copy complete?"
        )
    return rated


def _variable(data: Path, name: str) -> Any:
    file = data / f"{name}.mat"
    try:
        return loadmat(file)[name]
    except KeyError as error:
        raise DatasetError(f"{file}: holds no variable {name}; is it the official release?") from error
    except Exception as error:  # SciPy's reader raises whatever the damage leads it to
        raise DatasetError(f"{file}: cannot be read as a MATLAB file ({error}); copy the release again") from error
