import sys
from collections import Counter
from pathlib import Path

import openpyxl
import pytest
from tests.data import release_folders
from tests.data.liqe_files import assert_labels_are_liqes, assert_splits_are_liqes

from mpiqe.data import DATASETS, Dataset, read_csiq
from mpiqe.errors import ConfigError, DatasetError

pytestmark = pytest.mark.usefixtures("labels_read_here")
SPLITS2 = Path("IQA_Database/CSIQ/splits2")
CLASSES = {  # LIQE's words in csiq_all_clip.txt and the classes of the paper that they mean
    "jpeg2000 compression": "JPEG2000 compression",
    "jpeg compression": "JPEG compression",
    "white noise": "noise",
    "fnoise": "noise",
    "gaussian blur": "blur",
    "contrast": "contrast",
}
TYPES = {  # the published list's word for a type, and the sheet's
    "AWGN": "noise",
    "JPEG": "jpeg",
    "JP2K": "jpeg 2000",
    "Pink_Noise": "fnoise",
    "GBLUR": "blur",
    "Contrast Dist.": "contrast",
}


@pytest.fixture(scope="module")
def published(shared: Path) -> list[dict[str, str]]:
    return release_folders.rows_of(shared / "published_labels" / "CSIQ.txt")


@pytest.fixture(scope="module")
def root(published: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published list as the sheet has it; images lie where that list says, in dst_imgs/AWGN and not in awgn."""
    root = tmp_path_factory.mktemp("csiq")
    rows = []
    for row in published:
        image, _, level, _ = row["dis_img_path"].rsplit("/", 1)[1].split(".")
        rows.append((int(image) if image == "1600" else image, TYPES[row["dis_type"]], int(level), float(row["score"])))
    release = release_folders.csiq(root, rows)
    release_folders.stand_ins(release, [row["dis_img_path"].removeprefix("CSIQ/") for row in published])
    return root


@pytest.fixture(scope="module")
def dataset(root: Path, liqe_labels: Path) -> Dataset:
    return read_csiq(root, liqe_labels)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Needs nothing of what was published."""
    return release_folders.csiq(tmp_path, release_folders.made_csiq())


def test_every_label_and_reference_is_the_published_one(dataset, published):
    expected = {
        row["dis_img_path"].removeprefix("CSIQ/").lower(): (float(row["score"]), row["ref_img_path"].rsplit("/", 1)[1])
        for row in published
    }
    assert {record.name.lower(): (record.label, record.reference) for record in dataset.records} == expected
    assert len(dataset.records) == len(published) == 866


def test_every_label_is_liqes(dataset, liqe_labels):
    rows = release_folders.liqe_rows(liqe_labels / SPLITS2 / "csiq_all_clip.txt")
    assert len(rows) == len(dataset.records) == 866
    mos = {record.name: record.mos for record in dataset.records}  # spelt as LIQE does
    assert mos == pytest.approx({row[0]: float(row[1]) for row in rows}, abs=0.0005 + 1e-6)  # three decimals there
    assert all(record.mos == 1 - record.label for record in dataset.records)
    assert_labels_are_liqes(dataset.records, rows, CLASSES)


def test_every_image_is_found_in_folders_of_another_case(dataset):
    assert all(record.image.is_file() for record in dataset.records)
    assert dataset.records[0].name.startswith("dst_imgs/awgn/")
    assert dataset.records[0].image.parent.name == "AWGN"
    assert Counter(record.name.split("/")[1] for record in dataset.records) == DATASETS["csiq"].parts


def test_every_split_is_liqes_and_by_reference(dataset, liqe_labels):
    assert_splits_are_liqes(dataset, liqe_labels / SPLITS2, "csiq", references=30)


def test_without_labels_the_file_name_tells_the_distortion_and_nothing_the_scene(made):
    dataset = read_csiq(made)
    assert dataset.splits == ()
    assert {(record.name.split(".")[1], record.distortion, record.scenes) for record in dataset.records} == {
        ("AWGN", "noise", ()),
        ("JPEG", "JPEG compression", ()),
        ("jpeg2000", "JPEG2000 compression", ()),
        ("fnoise", "noise", ()),
        ("BLUR", "blur", ()),
        ("contrast", "contrast", ()),
    }


def test_higher_is_better_after_reading(made):
    records = {record.name: record for record in read_csiq(made).records}
    one, five = (records[f"dst_imgs/blur/photo_1.BLUR.{level}.png"] for level in (1, 5))
    assert (one.label, five.label) == pytest.approx((0.151, 0.751))
    assert (one.mos, five.mos) == pytest.approx((0.849, 0.249))


def test_names_and_the_image_that_is_a_number_are_spelt_as_liqe_does(made):
    records = read_csiq(made).records
    assert [record.name for record in records] == release_folders.csiq_names(release_folders.made_csiq())
    assert records[0].name == "dst_imgs/awgn/1600.AWGN.1.png"
    assert records[0].reference == "1600.png"


@pytest.mark.parametrize("change", [str.upper, str.lower, str])
def test_the_case_of_folders_and_files_does_not_matter(made, change):
    names = release_folders.csiq_names(release_folders.made_csiq())
    release_folders.stand_ins(made, [f"dst_imgs/{change(name.removeprefix('dst_imgs/'))}" for name in names])
    dataset = read_csiq(made)
    assert all(record.image.is_file() for record in dataset.records)
    assert [record.name for record in dataset.records] == names


def test_the_root_may_be_the_release_or_what_holds_it(made):
    assert read_csiq(made) == read_csiq(made.parent)


def test_a_folder_that_is_not_the_release_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(DatasetError, match="no dst_imgs/; the root is the folder that holds CSIQ/"):
        read_csiq(tmp_path)


def test_a_missing_and_a_damaged_sheet_are_named(made):
    (made / "csiq.DMOS.xlsx").write_bytes(b"PK not a sheet")
    with pytest.raises(DatasetError, match=r"csiq\.DMOS\.xlsx: cannot be read as an Excel file"):
        read_csiq(made)
    (made / "csiq.DMOS.xlsx").unlink()
    with pytest.raises(DatasetError, match=r"csiq\.DMOS\.xlsx: cannot be read as an Excel file \(.*No such file"):
        read_csiq(made)


def test_a_workbook_without_the_sheet_is_refused_with_those_it_has(made):
    book = openpyxl.load_workbook(made / "csiq.DMOS.xlsx")
    book["all_by_image"].title = "mine"
    book.save(made / "csiq.DMOS.xlsx")
    with pytest.raises(DatasetError, match="no sheet 'all_by_image' but 'readme', 'all_by_distortion', 'mine'"):
        read_csiq(made)


def test_a_sheet_without_a_column_is_refused(tmp_path):
    header = ("image", "dst_idx", "dst_type", "level", "dmos_std", "dmos")
    release_folders.csiq(tmp_path, release_folders.made_csiq(), header)
    with pytest.raises(DatasetError, match=r"no row of sheet 'all_by_image' names the columns .*'dst_lev'"):
        read_csiq(tmp_path)


def test_all_faults_of_the_sheet_come_in_one_message(tmp_path):
    rows = release_folders.made_csiq()
    rows[0] = (1600, "noise", 1, 61.989)
    rows[1] = (1600, "noise", 6, 0.2)
    rows[2] = (1600, "noise", 1.5, 0.2)
    rows[4] = rows[3]
    rows[5] = (None, "jpeg", 1, 0.1)
    rows[6] = (1600, "jpeg", 2, "#REF!")
    release_folders.csiq(tmp_path, rows[:-1])
    with pytest.raises(DatasetError) as caught:
        read_csiq(tmp_path)
    for fault in (
        "7 faults",
        "csiq.DMOS.xlsx: all_by_image, row 5: 61.989 is not a number from 0 to 1",
        "row 6: 6 is not a number from 1 to 5",
        "row 7: 1.5 is not a whole number",
        "row 9: dst_imgs/awgn/1600.AWGN.4.png again, after ",
        "row 10: image '', dst_type 'jpeg'",
        "row 11: '#REF!' is not a number from 0 to 1",
        "rates 865 images, the release has 866",
    ):
        assert fault in str(caught.value)


def test_an_unknown_type_is_refused_with_the_known_ones(made):
    book = openpyxl.load_workbook(made / "csiq.DMOS.xlsx")
    book["all_by_image"]["F5"] = "fog"
    book.save(made / "csiq.DMOS.xlsx")
    with pytest.raises(DatasetError, match="row 5: image '1600', dst_type 'fog': known types are noise, jpeg"):
        read_csiq(made)


def test_without_openpyxl_the_message_says_what_to_install(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ConfigError, match=r"csiq\.DMOS\.xlsx mpiqe needs openpyxl.*pip install 'mpiqe\[train\]'"):
        read_csiq(made)


def test_a_score_that_is_not_the_sheets_is_named(root, liqe_labels, tmp_path):
    rows = release_folders.liqe_rows(liqe_labels / SPLITS2 / "csiq_all_clip.txt")
    assert rows[0][1] == "0.969"
    rows[0][1] = "0.971"
    release_folders.liqe_files(tmp_path, "CSIQ", "csiq", ["\t".join(row) for row in rows])
    with pytest.raises(DatasetError, match=r"csiq_all_clip\.txt:1: .* scores 0\.971, the release says 0\.96"):
        read_csiq(root, tmp_path)
