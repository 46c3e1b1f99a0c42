from pathlib import Path

import pytest

from mpiqe.data import read_csv, read_dataset, read_livec
from mpiqe.errors import ConfigError


def test_livec_is_read_from_its_root(livec_root, liqe_labels):
    assert read_dataset("livec", root=livec_root) == read_livec(livec_root)
    assert read_dataset("livec", root=livec_root, labels=liqe_labels) == read_livec(livec_root, liqe_labels)


def test_a_table_is_read_from_its_path(tmp_path, paint):
    paint(tmp_path / "a.png")
    file = tmp_path / "mine.csv"
    file.write_text("image,mos\na.png,1\n")
    assert read_dataset(f"csv:{file}") == read_csv(file)


@pytest.mark.parametrize("spec", ["koniq", "csv:", "csv", "mine.csv", "livec:x", ""])
def test_an_unknown_dataset_is_refused_with_the_known_ones(spec):
    with pytest.raises(ConfigError, match="known are livec, csv:FILE"):
        read_dataset(spec)


def test_livec_needs_a_root():
    with pytest.raises(ConfigError, match="--root"):
        read_dataset("livec")


@pytest.mark.parametrize("folder", ["root", "labels"])
def test_a_folder_that_has_no_meaning_for_a_table_is_refused(folder):
    with pytest.raises(ConfigError, match="no meaning"):
        read_dataset("csv:mine.csv", **{folder: Path()})
