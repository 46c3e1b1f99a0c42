import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.pytorch.conftest import photo
from torch import nn

import mpiqe
from mpiqe.errors import ConfigError, ImageError
from mpiqe.torch import QualityLoss, QualityMetric, create_metric

SIZES = [(64, 48), (40, 44), (200, 33), (20, 30), (48, 48), (33, 32), (500, 300)]
CLOSE = 1e-4  # of the range of scores


def _span(metric: QualityMetric) -> float:
    low, high = metric.score_range
    return high - low


@pytest.mark.parametrize("options", [{}, {"crop_mode": "seeded", "crops": 5, "seed": 4}, {"view_side": 0}])
def test_the_same_pixels_have_the_score_that_the_scorer_gives(run: Path, options: dict) -> None:
    images = [photo(*size, seed=seed) for seed, size in enumerate(SIZES)]
    expected = [score.score for score in mpiqe.load(run, **options)(images)]
    metric = create_metric(run, device="cpu", **options)
    assert metric(images).tolist() == pytest.approx(expected, abs=CLOSE * _span(metric))
    assert metric([image / 255 for image in images]).tolist() == pytest.approx(expected, abs=CLOSE * _span(metric))
    assert np.ptp(expected) > 30 * CLOSE * _span(metric)  # they differ by much more than the bound


def test_the_embedded_model_gives_the_number_of_its_graph() -> None:
    metric = create_metric(device="cpu")
    examples = Path(__file__).parents[2] / "examples"
    images = [
        torch.from_numpy(mpiqe.images.read(examples / f"{name}.jpg").copy()) for name in ("coffee", "rocket-noise")
    ]
    images = [image.permute(2, 0, 1) for image in images]
    expected = [score.score for score in mpiqe.load()(images)]
    assert metric(images).tolist() == pytest.approx(expected, abs=CLOSE * _span(metric))


def test_floats_between_levels_are_rounded_as_the_scorer_rounds_them(run: Path) -> None:
    image = torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(5))
    metric = create_metric(run, device="cpu")
    assert metric(image[None]).item() == pytest.approx(mpiqe.load(run)(image).score, abs=CLOSE * _span(metric))


def test_a_score_does_not_depend_on_the_batch(run: Path) -> None:
    metric = create_metric(run, device="cpu")
    images = torch.stack([photo(70, 50, seed=seed) for seed in range(6)])
    alone = torch.cat([metric(image[None]) for image in images])
    for batch in (images, images.flip(0).repeat(2, 1, 1, 1)):
        scores = metric(batch)
        expected = alone if batch is images else alone.flip(0).repeat(2)
        torch.testing.assert_close(scores, expected, atol=CLOSE * _span(metric), rtol=0)
    metric.crops_at_once = 4  # whole images or not, parts change nothing
    torch.testing.assert_close(metric(images), alone, atol=CLOSE * _span(metric), rtol=0)
    torch.testing.assert_close(metric(list(images)), alone, atol=CLOSE * _span(metric), rtol=0)


