import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mpiqe.errors import ConfigError
from mpiqe.pretrain import features
from mpiqe.pretrain.features import FeatureCache, fill

SLOTS = 2
ABOUT = {"teacher": "one", "seed": 0, "hints": (14, 28)}


def _features(photos: Sequence[int]) -> Mapping[str, Tensor]:
    """The row's own number everywhere in ``cls``, and numbers about it in ``patches``."""
    rows = torch.tensor([photo * SLOTS + slot for photo in photos for slot in range(SLOTS)], dtype=torch.float32)
    places = torch.arange(12.0).view(3, 2, 2)
    return {"cls": rows[:, None].expand(-1, 5), "patches": rows[:, None, None, None] + places}


class _Computer:
    """Looks, remembers at whom, and is interrupted when asked for a photo."""

    def __init__(self, until: int | None = None) -> None:
        self.seen: list[int] = []
        self.until = until

    def __call__(self, photos: Sequence[int]) -> Mapping[str, Tensor]:
        if self.until in photos:
            raise KeyboardInterrupt
        self.seen += photos
        return _features(photos)


def _fill(folder: Path, compute: _Computer, *, photos: int = 20, about: Mapping[str, object] = ABOUT) -> FeatureCache:
    return fill(folder, photos=photos, slots=SLOTS, about=about, compute=compute, progress=lambda done, total: None)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_rows_stand_where_they_are_read(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    cache = fill(
        tmp_path / "new" / "cache",
        photos=20,
        slots=SLOTS,
        about=ABOUT,
        compute=_features,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(8, 20), (16, 20), (20, 20)]
    assert {name: (array.shape, array.dtype) for name, array in cache.arrays.items()} == {
        "cls": ((40, 5), np.float16),
        "patches": ((40, 3, 2, 2), np.float16),
    }
    for photo in (0, 7, 8, 19):
        found = cache.read(photo, [1, 0])
        assert found["cls"][:, 0].tolist() == [2 * photo + 1, 2 * photo]
        assert torch.equal(found["patches"][0], (2 * photo + 1 + torch.arange(12.0).view(3, 2, 2)).half())


def test_statistics_are_those_of_every_channel_over_rows_and_places(tmp_path: Path) -> None:
    found = _fill(tmp_path, _Computer()).statistics()
    rows = np.arange(40)
    patches = rows[:, None, None, None] + np.arange(12).reshape(3, 2, 2)
    assert found["cls"][0].tolist() == pytest.approx([rows.mean()] * 5)
    assert found["cls"][1].tolist() == pytest.approx([rows.std(ddof=1)] * 5)
    assert found["patches"][0].tolist() == pytest.approx(patches.mean(axis=(0, 2, 3)).tolist())
    for channel in range(3):
        assert found["patches"][1][channel].item() == pytest.approx(patches[:, channel].std(ddof=1))


def test_statistics_of_many_rows_are_taken_over_evenly_spaced_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "SAMPLE", 4)
    mean, deviation = _fill(tmp_path, _Computer()).statistics()["cls"]
    assert mean[0].item() == (0 + 13 + 26 + 39) / 4
    assert deviation[0].item() == pytest.approx(np.std([0, 13, 26, 39], ddof=1))


def test_a_channel_that_never_changes_has_a_deviation_to_divide_by(tmp_path: Path) -> None:
    cache = fill(
        tmp_path,
        photos=3,
        slots=SLOTS,
        about={},
        compute=lambda photos: {"cls": torch.full((len(photos) * SLOTS, 2), 7.0)},
        progress=lambda done, total: None,
    )
    assert cache.statistics()["cls"][1].tolist() == pytest.approx([1e-3, 1e-3])


@pytest.mark.parametrize("photo", [0, 1, 31, 32, 33, 63, 64, 69])
def test_a_cache_interrupted_anywhere_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: int
) -> None:
    monkeypatch.setattr(features, "PHOTOS_AT_ONCE", 1)  # what is done is then noted after every 32 photos
    _fill(tmp_path / "straight", _Computer(), photos=70)
    with pytest.raises(KeyboardInterrupt):
        _fill(tmp_path / "stopped", _Computer(until=photo), photos=70)
    again = _Computer()
    _fill(tmp_path / "stopped", again, photos=70)
    assert again.seen == list(range(32 * (photo // 32), 70))
    assert _bytes(tmp_path / "stopped") == _bytes(tmp_path / "straight")


def test_a_whole_cache_is_not_computed_again(tmp_path: Path) -> None:
    _fill(tmp_path, _Computer())
    again = _Computer()
    cache = _fill(tmp_path, again)
    assert again.seen == []
    assert cache.read(3, [0])["cls"][0, 0] == 6


@pytest.mark.parametrize("until", [None, 0, 9])
def test_a_cache_of_something_else_is_refused_with_both_descriptions(tmp_path: Path, until: int | None) -> None:
    if until is None:
        _fill(tmp_path, _Computer())
    else:
        with pytest.raises(KeyboardInterrupt):
            _fill(tmp_path, _Computer(until=until))
    before = _bytes(tmp_path)
    with pytest.raises(ConfigError, match=r"'teacher': 'one'.*not of .*'teacher': 'two'.*name another --cache"):
        _fill(tmp_path, _Computer(), about={**ABOUT, "teacher": "two"})
    with pytest.raises(ConfigError, match=r"'photos': 20.*not of .*'photos': 21"):
        _fill(tmp_path, _Computer(), photos=21)
    assert _bytes(tmp_path) == before


@pytest.mark.parametrize("text", ["", '{"teacher": "one", "do', "[1, 2]", "3", '{"teacher": "one"}', '{"done": null}'])
def test_a_truncated_or_foreign_description_is_refused(tmp_path: Path, text: str) -> None:
    _fill(tmp_path, _Computer())
    (tmp_path / "cache.json").write_text(text)
    with pytest.raises(
        ConfigError, match=r"cache\.json describes no cache of features; delete .* or name another --cach"
    ):
        _fill(tmp_path, _Computer())


def test_arrays_that_are_not_what_the_description_says_are_refused(tmp_path: Path) -> None:
    _fill(tmp_path, _Computer())
    patches = (tmp_path / "patches.npy").read_bytes()
    (tmp_path / "patches.npy").write_bytes(patches[:-1])
    with pytest.raises(ConfigError, match=r"should hold files of 40 rows each but holds .*'patches.npy': 0"):
        _fill(tmp_path, _Computer())
    for file in tmp_path.glob("*.npy"):
        file.unlink()
    with pytest.raises(ConfigError, match=r"should hold files of 40 rows each but holds \{\}"):
        _fill(tmp_path, _Computer())


def test_a_folder_with_other_arrays_is_left_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.zeros(3))
    with pytest.raises(ConfigError, match=r"holds other \.npy files and no cache\.json"):
        _fill(tmp_path, _Computer())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.npy"]


def test_a_cache_sent_to_another_process_maps_its_files_there(tmp_path: Path) -> None:
    cache = _fill(tmp_path, _Computer())
    assert cache.arrays
    sent = pickle.dumps(cache)
    assert len(sent) < 1000  # a path and a number, where the arrays have 1360 bytes
    received = pickle.loads(sent)  # noqa: S301
    assert received._arrays == {}
    assert torch.equal(received.read(4, [1])["patches"], cache.read(4, [1])["patches"])
    assert json.loads((tmp_path / "cache.json").read_text())["done"] == 20
