import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from mpiqe.data import read_csv
from mpiqe.data.crop_dataset import CropDataset
from mpiqe.data.photo_cache import PhotoCache
from mpiqe.view import NATIVE, View


def _dataset(table: Path, photos: PhotoCache | None, *, size: int, view: View) -> CropDataset:
    records = read_csv(table).records
    return CropDataset(records, size=size, count=3, seed=0, crops="training", view=view, photos=photos)


@pytest.mark.parametrize("view", [NATIVE, View("scaled", 100)], ids=["native", "scaled"])
@pytest.mark.parametrize("size", [32, 224], ids=["smaller than the photos", "larger: they are enlarged"])
def test_crops_of_kept_photos_are_the_same_pixels(rated_photos: Path, tmp_path: Path, size: int, view: View) -> None:
    cache = PhotoCache(room=1 << 30, beside=tmp_path)
    plain, kept = (_dataset(rated_photos, photos, size=size, view=view) for photos in (None, cache))
    for epoch in (1, 2):
        for index in range(len(plain)):
            assert torch.equal(kept[epoch, index].crops, plain[epoch, index].crops)
            assert torch.equal(kept[epoch, index, 2].crops, plain[epoch, index].crops[2:])
    assert len(list(cache.folder.glob("*.npy"))) == len(plain)


def test_a_photo_is_decoded_once(rated_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = _dataset(rated_photos, PhotoCache(room=1 << 30, beside=tmp_path), size=32, view=NATIVE)
    first = kept[1, 0, 0]
    monkeypatch.setattr("mpiqe.images.read_canvas", lambda *_, **__: pytest.fail("decoded again"))
    assert torch.equal(kept[1, 0, 0].crops, first.crops)


def test_what_does_not_fit_is_decoded_each_time_and_the_folder_goes_with_the_cache(
    rated_photos: Path, tmp_path: Path
) -> None:
    cache = PhotoCache(room=2 * 160 * 200 * 3 + 100, beside=tmp_path)
    folder = cache.folder
    plain, kept = (_dataset(rated_photos, photos, size=32, view=NATIVE) for photos in (None, cache))
    for index in range(4):
        assert torch.equal(kept[1, index].crops, plain[1, index].crops)
    assert len(list(folder.iterdir())) == 2
    del cache, kept
    assert not folder.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_leaves_its_parents_files(tmp_path: Path) -> None:
    cache = PhotoCache(room=1 << 20, beside=tmp_path)
    child = os.fork()
    if child == 0:
        del cache
        os._exit(0)
    os.waitpid(child, 0)
    assert cache.folder.exists()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="there are no such locks")
def test_what_a_killed_process_leaves_goes_with_the_next_cache_and_what_is_in_use_stays(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from mpiqe.data.photo_cache import PhotoCache; "
        "cache = PhotoCache(room=1, beside=Path(sys.argv[1])); print(cache.folder, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        first = PhotoCache(room=1, beside=tmp_path)
        assert folder.is_dir()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert folder.is_dir()
    second = PhotoCache(room=1, beside=tmp_path)
    assert not folder.exists()
    assert first.folder.is_dir()
    assert second.folder.is_dir()


def test_a_cache_that_is_just_being_made_is_not_taken_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others, make = [], tempfile.mkdtemp

    def make_and_be_overtaken(**how: Any) -> str:
        folder = make(**how)
        monkeypatch.setattr(tempfile, "mkdtemp", make)
        others.append(PhotoCache(room=1, beside=tmp_path))  # another process, as soon as the folder is there
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_be_overtaken)
    cache = PhotoCache(room=1, beside=tmp_path)
    assert cache.folder.is_dir()
    assert others[0].folder.is_dir()
    assert len(list(tmp_path.iterdir())) == 2