@pytest.mark.parametrize("size", [(70, 50), (20, 30), (32, 32)])
def test_the_gradient_is_that_of_finite_differences(
    run: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = create_metric(run, device="cpu", quantize=False)
    metric.model.double()  # the metric itself stays in fp32
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # the last steps of the model are in fp32 otherwise
    images = (photo(*size)[None].double() / 255 * 0.8 + 0.1).requires_grad_()
    metric(images).sum().backward()
    generator = torch.Generator().manual_seed(1)
    assert images.grad is not None
    for _ in range(4):
        direction = torch.randn(images.shape, generator=generator, dtype=torch.float64)
        step = 1e-6 * direction
        with torch.no_grad():
            difference = (metric(images + step) - metric(images - step)).item() / 2e-6
        assert difference == pytest.approx((images.grad * direction).sum().item(), rel=2e-3)


def test_the_gradient_with_rounding_is_near_that_without(run: Path) -> None:
    found = []
    for quantize in (True, False):
        images = (photo(70, 50)[None] / 255).requires_grad_()
        create_metric(run, device="cpu", quantize=quantize)(images).sum().backward()
        found.append(images.grad.flatten())
    assert torch.cosine_similarity(*found, dim=0) > 0.95


def test_it_is_in_eval_mode_by_nature_and_adds_nothing_to_a_model_that_holds_it(run: Path) -> None:
    metric = create_metric(run, device="cpu")
    holder = nn.Sequential(nn.Linear(2, 2), metric).train()
    assert not any(module.training for module in metric.modules())
    assert sum(1 for _ in holder.parameters()) == 2
    assert set(holder.state_dict()) == {"0.weight", "0.bias"}
    assert not metric(photo(50, 50)[None]).requires_grad


def test_a_copy_scores_the_same(run: Path) -> None:
    metric = create_metric(run, device="cpu")
    image = photo(50, 50)[None]
    score = metric(image)
    assert torch.equal(copy.deepcopy(metric)(image), score)


def test_autocast_and_inference_mode_around_it_change_nothing(run: Path) -> None:
    metric = create_metric(run, device="cpu")
    image = photo(50, 50)[None] / 255
    with torch.inference_mode():
        first = metric(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(metric(image), first, atol=0, rtol=0)
    image.requires_grad_()
    metric(image).sum().backward()  # what inference mode has kept is no obstacle
    assert image.grad is not None
    assert image.grad.abs().max() > 0


@pytest.mark.parametrize(
    "convert",
    [
        lambda module: module.to(torch.bfloat16),
        lambda module: module.to("cpu", torch.float16),
        lambda module: module.half(),
        lambda module: module.double(),
        lambda module: module.type(torch.float16),
        lambda module: nn.Sequential(module).bfloat16()[0],
    ],
)
def test_it_stays_in_fp32_whatever_type_it_is_brought_to(run: Path, convert: Callable[[nn.Module], nn.Module]) -> None:
    metric = create_metric(run, device="cpu")
    images = photo(50, 50)[None]
    expected = metric(images)
    loss = QualityLoss(metric)
    expected_loss = loss(images)
    types = [buffer.dtype for buffer in metric.buffers()]
    assert convert(metric) is metric
    assert torch.equal(metric(images), expected)
    assert convert(loss) is loss
    assert torch.equal(loss(images), expected_loss)
    assert torch.equal(metric.to(torch.float32)(images), expected)
    assert [buffer.dtype for buffer in metric.buffers()] == types


def test_a_change_of_type_and_device_at_once_changes_the_device_alone(run: Path) -> None:
    metric = create_metric(run, device="cpu").to("meta", torch.float16)
    assert {buffer.device.type for buffer in metric.buffers()} == {"meta"}
    assert {buffer.dtype for buffer in metric.buffers() if buffer.is_floating_point()} == {torch.float32}


def test_random_crops_are_drawn_from_torchs_generator(run: Path) -> None:
    metric = create_metric(run, device="cpu", crop_mode="random", view_side=0)
    image = photo(90, 80)[None]
    torch.manual_seed(7)
    first, second = metric(image), metric(image)
    torch.manual_seed(7)
    assert torch.equal(metric(image), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 40, 40), r"\(3, 40, 40\)"),
        (torch.zeros(1, 1, 40, 40), r"\(1, 1, 40, 40\)"),
        (torch.zeros(1, 3, 40, 40, dtype=torch.int64), "int64"),
        (torch.full((1, 3, 40, 40), 1.01), "clamp"),
        (torch.full((1, 3, 40, 40), -0.01), "clamp"),
        (torch.full((1, 3, 40, 40), float("nan")), "clamp"),
        (torch.zeros(0, 3, 40, 40), "empty"),
        (torch.zeros(1, 3, 0, 40), "empty"),
        ([], "without an image"),
        (torch.zeros(1, 3, 2, 9000, dtype=torch.uint8), "would become"),
    ],
)
def test_what_are_no_images_is_refused_with_the_reason(run: Path, images: torch.Tensor, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        create_metric(run, device="cpu", max_pixels=1_000_000)(images)


def test_a_large_image_is_refused(run: Path) -> None:
    with pytest.raises(ImageError, match="over the limit of 100"):
        create_metric(run, device="cpu", max_pixels=100)(photo(11, 10)[None])


def test_a_graph_has_no_gradient_and_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mpiqe.json").write_text("{}")
    with pytest.raises(ConfigError, match="exported graph"):
        create_metric(tmp_path, device="cpu")


def test_a_scorer_of_another_runtime_is_refused() -> None:
    with pytest.raises(ConfigError, match="runtime torch"):
        QualityMetric(mpiqe.load())


def test_a_loss_falls_where_the_score_rises(run: Path) -> None:
    metric = create_metric(run, device="cpu")
    loss = create_metric(run, as_loss=True, device="cpu", loss_reduction="none")
    assert isinstance(loss, QualityLoss)
    assert (metric.lower_better, loss.lower_better) == (False, True)
    assert loss.score_range == (0.0, 1.0)
    images = torch.stack([photo(60, 50, seed=seed) for seed in range(4)])
    scores, losses = metric(images), loss(images)
    assert torch.equal(scores.argsort(), losses.argsort(descending=True))
    low, high = metric.score_range
    torch.testing.assert_close(losses, (high - scores) / (high - low))


def test_a_step_down_the_loss_raises_the_score(run: Path) -> None:
    loss = create_metric(run, as_loss=True, device="cpu")
    images = (photo(60, 50)[None] / 255).requires_grad_()
    before = loss.metric(images.detach())
    loss(images).backward()
    with torch.no_grad():
        after = loss.metric((images - 0.02 * images.grad.sign()).clamp(0, 1))
    assert after > before


def test_losses_are_reduced_as_asked(run: Path) -> None:
    images = torch.stack([photo(60, 50, seed=seed) for seed in range(4)])
    each = create_metric(run, as_loss=True, device="cpu", loss_reduction="none")(images)
    torch.testing.assert_close(create_metric(run, as_loss=True, device="cpu")(images), each.mean())
    torch.testing.assert_close(create_metric(run, as_loss=True, device="cpu", loss_reduction="sum")(images), each.sum())
    with pytest.raises(ConfigError, match="median"):
        create_metric(run, as_loss=True, device="cpu", loss_reduction="median")


def test_an_unknown_reduction_is_refused_without_as_loss_too(run: Path) -> None:
    with pytest.raises(ConfigError, match="loss_reduction must be one of mean, sum, none, not 'median'"):
        create_metric(run, device="cpu", loss_reduction="median")


@pytest.mark.parametrize("given", ["photo.jpg", Path("photo.jpg"), ["a.jpg", "b.jpg"], Image.new("RGB", (60, 50)), 3])
def test_what_is_no_tensor_is_told_where_to_go(run: Path, given: Any) -> None:
    with pytest.raises(ImageError, match=r"this is \w+; for paths and other images take mpiqe\.load"):
        create_metric(run, device="cpu")(given)
