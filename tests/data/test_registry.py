import pytest
from tests.data import release_folders

from mpiqe.data import DATASETS
from mpiqe.data.registry import spec_of

LIQE = {  # LIQE's folders and their lists of all images
    "live": "databaserelease2/splits2/live_all.txt",
    "csiq": "CSIQ/splits2/csiq_all.txt",
    "kadid": "kadid10k/splits2/kadid10k_all.txt",
    "livec": "ChallengeDB_release/splits2/clive_all.txt",
    "bid": "BID/splits2/bid_all.txt",
    "koniq": "koniq-10k/splits2/koniq10k_all.txt",
}
LISTS = {"live": "LIVE.txt", "csiq": "CSIQ.txt", "kadid": "KADID-10k.txt", "koniq": "KonIQ-10k.txt"}


def test_there_is_one_release_for_each_of_the_six_sets():
    assert list(DATASETS) == ["live", "csiq", "kadid", "livec", "bid", "koniq"]


@pytest.mark.parametrize("name", LIQE)
def test_the_number_of_images_is_liqes(name, liqe_labels):
    names = {row[0] for row in release_folders.liqe_rows(liqe_labels / "IQA_Database" / LIQE[name])}
    assert len(names) == DATASETS[name].images


@pytest.mark.parametrize("name", LISTS)
def test_the_numbers_of_images_and_references_are_those_of_the_published_list(name, shared):
    rows = release_folders.rows_of(shared / "published_labels" / LISTS[name])
    references = {row["ref_img_path"] for row in rows if "ref_img_path" in row}
    assert len(rows) == DATASETS[name].images
    assert (len(references) or None) == DATASETS[name].references


@pytest.mark.parametrize("name", LIQE)
def test_the_parts_add_up(name):
    parts = DATASETS[name].parts
    assert sum(parts.values()) == (DATASETS[name].images if parts else 0)


def test_facts_cannot_be_changed_in_passing():
    with pytest.raises(TypeError):
        DATASETS["live"] = DATASETS["csiq"]
    with pytest.raises(TypeError):
        DATASETS["live"].parts["wn"] = 1


@pytest.mark.parametrize("name", LIQE)
def test_every_label_says_its_direction(name):
    better = "lower" if name in ("live", "csiq") else "higher"
    assert DATASETS[name].label.endswith(f"{better} is better")


@pytest.mark.parametrize(
    ("spec", "name"),
    [("live", "live"), ("koniq:512x384,zscore", "koniq"), ("csv:live", None), ("live.csv", None), ("", None)],
)
def test_a_dataset_is_of_the_release_that_its_first_word_names(spec, name):
    assert spec_of(spec) is (DATASETS[name] if name else None)
