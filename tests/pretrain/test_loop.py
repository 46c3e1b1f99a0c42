import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import STEM

from mpiqe.data import choose_split, read_csv
from mpiqe.errors import ConfigError
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.compact import CompactOptions
from mpiqe.option_types import Epoch
from mpiqe.pretrain import loop as module
from mpiqe.pretrain.loop import WORDS, follow, pretrain
from mpiqe.pretrain.objective import Student
from mpiqe.pretrain.teacher import Teacher
from mpiqe.pretrain.views import Rated, ViewDataset
from mpiqe.training.options import PretrainOptions
from mpiqe.training.reporter import Silent
from mpiqe.training.run_folder import RunFolder
from mpiqe.training.targets import one_hot


def _small_options(*, stem: str, **shape: int) -> CompactOptions:
    return replace(STEM, stem=stem, patch_size=32, **shape) if stem else STEM


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run itself, on a backbone small enough for a test."""
    monkeypatch.setattr(module, "CompactOptions", _small_options)


@pytest.fixture
def learnt(monkeypatch: pytest.MonkeyPatch) -> list[Rated]:
    """The photos that the runs of a test learn from."""
    photos: list[Rated] = []

    def note(given: list[Rated], **how: Any) -> ViewDataset:
        photos.extend(given)
        return ViewDataset(given, **how)

    monkeypatch.setattr(module, "ViewDataset", note)
    return photos


def _options(table: Path, **changes: Any) -> PretrainOptions:
    settings: dict[str, Any] = {
        "data": f"csv:{table}",
        "epochs": 1,
        "warmup_epochs": 0,
        "batch_size": 4,
        "slots": 3,
        "workers": 0,
        "device": "cpu",
        "precision": "fp32",
    }
    return PretrainOptions(**{**settings, **changes})


def _run(folder: Path, options: PretrainOptions, *, resume: bool = False, reporter: Silent | None = None) -> Path:
    return pretrain(options, RunFolder(folder), resume=resume, reporter=reporter or Silent())


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


class _Told(Silent):
    """Keeps the notes, and calls a function after every epoch."""

    def __init__(self, after: Callable[[Mapping[str, Any]], None] = lambda row: None) -> None:
        self.notes: list[str] = []
        self.after = after

    def note(self, text: str) -> None:
        self.notes.append(text)

    def epoch(self, row: Mapping[str, Any]) -> None:
        self.after(row)


class _Stop(Silent):
    """Interrupts after so many epochs."""

    def __init__(self, after: int) -> None:
        self.last = after

    def epoch(self, row: Mapping[str, Any]) -> None:
        if row["epoch"] == self.last:
            raise KeyboardInterrupt


EVERY = {
    "epoch",
    "learning_rate",
    "loss_scene",
    "loss_distortion",
    "loss_captions",
    "loss_score",
    "loss_plcc",
    "loss_ranking",
    "val_srcc",
    "images_per_second",
    "crops_per_second",
    "share_waiting_for_data",
    "seconds_validating",
    "peak_memory_mb",
}


def test_labels_become_targets() -> None:
    assert one_hot(torch.tensor([1, -1]), 3).tolist() == [[0, 1, 0], [0, 0, 0]]


def test_every_word_of_a_caption_is_one_token_of_a_fresh_backbone(tmp_path: Path) -> None:
    module.create_compact(tmp_path, words=WORDS, options=STEM)
    clip = FrozenCLIP.from_pretrained(tmp_path)
    text = "a photo of a animal with over-exposure artifacts, which is of excellent quality"
    assert len(clip.tokens(text)) == 16  # "over", "-" and "exposure" are three, and the comma is one


def test_a_run_without_a_teacher_gives_a_backbone_and_a_line_an_epoch(tmp_path: Path, rated_photos: Path) -> None:
    folder = _run(tmp_path / "run", _options(rated_photos, epochs=2))
    assert folder == tmp_path / "run" / "backbone"
    taught, fresh = FrozenCLIP.from_pretrained(folder), FrozenCLIP.from_pretrained(tmp_path / "run" / "fresh")
    moved = {
        name
        for name, tensor in taught.weights().items()
        if not torch.equal(tensor, fresh.weights()[name].half().float())
    }
    for part in (
        "stages.0",
        "vision_model.encoder",
        "text_model.encoder",
        "token_embedding",
        "logit_scale",
        "running_",
    ):
        assert any(part in name for name in moved), part
    rows = _rows(tmp_path / "run")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert set(rows[0]) == EVERY
    assert 0 <= rows[0]["share_waiting_for_data"] <= 1
    assert not (tmp_path / "run" / "cache").exists()


def test_a_run_with_a_teacher_and_a_further_set_reports_on_each(
    tmp_path: Path, rated_photos: Path, further_photos: Path, teacher_folder: Path, learnt: list[Rated]
) -> None:
    options = _options(rated_photos, teacher=str(teacher_folder), extra_data=(f"csv:{further_photos}",), workers=1)
    told = _Told()
    _run(tmp_path / "run", options, reporter=told)
    (row,) = _rows(tmp_path / "run")
    name = rated_photos.stem  # and the further set's too
    assert set(row) == EVERY | {"loss_distillation", "loss_hints", f"val_srcc_{name}", f"val_srcc_{name}-1"}
    assert row["val_srcc"] == pytest.approx((row[f"val_srcc_{name}"] + row[f"val_srcc_{name}-1"]) / 2)
    assert {photo.group: len([p for p in learnt if p.group == photo.group]) for photo in learnt} == {0: 8, 1: 8}
    assert told.notes[:2] == [
        f"{name}: 8 photos to learn from, 4 to validate on; 4 are not used",
        f"{name}: 8 photos to learn from, 4 to validate on; 4 are not used",
    ]
    cache = json.loads((tmp_path / "run" / "cache" / "cache.json").read_text())
    assert (cache["done"], cache["photos"], cache["size"], cache["grid"], cache["hints"]) == (16, 16, 32, 4, [8, 16])
    assert {file.stem for file in (tmp_path / "run" / "cache").glob("*.npy")} == {"cls", "patches", "hint8"}


@pytest.mark.parametrize("whole", [pytest.param(False, marks=pytest.mark.slow), True])
def test_test_photos_are_trained_on_with_train_on_all_alone_and_validation_photos_never(
    tmp_path: Path, rated_photos: Path, further_photos: Path, learnt: list[Rated], whole: bool
) -> None:
    _run(tmp_path / "run", _options(rated_photos, extra_data=(f"csv:{further_photos}",), train_on_all=whole))
    for group, table in enumerate((rated_photos, further_photos)):
        records = read_csv(table).records
        split = choose_split(read_csv(table), 1)
        wanted = {*split.train, *(split.test if whole else ())}
        assert [p.record.name for p in learnt if p.group == group] == [records[index].name for index in sorted(wanted)]


@pytest.mark.slow
def test_a_given_backbone_is_where_the_average_starts(
    tmp_path: Path, rated_photos: Path, stem_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[str] = []

    def note(average: Student, model: Student, *, keep: float) -> None:
        if not starts:
            starts.append(average.clip.digest())
            assert keep == pytest.approx(1 / 10)
        follow(average, model, keep=keep)

    monkeypatch.setattr(module, "follow", note)
    backbone = _run(tmp_path / "run", _options(rated_photos, start=str(stem_folder)))
    start = FrozenCLIP.from_pretrained(stem_folder)
    assert starts == [start.digest()]
    assert not (tmp_path / "run" / "fresh").exists()
    assert FrozenCLIP.from_pretrained(backbone).digest() != start.digest()
    assert FrozenCLIP.from_pretrained(backbone).tokens("blur") == start.tokens("blur")


@pytest.mark.slow
@pytest.mark.parametrize("teacher", [pytest.param(False, marks=pytest.mark.slow), True])
def test_an_interrupted_run_resumes_to_the_same_backbone(
    tmp_path: Path, rated_photos: Path, teacher_folder: Path, teacher: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    features = Teacher.features

    def note(self: Teacher, pixels: torch.Tensor, **how: Any) -> dict[str, torch.Tensor]:
        batches.append(len(pixels))
        return features(self, pixels, **how)

    monkeypatch.setattr(Teacher, "features", note)
    options = _options(rated_photos, epochs=3, warmup_epochs=1, teacher=str(teacher_folder) if teacher else None)
    straight = _run(tmp_path / "straight", options)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "stopped", options, reporter=_Stop(after=1))
    assert batches == [24, 24] * teacher  # 8 photos of 3 slots, once in each run
    resumed = _run(tmp_path / "stopped", options, resume=True)
    assert batches == [24, 24] * teacher
    for file in ("model.safetensors", "config.json"):
        assert (resumed / file).read_bytes() == (straight / file).read_bytes()
    rows, others = (
        [{key: value for key, value in row.items() if key.startswith(("loss", "val", "epoch"))} for row in _rows(run)]
        for run in (tmp_path / "straight", tmp_path / "stopped")
    )
    assert rows == others
    assert [row["epoch"] for row in rows] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize(("epoch", "epochs", "kept_at"), [("val", 8, [1, 2, 3, 4, 7]), ("last", 5, [1, 2, 3, 4, 5])])
def test_the_epoch_best_on_validation_is_kept_and_the_latest_while_there_is_no_figure(
    tmp_path: Path, rated_photos: Path, monkeypatch: pytest.MonkeyPatch, epoch: Epoch, epochs: int, kept_at: list[int]
) -> None:
    figures: list[float | None] = [None, None, -0.2, 0.0, -0.1, None, 0.3, 0.3][:epochs]
    wanted, kept = iter(figures), []
    monkeypatch.setattr(module, "measure", lambda predictions: {"srcc": next(wanted)})

    def note(row: Mapping[str, Any]) -> None:
        weights = (tmp_path / "run" / "backbone" / "model.safetensors").read_bytes()
        kept.append(hashlib.sha256(weights).hexdigest())

    _run(tmp_path / "run", _options(rated_photos, epochs=epochs, epoch=epoch), reporter=_Told(note))
    assert [row["val_srcc"] for row in _rows(tmp_path / "run")] == figures
    changed = [number + 1 for number, digest in enumerate(kept) if number == 0 or digest != kept[number - 1]]
    assert changed == kept_at


@pytest.mark.slow
def test_a_run_is_not_resumed_with_another_further_set(
    tmp_path: Path, rated_photos: Path, further_photos: Path
) -> None:
    table = tmp_path / "further.csv"
    shutil.copy(further_photos, table)
    options = _options(rated_photos, extra_data=(f"csv:{table}",))
    _run(tmp_path / "run", options)
    with pytest.raises(ConfigError, match=r"cannot be continued: extra_data was \['csv:.*'\] and is \[\] now"):
        _run(tmp_path / "run", _options(rated_photos), resume=True)
    table.write_text(table.read_text().replace(",astronaut", ",spaceman"))
    with pytest.raises(ConfigError, match=r"the data's digest was (\w{12}) and is (?!\1)\w{12} now"):
        _run(tmp_path / "run", options, resume=True)


@pytest.mark.slow
def test_a_run_is_not_resumed_from_a_backbone_that_has_changed(
    tmp_path: Path, rated_photos: Path, stem_folder: Path
) -> None:
    start = shutil.copytree(stem_folder, tmp_path / "start")
    options = _options(rated_photos, start=str(start))
    _run(tmp_path / "run", options)
    FrozenCLIP.from_pretrained(tmp_path / "run" / "backbone").save(start)
    with pytest.raises(ConfigError, match=r"the start's digest was (\w{12}) and is (?!\1)\w{12} now"):
        _run(tmp_path / "run", options, resume=True)


def test_a_cache_of_other_crops_is_refused(
    tmp_path: Path, rated_photos: Path, stem_folder: Path, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {"teacher": str(teacher_folder), "cache": str(tmp_path / "cache")}
    _run(tmp_path / "first", _options(rated_photos, **shared))
    with pytest.raises(ConfigError, match=r"holds a teacher's features of other crops.*'seed': 0.*not of.*'seed': 1"):
        _run(tmp_path / "second", _options(rated_photos, **shared, seed=1))
    monkeypatch.setattr(module, "LARGEST_HINT", 8)
    with pytest.raises(ConfigError, match=r"'hints': \[8, 16\].*not of.*'hints': \[8\]"):
        _run(tmp_path / "third", _options(rated_photos, **shared))


def test_settings_that_cannot_be_meant_are_refused_in_one_message(tmp_path: Path, rated_photos: Path) -> None:
    options = _options(rated_photos, batch_size=2, slots=1, averaging=1.0, caption_weight=-1.0)
    with pytest.raises(ConfigError, match=r"batch_size = 2: .*slots = 1: .*averaging = 1.0: .*caption_weight = -1.0: "):
        _run(tmp_path / "run", options)
    assert not (tmp_path / "run").exists()


def test_the_average_follows_weights_and_takes_running_statistics_as_they_are(stem_folder: Path) -> None:
    slow, fast = (Student(FrozenCLIP.from_pretrained(stem_folder), taught={}) for _ in range(2))
    fast.clip.stem_maps(torch.rand(2, 3, 32, 32))
    norm = "vision_model.embeddings.patch_embedding.stages.0.1.running_mean"
    dict(fast.clip.clip.named_buffers())[norm].fill_(0.25)
    expected = 0.9 * slow.late.bias + 0.1 * fast.late.bias
    follow(slow, fast, keep=0.9)
    torch.testing.assert_close(slow.late.bias, expected)
    assert dict(slow.clip.clip.named_buffers())[norm].tolist() == [0.25] * 8


@pytest.mark.slow
def test_a_published_stem_begins_the_backbone_is_distilled_and_folded(tmp_path: Path, rated_photos: Path) -> None:
    options = _options(
        rated_photos, stem="efficientnet-lite0", image_size=64, layers=1, smallest=0.75, hint_weight=0.0, epochs=1
    )
    folder = _run(tmp_path / "run", options)
    (row,) = _rows(tmp_path / "run")
    assert row["loss_distillation"] > 0
    taught, fresh = (FrozenCLIP.from_pretrained(path) for path in (folder, tmp_path / "run" / "fresh"))
    assert (taught.image_size, taught.vision_layers) == (64, 1)
    before, after = fresh.folded().weights(), taught.weights()
    assert set(before) == set(after)
    moved = {name for name in after if not torch.equal(after[name], before[name].half().float())}
    for part in ("network.first", "network.stages.0", "network.stages.6", "network.head", "to_width", "encoder"):
        assert any(part in name for name in moved), part


@pytest.fixture(scope="module")
def on_natural_crops(tmp_path_factory: pytest.TempPathFactory, rated_photos: Path) -> Path:
    """The backbone of a run of one epoch on a published stem, without made distortions."""
    shape = {"stem": "efficientnet-lite0", "image_size": 64, "layers": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CompactOptions", _small_options)
        options = _options(rated_photos, made_views=False, hint_weight=0.0, **shape)
        return _run(tmp_path_factory.mktemp("natural") / "first", options)


@pytest.mark.slow
def test_a_run_on_natural_crops_alone_teaches_no_made_distortion_and_goes_on_as_a_start(
    tmp_path: Path, rated_photos: Path, on_natural_crops: Path
) -> None:
    first = on_natural_crops
    (row,) = _rows(first.parent)
    assert row["loss_ranking"] == 0
    assert row["crops_per_second"] == pytest.approx(row["images_per_second"])
    folder = _run(tmp_path / "run", _options(rated_photos, start=str(first), stem_rate=0.0, hint_weight=0.0))
    (row,) = _rows(tmp_path / "run")
    assert row["loss_ranking"] > 0
    before, after = (FrozenCLIP.from_pretrained(path).weights() for path in (first, folder))
    kept = {name for name in after if torch.equal(before[name], after[name])}
    assert {name for name in after if ".network." in name} <= kept


@pytest.mark.slow
def test_a_start_is_taken_to_squares_of_another_size_and_mirrored_pooling(
    tmp_path: Path, rated_photos: Path, on_natural_crops: Path
) -> None:
    first = on_natural_crops
    whole = {"image_size": 96, "square_photos": True, "mirrored_pooling": True}
    options = _options(rated_photos, start=str(first), stem_rate=0.0, hint_weight=0.0, **whole)
    clip = FrozenCLIP.from_pretrained(_run(tmp_path / "run", options))
    assert (clip.image_size, clip.grid, clip.pooled_width) == (96, 3, 2176)
    pixels = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(clip.embed(pixels.flip(3)).pooled, clip.embed(pixels).pooled)
    before, after = FrozenCLIP.from_pretrained(first).weights(), clip.weights()
    assert all(torch.equal(before[name], after[name]) for name in after if ".network." in name)
    (row,) = _rows(tmp_path / "run")
    assert row["val_srcc"] is not None


@pytest.mark.slow
def test_published_layers_take_smaller_steps_than_new_ones(tmp_path: Path, rated_photos: Path) -> None:
    options = _options(
        rated_photos, stem="efficientnet-lite0", image_size=64, layers=1, stem_rate=0.0, hint_weight=0.0, epochs=1
    )
    folder = _run(tmp_path / "run", options)
    taught, fresh = (FrozenCLIP.from_pretrained(path) for path in (folder, tmp_path / "run" / "fresh"))
    before, after = fresh.folded().weights(), taught.weights()
    published = [name for name in after if ".network." in name]
    assert all(torch.allclose(after[name], before[name], atol=1e-3, rtol=1e-3) for name in published)
    assert not torch.allclose(after["visual_projection.weight"], before["visual_projection.weight"], atol=1e-3)
