import csv
import hashlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpiqe.data import Dataset, Record, Split, choose_split, fraction, liqe_split, own_split, without_val
from mpiqe.data.splits import check_split, shuffled
from mpiqe.errors import ConfigError, DatasetError


def _dataset(count: int, *, references: int = 0, **fields: object) -> Dataset:
    """Images 0, 1, ...; with ``references`` each of them has one, dealt in turn."""
    return Dataset(
        "numbers",
        tuple(
            Record(
                Path(f"{index}.png"),
                f"{index}.png",
                float(index),
                reference=f"{index % references}" if references else None,
            )
            for index in range(count)
        ),
        **fields,
    )


@given(
    count=st.integers(3, 60), references=st.integers(0, 12).filter(lambda n: n not in (1, 2)), seed=st.integers(0, 99)
)
def test_every_image_is_on_exactly_one_side(count, references, seed):
    dataset = _dataset(max(count, references), references=references)
    split = own_split(dataset, 1, seed=seed)
    assert sorted((*split.train, *split.val, *split.test)) == list(range(len(dataset.records)))
    assert split.train
    assert split.val
    assert split.test


@pytest.mark.parametrize("number", range(1, 11))
def test_no_reference_is_on_both_sides_of_a_split(number):
    dataset = _dataset(290, references=29)
    split = own_split(dataset, number)
    sides = [
        {dataset.records[index].reference for index in members} for members in (split.train, split.val, split.test)
    ]
    # 29 references as in LIVE: a fifth is 6, an eighth of the other 23 is 3.
    assert [len(side) for side in sides] == [20, 3, 6]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]


def test_without_references_a_fifth_is_tested_and_an_eighth_of_the_rest_validates():
    split = own_split(_dataset(200), 1)
    assert [len(side) for side in (split.train, split.val, split.test)] == [140, 20, 40]


def test_twins_are_never_on_two_sides():
    dataset = _dataset(20, twins=(("3.png", "11.png"),))
    for number in range(1, 11):
        for side in (split := own_split(dataset, number)).train, split.val, split.test:
            assert (3 in side) == (11 in side)


def test_the_ten_splits_and_the_seeds_differ():
    dataset = _dataset(100)
    splits = [own_split(dataset, number, seed=seed) for number in range(1, 11) for seed in (0, 1)]
    assert len(set(splits)) == 20


def test_a_split_is_the_same_on_every_machine():
    split = own_split(_dataset(100), 1)
    # Printed by the first version of own_split; a change here changes what published figures were measured on.
    assert hashlib.sha256(repr(split).encode()).hexdigest()[:16] == "919c3835d2f1e9a7"


def test_the_order_of_the_records_does_not_change_who_is_tested():
    dataset = _dataset(50)
    turned = Dataset("turned", dataset.records[::-1])
    tested = {dataset.records[index].name for index in own_split(dataset, 2).test}
    assert {turned.records[index].name for index in own_split(turned, 2).test} == tested


def test_two_contents_cannot_be_split():
    with pytest.raises(DatasetError, match="2 different contents"):
        own_split(_dataset(10, references=2), 1)


@pytest.mark.parametrize("number", [0, 11, -1])
def test_a_number_outside_one_to_ten_is_refused(number):
    with pytest.raises(ConfigError, match=f"no split {number}"):
        own_split(_dataset(10), number)
    with pytest.raises(ConfigError, match=f"no split {number}"):
        liqe_split(_dataset(10), number)


def test_liqes_splits_are_taken_where_they_are_given():
    published = tuple(Split((0, 1), (2,), (3 + number,)) for number in range(10))
    dataset = _dataset(13, splits=published)
    assert choose_split(dataset, 4) == liqe_split(dataset, 4) == published[3]
    assert choose_split(dataset, 4, source="own") == own_split(dataset, 4)
    assert choose_split(_dataset(13), 4, seed=5) == own_split(_dataset(13), 4, seed=5)


def test_liqes_splits_cannot_be_asked_of_a_dataset_without_them():
    with pytest.raises(ConfigError, match="--labels"):
        choose_split(_dataset(10), 1, source="liqe")


def test_an_unknown_source_of_splits_is_refused():
    with pytest.raises(ConfigError, match="'official'; known are auto, liqe, own"):
        choose_split(_dataset(10), 1, source="official")


def test_fractions_are_nested_and_leave_val_and_test_alone():
    split = own_split(_dataset(100), 1)
    shares = [fraction(split, share) for share in (0.2, 0.4, 0.6, 1.0)]
    assert [len(share.train) for share in shares] == [14, 28, 42, 70]
    for smaller, larger in pairwise(shares):
        assert set(smaller.train) < set(larger.train)
        assert (smaller.val, smaller.test) == (split.val, split.test)
    assert shares[-1] == split


def test_fractions_depend_on_their_seed():
    split = own_split(_dataset(100), 1)
    assert fraction(split, 0.2, seed=1) != fraction(split, 0.2, seed=2)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, float("nan")])
def test_a_fraction_must_be_a_share(share):
    with pytest.raises(ConfigError, match="fraction"):
        fraction(Split((0, 1), (2,), (3,)), share)


def test_val_can_join_train():
    assert without_val(Split((0, 4), (2,), (3,))) == Split((0, 2, 4), (), (3,))


def test_all_faults_of_a_split_come_in_one_message():
    with pytest.raises(DatasetError) as caught:
        check_split(Split((), (0, 9), (0,)), _dataset(3).records)
    message = str(caught.value)
    assert "5 faults" in message
    assert "there are no train images" in message
    assert "0.png is in val and in test" in message
    assert "index 9 (val) is outside the dataset's 3 images" in message
    assert "1.png is on no side" in message
    assert "2.png is on no side" in message


def test_the_order_depends_on_the_names_and_the_key_not_on_how_they_came():
    assert shuffled("abcdef", "k") == shuffled("fedcba", "k")
    assert shuffled("abcdef", "k") != shuffled("abcdef", "l")


def test_no_name_is_lost_and_every_place_is_possible():
    orders = [shuffled("abcd", str(key)) for key in range(200)]
    assert {tuple(sorted(order)) for order in orders} == {("a", "b", "c", "d")}
    assert len({tuple(order) for order in orders}) == 24


def test_the_sides_of_biq2021_that_the_embedded_model_knows_are_split_1_of_the_table_it_was_trained_with() -> None:
    with (Path(__file__).parents[2] / "tools" / "biq2021_split_1.csv").open(newline="", encoding="utf-8") as lines:
        sides = {f"/work/shared/data/biq2021_crops/images/{row['image']}": row["side"] for row in csv.DictReader(lines)}
    records = tuple(Record(Path(name), name, 0.0) for name in sides)
    split = own_split(Dataset("biq2021", records), 1)
    for side in ("train", "val", "test"):
        assert {records[index].name for index in getattr(split, side)} == {n for n, s in sides.items() if s == side}
