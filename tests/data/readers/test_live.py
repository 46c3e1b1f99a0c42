import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from tests.data import release_folders
from tests.data.liqe_files import assert_labels_are_liqes, assert_splits_are_liqes

from mpiqe.data import DATASETS, Dataset, label_files, read_live
from mpiqe.data.label_process import read_apart
from mpiqe.errors import DatasetError

pytestmark = pytest.mark.usefixtures("labels_read_here")
SPLITS2 = Path("IQA_Database/databaserelease2/splits2")
CLASSES = {  # LIQE's words in live_all_clip.txt and the classes of the paper that they mean
    "jpeg2000 compression": "JPEG2000 compression",
    "jpeg compression": "JPEG compression",
    "white noise": "noise",
    "gaussian blur": "blur",
}


@pytest.fixture(scope="module")
def published(shared: Path) -> dict[str, tuple[float, str]]:
    """DMOS and reference of the list in published_labels, by name."""
    rows = release_folders.rows_of(shared / "published_labels" / "LIVE.txt")
    return {
        row["dis_img_path"].removeprefix("LIVE/"): (float(row["score"]), row["ref_img_path"].rsplit("/", 1)[1])
        for row in rows
    }


@pytest.fixture(scope="module")
def liqe(liqe_labels: Path) -> dict[str, list[str]]:
    return {row[0]: row[1:] for row in release_folders.liqe_rows(liqe_labels / SPLITS2 / "live_all_clip.txt")}


