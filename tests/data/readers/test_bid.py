import sys
from pathlib import Path

import openpyxl
import pytest
import xlwt
from tests.data import release_folders
from tests.data.liqe_files import AUTHENTIC, assert_labels_are_liqes, assert_splits_are_liqes, rows_of_split

from mpiqe.data import Dataset, read_bid
from mpiqe.errors import ConfigError, DatasetError

pytestmark = pytest.mark.usefixtures("labels_read_here")
SPLITS2 = Path("IQA_Database/BID/splits2")


@pytest.fixture(scope="module")
def scores(liqe_labels: Path) -> dict[str, float]:
    """The only public list of BID's grades is LIQE's; it is rounded to six decimals."""
    return {name: float(score) for name, score, _ in release_folders.liqe_rows(liqe_labels / SPLITS2 / "bid_all.txt")}


@pytest.fixture(scope="module")
def root(scores: dict[str, float], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bid")
    rows = sorted((float(name[-8:-4]), score) for name, score in scores.items())  # Excel knows no whole numbers
    release_folders.stand_ins(release_folders.bid(root, rows), scores)
    return root


@pytest.fixture(scope="module")
def dataset(root: Path, liqe_labels: Path) -> Dataset:
    return read_bid(root, liqe_labels)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Needs nothing of what was published."""
    return release_folders.bid(tmp_path, release_folders.made_bid())


def test_every_mos_is_the_sheets_in_its_order(dataset, scores):
    assert [(record.name, record.mos) for record in dataset.records] == sorted(scores.items())
    assert all(record.label == record.mos for record in dataset.records)


def test_every_label_is_liqes(dataset, liqe_labels):
    rows = rows_of_split(liqe_labels / SPLITS2, "bid", 1)
    assert len(rows) == len(dataset.records) == 586
    assert {record.name: record.mos for record in dataset.records} == {row[0]: float(row[1]) for row in rows}
    assert_labels_are_liqes(dataset.records, rows, AUTHENTIC)
    assert all(record.image.is_file() and record.reference is None for record in dataset.records)


def test_every_split_is_liqes(dataset, liqe_labels):
    assert_splits_are_liqes(dataset, liqe_labels / SPLITS2, "bid")


def test_there_are_586_images_not_585(made):
    numbers = [int(record.name[-8:-4]) for record in read_bid(made).records]
    assert len(numbers) == 586
    assert set(range(1, 591)) - set(numbers) == {2, 346, 413, 439}


def test_without_labels_nothing_is_guessed(made):
    dataset = read_bid(made)
    assert dataset.splits == ()
    assert all(record.scenes == () and record.distortion is None for record in dataset.records)


def test_higher_is_better_and_the_scale_is_kept(made):
    first, *_, last = read_bid(made).records
    assert (first.mos, last.mos) == (1 / 125, 590 / 125)


def test_images_whose_suffix_is_in_lower_case_are_found(made):
    names = [record.name for record in read_bid(made).records]
    release_folders.stand_ins(made, [name.replace(".JPG", ".jpg") for name in names])
    records = read_bid(made).records
    assert all(record.image.is_file() and record.image.suffix == ".jpg" for record in records)
    assert [record.name for record in records] == names


def test_the_only_excel_file_is_taken_whatever_its_name_and_format(made):
    expected = read_bid(made)
    (made / "DatabaseGrades.xls").rename(made / "grades.XLS")
    assert read_bid(made) == expected
    book = openpyxl.Workbook()
    book.active.append(release_folders.BID_HEADER)
    for row in release_folders.made_bid():
        book.active.append(row)
    book.save(made / "DatabaseGrades.xlsx")
    (made / "grades.XLS").unlink()
    assert read_bid(made) == expected


def test_of_several_excel_files_only_the_official_name_is_taken(made):
    expected = read_bid(made)
    (made / "mine.xlsx").touch()
    (made / "~$DatabaseGrades.xls").touch()
    assert read_bid(made) == expected
    (made / "DatabaseGrades.xls").rename(made / "yours.xls")
    with pytest.raises(DatasetError, match=r"mine\.xlsx, yours\.xls beside ImageDatabase/, where the release has"):
        read_bid(made)


def test_a_folder_without_excel_files_is_refused(made):
    (made / "DatabaseGrades.xls").unlink()
    with pytest.raises(DatasetError, match=r"no Excel file beside ImageDatabase/.* DatabaseGrades\.xls"):
        read_bid(made)


def test_a_damaged_sheet_is_named(made):
    (made / "DatabaseGrades.xls").write_text("<html>")
    with pytest.raises(DatasetError, match=r"DatabaseGrades\.xls: cannot be read as an Excel file"):
        read_bid(made)


def test_a_sheet_without_the_columns_is_refused_with_their_names(tmp_path):
    release_folders.bid(tmp_path, release_folders.made_bid(), ("image", "mos", "std"))
    with pytest.raises(
        DatasetError, match="no row of any sheet names the columns 'Image Number', 'Average Subjective Grade'"
    ):
        read_bid(tmp_path)


def test_all_faults_of_the_sheet_come_in_one_message(tmp_path):
    rows = release_folders.made_bid()
    rows[0] = (1, 5.1)
    rows[1] = (3.5, 1)
    rows[2] = (4, "good")
    rows[4] = rows[3]
    release_folders.bid(tmp_path, rows[:-1])
    with pytest.raises(DatasetError) as caught:
        read_bid(tmp_path)
    for fault in (
        "5 faults",
        "DatabaseGrades.xls: Plan1, row 2: 5.1 is not a number from 0 to 5",
        "row 3: 3.5 is not a whole number",
        "row 4: 'good' is not a number from 0 to 5",
        "row 6: ImageDatabase/DatabaseImage0005.JPG again, after ",
        "rates 585 images, the release has 586",
    ):
        assert fault in str(caught.value)


def test_a_cell_with_an_error_is_not_taken_for_a_grade(made):
    book = xlwt.Workbook()
    sheet = book.add_sheet("Plan1")
    for number, row in enumerate([release_folders.BID_HEADER, *release_folders.made_bid()]):
        for column, cell in enumerate(row):
            sheet.write(number, column, cell)
    sheet.row(1).set_cell_error(3, "#NULL!")  # what nobody asks for may be broken
    sheet.row(588).set_cell_number(0, 2)
    sheet.row(588).set_cell_error(1, "#NULL!")  # read as a number it is 0
    book.save(str(made / "DatabaseGrades.xls"))
    with pytest.raises(DatasetError, match="row 589: None is not a number from 0 to 5"):
        read_bid(made)


def test_without_xlrd_the_message_says_what_to_install(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "xlrd", None)
    with pytest.raises(ConfigError, match=r"DatabaseGrades\.xls mpiqe needs xlrd.*pip install 'mpiqe\[train\]'"):
        read_bid(made)


def test_the_root_may_be_the_release_or_what_holds_it(made):
    assert read_bid(made) == read_bid(made.parent)


def test_a_folder_that_is_not_the_release_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(DatasetError, match="no ImageDatabase/; the root is the folder that holds BID/"):
        read_bid(tmp_path)
