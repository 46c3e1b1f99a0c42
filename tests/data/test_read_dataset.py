from pathlib import Path

import pytest
from tests.data import release_folders

from mpiqe.data import (
    read_bid,
    read_csiq,
    read_csv,
    read_dataset,
    read_kadid,
    read_koniq,
    read_live,
    read_livec,
)
from mpiqe.errors import ConfigError

pytestmark = pytest.mark.usefixtures("labels_read_here")


@pytest.fixture(scope="module")
def koniq_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release_folders.koniq(tmp_path_factory.mktemp("koniq"), release_folders.made_koniq())


def test_livec_is_read_from_its_root(livec_root, liqe_labels):
    assert read_dataset("livec", root=livec_root) == read_livec(livec_root)
    assert read_dataset("livec", root=livec_root, labels=liqe_labels) == read_livec(livec_root, liqe_labels)


def test_each_release_is_read_from_its_root(tmp_path):
    release_folders.live(tmp_path, release_folders.made_live())
    release_folders.csiq(tmp_path, release_folders.made_csiq())
    release_folders.kadid(tmp_path, release_folders.made_kadid())
    release_folders.bid(tmp_path, release_folders.made_bid())
    for spec, reader in (("live", read_live), ("csiq", read_csiq), ("kadid", read_kadid), ("bid", read_bid)):
        dataset = read_dataset(spec, root=tmp_path)
        assert dataset == reader(tmp_path)
        assert dataset.name == spec


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("koniq", {}),
        ("koniq:512x384,zscore", {"size": "512x384", "mos": "zscore"}),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ("koniq:512x384", {"size": "512x384"}),
                ("koniq:1024x768,mos", {}),
                ("koniq:zscore", {"mos": "zscore"}),
                ("koniq:zscore,512x384", {"size": "512x384", "mos": "zscore"}),
            )
        ),
    ],
)
def test_koniq_is_read_in_the_size_and_with_the_mos_asked_for(koniq_root, spec, options):
    assert read_dataset(spec, root=koniq_root) == read_koniq(koniq_root, **options)


@pytest.mark.parametrize(
    "spec", ["koniq:", "koniq:640x480", "koniq:zscore,mos", "koniq:512x384,1024x768", "koniq:zscore,zscore"]
)
def test_an_unknown_koniq_is_refused_with_the_known_words(spec):
    with pytest.raises(ConfigError, match=f"{spec!r}; after koniq: comes 1024x768 or 512x384, or mos or zscore"):
        read_dataset(spec, root=Path())


def test_labels_as_published_are_passed_on_and_change_nothing_but_live(livec_root, liqe_labels, shared, tmp_path):
    rows = release_folders.rows_of(shared / "published_labels" / "LIVE.txt")
    release_folders.live(
        tmp_path, {row["dis_img_path"][5:]: (float(row["score"]), row["ref_img_path"][13:]) for row in rows}
    )
    literal = read_dataset("live", root=tmp_path, labels=liqe_labels, as_published=True)
    assert literal == read_live(tmp_path, liqe_labels, as_published=True)
    assert literal != read_dataset("live", root=tmp_path, labels=liqe_labels) == read_live(tmp_path, liqe_labels)
    livec = read_dataset("livec", root=livec_root, labels=liqe_labels)
    assert read_dataset("livec", root=livec_root, labels=liqe_labels, as_published=True) == livec


def test_a_table_is_read_from_its_path(tmp_path, paint):
    paint(tmp_path / "a.png")
    file = tmp_path / "mine.csv"
    file.write_text("image,mos\na.png,1\n")
    assert read_dataset(f"csv:{file}") == read_csv(file)


@pytest.mark.parametrize("spec", ["tid2013", "csv:", "csv", "mine.csv", "livec:x", "live:", "KADID", ""])
def test_an_unknown_dataset_is_refused_with_the_known_ones(spec):
    with pytest.raises(ConfigError, match=r"known are live, csiq, kadid, livec, bid, koniq, koniq:.*, csv:FILE"):
        read_dataset(spec)


@pytest.mark.parametrize(
    ("spec", "folder"),
    [
        ("live", "databaserelease2"),
        ("csiq", "CSIQ"),
        ("kadid", "kadid10k"),
        ("livec", "ChallengeDB_release"),
        ("bid", "BID"),
        ("koniq:zscore", "koniq-10k"),
    ],
)
def test_a_release_needs_a_root(spec, folder):
    with pytest.raises(ConfigError, match=f"{spec} needs --root DIR, the folder that holds {folder}/"):
        read_dataset(spec)


@pytest.mark.parametrize("option", [{"labels": Path()}, {"as_published": True}])
def test_an_option_that_has_no_meaning_for_a_table_is_refused(option):
    with pytest.raises(ConfigError, match="no meaning"):
        read_dataset("csv:mine.csv", **option)


def test_labels_as_published_have_no_meaning_without_labels(tmp_path):
    with pytest.raises(ConfigError, match="live: --labels-as-published has no meaning without --labels"):
        read_dataset("live", root=tmp_path, as_published=True)


def test_columns_are_named_for_tables_alone(tmp_path):
    with pytest.raises(ConfigError, match="livec: --image-column and --mos-column are for a table, csv:FILE"):
        read_dataset("livec", root=tmp_path, mos_column="MOS")


def test_a_table_without_its_prefix_is_guessed():
    with pytest.raises(ConfigError, match=r"no dataset is called 'mine.csv'; .*; is it the table csv:mine.csv\?"):
        read_dataset("mine.csv")
