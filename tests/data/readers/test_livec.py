import csv
import shutil
from pathlib import Path

import pytest
from tests.data.liqe_files import AUTHENTIC, assert_labels_are_liqes, assert_splits_are_liqes
from tests.data.release_folders import liqe_rows

from mpiqe.data import check, read_livec
from mpiqe.errors import DatasetError
from mpiqe.labels import DISTORTIONS, SCENES

SPLITS2 = Path("IQA_Database/ChallengeDB_release/splits2")


def test_every_mos_is_the_published_one(livec_root, shared):
    with (shared / "published_labels" / "LIVE_Challenge.txt").open(newline="") as lines:
        published = {row["dis_img_path"]: float(row["score"]) for row in csv.DictReader(lines)}
    read = {f"LIVE_Challenge/{record.name}": record.mos for record in read_livec(livec_root).records}
    assert len(read) == 1162
    assert read.pop("LIVE_Challenge/Images/100.bmp") == pytest.approx(
        32.561075
    )  # the list lost it; this is LIQE's file
    assert read == pytest.approx(published, abs=1e-4)  # the list is rounded to four decimals


def test_every_label_is_liqes(livec_root, liqe_labels):
    records = read_livec(livec_root, liqe_labels).records
    rows = liqe_rows(liqe_labels / SPLITS2 / "clive_all_clip.txt")
    assert len(rows) == len(records) == 1162
    mos = {record.name: record.mos for record in records}
    assert mos == pytest.approx({row[0]: float(row[1]) for row in rows}, abs=1e-6)
    assert_labels_are_liqes(records, rows, AUTHENTIC)


def test_labels_are_classes_of_the_paper(livec_root, liqe_labels):
    for record in read_livec(livec_root, liqe_labels).records:
        assert 1 <= len(record.scenes) <= 3
        assert set(record.scenes) <= set(SCENES)
        assert record.distortion in DISTORTIONS


def test_every_image_is_there_and_can_be_read(livec_root, liqe_labels):
    check(read_livec(livec_root, liqe_labels))


def test_the_seven_training_images_are_left_out(livec_root):
    names = [record.name for record in read_livec(livec_root).records]
    assert len(set(names)) == 1162
    assert not [name for name in names if "/t" in name]


def test_every_split_is_liqes(livec_root, liqe_labels):
    assert_splits_are_liqes(read_livec(livec_root, liqe_labels), liqe_labels / SPLITS2, "clive")


def test_without_labels_nothing_is_guessed(livec_root):
    dataset = read_livec(livec_root)
    assert dataset.splits == ()
    assert all(record.scenes == () and record.distortion is None for record in dataset.records)


def test_root_and_labels_may_be_given_at_any_level(livec_root, liqe_labels):
    dataset = read_livec(livec_root, liqe_labels)
    release = read_livec(livec_root / "ChallengeDB_release", liqe_labels / "IQA_Database" / "ChallengeDB_release")
    assert release == dataset == read_livec(livec_root, liqe_labels / "IQA_Database")


def test_the_only_picture_released_twice_is_named_as_such(livec_root, packed_livec):
    by_digest: dict[str, list[str]] = {}
    for line in (packed_livec / "SHA256SUMS").read_text().splitlines():
        by_digest.setdefault(line[:64], []).append(line[66:])
    assert tuple(tuple(names) for names in by_digest.values() if len(names) > 1) == read_livec(livec_root).twins


def test_a_folder_that_is_not_the_release_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(DatasetError, match="folder that holds ChallengeDB_release"):
        read_livec(tmp_path)


def test_a_damaged_mat_file_is_named(livec_root, tmp_path):
    release = _copy_of_data(livec_root, tmp_path)
    (release / "Data" / "AllMOS_release.mat").write_bytes(b"not a MATLAB file")
    with pytest.raises(DatasetError, match=r"AllMOS_release\.mat: cannot be read"):
        read_livec(tmp_path)


def test_a_missing_mat_file_is_named(livec_root, tmp_path):
    release = _copy_of_data(livec_root, tmp_path)
    (release / "Data" / "AllImages_release.mat").unlink()
    with pytest.raises(DatasetError, match=r"AllImages_release\.mat: cannot be read"):
        read_livec(tmp_path)


def test_swapped_mat_files_are_told_apart(livec_root, tmp_path):
    data = _copy_of_data(livec_root, tmp_path) / "Data"
    shutil.copy(data / "AllStdDev_release.mat", data / "AllMOS_release.mat")
    with pytest.raises(DatasetError, match="holds no variable AllMOS_release"):
        read_livec(tmp_path)


def test_labels_that_disagree_with_the_release_are_all_named(livec_root, liqe_labels, tmp_path):
    splits2 = _copy_of_labels(liqe_labels, tmp_path)
    lines = (splits2 / "clive_all_clip.txt").read_text().splitlines()
    lines[0] = lines[0].replace("38.489474", "38.4897")  # 611.JPG; off by 0.0002
    lines[1] = lines[1].replace("Images/509.bmp", "Images/5090.bmp")
    (splits2 / "clive_all_clip.txt").write_text("\n".join(lines))
    with pytest.raises(DatasetError) as caught:
        read_livec(livec_root, tmp_path)
    message = str(caught.value)
    assert "3 faults" in message
    assert "clive_all_clip.txt:1: Images/611.JPG scores 38.4897, the release says 38.489" in message
    assert "clive_all_clip.txt:2: Images/5090.bmp is not in the release" in message
    assert "no row for Images/509.bmp" in message


def test_labels_without_this_dataset_are_refused(livec_root, tmp_path):
    with pytest.raises(DatasetError, match="holds IQA_Database"):
        read_livec(livec_root, tmp_path)


def _copy_of_data(livec_root: Path, target: Path) -> Path:
    release = target / "ChallengeDB_release"
    (release / "Images").mkdir(parents=True)
    shutil.copytree(livec_root / "ChallengeDB_release" / "Data", release / "Data")
    for file in (release / "Data").iterdir():
        file.chmod(0o644)
    return release


def _copy_of_labels(liqe_labels: Path, target: Path) -> Path:
    shutil.copytree(liqe_labels / SPLITS2, target / SPLITS2)
    for file in (target / SPLITS2).rglob("*.txt"):
        file.chmod(0o644)
    return target / SPLITS2
