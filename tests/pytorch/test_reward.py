import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.pytorch.conftest import photo

import mpiqe
from mpiqe.errors import ImageError


@pytest.fixture
def images() -> torch.Tensor:
    return torch.stack([photo(60, 50, seed=seed) for seed in range(3)])


@pytest.fixture
def expected(run: Path, images: torch.Tensor) -> list[float]:
    return [score.score for score in mpiqe.load(run)(list(images))]


def test_images_of_every_kind_have_the_scorers_scores(run: Path, images: torch.Tensor, expected: list[float]) -> None:
    score = mpiqe.reward(run)
    arrays = images.permute(0, 2, 3, 1).numpy()
    for given in (images, images / 255, arrays, [Image.fromarray(array) for array in arrays], list(images)):
        scores, metadata = score(given)
        assert scores.dtype == np.float32
        assert scores.tolist() == pytest.approx(expected, abs=1e-3)
        assert metadata == {}


def test_it_is_called_as_trainers_call_it(run: Path, images: torch.Tensor, expected: list[float]) -> None:
    score = mpiqe.reward(run)
    prompts, metadata = ("a cup",) * 3, [{}] * 3
    by_position, _ = score(images / 255, prompts, metadata)  # Flow-GRPO, TRL's DDPO
    by_name, _ = score(images=images / 255, prompts=prompts, metadata=metadata)
    assert by_position.tolist() == by_name.tolist() == pytest.approx(expected, abs=1e-3)
    assert torch.as_tensor(by_position, device="cpu").shape == (3,)


def test_a_score_does_not_depend_on_the_batch_or_the_prompt(run: Path, images: torch.Tensor) -> None:
    score = mpiqe.reward(run)
    together, _ = score(images, ["one", "two", "three"])
    alone = [float(score(image[None], ["another"])[0][0]) for image in images]
    assert together.tolist() == pytest.approx(alone, abs=1e-4)


def test_normalised_scores_lie_on_zero_to_one(run: Path, images: torch.Tensor, expected: list[float]) -> None:
    scores, _ = mpiqe.reward(run, normalize=True)(images)
    assert scores.tolist() == pytest.approx([score / 100 for score in expected], abs=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), 1.5, -1.0])
def test_images_outside_the_range_are_no_zero_reward_but_an_error(run: Path, bad: float) -> None:
    images = torch.full((2, 3, 40, 40), bad)
    with pytest.raises(ImageError, match="undo the normalisation"):
        mpiqe.reward(run)(images)


def test_one_image_is_no_batch(run: Path) -> None:
    with pytest.raises(ImageError, match="batch"):
        mpiqe.reward(run)(photo(40, 40))


@pytest.mark.slow
def test_trls_own_trainer_takes_it() -> None:
    pytest.importorskip("diffusers", reason="needs TRL as examples/trl_ddpo.py names it, in an environment of its own")
    trl = pytest.importorskip("trl")
    if not hasattr(trl, "DDPOTrainer"):
        pytest.skip(f"TRL {trl.__version__} has no DDPO; examples/trl_ddpo.py names one that has")
    command = [sys.executable, Path(__file__).resolve().parents[2] / "examples" / "trl_ddpo.py"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout
    rewards = [line for line in printed.splitlines() if line.startswith("reward of (2, 3, 64, 64) torch.float32, 2 p")]
    assert len(rewards) == 2  # batches
    assert "the generator moved by up to" in printed
