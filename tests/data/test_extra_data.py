from pathlib import Path

import numpy as np
import pytest

from mpiqe.data import choose_split, read_csv
from mpiqe.data.extra_data import brought_to, read_extra_data, read_named, target_statistics, without_folder
from mpiqe.data.record import Record
from mpiqe.errors import ConfigError, DatasetError


def _records(*ratings: float) -> list[Record]:
    return [Record(Path(f"{number}.png"), f"{number}.png", mos) for number, mos in enumerate(ratings)]


def test_the_statistics_are_mean_and_population_deviation() -> None:
    assert target_statistics(_records(1, 2, 6)) == (pytest.approx(3), pytest.approx(np.std([1, 2, 6])))
    with pytest.raises(DatasetError, match=r"all 2 training images have the same MOS, 4"):
        target_statistics(_records(4, 4))


def test_a_set_is_brought_to_anothers_scale_in_its_order() -> None:
    given = _records(5, 1, 2, 4.5)
    made = brought_to((50, 20), given)
    ratings = [record.mos for record in made]
    assert (np.mean(ratings), np.std(ratings)) == (pytest.approx(50), pytest.approx(20))
    assert np.argsort(ratings).tolist() == np.argsort([5, 1, 2, 4.5]).tolist()
    assert np.corrcoef(ratings, [5, 1, 2, 4.5])[0, 1] == pytest.approx(1)  # a straight line
    assert [record.name for record in made] == [record.name for record in given]
    assert given[0].mos == 5


def test_a_set_on_the_scale_already_stays_as_it_is() -> None:
    given = _records(5, 1, 2, 4.5)
    assert [record.mos for record in brought_to(target_statistics(given), given)] == pytest.approx([5, 1, 2, 4.5])


@pytest.mark.parametrize("split", [1, 2])
def test_every_further_set_is_split_and_its_validation_photos_are_never_trained_on(
    rated_photos: Path, tmp_path: Path, split: int
) -> None:
    lines = rated_photos.read_text().splitlines()
    fewer = tmp_path / "fewer.csv"
    fewer.write_text(
        "\n".join([lines[0], *(f"{rated_photos.parent / line}" for line in lines[1:] if "rocket" not in line)])
    )
    specs = [f"csv:{rated_photos}", f"csv:{fewer}"]
    held_back, whole = (read_extra_data(specs, split=split, train_on_all=flag) for flag in (False, True))
    assert [side.dataset.name for side in held_back] == [rated_photos.stem, "fewer"]
    for table, part, everything in zip((rated_photos, fewer), held_back, whole, strict=True):
        records = read_csv(table).records
        sides = choose_split(read_csv(table), split)
        train, val, test = ([records[index] for index in side] for side in (sides.train, sides.val, sides.test))
        assert (part.train, part.val) == (train, val)
        assert sorted(everything.train, key=records.index) == everything.train
        assert {record.name for record in everything.train} == {record.name for record in (*train, *test)}
        assert everything.val == val


def test_without_validation_those_photos_are_trained_on_too(rated_photos: Path) -> None:
    (held,), (none,) = (
        read_extra_data([f"csv:{rated_photos}"], split=1, validation=validation) for validation in (True, False)
    )
    assert none.val == []
    assert {record.name for record in none.train} == {record.name for record in (*held.train, *held.val)}


def test_a_published_set_is_named_with_its_folder_and_known_without_it() -> None:
    assert without_folder("koniq:512x384=/data/a=b") == "koniq:512x384"
    assert without_folder("livec=/data") == "livec"
    assert without_folder("csv:/data/a=b.csv") == "csv:/data/a=b.csv"
    with pytest.raises(ConfigError, match=r"extra_data 'koniq:512x384' names no folder; give it as koniq:512x384=FOLD"):
        read_named("koniq:512x384")
    with pytest.raises(ConfigError, match="no dataset is called 'kniq'"):
        read_named("kniq=/data")


def test_without_further_sets_there_are_none() -> None:
    assert read_extra_data((), split=1) == []
