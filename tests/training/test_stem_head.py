"""``--stem-head`` from fitting to scoring, on a small backbone with an EfficientNet stem."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors.torch import load_file
from tests.tiny import TINY_OPTIONS
from tests.training.test_train import _settings, _train
from torch import Tensor

import mpiqe
from mpiqe.data import choose_split, read_csv
from mpiqe.data.crop_dataset import CropDataset
from mpiqe.data.record import Record
from mpiqe.errors import ConfigError, DatasetError
from mpiqe.model.build import build_model
from mpiqe.model.checkpoint import load_checkpoint, read_config
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.mpiqe import MPIQE, linear_layers
from mpiqe.training.options import resolve
from mpiqe.training.ridge import fit_ridge
from mpiqe.training.stem_cache import StemCache
from mpiqe.training.stem_head import Ranked, beyond, fit_heads, fit_hidden, fit_members, pairs_of, predict_crops


@pytest.fixture
def model(lite_folder: Path) -> MPIQE:
    options = replace(TINY_OPTIONS, stem_head=True)
    model = build_model(FrozenCLIP.from_pretrained(lite_folder), options)
    assert isinstance(model, MPIQE)
    return model


@pytest.fixture
def crops(rated_photos: Path) -> CropDataset:
    dataset = read_csv(rated_photos)
    records = [dataset.records[index] for index in choose_split(dataset, 1).train]
    return CropDataset(records, size=96, count=2, seed=0, crops="training")


def top(probabilities: Mapping[str, float]) -> str:
    return max(probabilities, key=probabilities.__getitem__)


def test_packed_features_are_unpacked_as_they_were(model: MPIQE) -> None:
    pixels = torch.randint(256, (3, 3, 96, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    embedded = model.clip.embed(model.clip.preprocess(pixels))
    again = model.clip.split_embedded(embedded.joined())
    assert embedded.pooled is not None
    assert again.pooled is not None
    assert torch.equal(again.patches, embedded.patches)
    assert torch.equal(again.pooled, embedded.pooled)
    assert torch.equal(model(pixels).score, model.forward_embedded(again).score)


@pytest.mark.slow
def test_the_decoder_is_asked_for_what_is_left_of_the_left_out_predictions(model: MPIQE, crops: CropDataset) -> None:
    model.target_mean, model.target_std = 50.0, 10.0
    items, (said,) = fit_heads(model, crops, Accelerator(cpu=True))
    assert "penalty" in said
    pooled = [model.clip.embed(model.clip.preprocess(crops[1, i].crops)).pooled for i in range(len(crops))]
    targets = torch.tensor([(crops[1, i].mos - 50) / 10 for i in range(len(crops))])
    ridge = fit_ridge(torch.stack([each.mean(dim=0) for each in pooled if each is not None]), targets)
    for index in range(len(crops)):
        item = items[1, index]
        pooled = model.clip.embed(model.clip.preprocess(item.crops)).pooled
        assert model.stem_head is not None
        fitted = float(model.stem_head(pooled).mean())
        assert fitted == pytest.approx(float(ridge.fitted[index]), abs=1e-2)
        left = (item.mos - model.target_mean) / model.target_std - fitted  # the decoder's target
        mos = (crops[1, index].mos - model.target_mean) / model.target_std
        assert left == pytest.approx(mos - float(ridge.left_out[index]), abs=1e-2)


@pytest.mark.slow
def test_a_cache_of_the_stem_fits_the_same_head(model: MPIQE, crops: CropDataset) -> None:
    accelerator = Accelerator(cpu=True)
    fit_heads(model, crops, accelerator)
    assert model.stem_head is not None
    plain = model.stem_head.weight.clone()
    cached = StemCache(crops, model.clip, accelerator=accelerator, progress=lambda done, total: None)
    fit_heads(model, cached, accelerator)
    torch.testing.assert_close(model.stem_head.weight, plain, atol=1e-2, rtol=0)  # the cache keeps 16 bits


@pytest.mark.slow
def test_a_run_keeps_the_head_as_it_was_fitted_and_scores_with_it(
    tmp_path: Path, rated_photos: Path, lite_folder: Path
) -> None:
    settings = _settings(rated_photos, lite_folder, stem_head=True, epochs=2, cache_stem=True)
    _train(tmp_path / "run", settings)
    weights = load_file(tmp_path / "run" / "mpiqe.safetensors")
    _train(tmp_path / "longer", {**settings, "epochs": 3})
    longer = load_file(tmp_path / "longer" / "mpiqe.safetensors")
    assert weights["stem_head.weight"].abs().max() > 0
    assert torch.equal(longer["stem_head.weight"], weights["stem_head.weight"])
    assert not torch.equal(longer["decoder.head.2.weight"], weights["decoder.head.2.weight"])
    record = read_csv(rated_photos).records[0]
    assert mpiqe.load(tmp_path / "run")(record.image).score != mpiqe.load(tmp_path / "longer")(record.image).score


@pytest.mark.slow
def test_hidden_units_learn_what_no_line_can_and_the_standardisation_is_in_them() -> None:
    generator = torch.Generator().manual_seed(0)
    features = 5 + 3 * torch.randn(300, 2, 4, generator=generator)
    targets = ((features[:, :, 0] - 5) / 3).square().mean(dim=1).double()
    head, again = (
        fit_hidden(features, targets[:, None].float(), torch.ones(300), width=64, seed=0, loss=F.smooth_l1_loss)
        for _ in range(2)
    )
    found = predict_crops(head, features)
    assert torch.equal(found, predict_crops(again, features))
    assert float(torch.corrcoef(torch.stack([found, targets]))[0, 1]) > 0.7
    line = fit_ridge(features.mean(dim=1), targets).fitted
    assert float(torch.corrcoef(torch.stack([line, targets]))[0, 1]) < 0.4


def test_a_feature_that_is_constant_where_the_head_is_fitted_says_nothing_of_other_images() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 2, 3, generator=generator)
    features[:, :, 2] = 0  # a channel that only other images set off
    targets = features[:, :, 0].mean(dim=1, keepdim=True)
    head = fit_hidden(features, targets, torch.ones(60), width=4, seed=0, loss=F.smooth_l1_loss)
    other = features.clone()
    other[:, :, 2] = 0.5
    assert torch.equal(predict_crops(head, other), predict_crops(head, features))


@pytest.mark.slow
def test_a_run_with_hidden_units_is_loaded_and_scores(tmp_path: Path, rated_photos: Path, lite_folder: Path) -> None:
    settings = _settings(rated_photos, lite_folder, stem_head=True, stem_head_width=8, epochs=1, cache_stem=True)
    _train(tmp_path / "run", settings)
    weights = load_file(tmp_path / "run" / "mpiqe.safetensors")
    assert weights["stem_head.0.weight"].shape == (8, 2176)
    assert weights["stem_head.2.weight"].abs().max() > 0
    assert mpiqe.load(tmp_path / "run")(read_csv(rated_photos).records[0].image).score


def test_a_backbone_without_such_a_stem_is_refused(tiny_clip: FrozenCLIP) -> None:
    with pytest.raises(ConfigError, match="stem_head needs a backbone with an EfficientNet stem"):
        build_model(tiny_clip, replace(TINY_OPTIONS, stem_head=True))


@pytest.mark.slow
@pytest.mark.parametrize(("width", "layers"), [(0, 1), (8, 1), (8, 2)])
def test_class_heads_name_the_classes_and_the_alignment_is_trained_all_the_same(
    tmp_path: Path, rated_photos: Path, lite_folder: Path, width: int, layers: int
) -> None:
    heads = {"class_heads": True, "stem_head_width": width, "stem_head_layers": layers}
    settings = _settings(rated_photos, lite_folder, **heads, epochs=1, cache_stem=True)
    run = tmp_path / "run"
    _train(run, settings)
    weights = load_file(run / "mpiqe.safetensors")
    last = f"scene_head.{2 * layers}.weight" if width else "scene_head.weight"
    assert weights[last].abs().max() > 0
    assert weights[last].shape[0] == 9
    model, _ = load_checkpoint(run)
    assert isinstance(model, MPIQE)
    assert model.scene_head is not None
    pixels = torch.randint(256, (2, 3, 96, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    output = model.eval()(pixels)
    expected = model.scene_head(model.clip.embed(model.clip.preprocess(pixels)).pooled).softmax(dim=1)
    torch.testing.assert_close(output.scene_probabilities, expected)
    assert output.scene_logits is not None
    assert not torch.allclose(output.scene_logits.softmax(dim=1), expected, atol=1e-2)
    dataset = read_csv(rated_photos)
    records = [dataset.records[index] for index in choose_split(dataset, 1).train]
    scorer = mpiqe.load(run)
    named = [top(scorer(record.image).scene) for record in records]
    assert sum(name in record.scenes for name, record in zip(named, records, strict=True)) >= len(records) - 1
    (row,) = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    assert row["loss_scene"] > 0.5  # of the alignment, which a fitted head does not lower


def test_class_heads_without_a_label_to_learn_from_are_refused(
    tmp_path: Path, rated_photos: Path, lite_folder: Path
) -> None:
    bare = rated_photos.with_name("bare.csv")
    lines = rated_photos.read_text().splitlines()
    bare.write_text("\n".join(",".join(line.split(",")[:2]) for line in lines) + "\n")
    with pytest.raises(DatasetError, match="class_heads needs images with a scene label"):
        _train(tmp_path / "run", _settings(bare, lite_folder, class_heads=True, epochs=1, cache_stem=True))


def _record(name: str, mos: float, distortion: str | None, reference: str | None = "a") -> Record:
    return Record(Path(name), name, mos, distortion=distortion, reference=reference)


def test_pairs_are_the_best_and_any_other_or_two_of_one_class_of_one_reference() -> None:
    records = [
        _record("clean", 5, None),
        _record("blur 1", 4, "blur"),
        _record("noise 2", 3, "noise"),
        _record("blur 3", 2, "blur"),
        _record("other", 5, None, reference="b"),
        _record("loose", 1, "blur", reference=None),
    ]
    assert sorted(pairs_of(records)) == [(0, 1), (0, 2), (0, 3), (1, 3)]
    with pytest.raises(DatasetError, match="needs a column `reference`"):
        pairs_of(records[4:])


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 2])
def test_ranked_images_teach_the_order_and_not_their_numbers(layers: int) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(300, 2, 4, generator=generator)
    targets = features[:, :, 0].mean(dim=1, keepdim=True)  # the second feature says nothing of the rated images
    made = torch.randn(200, 2, 4, generator=generator)
    worse = made.clone()
    worse[:, :, 1] += 1
    ranked = Ranked(torch.cat([made, worse]), torch.tensor([[row, 200 + row] for row in range(200)]))
    heads = [
        fit_hidden(
            features, targets, torch.ones(300), width=32, layers=layers, seed=0, loss=F.smooth_l1_loss, ranked=each
        )
        for each in (None, ranked)
    ]
    alone, both = (predict_crops(head, made) - predict_crops(head, worse) for head in heads)
    assert float((alone > 0).double().mean()) < 0.8
    assert float((both > 0).double().mean()) > 0.95
    assert float(torch.corrcoef(torch.stack([predict_crops(heads[1], features), targets[:, 0].double()]))[0, 1]) > 0.5


@pytest.mark.slow
def test_ranked_images_are_compared_without_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[int] = []
    dropout = F.dropout

    def note(values: Tensor, p: float) -> Tensor:
        dropped.append(len(values))
        return dropout(values, p)

    monkeypatch.setattr(F, "dropout", note)
    generator = torch.Generator().manual_seed(0)
    features, targets = torch.randn(20, 1, 3, generator=generator), torch.randn(20, 1, generator=generator)
    ranked = Ranked(torch.randn(50, 1, 3, generator=generator), torch.tensor([[0, 1], [2, 3]]))
    fit_hidden(features, targets, torch.ones(20), width=4, layers=2, seed=0, loss=F.smooth_l1_loss, ranked=ranked)
    assert set(dropped) == {128}  # rated images of a step


@pytest.mark.slow
def test_a_run_ranks_the_images_of_a_further_table_and_asks_nothing_of_the_decoder_there(
    tmp_path: Path, rated_photos: Path, lite_folder: Path
) -> None:
    settings = _settings(rated_photos, lite_folder, stem_head=True, stem_head_width=8, epochs=1, cache_stem=True)
    _train(tmp_path / "run", {**settings, "ranked_data": (f"csv:{rated_photos}",)})
    config = read_config(tmp_path / "run" / "mpiqe.safetensors")
    assert list(config.training["ranked_data"]) == [f"csv:{rated_photos}"]


def test_numbers_of_ranked_images_outside_the_range_of_the_targets_cost_their_distance() -> None:
    found = beyond(torch.tensor([-3.0, -2.0, 0.0, 1.5, 2.5]), torch.tensor(-2.0), torch.tensor(1.5))
    assert found.tolist() == [1, 0, 0, 0, 1]


@pytest.mark.slow
def test_the_decoder_is_asked_for_nothing_where_an_image_is_only_ranked(
    rated_photos: Path, lite_folder: Path, crops: CropDataset
) -> None:
    options = replace(TINY_OPTIONS, stem_head=True, stem_head_width=8)
    model = build_model(FrozenCLIP.from_pretrained(lite_folder), options)
    assert isinstance(model, MPIQE)
    model.target_mean, model.target_std = 50.0, 10.0
    rated = len(crops) - 4
    items, _ = fit_heads(model, crops, Accelerator(cpu=True), sizes=(rated, 4), pairs=[(0, 1), (2, 3)])
    assert model.stem_head is not None
    for index in range(rated, len(crops)):
        item = items[1, index]
        with torch.no_grad():
            answer = float(model.stem_head(model.clip.embed(model.clip.preprocess(item.crops)).pooled).mean())
        assert (item.mos - 50) / 10 == pytest.approx(answer, rel=1e-3, abs=1e-2)


@pytest.mark.slow
def test_a_set_counts_for_the_score_as_the_square_root_of_its_number_of_images(
    lite_folder: Path, crops: CropDataset
) -> None:
    model = build_model(FrozenCLIP.from_pretrained(lite_folder), replace(TINY_OPTIONS, stem_head=True))
    assert isinstance(model, MPIQE)
    model.target_mean, model.target_std = 50.0, 10.0
    sizes = (2, len(crops) - 2)
    fit_heads(model, crops, Accelerator(cpu=True), sizes=sizes)
    with torch.no_grad():
        pooled = [model.clip.embed(model.clip.preprocess(crops[1, index].crops)).pooled for index in range(len(crops))]
    features = torch.stack([each.mean(dim=0) for each in pooled if each is not None])
    mos = torch.tensor([crops[1, index].mos for index in range(len(crops))], dtype=torch.float64)
    counts = torch.cat([torch.full((size,), size**-0.5) for size in sizes])
    expected = fit_ridge(features, (mos - 50) / 10, weights=counts)
    assert model.stem_head is not None
    torch.testing.assert_close(model.stem_head(features)[:, 0].double(), expected.fitted, atol=1e-3, rtol=1e-3)


def test_ranked_data_without_hidden_units_is_refused(rated_photos: Path) -> None:
    with pytest.raises(ConfigError, match="give stem_head_width too"):
        resolve({"data": f"csv:{rated_photos}", "ranked_data": (f"csv:{rated_photos}",), "stem_head": True})


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 2])
def test_members_are_fitted_one_by_one_and_the_head_is_their_mean(layers: int) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 2, 5, generator=generator)
    targets = features[:, :, 0].mean(dim=1, keepdim=True)
    how = {"layers": layers, "loss": F.smooth_l1_loss}
    head = fit_members(features, targets, torch.ones(60), width=11, members=3, seed=4, **how)
    members = [
        fit_hidden(features, targets, torch.ones(60), width=width, seed=seed, **how)
        for width, seed in ((4, 4), (4, 1004), (3, 2004))
    ]
    flat = features.flatten(0, 1)
    expected = torch.stack([member(flat) for member in members]).mean(dim=0)
    torch.testing.assert_close(head(flat), expected)
    assert [layer.out_features for layer in linear_layers(head)] == [11] * layers + [1]
    assert not torch.allclose(members[0](flat), members[1](flat), atol=1e-3)


@pytest.mark.parametrize(
    ("members", "width", "said"),
    [
        (3, 2, r"stem_head_members=3 share the hidden units of .*, and these are 2"),
        (2, 0, r"stem_head_members=2 share the hidden units of .*, and these are 0"),
        (0, 8, "stem_head_members=0 is not between 1 and 64"),
        (65, 128, "stem_head_members=65 is not between 1 and 64"),
    ],
)
def test_members_without_hidden_units_to_share_are_refused(
    lite_folder: Path, members: int, width: int, said: str
) -> None:
    options = replace(TINY_OPTIONS, stem_head=True, stem_head_width=width, stem_head_members=members)
    with pytest.raises(ConfigError, match=said):
        build_model(FrozenCLIP.from_pretrained(lite_folder), options)
