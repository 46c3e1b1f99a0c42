import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.pytorch.conftest import photo

import mpiqe
from mpiqe.errors import ConfigError

torchmetrics = pytest.importorskip("torchmetrics")

PROCESSES = """
import sys
import torch, torch.distributed as dist
import mpiqe
from tests.pytorch.conftest import photo

rank, run, meeting = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
mean = mpiqe.torchmetrics.MPIQE(run)
every = mpiqe.torchmetrics.MPIQE(run, reduction="none")
for seed in ((0, 1, 2) if rank == 0 else (3,)):  # unlike numbers: the mean of means would be another
    for metric in (mean, every):
        metric.update(photo(60, 50, seed=seed)[None])
print(mean.compute().item(), *every.compute().tolist())
dist.destroy_process_group()
"""


def _scores(run: Path, count: int) -> list[float]:
    return [score.score for score in mpiqe.load(run)([photo(60, 50, seed=seed) for seed in range(count)])]


def test_the_mean_is_over_all_images_of_all_updates_and_reset_begins_anew(run: Path) -> None:
    metric = mpiqe.torchmetrics.MPIQE(run)
    expected = _scores(run, 3)
    metric.update(torch.stack([photo(60, 50, seed=0), photo(60, 50, seed=1)]))
    metric.update([photo(60, 50, seed=2)])
    assert metric.compute().item() == pytest.approx(sum(expected) / 3, abs=1e-3)
    metric.reset()
    metric.update(photo(60, 50, seed=2)[None])
    assert metric.compute().item() == pytest.approx(expected[2], abs=1e-3)


def test_every_score_can_be_had_and_normalised_ones_lie_on_zero_to_one(run: Path) -> None:
    metric = mpiqe.torchmetrics.MPIQE(run, reduction="none", normalize=True)
    images = torch.stack([photo(60, 50, seed=seed) for seed in range(3)])
    metric.update(images)
    assert metric.compute().tolist() == pytest.approx([score / 100 for score in _scores(run, 3)], abs=1e-5)


def test_no_image_has_no_mean(run: Path) -> None:
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert math.isnan(mpiqe.torchmetrics.MPIQE(run).compute())


def test_it_is_differentiable_as_it_says(run: Path) -> None:
    metric = mpiqe.torchmetrics.MPIQE(run)
    assert metric.is_differentiable
    assert metric.higher_is_better
    images = (photo(60, 50)[None] / 255).requires_grad_()
    metric(images).backward()
    assert images.grad is not None
    assert images.grad.abs().max() > 0


def test_it_stands_in_a_collection(run: Path) -> None:
    metrics = torchmetrics.MetricCollection({"quality": mpiqe.torchmetrics.MPIQE(run)})
    assert metrics(photo(60, 50)[None])["quality"].item() == pytest.approx(_scores(run, 1)[0], abs=1e-3)


@pytest.mark.slow  # two processes that import torch
def test_two_processes_come_to_one_result(run: Path, tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESSES, str(rank), str(run), str(tmp_path / "meeting")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for rank in range(2)
    ]
    ended = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    scores = _scores(run, 4)
    for out, _ in ended:
        mean, *every = map(float, out.split())
        assert mean == pytest.approx(sum(scores) / 4, abs=1e-3)
        assert every == pytest.approx(scores, abs=1e-3)


def test_another_reduction_is_refused(run: Path) -> None:
    with pytest.raises(ConfigError, match="median"):
        mpiqe.torchmetrics.MPIQE(run, reduction="median")
