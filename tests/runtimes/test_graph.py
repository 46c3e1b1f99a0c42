import json
from dataclasses import replace

import pytest

from mpiqe.errors import WeightsError
from mpiqe.intervals import IntervalModel
from mpiqe.runtimes.graph import CARD, GraphCard, check_files, read_card, write_card
from mpiqe.view import NATIVE, View

GIVEN = GraphCard(
    crop_size=32,
    crops=3,
    low=3.0,
    high=92.5,
    unit="MOS of livec",
    scenes=("animal", "plant"),
    distortions=("blur",),
    window_temperature=0.05,
    source="abc",
    outputs=("score", "scene", "distortion"),
    precision="fp32",
)


def test_a_card_is_read_as_it_was_written(tmp_path):
    write_card(tmp_path, GIVEN, versions={"mpiqe": "0.1.0"})
    assert read_card(tmp_path) == GIVEN
    assert (GIVEN.scale.low, GIVEN.scale.high, GIVEN.scale.unit) == (3.0, 92.5, "MOS of livec")


def test_a_card_keeps_the_view_and_one_of_an_earlier_version_means_native_crops(tmp_path):
    viewed = replace(GIVEN, view=View("scaled", 384), crop_mode="grid")
    write_card(tmp_path, viewed)
    assert read_card(tmp_path) == viewed
    values = json.loads((tmp_path / CARD).read_text())
    assert values["view"] == {"kind": "scaled", "side": 384}
    del values["view"], values["crop_mode"]
    (tmp_path / CARD).write_text(json.dumps(values))
    earlier = read_card(tmp_path)
    assert (earlier.view, earlier.crop_mode) == (NATIVE, "seeded")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "mpiqe-graph-9"}, "has the format 'mpiqe-graph-9'; this mpiqe reads 'mpiqe-graph-1'"),
        ({"crop_size": 0}, "crop_size = 0"),
        ({"crops": "4"}, "crops = '4'"),
        ({"low": float("nan")}, "low = nan"),
        ({"scenes": [1]}, "a name that is no text"),
        ({"precision": "int4"}, "precision = 'int4'"),
        ({"version": 3}, "a name that is no text"),
        ({"interval": {"level": 0.9}}, "interval = "),
        ({"outputs": ["score", "mood"]}, "outputs = "),
        ({"outputs": ["scene"]}, "lack the score"),
        ({"outputs": ["score", "score"]}, "names something twice"),
        ({"low": 93.0}, "low = 93.0 is above high = 92.5"),
        ({"low": True}, "low = True"),
        ({"high": 10**400}, r"cannot be used \(OverflowError"),
        ({"crops": True}, "crops = True"),
        ({"crop_size": False}, "crop_size = False"),
        ({"window_temperature": 0}, "window_temperature = 0 is not above zero"),
        ({"scenes": ["animal", "animal"]}, r"scenes = \('animal', 'animal'\) names something twice"),
        ({"unit": "\x1b[31mMOS"}, r"'\\x1b\[31mMOS' is no name that a terminal can show"),
        ({"distortions": ["blur\n"]}, "is no name that a terminal can show"),
        ({"scenes": ["a" * 2000, "b"]}, "is no name that a terminal can show"),
        ({"digests": {"../secret": "blake2b:00"}}, "digests = "),
        ({"digests": {"/etc/passwd": "blake2b:00"}}, "digests = "),
        ({"digests": ["mpiqe.onnx"]}, "digests = "),
        ({"view": {"kind": "scaled", "side": -1}}, "side must be a whole number from 1"),
        ({"view": "all of it"}, "view: expected"),
        ({"crop_mode": "random"}, "crop_mode = 'random'"),
    ],
)
def test_a_card_that_no_export_can_have_written_is_refused(tmp_path, change, said):
    write_card(tmp_path, GIVEN)
    values = json.loads((tmp_path / CARD).read_text()) | change
    (tmp_path / CARD).write_text(json.dumps(values))
    with pytest.raises(WeightsError, match=said):
        read_card(tmp_path)


@pytest.mark.parametrize("levels", [100, 100_000])
def test_a_card_that_is_nested_too_deeply_is_refused(tmp_path, levels):
    (tmp_path / CARD).write_text('{"format": "mpiqe-graph-1", "a": ' + "[" * levels + "]" * levels + "}")
    with pytest.raises(WeightsError, match="nested more than 64 levels deep"):
        read_card(tmp_path)


def test_a_card_of_any_size_is_not_read_into_memory(tmp_path):
    with (tmp_path / CARD).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(WeightsError, match="has more than 1048576 bytes"):
        read_card(tmp_path)


def test_a_card_without_digests_is_read_as_before(tmp_path):
    write_card(tmp_path, GIVEN)
    values = json.loads((tmp_path / CARD).read_text())
    del values["digests"]
    (tmp_path / CARD).write_text(json.dumps(values))
    assert read_card(tmp_path) == GIVEN


def test_the_files_of_a_graph_have_to_be_those_of_its_card(tmp_path):
    (tmp_path / "beside").mkdir()
    for name in ("mpiqe.xml", "mpiqe.bin", "beside/weights"):
        (tmp_path / name).write_bytes(name.encode())
    write_card(tmp_path, GIVEN, beside=["beside/weights"])
    card = read_card(tmp_path)
    assert set(card.digests) == {"mpiqe.xml", "mpiqe.bin", "beside/weights"}
    check_files(tmp_path, card)
    for name in card.digests:
        (tmp_path / name).write_bytes(name.encode() + b"!")
        with pytest.raises(WeightsError, match=rf"{name} is not the file that its card says: damaged"):
            check_files(tmp_path, card)
        (tmp_path / name).unlink()
        with pytest.raises(WeightsError, match=rf"cannot read .*{name}: No such file"):
            check_files(tmp_path, card)
        (tmp_path / name).write_bytes(name.encode())


def test_a_card_that_is_missing_or_no_json_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"cannot read .*mpiqe\.json: No such file"):
        read_card(tmp_path)
    (tmp_path / CARD).write_text("{")
    with pytest.raises(WeightsError, match=r"mpiqe\.json cannot be used"):
        read_card(tmp_path)
    write_card(tmp_path, replace(GIVEN, unit=None))
    with pytest.raises(WeightsError, match="no text"):
        read_card(tmp_path)


INTERVAL = IntervalModel(
    level=0.9,
    quantile=2.0,
    coefficients={"constant": 1.5, "score": -0.5},
    score_range=(10.0, 90.0),
    spread_unit=1.0,
    spread_most=4.0,
    crops=3,
    photos={"livec": 233},
    coverage={"livec": 0.9013},
)


def test_a_card_keeps_its_interval_and_its_version(tmp_path):
    given = replace(GIVEN, version="mpiqe-embedded 3", interval=INTERVAL)
    write_card(tmp_path, given)
    assert read_card(tmp_path) == given
    assert given.scale.model == "mpiqe-embedded 3"
    assert str(given.scale) == "MOS of livec, about 3 to 92.5, higher is better (mpiqe-embedded 3)"


def test_a_card_from_before_there_were_intervals_is_read(tmp_path):
    write_card(tmp_path, GIVEN)
    values = json.loads((tmp_path / CARD).read_text())
    del values["interval"], values["version"]
    (tmp_path / CARD).write_text(json.dumps(values))
    card = read_card(tmp_path)
    assert card.interval is None
    assert replace(card, source="0123456789").scale.model == "checkpoint 01234567"
