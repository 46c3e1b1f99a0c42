import json
from dataclasses import replace

import pytest

from mpiqe.errors import WeightsError
from mpiqe.intervals import IntervalModel
from mpiqe.scoring.graph import CARD, GraphCard, read_card, write_card

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
    ],
)
def test_a_card_that_no_export_can_have_written_is_refused(tmp_path, change, said):
    write_card(tmp_path, GIVEN)
    values = json.loads((tmp_path / CARD).read_text()) | change
    (tmp_path / CARD).write_text(json.dumps(values))
    with pytest.raises(WeightsError, match=said):
        read_card(tmp_path)


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
