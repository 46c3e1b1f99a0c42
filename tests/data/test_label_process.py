"""Whatever a label file does to the process that reads it, this one gets a DatasetError."""

import signal
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import openpyxl
import pytest
from scipy.io import savemat

from mpiqe.data import label_child, label_process
from mpiqe.data.label_files import mat_variable
from mpiqe.data.label_process import read_apart
from mpiqe.errors import DatasetError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    savemat(tmp_path / "labels.mat", {"a": np.array([[1.5, np.nan, np.inf]]), "b": np.arange(6, dtype=np.uint8)})
    return tmp_path / "labels.mat"


def test_numbers_come_as_they_are(file: Path) -> None:
    np.testing.assert_array_equal(mat_variable(file, "a"), [[1.5, np.nan, np.inf]])
    np.testing.assert_array_equal(mat_variable(file, "b"), [[0, 1, 2, 3, 4, 5]])


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "its reader died of signal 11"),
        ("raise SystemExit(3)", "its reader ended with exit status 3"),
        ("print('[' * 5000)", "its reader ended with exit status 0"),
        ("print('[]')", "its reader ended with exit status 0"),
        ("print('{}' * 1000)", "holds more than 0 MB of labels"),
        ("import time; time.sleep(60)", "it takes longer than 300 s"),
    ],
)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals are told otherwise here")
def test_a_reader_that_dies_hangs_or_floods_costs_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, does: str, said: str
) -> None:
    monkeypatch.setattr(label_process, "BOOT", does)
    if "longer" in said:
        monkeypatch.setattr(label_process, "GRACE", -299.5)
    if "more than" in said:
        monkeypatch.setattr(label_process, "ANSWER", 1000)
    with pytest.raises(DatasetError, match=said):
        read_apart(file, "mat")


@pytest.mark.skipif(sys.platform != "linux", reason="memory can be bounded on Linux alone")
def test_the_memory_of_a_reader_is_bounded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flood = (
        "from mpiqe.data import label_child; "
        "label_child.KINDS['mat'] = lambda file: {'a': len(bytearray(2 * label_child.MEMORY))}; "
        "label_child.main(sys.argv[2], sys.argv[3])"
    )
    monkeypatch.setattr(label_process, "BOOT", label_process.BOOT.partition("from mpiqe.data")[0] + flood)
    with pytest.raises(DatasetError, match="MemoryError"):
        read_apart(file, "mat")


def rewrite(book: Path, member: str, old: bytes, new: bytes) -> None:
    with ZipFile(book) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert old in contents[member]
    with ZipFile(book, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content.replace(old, new) if name == member else content)


def test_a_sheet_that_says_it_has_millions_of_rows_is_refused_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = openpyxl.Workbook()
    book.active.append(["image"])
    book.active.append(["a.jpg"])
    book.save(tmp_path / "labels.xlsx")
    assert len(label_child._xlsx(str(tmp_path / "labels.xlsx"))["Sheet"]) == 2
    sheet = "xl/worksheets/sheet1.xml"
    rewrite(tmp_path / "labels.xlsx", sheet, b"A2", b"A9000")
    rewrite(tmp_path / "labels.xlsx", sheet, b'<row r="2"', b'<row r="9000"')
    assert len(label_child._xlsx(str(tmp_path / "labels.xlsx"))["Sheet"]) == 9000
    monkeypatch.setattr(label_child, "CELLS", 8000)
    with pytest.raises(ValueError, match="more than 8000 cells"):
        label_child._xlsx(str(tmp_path / "labels.xlsx"))


def test_a_module_in_the_working_directory_is_not_imported(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scipy.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    assert "a" in read_apart(file, "mat")
    assert not (tmp_path / "ran").exists()


def test_what_is_no_file_or_too_large_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no file of at most 256 MB"):
        read_apart(tmp_path, "mat")
    with (tmp_path / "large.mat").open("wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(DatasetError, match="no file of at most 256 MB"):
        read_apart(tmp_path / "large.mat", "mat")
