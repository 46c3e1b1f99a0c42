import json
from dataclasses import replace

import pytest

from mpiqe.errors import WeightsError
from mpiqe.scoring.graph import CARD, GraphCard, read_card, write_card
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
        ({"outputs": ["score", "mood"]}, "outputs = "),
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


def test_a_card_that_is_missing_or_no_json_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"cannot read .*mpiqe\.json: No such file"):
        read_card(tmp_path)
    (tmp_path / CARD).write_text("{")
    with pytest.raises(WeightsError, match=r"mpiqe\.json cannot be used"):
        read_card(tmp_path)
    write_card(tmp_path, replace(GIVEN, unit=None))
    with pytest.raises(WeightsError, match="no text"):
        read_card(tmp_path)
