import shutil

import pytest

from mpiqe.data import read_csv, read_livec
from mpiqe.data.examine import read_leniently
from mpiqe.errors import ConfigError

SPLITS2 = "IQA_Database/ChallengeDB_release/splits2"


def test_what_can_be_read_is_read_as_ever(livec_root, liqe_labels):
    found = read_leniently("livec", root=livec_root, labels=liqe_labels)
    assert found.dataset == read_livec(livec_root, liqe_labels)
    assert (found.faults, found.lost) == ((), None)


def test_labels_with_faults_cost_only_the_labels(livec_root, liqe_labels, tmp_path):
    shutil.copytree(liqe_labels / SPLITS2, tmp_path / SPLITS2, copy_function=shutil.copyfile)
    file = tmp_path / SPLITS2 / "clive_all_clip.txt"
    file.write_text(file.read_text().replace("realistic noise", "fog", 2))
    found = read_leniently("livec", root=livec_root, labels=tmp_path)
    assert found.dataset == read_livec(livec_root)
    assert len([fault for fault in found.faults if "'fog'" in fault]) == 2
    assert all(str(tmp_path) in fault for fault in found.faults)
    assert "LIQE's labels and splits were left out" in found.lost


def test_a_release_that_cannot_be_read_is_none_and_its_pictures_are_said_to_be_unseen(tmp_path, liqe_labels):
    for labels in (None, liqe_labels):
        found = read_leniently("livec", root=tmp_path, labels=labels)
        assert found.dataset is None
        assert len(found.faults) == 1
        assert "ChallengeDB_release" in found.faults[0]
        assert "the images were not checked" in found.lost


def test_a_damaged_release_is_told_once_with_and_without_labels(livec_root, liqe_labels, tmp_path):
    shutil.copytree(livec_root / "ChallengeDB_release" / "Data", tmp_path / "Data")
    (tmp_path / "Images").mkdir()
    (tmp_path / "Data" / "AllMOS_release.mat").write_bytes(b"not a MATLAB file")
    for labels in (None, liqe_labels):
        (fault,) = read_leniently("livec", root=tmp_path, labels=labels).faults
        assert "AllMOS_release.mat: cannot be read" in fault


def test_a_faulty_table_lists_more_faults_than_a_message_has_room_for(tmp_path, paint):
    file = tmp_path / "mine.csv"
    paint(tmp_path / "a.png")
    file.write_text("image,mos\na.png,1\n")
    assert read_leniently(f"csv:{file}", root=None, labels=None).dataset == read_csv(file)
    file.write_text("image,mos\n" + "".join(f"{number}.png,1\n" for number in range(1010)))
    found = read_leniently(f"csv:{file}", root=None, labels=None)
    assert found.dataset is None
    assert len(found.faults) == 1010
    assert found.faults[-1].startswith(f"{file}:1011: no image '1009.png'")
    assert found.lost == f"{file}: the table could not be used, only faults of its rows and images are listed"


def test_what_cannot_be_meant_is_still_refused(tmp_path):
    with pytest.raises(ConfigError, match="no dataset is called"):
        read_leniently("imagenet", root=tmp_path, labels=None)
    with pytest.raises(ConfigError, match="--root"):
        read_leniently("livec", root=None, labels=None)
