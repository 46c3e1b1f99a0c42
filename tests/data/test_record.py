from dataclasses import replace

import pytest

from mpiqe.data import Dataset, Record
from mpiqe.errors import DatasetError


@pytest.fixture
def dataset(tmp_path, paint):
    return Dataset("mine", tuple(Record(paint(tmp_path / f"{n}.png", seed=n), f"{n}.png", 10.0 * n) for n in range(3)))


def _changed(dataset, **fields):
    return replace(dataset, records=(replace(dataset.records[0], **fields), *dataset.records[1:]))


def test_the_range_of_the_mos_is_that_of_the_records(dataset):
    assert (dataset.low, dataset.high) == (0.0, 20.0)


@pytest.mark.parametrize(
    "fields", [{"name": "x"}, {"mos": 0.1}, {"scenes": ("human",)}, {"distortion": "blur"}, {"reference": "r"}]
)
def test_the_digest_sees_every_label(dataset, fields):
    assert _changed(dataset, **fields).digest != dataset.digest


def test_the_digest_sees_another_order_and_another_file_size(dataset):
    before = dataset.digest
    assert replace(dataset, records=dataset.records[::-1]).digest != before
    with dataset.records[1].image.open("ab") as file:
        file.write(b"x")
    assert dataset.digest != before


def test_the_digest_does_not_see_where_the_dataset_lies(dataset, tmp_path):
    before = dataset.digest
    moved = dataset.records[0].image.rename(tmp_path / "moved.png")
    assert _changed(dataset, image=moved).digest == before


def test_the_digest_names_a_file_that_is_not_there(dataset):
    dataset.records[2].image.unlink()
    with pytest.raises(DatasetError, match=r"2\.png: No such file"):
        _ = dataset.digest
