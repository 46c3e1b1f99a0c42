import sys
from pathlib import Path

import pytest

from mpiqe.errors import ConfigError
from mpiqe.training.tensorboard import event_writer


def test_each_figure_becomes_an_event(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs mpiqe[tensorboard]")
    write = event_writer(tmp_path, wanted=True)
    write({"epoch": 3, "loss": 0.5, "val_srcc": None})
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["scalars"] == ["loss"]
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(3, 0.5)]


def test_nothing_is_written_unless_wanted(tmp_path: Path) -> None:
    event_writer(tmp_path, wanted=False)({"epoch": 1, "loss": 0.5})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_tensorboard_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ConfigError, match=r"pip install 'mpiqe\[tensorboard\]'"):
        event_writer(tmp_path, wanted=True)
