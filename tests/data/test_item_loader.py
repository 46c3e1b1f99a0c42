import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from tests.training.test_train import SMALL
from torch.utils.data import Dataset

from mpiqe.data.item_loader import ItemLoader, killed_workers_named
from mpiqe.errors import ConfigError, DatasetError, ImageError
from mpiqe.training import train as module
from mpiqe.training.options import resolve
from mpiqe.training.reporter import Silent
from mpiqe.training.run_folder import RunFolder
from mpiqe.training.train import train


class _Broken(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 4:
            raise DatasetError("b.png: cut short")
        return torch.tensor(index)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_an_error_of_a_worker_process_is_raised_with_its_own_words(workers: int) -> None:
    batches = iter(ItemLoader(_Broken(), batch_size=2, num_workers=workers))
    assert [next(batches).tolist(), next(batches).tolist()] == [[0, 1], [2, 3]]
    with pytest.raises(DatasetError) as raised:
        next(batches)
    assert str(raised.value) == "b.png: cut short"


def _image_error_of(cause: Exception) -> None:
    try:
        raise cause
    except RuntimeError as error:
        raise ImageError("a.png", "cannot be decoded") from error


def test_a_killed_worker_is_named_and_not_the_photo_that_was_being_read() -> None:
    killed = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    with pytest.raises(ConfigError, match=r"has died .*pid 7.* fewer --workers"), killed_workers_named():
        _image_error_of(killed)
    with pytest.raises(ImageError), killed_workers_named():
        _image_error_of(RuntimeError("bad header"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_run_whose_worker_is_killed_ends_in_one_sentence(
    tmp_path: Path, rated_photos: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = module.measure

    def kill_first(*predictions: object) -> object:
        for child in multiprocessing.active_children():
            child.kill()
        return measure(*predictions)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "measure", kill_first)
    settings = {**SMALL, "data": f"csv:{rated_photos}", "backbone": str(tiny_folder), "workers": 1}
    with pytest.raises(ConfigError, match="a process that decodes photos has died"):
        train(resolve(settings), RunFolder(tmp_path / "run"), reporter=Silent())
