from collections import Counter
from pathlib import Path

import pytest
from tests.data import release_folders
from tests.data.liqe_files import assert_labels_are_liqes, assert_splits_are_liqes, rows_of_split

from mpiqe.data import DATASETS, Dataset, read_kadid
from mpiqe.data.readers.kadid import distortions
from mpiqe.errors import DatasetError

SPLITS2 = Path("IQA_Database/kadid10k/splits2")
CODES = {  # the mapping that the project was given
    "blur": [1, 2, 3, 5],
    "color-related": [4, 7, 8],
    "quantization": [6, 22],
    "JPEG2000 compression": [9],
    "JPEG compression": [10],
    "noise": [11, 12, 13, 14, 15],
    "over-exposure": [16],
    "under-exposure": [17],
    "others": [18],
    "spatially-localized": [19, 20, 21, 23],
    "contrast": [24, 25],
}
WORDS = {  # LIQE's words for the codes, as they stand in its files
    "gaussian blur": "blur",
    "lens": "blur",
    "motion": "blur",
    "shifting": "blur",
    "diffusion": "color-related",
    "oversaturation": "color-related",
    "desaturation": "color-related",
    "color quantization": "quantization",
    "quantization": "quantization",
    "jpeg2000 compression": "JPEG2000 compression",
    "jpeg compression": "JPEG compression",
    "white noise": "noise",
    "white with color": "noise",
    "impulse": "noise",
    "multiplicative": "noise",
    "white noise with denoise": "noise",
    "brighten": "over-exposure",
    "darken": "under-exposure",
    "shifting the mean": "others",
    "jitter": "spatially-localized",
    "noneccentricity patch": "spatially-localized",
    "pixelate": "spatially-localized",
    "color blocking": "spatially-localized",
    "sharpness": "contrast",
    "contrast": "contrast",
}


@pytest.fixture(scope="module")
def published(shared: Path) -> list[dict[str, str]]:
    return release_folders.rows_of(shared / "published_labels" / "KADID-10k.txt")


@pytest.fixture(scope="module")
def root(published: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kadid")
    rows = [
        (row["dis_img_path"].rsplit("/", 1)[1], row["ref_img_path"].rsplit("/", 1)[1], row["score"])
        for row in published
    ]
    release_folders.stand_ins(release_folders.kadid(root, rows), [f"images/{name}" for name, _, _ in rows])
    return root


@pytest.fixture(scope="module")
def dataset(root: Path, liqe_labels: Path) -> Dataset:
    return read_kadid(root, liqe_labels)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Needs nothing of what was published."""
    return release_folders.kadid(tmp_path, release_folders.made_kadid())


def test_every_mos_and_reference_is_the_published_one(dataset, published):
    expected = {
        row["dis_img_path"].removeprefix("KADID-10k/"): (float(row["score"]), row["ref_img_path"].rsplit("/", 1)[1])
        for row in published
    }
    assert {record.name: (record.mos, record.reference) for record in dataset.records} == expected
    assert len(dataset.records) == len(published) == 10_125
    assert all(record.label == record.mos for record in dataset.records)


def test_every_label_is_liqes(dataset, liqe_labels):
    rows = rows_of_split(liqe_labels / SPLITS2, "kadid10k", 1)
    assert len(rows) == len(dataset.records) == 10_125
    assert {record.name: record.mos for record in dataset.records} == {row[0]: float(row[1]) for row in rows}
    assert_labels_are_liqes(dataset.records, rows, WORDS)


def test_the_scores_of_liqes_other_file_are_the_same(dataset, liqe_labels):
    rows = release_folders.liqe_rows(liqe_labels / SPLITS2 / "kadid10k_all.txt")
    assert {name: float(score) for name, score, _ in rows} == {record.name: record.mos for record in dataset.records}


def test_every_image_is_there_and_every_distortion_as_often_as_released(dataset):
    assert all(record.image.is_file() for record in dataset.records)
    assert Counter(record.name.split("_")[1] for record in dataset.records) == DATASETS["kadid"].parts
    assert len({record.reference for record in dataset.records}) == 81


def test_every_split_is_liqes_and_by_reference(dataset, liqe_labels):
    assert_splits_are_liqes(dataset, liqe_labels / SPLITS2, "kadid10k", references=81)


def test_the_codes_classes_are_the_given_ones():
    assert distortions() == {code: distortion for distortion, codes in CODES.items() for code in codes}
    assert len(distortions()) == 25


def test_without_labels_the_code_tells_the_distortion_and_nothing_the_scene(made):
    dataset = read_kadid(made)
    assert dataset.splits == ()
    for record in dataset.records:
        assert int(record.name.split("_")[1]) in CODES[record.distortion]
        assert record.scenes == ()


def test_the_column_named_dmos_is_higher_is_better(made):
    mos = {record.name: record.mos for record in read_kadid(made).records}
    assert (mos["images/I01_10_01.png"], mos["images/I01_10_05.png"]) == (4.94, 1.34)  # barely seen, ruinous


def test_the_root_may_be_the_release_or_what_holds_it(made):
    assert read_kadid(made) == read_kadid(made.parent)


def test_a_folder_that_is_not_the_release_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(DatasetError, match="no images/; the root is the folder that holds kadid10k/"):
        read_kadid(tmp_path)


def test_a_missing_label_file_is_named(made):
    (made / "dmos.csv").unlink()
    with pytest.raises(DatasetError, match=r"dmos\.csv: cannot be read \(.*No such file"):
        read_kadid(made)


def test_a_missing_column_is_named_with_those_there_are(made):
    file = made / "dmos.csv"
    file.write_text(file.read_text().replace("ref_img,dmos,", "ref_img,mos,"))
    with pytest.raises(DatasetError, match=r"dmos\.csv:1: .*\n.*no column 'dmos' but dist_img, ref_img, mos, var"):
        read_kadid(made)


def test_an_empty_label_file_is_refused(made):
    (made / "dmos.csv").write_text("")
    with pytest.raises(DatasetError, match="no column 'dist_img'"):
        read_kadid(made)


def test_all_faults_of_the_label_file_come_in_one_message(tmp_path):
    rows = release_folders.made_kadid()
    rows[0] = (*rows[0][:2], 0.5)
    rows[1] = (*rows[1][:2], "n/a")
    rows[2] = ("I01_26_01.png", "I01.png", 3)
    rows[3] = ("I01_01_06.png", "I01.png", 3)
    rows[4] = (rows[4][0], "I02.png", 3)
    rows[6] = rows[5]
    rows[7] = ("I1.png", "I01.png", 3)
    release_folders.kadid(tmp_path, rows[:-1])
    with pytest.raises(DatasetError) as caught:
        read_kadid(tmp_path)
    for fault in (
        "8 faults",
        "dmos.csv:2: '0.5' is not a number from 1 to 5",
        "dmos.csv:3: 'n/a' is not a number from 1 to 5",
        "dmos.csv:4: 'I01_26_01.png' of 'I01.png' is not named as",
        "dmos.csv:5: 'I01_01_06.png' of 'I01.png' is not named as",
        "dmos.csv:6: 'I01_01_05.png' of 'I02.png' is not named as",
        "dmos.csv:8: images/I01_02_01.png again, after ",
        "dmos.csv:9: 'I1.png' of 'I01.png' is not named as",
        "rates 10124 images, the release has 10125",
    ):
        assert fault in str(caught.value)
