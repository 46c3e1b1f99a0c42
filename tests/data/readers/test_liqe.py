import shutil
from pathlib import Path

import pytest

from mpiqe.data import Dataset, Record, Split
from mpiqe.data.readers.liqe import attach, read, read_rows, splits_of
from mpiqe.errors import DatasetError

ROWS = {
    name: f"Images/{name}\t{score}\trealistic blur\thuman\tinvalid\tinvalid"
    for name, score in (("a", 1.5), ("b", 2.5), ("c", 3.5), ("d", 4.5))
}
NAMES = ["Images/a", "Images/b", "Images/c", "Images/d"]


@pytest.fixture
def splits2(tmp_path):
    _write(tmp_path / "x_all_clip.txt", "abcd")
    for number in range(1, 11):
        _write(tmp_path / str(number) / "x_train_clip.txt", "db")
        _write(tmp_path / str(number) / "x_val_clip.txt", "c")
        _write(tmp_path / str(number) / "x_test_clip.txt", "a")
    return tmp_path


@pytest.fixture
def labels(splits2, tmp_path_factory):
    """The folder that holds IQA_Database."""
    root = tmp_path_factory.mktemp("labels")
    shutil.copytree(splits2, root / "IQA_Database" / "any" / "splits2")
    return root


def test_splits_are_ascending_indices_into_the_dataset(splits2):
    assert _read(splits2) == (Split(train=(1, 3), val=(2,), test=(0,)),) * 10


def test_an_image_on_two_sides_or_on_none_is_named_with_its_split(splits2):
    _write(splits2 / "7" / "x_val_clip.txt", "a")
    with pytest.raises(DatasetError) as caught:
        _read(splits2)
    assert "2 faults" in str(caught.value)
    assert f"{splits2 / '7'}: Images/a is in val and in test" in str(caught.value)
    assert f"{splits2 / '7'}: Images/c is on no side" in str(caught.value)


def test_an_image_that_the_dataset_lacks_is_named_with_its_line(splits2):
    file = splits2 / "2" / "x_val_clip.txt"
    file.write_text(f"{ROWS['c']}\n{ROWS['a'].replace('Images/a', 'Images/z')}\n")
    with pytest.raises(DatasetError, match=r"x_val_clip\.txt:2: Images/z is not in the dataset"):
        _read(splits2)


def test_a_score_that_differs_between_two_files_is_named(splits2):
    (splits2 / "3" / "x_val_clip.txt").write_text(ROWS["c"].replace("3.5", "3.6"))
    with pytest.raises(
        DatasetError, match=r"3.x_val_clip\.txt:1: Images/c scores 3\.6 here, 3\.5 in .*x_all_clip\.txt:3"
    ):
        _read(splits2)


def test_a_label_that_differs_between_two_files_is_named(splits2):
    (splits2 / "3" / "x_val_clip.txt").write_text(ROWS["c"].replace("human", "animal"))
    with pytest.raises(DatasetError, match=r"Images/c is blur, animal here, blur, human in .*x_all_clip\.txt:3"):
        _read(splits2)


def test_without_an_all_file_split_1_says_which_images_there_are(splits2):
    (splits2 / "x_all_clip.txt").unlink()
    assert set(read(splits2, "x").rows) == set(NAMES)
    assert _read(splits2) == (Split(train=(1, 3), val=(2,), test=(0,)),) * 10
    (splits2 / "9" / "x_val_clip.txt").write_text(ROWS["c"].replace("3.5", "3.6"))
    with pytest.raises(DatasetError, match=r"9.x_val_clip\.txt:1: .*3\.6 here, 3\.5 in .*1.x_val_clip\.txt:1"):
        _read(splits2)


def test_the_faults_of_all_files_come_in_one_message(splits2):
    (splits2 / "2" / "x_val_clip.txt").write_text("Images/c\t3.5")
    (splits2 / "8" / "x_test_clip.txt").unlink()
    with pytest.raises(DatasetError) as caught:
        _read(splits2)
    assert "2 faults" in str(caught.value)


def test_names_are_matched_whatever_their_case_and_spelt_as_the_dataset_does(labels):
    dataset = attach(_dataset("IMAGES/A", "images/b", "Images/c", "Images/d"), labels, "any", "x")
    assert [record.name for record in dataset.records] == ["IMAGES/A", "images/b", "Images/c", "Images/d"]
    assert {(record.scenes, record.distortion) for record in dataset.records} == {(("human",), "blur")}
    assert dataset.splits == (Split(train=(1, 3), val=(2,), test=(0,)),) * 10


def test_what_a_file_name_tells_stays_unless_as_published(labels):
    dataset = _dataset(*NAMES, distortion="noise")
    assert {r.distortion for r in attach(dataset, labels, "any", "x").records} == {"noise"}
    assert {r.distortion for r in attach(dataset, labels, "any", "x", as_published=True).records} == {"blur"}


def test_scores_may_be_as_far_from_the_release_as_they_are_rounded(labels):
    dataset = _dataset(*NAMES, off=0.0004)
    assert len(attach(dataset, labels, "any", "x", tolerance=0.0005).records) == 4
    with pytest.raises(DatasetError) as caught:
        attach(dataset, labels, "any", "x")
    assert "LIQE's labels do not fit x: 4 faults" in str(caught.value)
    assert "Images/a scores 1.5, the release says 1.5004" in str(caught.value)


def test_a_missing_split_file_is_named(splits2):
    (splits2 / "4" / "x_test_clip.txt").unlink()
    with pytest.raises(DatasetError, match=r"4.x_test_clip\.txt: cannot be read"):
        _read(splits2)


def test_all_faults_of_a_label_file_come_in_one_message(tmp_path):
    file = tmp_path / "x_all_clip.txt"
    rows = [
        "Images/a\t1\trealistic blur\thuman\tinvalid",
        "Images/b\tnan\trealistic blur\thuman\tinvalid\tinvalid",
        "Images/c\t1\tfog\thuman\tinvalid\tinvalid",
        "Images/d\t1\trealistic blur\tcastle\tinvalid\tinvalid",
        ROWS["a"],
        ROWS["a"],
    ]
    file.write_text("\n".join(rows))
    with pytest.raises(DatasetError) as caught:
        read_rows(file)
    for fault in (
        "5 faults",
        ":1: 5 tab-separated columns",
        ":2: the score 'nan' is not a finite number",
        ":3: 'fog' is no distortion",
        ":4: 'castle' is no scene",
        f":6: Images/a again, after {file}:5",
    ):
        assert fault in str(caught.value)


@pytest.mark.parametrize("dataset", ["BID", "CSIQ", "ChallengeDB_release", "databaserelease2", "kadid10k", "koniq-10k"])
def test_every_word_of_the_published_label_files_is_known(liqe_labels, dataset):
    files = list((liqe_labels / "IQA_Database" / dataset / "splits2" / "1").glob("*_clip.txt"))
    assert len(files) == 3
    for file in files:
        assert len(read_rows(file)) == len(file.read_text().splitlines())


def _read(splits2: Path) -> tuple[Split, ...]:
    return splits_of(read(splits2, "x"), NAMES)


def _write(file: Path, names: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"{ROWS[name]}\n" for name in names))


def _dataset(*names: str, off: float = 0, distortion: str | None = None) -> Dataset:
    scores = (1.5, 2.5, 3.5, 4.5)
    records = [Record(Path(n), n, s + off, distortion=distortion) for n, s in zip(names, scores, strict=True)]
    return Dataset("x", tuple(records))
