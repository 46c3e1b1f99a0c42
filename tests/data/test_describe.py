import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from tests.data import release_folders

from mpiqe.data import Dataset, Record, Split, read_dataset, read_livec
from mpiqe.data.describe import Count, Coverage, Group, Splits, describe
from mpiqe.data.registry import DATASETS, spec_of
from mpiqe.errors import DatasetError


@pytest.fixture
def mine(tmp_path, paint):
    """Five images of three references; the last is not on the disk."""
    rows = [
        (1.0, ("human", "animal"), "blur", "a"),
        (2.0, ("human",), "noise", "a"),
        (6.0, (), "blur", "b"),
        (7.0, (), None, "c"),
        (9.0, ("animal",), None, None),
    ]
    records = [Record(tmp_path / f"{n}.png", f"{n}.png", *row) for n, row in enumerate(rows)]
    for record in records[:4]:
        paint(record.image)
    return Dataset("mine", tuple(records))


def test_counts_ratings_and_coverage_are_those_of_the_records(mine):
    found = describe(mine, None)
    assert (found.name, found.title, found.scale, found.parts) == ("mine", "mine", None, {})
    assert (found.rated, found.images, found.references) == (5, Count(4, None), Count(3, None))
    mos = [1.0, 2.0, 6.0, 7.0, 9.0]
    assert (found.mos.low, found.mos.high, found.mos.median) == (1.0, 9.0, 6.0)
    assert (found.mos.mean, found.mos.deviation) == (pytest.approx(np.mean(mos)), pytest.approx(np.std(mos)))
    assert found.distortions == Coverage({"blur": Group(2, 3.5), "noise": Group(1, 2.0)}, labelled=3, unlabelled=2)
    assert found.scenes == Coverage({"animal": Group(2, 5.0), "human": Group(2, 1.5)}, labelled=3, unlabelled=2)
    assert (found.scenes.several, found.distortions.several) == (True, False)


def test_the_most_frequent_class_comes_first(mine):
    more = replace(mine, records=(*mine.records, *(replace(mine.records[1], name=f"{n}") for n in "xy")))
    assert list(describe(more, None).distortions.classes) == ["noise", "blur"]


def test_splits_are_liqes_where_they_are_there_and_their_sizes_are_least_and_most(mine):
    assert describe(mine, None).splits.whose == "mpiqe"
    one, other = Split((0, 1, 2), (3,), (4,)), Split((0, 1), (2, 3), (4,))
    found = describe(replace(mine, splits=(one,) * 9 + (other,)), None).splits
    assert found == Splits("LIQE", train=(2, 3), val=(1, 2), test=(1, 1))


def test_two_contents_have_no_splits(mine):
    assert describe(replace(mine, records=mine.records[:3]), None).splits is None


def test_a_dataset_without_images_is_refused():
    with pytest.raises(DatasetError, match="none: no images to describe"):
        describe(Dataset("none", ()), None)


@pytest.mark.parametrize(
    ("low", "high", "decimals"), [(0, 100, 1), (-3, 112, 1), (3.42, 92.4, 1), (1, 5, 2), (0, 0.99, 3), (4, 4, 2)]
)
def test_so_many_decimals_are_printed_that_a_hundredth_of_the_range_shows(mine, low, high, decimals):
    assert replace(describe(mine, None).mos, low=low, high=high).decimals == decimals


def test_parts_are_counted_by_folder_or_by_the_code_in_the_name():
    csiq = [Record(Path(__file__), f"dst_imgs/{kind}/{n}.png", n) for kind in ("awgn", "jpeg") for n in range(3)]
    found = describe(Dataset("csiq", tuple(csiq)), DATASETS["csiq"]).parts
    assert (found["awgn"], found["jpeg"], found["jpeg2000"]) == (Count(3, 150), Count(3, 150), Count(0, 150))
    kadid = [Record(Path(__file__), f"images/I{n:02}_07_01.png", n) for n in range(4)]
    kadid.append(Record(Path("gone.png"), "images/I01_07_02.png", 1.0))
    found = describe(Dataset("kadid", tuple(kadid)), DATASETS["kadid"]).parts
    assert (found["07"], found["01"]) == (Count(4, 405), Count(0, 405))


def test_a_release_in_its_other_size_has_no_parts_to_miss():
    small = Dataset("koniq", (Record(Path(__file__), "512x384/1.jpg", 3.0),))
    assert describe(small, DATASETS["koniq"]).parts == {}


def test_a_release_is_found_by_the_first_word_and_never_for_a_table():
    assert spec_of("koniq:512x384") is DATASETS["koniq"]
    assert spec_of("livec") is DATASETS["livec"]
    assert spec_of("csv:livec") is None


def test_live_challenge_is_described_as_it_was_published(livec_root, liqe_labels):
    found = describe(read_livec(livec_root, liqe_labels), spec_of("livec"))
    assert (found.title, found.rated, found.images) == ("LIVE Challenge", 1162, Count(1162, 1162))
    assert found.references == Count(0, None)
    assert found.distortions.unlabelled == found.scenes.unlabelled == 0
    # cut -f3 clive_all_clip.txt | sort | uniq -c
    published = {"blur": 499, "others": 437, "under-exposure": 105, "noise": 62, "contrast": 30, "over-exposure": 29}
    assert {name: group.images for name, group in found.distortions.classes.items()} == published
    assert found.splits == Splits("LIQE", (813, 813), (116, 116), (233, 233))
    assert json.loads(json.dumps(asdict(found)))["mos"]["low"] == 3.42


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["live", "csiq", "kadid", "bid", "koniq"])
def test_every_image_of_a_release_is_in_one_of_its_parts(spec, tmp_path):
    release = getattr(release_folders, spec)(tmp_path, getattr(release_folders, f"made_{spec}")())
    release_folders.stand_ins(release, [record.name for record in read_dataset(spec, root=tmp_path).records])
    published = spec_of(spec)
    found = describe(read_dataset(spec, root=tmp_path), published)
    assert found.images == Count(published.images, published.images)
    assert found.references == Count(published.references or 0, published.references)
    assert found.parts == {part: Count(number, number) for part, number in published.parts.items()}
    assert found.splits.whose == "mpiqe"
