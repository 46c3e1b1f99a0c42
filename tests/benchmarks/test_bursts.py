import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from benchmarks.bursts import calibrate

from mpiqe.best.shots import Shot
from mpiqe.runtimes.graph import CARD, read_card
from mpiqe.scoring.loading import embedded_folder


def bursts(count: int) -> list[dict[str, Shot]]:
    """The sharp shot is mostly ahead of the dark one, the more surely the further the two are apart."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        lead = float(rng.exponential(5.0))
        right = rng.uniform() < 1 / (1 + np.exp(-0.5 * lead))
        made.append({"sharp": Shot("s", 50.0), "dark": Shot("d", 50.0 - lead if right else 50.0 + lead)})
    return made


def test_what_bursts_say_goes_into_the_card_and_nothing_else_changes(tmp_path: Path) -> None:
    shutil.copy(embedded_folder() / CARD, tmp_path)
    before = json.loads((tmp_path / CARD).read_text())
    calibrate(str(tmp_path), bursts(4000), "made", higher_is_better=True)
    after = json.loads((tmp_path / CARD).read_text())
    assert after["interval"].pop("shot_difference") == pytest.approx(np.log(9) / 0.5, rel=0.1)
    assert after["interval"].pop("bursts") == {"made": 4000}
    for name in ("shot_difference", "bursts"):
        before["interval"].pop(name, None)
    assert after == before
    calibrate(str(tmp_path), bursts(400), "made", higher_is_better=True)
    assert read_card(tmp_path).scale.shot_difference is not None


def test_too_few_bursts_leave_the_card_as_it_was(tmp_path: Path) -> None:
    shutil.copy(embedded_folder() / CARD, tmp_path)
    before = (tmp_path / CARD).read_bytes()
    with pytest.raises(SystemExit, match="do not say when a pick is sure"):
        calibrate(str(tmp_path), bursts(20), "made", higher_is_better=True)
    assert (tmp_path / CARD).read_bytes() == before
