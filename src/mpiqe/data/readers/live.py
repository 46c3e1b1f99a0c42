"""LIVE Image Quality Assessment Database, release 2, in its official layout: databaserelease2/.

``dmos_realigned.mat`` (``dmos_new``, ``orgs``) and ``refnames_all.mat`` have one column for every image of the folders,
one folder after another, each from img1.bmp on; ``orgs`` marks the 203 of the 982 that are originals.
"""

from dataclasses import replace
from pathlib import Path

from mpiqe.data.faults import refuse
from mpiqe.data.label_files import Cells, Line, mat_texts, mat_variable
from mpiqe.data.readers import liqe
from mpiqe.data.readers.release_files import Files, rating, records_of, release_folder
from mpiqe.data.record import Dataset, Record
from mpiqe.data.registry import DATASETS

HIGHEST = 111.7746935263145  # the highest DMOS of all
_SPEC = DATASETS["live"]
_COLUMNS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}  # in the files' order
_DISTORTIONS = {
    "jp2k": "JPEG2000 compression",
    "jpeg": "JPEG compression",
    "wn": "noise",
    "gblur": "blur",
    "fastfading": "JPEG2000 compression",  # bit errors in a JPEG2000 stream; LIQE's own mapping
}


def read_live(root: Path, labels: Path | None = None, *, as_published: bool = False) -> Dataset:
    """The 779 distorted images of LIVE in the order of its .mat files; the originals are left out.

    The release has realigned DMOS, -2.64 to 111.77, lower is better. MOS is 111.7746935 - DMOS, the same scale turned
    by its highest value, 0 to 114.4: LIQE's scores to within its six decimals, all 779. ``root`` is databaserelease2
    or the folder that holds it. Distortions are the folders'. ``labels`` is the folder that holds LIQE's IQA_Database:
    with it come scenes and LIQE's ten splits.

    LIQE's file calls the 145 images of fast fading "white noise", and 131 of them have other scenes than their
    reference has under the other four distortions, where all images of each of the 29 references agree. By default
    these images are JPEG2000, as in LIQE's own mapping, and have their reference's scenes; ``as_published`` takes every
    word of the file. Raises ``DatasetError`` for another layout, another count, or labels that disagree.
    """
    release = release_folder(root, _SPEC.folder, list(_COLUMNS))
    files = Files(release)

    def make(cells: Cells) -> Record:
        name, dmos = cells["name"], rating(cells["dmos"], -3, 112)
        distortion = _DISTORTIONS[name.split("/")[0]]
        return Record(files.path(name), name, HIGHEST - dmos, (), distortion, cells["reference"], dmos)

    records = records_of(_lines(release), make, spec=_SPEC, file=release / "dmos_realigned.mat")
    dataset = Dataset("live", records)
    if labels is None:
        return dataset
    dataset = liqe.attach(dataset, labels, _SPEC.folder, "live", as_published=as_published)
    return dataset if as_published else replace(dataset, records=_with_scenes_of_references(dataset.records))


def _lines(release: Path) -> list[Line]:
    """One line for each distorted image."""
    ratings, references = release / "dmos_realigned.mat", release / "refnames_all.mat"
    dmos = mat_variable(ratings, "dmos_new").ravel()
    original = mat_variable(ratings, "orgs").ravel()
    reference = mat_texts(references, "refnames_all")
    names = [f"{folder}/img{number}.bmp" for folder, count in _COLUMNS.items() for number in range(1, count + 1)]
    refuse(
        "The labels of LIVE (release 2)",
        [
            f"{file}: {variable} has {len(found)} columns, the release {len(names)}; is it the official release?"
            for file, variable, found in (
                (ratings, "dmos_new", dmos),
                (ratings, "orgs", original),
                (references, "refnames_all", reference),
            )
            if len(found) != len(names)
        ],
    )
    rated = [index for index in range(len(names)) if not original[index]]
    found = {folder: sum(names[index].startswith(f"{folder}/") for index in rated) for folder in _COLUMNS}
    refuse(
        "The labels of LIVE (release 2)",
        [
            f"{ratings}: orgs leaves {found[folder]} distorted images in {folder}/, the release has {count}"
            for folder, count in _SPEC.parts.items()
            if found[folder] != count
        ],
    )
    return [
        Line(
            f"{ratings}: column {index + 1}, {names[index]}",
            {"name": names[index], "dmos": float(dmos[index]), "reference": reference[index]},
        )
        for index in rated
    ]


def _with_scenes_of_references(records: tuple[Record, ...]) -> tuple[Record, ...]:
    """``records`` with the fast-fading images' scenes replaced by those of their reference's other images."""
    scenes: dict[str | None, tuple[str, ...]] = {}
    faults: list[str] = []
    for record in records:
        if not record.name.startswith("fastfading/") and record.scenes != scenes.setdefault(
            record.reference, record.scenes
        ):
            faults.append(
                f"{record.name}: {'|'.join(record.scenes)}, but another image of {record.reference} is "
                f"{'|'.join(scenes[record.reference])}; --labels-as-published takes them as they are"
            )
    refuse("LIQE's scenes of LIVE disagree beyond fast fading", faults)
    return tuple(
        replace(record, scenes=scenes.get(record.reference, record.scenes))
        if record.name.startswith("fastfading/")
        else record
        for record in records
    )