@pytest.fixture(scope="module")
def root(published: dict[str, tuple[float, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("live")
    release_folders.stand_ins(release_folders.live(root, published), published)
    return root


@pytest.fixture(scope="module")
def dataset(root: Path, liqe_labels: Path) -> Dataset:
    return read_live(root, liqe_labels)


@pytest.fixture(scope="module")
def literal(root: Path, liqe_labels: Path) -> Dataset:
    return read_live(root, liqe_labels, as_published=True)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Needs nothing of what was published."""
    return release_folders.live(tmp_path, release_folders.made_live())


def test_every_label_and_reference_is_the_published_one(dataset, published):
    assert {record.name: (record.label, record.reference) for record in dataset.records} == published
    assert len(dataset.records) == len(published) == 779


def test_every_mos_is_liqes(dataset, liqe):
    mos = {record.name: record.mos for record in dataset.records}
    assert mos == pytest.approx({name: float(row[0]) for name, row in liqe.items()}, abs=6e-7)  # six decimals there


def test_mos_rises_where_dmos_falls_by_as_much(dataset):
    first, *others = dataset.records
    for record in others:
        assert record.mos - first.mos == pytest.approx(first.label - record.label, abs=1e-12)


def test_every_image_is_there_in_the_releases_order(dataset):
    assert all(record.image.is_file() for record in dataset.records)
    folders = [record.name.split("/")[0] for record in dataset.records]
    assert list(dict.fromkeys(folders)) == ["jp2k", "jpeg", "wn", "gblur", "fastfading"]
    assert Counter(folders) == DATASETS["live"].parts


def test_every_label_but_those_of_fast_fading_is_liqes(dataset, liqe):
    rows = [(name, *row) for name, row in liqe.items() if not name.startswith("fastfading/")]
    assert len(rows) == 634
    assert_labels_are_liqes(dataset.records, rows, CLASSES)


def test_fast_fading_is_jpeg2000_with_the_scenes_of_its_reference(dataset):
    scenes = {}
    for record in dataset.records:
        if not record.name.startswith("fastfading/"):
            scenes.setdefault(record.reference, set()).add(record.scenes)
    assert len(scenes) == 29
    assert all(len(agreed) == 1 for agreed in scenes.values())
    fading = [record for record in dataset.records if record.name.startswith("fastfading/")]
    assert len(fading) == 145
    for record in fading:
        assert record.distortion == "JPEG2000 compression"
        assert {record.scenes} == scenes[record.reference]


def test_labels_as_published_are_liqes_word_by_word(literal, liqe):
    assert len(literal.records) == len(liqe)
    assert_labels_are_liqes(literal.records, [(name, *row) for name, row in liqe.items()], CLASSES)
    assert sum(r.name.startswith("fastfading/") and r.distortion == "noise" for r in literal.records) == 145


def test_the_correction_touches_145_distortions_and_131_scenes(dataset, literal):
    pairs = list(zip(dataset.records, literal.records, strict=True))
    assert sum(ours.distortion != theirs.distortion for ours, theirs in pairs) == 145
    assert sum(ours.scenes != theirs.scenes for ours, theirs in pairs) == 131
    assert all(replace(ours, scenes=theirs.scenes, distortion=theirs.distortion) == theirs for ours, theirs in pairs)
    assert dataset.splits == literal.splits
    assert dataset.digest != literal.digest


def test_every_split_is_liqes_and_by_reference(dataset, liqe_labels):
    assert_splits_are_liqes(dataset, liqe_labels / SPLITS2, "live", references=29)


def test_the_digest_does_not_know_the_released_label(dataset):
    without = replace(dataset, records=tuple(replace(record, label=None) for record in dataset.records))
    assert without.digest == dataset.digest


def test_without_labels_the_folder_tells_the_distortion_and_nothing_the_scene(made):
    dataset = read_live(made)
    assert dataset.splits == ()
    assert {(record.name.split("/")[0], record.distortion, record.scenes) for record in dataset.records} == {
        ("jp2k", "JPEG2000 compression", ()),
        ("jpeg", "JPEG compression", ()),
        ("wn", "noise", ()),
        ("gblur", "blur", ()),
        ("fastfading", "JPEG2000 compression", ()),
    }


def test_the_columns_are_the_folders_one_after_another(made):
    records = {record.name: record for record in read_live(made).records}
    assert len(records) == 779
    for folder, column in (("jp2k", 1), ("jpeg", 228), ("wn", 461), ("gblur", 635), ("fastfading", 809)):
        assert records[f"{folder}/img1.bmp"].label == pytest.approx(column / 10)
        assert records[f"{folder}/img1.bmp"].reference == "ref1.bmp"


def test_originals_are_left_out_wherever_they_stand(tmp_path):
    rows = release_folders.made_live()
    rows["jp2k/img227.bmp"] = rows.pop("jp2k/img2.bmp")
    names = [record.name for record in read_live(release_folders.live(tmp_path, rows)).records]
    assert "jp2k/img2.bmp" not in names
    assert names[168] == "jp2k/img227.bmp"


def test_the_root_may_be_the_release_or_what_holds_it(made):
    assert read_live(made) == read_live(made.parent)


def test_a_folder_that_is_not_the_release_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(DatasetError, match=r"no jp2k/ and jpeg/ .*folder that holds databaserelease2/"):
        read_live(tmp_path)


@pytest.mark.parametrize("file", ["dmos_realigned.mat", "refnames_all.mat"])
def test_a_missing_label_file_is_named(made, file):
    (made / file).unlink()
    with pytest.raises(DatasetError, match=rf"{file}: cannot be read"):
        read_live(made)


def test_the_dmos_before_realignment_is_not_taken_for_the_realigned(made):
    savemat(made / "dmos_realigned.mat", {"dmos": np.zeros((1, 982)), "orgs": np.zeros((1, 982))})  # as in dmos.mat
    with pytest.raises(DatasetError, match="holds no variable dmos_new"):
        read_live(made)


def test_label_files_of_another_length_are_all_named(made):
    _change(made / "dmos_realigned.mat", dmos_new=np.zeros((1, 980)), orgs=np.zeros((1, 981)))
    with pytest.raises(DatasetError) as caught:
        read_live(made)
    assert "2 faults" in str(caught.value)
    assert "dmos_realigned.mat: dmos_new has 980 columns, the release 982" in str(caught.value)
    assert "dmos_realigned.mat: orgs has 981 columns" in str(caught.value)


def test_originals_in_another_number_are_named_by_folder(made):
    originals = loadmat(made / "dmos_realigned.mat")["orgs"]
    originals[0, 300], originals[0, 500] = 1, 1
    _change(made / "dmos_realigned.mat", orgs=originals)
    with pytest.raises(DatasetError) as caught:
        read_live(made)
    assert "2 faults" in str(caught.value)
    assert "leaves 174 distorted images in jpeg/, the release has 175" in str(caught.value)
    assert "leaves 144 distorted images in wn/, the release has 145" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("place", [208, 240, 241, 346])
def test_a_flipped_bit_that_crashes_the_reader_costs_the_file_and_not_the_process(made, place, monkeypatch):
    monkeypatch.setattr(label_files, "read_apart", read_apart)
    content = bytearray((made / "refnames_all.mat").read_bytes())
    content[place] ^= 16  # SciPy 1.17 then reads where no memory is
    (made / "refnames_all.mat").write_bytes(content)
    with pytest.raises(DatasetError, match=r"refnames_all\.mat"):
        read_live(made)


def test_reference_names_that_are_no_texts_are_refused(made):
    _change(made / "refnames_all.mat", refnames_all=np.zeros((1, 982)))
    with pytest.raises(DatasetError, match="refnames_all is no cell array of texts"):
        read_live(made)


def test_ratings_off_the_scale_are_named_with_their_column(made):
    dmos = loadmat(made / "dmos_realigned.mat")["dmos_new"]
    dmos[0, 0], dmos[0, 228] = 113, np.nan
    _change(made / "dmos_realigned.mat", dmos_new=dmos)
    with pytest.raises(DatasetError) as caught:
        read_live(made)
    assert "2 faults" in str(caught.value)
    assert "column 1, jp2k/img1.bmp: 113.0 is not a number from -3 to 112" in str(caught.value)
    assert "column 229, jpeg/img2.bmp: nan is not a number" in str(caught.value)


def test_fast_fading_is_corrected_in_made_up_labels_too(made, tmp_path):
    _labels(tmp_path, fading="human")
    corrected, literal = (read_live(made, tmp_path, as_published=choice).records[-1] for choice in (False, True))
    assert (corrected.name, corrected.distortion, corrected.scenes) == (
        "fastfading/img145.bmp",
        "JPEG2000 compression",
        ("animal",),
    )
    assert (literal.distortion, literal.scenes) == ("noise", ("human",))


def test_scenes_that_disagree_beyond_fast_fading_are_refused_unless_as_published(made, tmp_path):
    splits2 = _labels(tmp_path, fading="human")
    for file in splits2.rglob("*.txt"):
        file.write_text(file.read_text().replace("\tgaussian blur\tanimal", "\tgaussian blur\tplant"))
    with pytest.raises(DatasetError, match=r"gblur/img1\.bmp: plant, but another image of ref1\.bmp is animal"):
        read_live(made, tmp_path)
    assert read_live(made, tmp_path, as_published=True).records[634 - 1].scenes == ("plant",)


def test_labels_that_disagree_with_the_release_are_all_named(made, tmp_path):
    splits2 = _labels(tmp_path, fading="animal")
    file = splits2 / "live_all_clip.txt"
    lines = file.read_text().splitlines()
    lines[0] = lines[0].replace("\t111.67", "\t11.67")
    lines[1] = lines[1].replace("jp2k/img2.bmp", "jp2k/img222.bmp")
    file.write_text("\n".join(lines))
    with pytest.raises(DatasetError) as caught:
        read_live(made, tmp_path)
    assert "3 faults" in str(caught.value)
    assert "live_all_clip.txt:1: jp2k/img1.bmp scores 11.67" in str(caught.value)
    assert "live_all_clip.txt:2: jp2k/img222.bmp is not in the release" in str(caught.value)
    assert "live_all_clip.txt: no row for jp2k/img2.bmp" in str(caught.value)


def test_a_copy_without_splits_is_refused(made, tmp_path):
    shutil.rmtree(_labels(tmp_path, fading="animal") / "4")
    with pytest.raises(DatasetError) as caught:
        read_live(made, tmp_path)
    assert "3 faults" in str(caught.value)
    assert "live_val_clip.txt: cannot be read" in str(caught.value)


def _labels(root: Path, *, fading: str) -> Path:
    words = {
        "jp2k": "jpeg2000 compression",
        "jpeg": "jpeg compression",
        "wn": "white noise",
        "gblur": "gaussian blur",
        "fastfading": "white noise",
    }
    rows = []
    for name, (dmos, _) in release_folders.made_live().items():
        folder = name.split("/")[0]
        scene = fading if folder == "fastfading" else "animal"
        rows.append(f"{name}\t{111.774694 - dmos:.6f}\t{words[folder]}\t{scene}\tinvalid\tinvalid")
    return release_folders.liqe_files(root, "databaserelease2", "live", rows)


def _change(file: Path, **variables: np.ndarray) -> None:
    kept = {name: value for name, value in loadmat(file).items() if not name.startswith("__")}
    savemat(file, {**kept, **variables})
