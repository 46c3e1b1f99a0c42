from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mpiqe import images
from mpiqe.data import Dataset, read_csv
from mpiqe.errors import WeightsError
from mpiqe.model.build import build_model
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.options import ModelOptions
from mpiqe.training.device import accelerator_for
from mpiqe.training.evaluate import predict
from mpiqe.training.options import RunOptions
from mpiqe.training.stem_cache import Stored, stored_stem

SETTINGS = RunOptions(crops=2, crop_mode="seeded", cache_stem=True, precision="fp32", device="cpu")
ACCELERATOR = accelerator_for(device="cpu", precision="fp32")
Store = Callable[..., Stored]


@pytest.fixture(scope="module")
def dataset(rated_photos: Path) -> Dataset:
    return read_csv(rated_photos)


@pytest.fixture
def store(tmp_path: Path, dataset: Dataset, lite_folder: Path) -> Store:
    def make(settings: RunOptions = SETTINGS) -> Stored:
        clip = FrozenCLIP.from_pretrained(lite_folder)
        return stored_stem(
            tmp_path / "stem", dataset, clip, settings, accelerator=ACCELERATOR, progress=lambda done, total: None
        )

    return make


def test_images_are_embedded_once_and_then_read_from_the_file(
    store: Store, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store()

    def refuse(*given: object, **named: object) -> None:
        raise AssertionError("an image was read again")

    monkeypatch.setattr(images, "read_crops", refuse)
    again = store()
    assert list(again) == [record.image for record in dataset.records]
    for image, embedded in first.items():
        assert embedded.dtype == torch.float16
        assert torch.equal(again[image], embedded)


def test_other_crops_have_a_file_of_their_own(store: Store, tmp_path: Path) -> None:
    store()
    store(RunOptions(crops=3, cache_stem=True, precision="fp32", device="cpu"))
    shapes = sorted(load_file(file)["embedded"].shape[1] for file in (tmp_path / "stem").iterdir())
    assert shapes == [2, 3]


def test_another_shape_of_the_view_has_a_file_of_its_own(store: Store, tmp_path: Path) -> None:
    how = {"crops": 1, "cache_stem": True, "precision": "fp32", "device": "cpu", "view_side": 256}
    store(RunOptions(**how))
    store(RunOptions(**how, view_shape="square"))
    assert len(list((tmp_path / "stem").iterdir())) == 2


def test_a_damaged_file_is_refused(store: Store, tmp_path: Path) -> None:
    store()
    (file,) = (tmp_path / "stem").iterdir()
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged"):
        store()


def test_scores_behind_the_stored_stem_are_those_of_the_photos_but_for_half_precision(
    store: Store, dataset: Dataset, lite_folder: Path
) -> None:
    model = build_model(FrozenCLIP.from_pretrained(lite_folder), ModelOptions(windows=1), seed=1)
    some = dataset.records[3:9]
    how = {"accelerator": ACCELERATOR, "crops": 2}
    seen = predict(model, some, **how)
    stored = predict(model, some, **how, stored=store(), batch_size=4)
    assert [each.name for each in stored] == [record.name for record in some]
    assert [each.score for each in stored] == pytest.approx([each.score for each in seen], abs=2e-3)
    assert [each.score for each in stored] != [each.score for each in seen]
