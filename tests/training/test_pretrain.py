import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.conftest import TINY, TINY_OPTIONS

from mpiqe.data import read_csv
from mpiqe.labels import DISTORTIONS
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.loss import Loss
from mpiqe.model.mpiqe import MPIQE, MPIQEOutput, build_model
from mpiqe.model.options import LossOptions
from mpiqe.training import pretrain as module
from mpiqe.training.options import PretrainOptions
from mpiqe.training.pretrain import ViewDataset, Views, correlation, follow, objective, pretrain, renew_contexts
from mpiqe.training.reporter import Silent
from mpiqe.training.run import RunFolder
from mpiqe.training.targets import one_hot, target_statistics


def test_views_are_two_crops_and_two_levels_of_one_distortion_of_the_first(rated_photos: Path) -> None:
    records = read_csv(rated_photos).records
    views = ViewDataset(records, size=64, seed=3)
    natural, _, light, heavy = views[1, 0].crops.float()
    assert views[1, 0].crops.shape == (4, 3, 64, 64)
    assert 0 < (light - natural).abs().mean() < (heavy - natural).abs().mean()
    assert 0 <= views[1, 0].made < len(DISTORTIONS)
    assert torch.equal(views[1, 0].crops, views[1, 0].crops)
    assert not torch.equal(views[1, 0].crops, views[2, 0].crops)


def test_labels_become_targets(rated_photos: Path) -> None:
    assert one_hot(torch.tensor([1, -1]), 3).tolist() == [[0, 1, 0], [0, 0, 0]]
    mean, deviation = target_statistics(read_csv(rated_photos).records)
    ratings = [
        80 - 12 * level + len(name) for name in ("astronaut", "chelsea", "coffee", "rocket") for level in (0, 4, 3, 5)
    ]
    assert mean == pytest.approx(sum(ratings) / 16)
    assert deviation == pytest.approx(math.sqrt(sum((rating - mean) ** 2 for rating in ratings) / 16))


def test_correlation_is_pearsons() -> None:
    a, b = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 1.0, 0.0])
    assert correlation(a, b).item() == pytest.approx(torch.corrcoef(torch.stack([a, b]))[0, 1].item())
    assert correlation(a, torch.ones(3)).item() == 0


def test_the_objective_by_hand() -> None:
    photos, target = 2, torch.tensor([1.0, -1.0])
    scores = torch.tensor([[0.5, 0.5, 0.0, -1.0], [-0.5, -0.5, 0.5, 0.5]])  # the second photo is ranked wrongly
    logits = torch.zeros(8, 11)
    output = MPIQEOutput(scores.flatten(), scores.flatten(), torch.zeros(8, 9), logits, None)
    views = Views(
        crops=torch.empty(0),
        mos=target,
        scene=torch.zeros(photos, 9),  # none labelled
        natural=torch.tensor([0, -1]),
        made=torch.tensor([1, 2]),
    )
    options = PretrainOptions(alignment_weight=0.5, plcc_weight=2.0, ranking_weight=3.0)
    total, parts = objective(output, [], views, target, Loss(LossOptions()), options)
    rated = 0.5 * 0.5**2  # both photos are half a unit off
    pairs = torch.tensor([0.5, -1.0, 1.0, 0.0])
    ranking = F.softplus(1 - 3 * pairs).mean().item()
    assert parts["distortion"] == pytest.approx(math.log(11))  # 6 of 8 views are labelled, all logits equal
    assert (parts["scene"], parts["plcc"]) == (0, pytest.approx(0, abs=1e-6))
    assert parts["ranking"] == pytest.approx(ranking)
    assert total.item() == pytest.approx(0.5 * math.log(11) + rated + 3 * ranking, abs=1e-5)


def test_contexts_are_renewed_as_a_function_of_seed_and_step(tiny_model: MPIQE) -> None:
    renew_contexts(tiny_model, seed=1, step=5)
    first = tiny_model.scene_prompts.context.clone()
    renew_contexts(tiny_model, seed=1, step=6)
    assert not torch.equal(tiny_model.scene_prompts.context, first)
    renew_contexts(tiny_model, seed=1, step=5)
    assert torch.equal(tiny_model.scene_prompts.context, first)
    assert first.std().item() == pytest.approx(0.02, rel=0.2)


def test_the_average_follows_the_weights(tiny_clip: FrozenCLIP) -> None:
    slow, fast = (build_model(tiny_clip, TINY_OPTIONS, seed=seed) for seed in (1, 2))
    expected = 0.9 * slow.decoder.norm.bias + 0.1 * fast.decoder.norm.bias
    follow(slow, fast, keep=0.9)
    torch.testing.assert_close(slow.decoder.norm.bias, expected)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run itself, on a backbone small enough for a test."""
    monkeypatch.setattr(module, "CompactOptions", lambda: TINY)
    monkeypatch.setattr(module, "ModelOptions", lambda visual_depth: TINY_OPTIONS)


class _Stop(Silent):
    """Interrupts after so many epochs."""

    def __init__(self, after: int) -> None:
        self.after = after

    def epoch(self, row) -> None:
        if row["epoch"] == self.after:
            raise KeyboardInterrupt


@pytest.mark.usefixtures("small")
def test_an_interrupted_pretraining_resumes_to_the_same_backbone(tmp_path: Path, rated_photos: Path) -> None:
    options = PretrainOptions(
        data=f"csv:{rated_photos}", epochs=3, warmup_epochs=1, batch_size=4, workers=0, device="cpu", precision="fp32"
    )
    straight = pretrain(options, RunFolder(tmp_path / "straight"), reporter=Silent())
    with pytest.raises(KeyboardInterrupt):
        pretrain(options, RunFolder(tmp_path / "stopped"), reporter=_Stop(after=1))
    resumed = pretrain(options, RunFolder(tmp_path / "stopped"), resume=True, reporter=Silent())
    first, second = FrozenCLIP.from_pretrained(straight), FrozenCLIP.from_pretrained(resumed)
    assert first.digest() == second.digest()
    rows = [json.loads(line) for line in (tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["loss_ranking"] < rows[0]["loss_ranking"]
