from pathlib import Path

import pytest
from tests.data import release_folders
from tests.data.liqe_files import AUTHENTIC, assert_labels_are_liqes, assert_splits_are_liqes
from tests.data.release_folders import KONIQ_SCORES, KONIQ_SETS

from mpiqe.data import Dataset, read_koniq
from mpiqe.errors import DatasetError

SPLITS2 = Path("IQA_Database/koniq-10k/splits2")


@pytest.fixture(scope="module")
def sets(shared: Path) -> list[dict[str, str]]:
    """The official koniq10k_distributions_sets.csv."""
    return release_folders.rows_of(shared / "published_labels" / KONIQ_SETS)


@pytest.fixture(scope="module")
def root(sets: list[dict[str, str]], shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both sizes, and the official file with the shares; the one with the scores is not at hand."""
    root = tmp_path_factory.mktemp("koniq")
    release = root / "koniq-10k"
    release_folders.stand_ins(
        release, [f"{size}/{row['image_name']}" for size in ("1024x768", "512x384") for row in sets]
    )
    (release / KONIQ_SETS).write_bytes((shared / "published_labels" / KONIQ_SETS).read_bytes())
    return root


@pytest.fixture(scope="module")
def dataset(root: Path, liqe_labels: Path) -> Dataset:
    return read_koniq(root, liqe_labels)


@pytest.fixture(scope="module")
def images() -> list[dict[str, str]]:
    return release_folders.made_koniq()


@pytest.fixture
def made(images: list[dict[str, str]], tmp_path: Path) -> Path:
    """Needs nothing of what was published; both label files."""
    return release_folders.koniq(tmp_path, images, (KONIQ_SCORES, KONIQ_SETS))


def test_every_mos_is_the_published_one(dataset, shared):
    rows = release_folders.rows_of(shared / "published_labels" / "KonIQ-10k.txt")
    published = {row["dis_img_path"].removeprefix("KonIQ-10k/"): float(row["score"]) for row in rows}
    assert len(published) == 10_073
    assert {record.name: record.mos for record in dataset.records} == pytest.approx(published, abs=1e-9)


def test_every_label_is_liqes(dataset, liqe_labels):
    rows = release_folders.liqe_rows(liqe_labels / SPLITS2 / "koniq10k_all_clip.txt")
    assert len(rows) == len(dataset.records) == 10_073
    mos = {record.name: record.mos for record in dataset.records}
    assert mos == pytest.approx({row[0]: float(row[1]) for row in rows}, abs=7e-7, rel=0)  # six decimals there
    assert_labels_are_liqes(dataset.records, rows, AUTHENTIC)


def test_every_split_is_liqes(dataset, liqe_labels):
    assert_splits_are_liqes(dataset, liqe_labels / SPLITS2, "koniq10k")


@pytest.mark.slow
def test_the_small_images_and_the_zscores_keep_liqes_labels_and_splits(root, dataset, sets, liqe_labels):
    other = read_koniq(root, liqe_labels, size="512x384", mos="zscore")
    assert [record.name for record in other.records] == [f"512x384/{row['image_name']}" for row in sets]
    assert [record.mos for record in other.records] == [float(row["MOS"]) for row in sets]
    assert [(r.scenes, r.distortion) for r in other.records] == [(r.scenes, r.distortion) for r in dataset.records]
    assert other.splits == dataset.splits


def test_every_image_is_there_in_both_sizes(root, dataset):
    assert all(record.image.is_file() for record in dataset.records)
    small = read_koniq(root, size="512x384").records
    assert {record.image.parent.name for record in small} == {"512x384"}
    assert all(record.image.is_file() for record in small)


@pytest.mark.slow
@pytest.mark.parametrize("files", [[KONIQ_SCORES], [KONIQ_SETS], [KONIQ_SCORES, KONIQ_SETS]])
def test_both_label_files_give_the_same_two_mos(images, files, tmp_path):
    root = release_folders.koniq(tmp_path, images, files)
    shares = [float(row["c4"]) for row in images]
    assert [record.mos for record in read_koniq(root).records] == pytest.approx([2 + 2 * share for share in shares])
    zscores = read_koniq(root, mos="zscore").records
    assert [record.mos for record in zscores] == pytest.approx([10 + 80 * share for share in shares])
    assert all(record.label == record.mos for record in zscores)


def test_the_mean_of_the_ratings_and_the_large_images_are_the_default(made):
    dataset = read_koniq(made)
    assert dataset == read_koniq(made, size="1024x768", mos="mos")
    assert (dataset.low, dataset.records[0].name) == (2, "1024x768/0.jpg")
    assert 3.99 < dataset.high <= 4


def test_without_labels_nothing_is_guessed(made):
    dataset = read_koniq(made)
    assert dataset.splits == ()
    assert all(record.scenes == () and record.distortion is None for record in dataset.records)


@pytest.mark.slow
def test_the_variants_are_one_dataset_by_name(made):
    assert {read_koniq(made, size=s, mos=m).name for s in ("1024x768", "512x384") for m in ("mos", "zscore")} == {
        "koniq"
    }


def test_one_label_file_under_the_name_of_the_other_is_refused(made):
    (made / KONIQ_SETS).replace(made / KONIQ_SCORES)
    with pytest.raises(DatasetError, match=rf"{KONIQ_SCORES}:1: .*\n.*no column 'MOS_zscore' but image_name, c1"):
        read_koniq(made)


def test_zscores_in_the_place_of_the_mean_are_refused(made):
    file = made / KONIQ_SCORES
    file.write_text(file.read_text().replace(",MOS,SD,MOS_zscore", ",MOS_zscore,SD,MOS"))
    with pytest.raises(DatasetError, match=r"scores_and_distributions\.csv:2: '10\.0' is not a number from 1 to 5"):
        read_koniq(made)


def test_shares_that_are_counts_or_do_not_add_up_are_refused(made):
    (made / KONIQ_SCORES).unlink()
    file = made / KONIQ_SETS
    lines = file.read_text().splitlines()
    lines[1] = lines[1].replace("0.jpg,0,1.0,0,0.0,0,", "0.jpg,0,100,0,0,0,")
    lines[2] = lines[2].replace("1.jpg,0,0.9", "1.jpg,0,0.2")
    file.write_text("\n".join(lines))
    with pytest.raises(DatasetError) as caught:
        read_koniq(made)
    assert "2 faults" in str(caught.value)
    assert "koniq10k_distributions_sets.csv:2: '100' is not a number from 0 to 1" in str(caught.value)
    assert "koniq10k_distributions_sets.csv:3: the shares c1 to c5 add up to 0.3, not to 1" in str(caught.value)


def test_another_count_and_an_image_named_twice_come_in_one_message(made):
    file = made / KONIQ_SCORES
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:-2], lines[1]]))
    with pytest.raises(DatasetError) as caught:
        read_koniq(made)
    assert "2 faults" in str(caught.value)
    assert f"{KONIQ_SCORES}:10073: 1024x768/0.jpg again, after {file}:2" in str(caught.value)
    assert "rates 10072 images, the release has 10073" in str(caught.value)


def test_a_folder_without_label_files_is_refused(made):
    (made / KONIQ_SCORES).unlink()
    (made / KONIQ_SETS).unlink()
    with pytest.raises(DatasetError, match=rf"{KONIQ_SCORES}: cannot be read \(.*No such file"):
        read_koniq(made)


def test_a_size_that_is_not_there_is_refused_with_the_way_out(made):
    (made / "512x384").rmdir()
    with pytest.raises(DatasetError, match="no 512x384/; the root is the folder that holds koniq-10k/"):
        read_koniq(made, size="512x384")
    assert len(read_koniq(made).records) == 10_073


def test_the_root_may_be_the_release_or_what_holds_it(made):
    assert read_koniq(made) == read_koniq(made.parent)
