import math
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.alignment import distortion_logits
from mpiqe.model.clip import FrozenCLIP
from mpiqe.pretrain.objective import (
    Student,
    StudentOutput,
    caption,
    captions_of,
    correlation,
    distortion_labels,
    objective,
    rating,
)
from mpiqe.pretrain.views import MADE, NATURAL, Views
from mpiqe.training.options import PretrainOptions

VIEWS = NATURAL + MADE
CHANNELS = {"cls": 5, "patches": 5, "hint8": 3, "hint16": 2}
OFF = {item.name: 0.0 for item in fields(PretrainOptions) if item.name.endswith("_weight")}
NOTHING = PretrainOptions(**OFF)
PARTS = {
    "distillation": "distillation_weight",
    "hints": "hint_weight",
    "scene": "alignment_weight",
    "distortion": "alignment_weight",
    "captions": "caption_weight",
    "score": "score_weight",
    "plcc": "plcc_weight",
    "ranking": "ranking_weight",
}


def _student(folder: Path, taught: Mapping[str, int] = CHANNELS) -> Student:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip = FrozenCLIP.from_pretrained(folder)
        clip.thaw()
        return Student(clip, taught=taught)


def _views(**changes: Tensor | dict[str, Tensor]) -> Views:
    """Two photos: the first fully labelled, the second not at all."""
    generator = torch.Generator().manual_seed(3)
    scene = torch.zeros(2, len(SCENES))
    scene[0, [1, 4]] = 0.5
    values: dict[str, Tensor | dict[str, Tensor]] = {
        "crops": torch.randint(0, 256, (2, VIEWS, 3, 32, 32), dtype=torch.uint8, generator=generator),
        "target": torch.tensor([1.0, -1.0]),
        "group": torch.tensor([0, 0]),
        "quality": torch.tensor([4, -1]),
        "scene": scene,
        "named_scene": torch.tensor([1, -1]),
        "natural": torch.tensor([2, -1]),
        "made": torch.tensor([7, 3]),
        "taught": {},
    }
    return Views(**{**values, **changes})  # type: ignore[arg-type]


def _taught() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(4)
    shapes = {"cls": (5,), "patches": (5, 4, 4), "hint8": (3, 8, 8), "hint16": (2, 16, 16)}
    return {name: (3 * torch.randn(2, 1, *shape, generator=generator) + 1).half() for name, shape in shapes.items()}


def _statistics() -> dict[str, tuple[Tensor, Tensor]]:
    return {
        name: (torch.linspace(-1, 1, channels), torch.linspace(0.5, 2, channels)) for name, channels in CHANNELS.items()
    }


def _parts(student: Student, views: Views, **weights: float) -> tuple[Tensor, dict[str, float]]:
    output = student.encode(views.crops.flatten(0, 1))
    return objective(student, output, views, _statistics(), replace(NOTHING, **weights))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _unit(rows: Tensor) -> np.ndarray:
    values = rows.detach().double().numpy()
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def test_distillation_is_the_error_of_a_linear_map_from_natural_views_to_standardised_features(
    stem_folder: Path,
) -> None:
    student, views = _student(stem_folder), _views(taught=_taught())
    output = student.encode(views.crops.flatten(0, 1))
    _, parts = objective(student, output, views, _statistics(), NOTHING)
    side_16, side_8, _ = output.maps
    own = {  # (photo and view, places, width)
        "cls": output.cls[:, None],
        "patches": output.patches,
        "hint8": side_8.flatten(2).transpose(1, 2),
        "hint16": side_16.flatten(2).transpose(1, 2),
    }
    error = {}
    for name, answer in own.items():
        linear = student.to_teacher[name]
        weight, bias = linear.weight.detach().double().numpy(), linear.bias.detach().double().numpy()
        mean, deviation = (values.double().numpy() for values in _statistics()[name])
        squares = []
        for row, photo in zip((0, VIEWS), (0, 1), strict=True):  # the natural views
            wanted = views.taught[name][photo, 0].double().numpy().reshape(len(mean), -1).T  # (places, channels)
            given = answer[row].detach().double().numpy() @ weight.T + bias
            squares.append((given - (wanted - mean) / deviation) ** 2)
        error[name] = np.mean(squares)
    assert parts["distillation"] == pytest.approx((error["cls"] + error["patches"]) / 2, rel=1e-4)
    assert parts["hints"] == pytest.approx((error["hint8"] + error["hint16"]) / 2, rel=1e-4)


def test_without_hints_from_the_teacher_their_part_is_zero_and_without_a_teacher_there_is_none(
    stem_folder: Path,
) -> None:
    student = _student(stem_folder, {"cls": 5, "patches": 5})
    taught = {name: values for name, values in _taught().items() if not name.startswith("hint")}
    total, parts = _parts(student, _views(taught=taught), hint_weight=1.0)
    assert (total.item(), parts["hints"]) == (0, 0)
    assert parts["distillation"] > 0
    assert set(_parts(student, _views())[1]) == set(PARTS) - {"distillation", "hints"}


def test_natural_views_have_the_photos_distortion_and_made_ones_what_was_made() -> None:
    assert distortion_labels(_views()).tolist() == [[2, 7, 7], [-1, 3, 3]]


def test_alignment_by_hand(stem_folder: Path) -> None:
    student, views = _student(stem_folder), _views()
    output = student.encode(views.crops.flatten(0, 1))
    _, parts = objective(student, output, views, {}, NOTHING)
    scenes, distortions = student.class_features()
    scale = student.clip.logit_scale
    by_scene = _log_softmax(scale.item() * _unit(output.cls) @ _unit(scenes).T)
    assert parts["scene"] == pytest.approx(-by_scene[:VIEWS][:, [1, 4]].mean(), rel=1e-4)  # the first photo's views
    logits, _ = distortion_logits(output.patches, distortions, scale, windows=4, window_temperature=0.05)
    by_distortion = _log_softmax(logits.detach().double().numpy())
    labelled = {0: 2, 1: 7, 2: 7, 4: 3, 5: 3}  # view -> class; 3 is natural and not labelled
    expected = -np.mean([by_distortion[view, label] for view, label in labelled.items()])
    assert parts["distortion"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ((SCENES.index("animal"), DISTORTIONS.index("blur"), 0), "a photo of a animal with blur artifacts"),
        ((-1, DISTORTIONS.index("blur"), -1), "a photo with blur artifacts"),
        ((SCENES.index("animal"), -1, 4), "a photo of a animal"),
        ((-1, -1, -1), "a photo"),
    ],
)
def test_a_caption_leaves_out_what_is_not_labelled(labels: tuple[int, int, int], text: str) -> None:
    quality = {0: ", which is of bad quality", 4: ", which is of excellent quality", -1: ""}[labels[2]]
    assert caption(*labels) == text + quality


def test_only_natural_views_are_captioned_with_the_photos_quality() -> None:
    scene, natural, made = SCENES[1], DISTORTIONS[2], DISTORTIONS[7]
    first = f"a photo of a {scene} with {natural} artifacts, which is of excellent quality"
    second = f"a photo of a {scene} with {made} artifacts"
    unlabelled, third = "a photo", f"a photo with {DISTORTIONS[3]} artifacts"
    assert captions_of(_views()) == [first, second, second, unlabelled, third, third]


def test_captions_are_clips_symmetric_loss_with_equal_texts_as_one(stem_folder: Path) -> None:
    student, views = _student(stem_folder), _views(made=torch.tensor([7, 7]), scene=torch.zeros(2, len(SCENES)))
    views = views._replace(named_scene=torch.tensor([-1, -1]))
    output = student.encode(views.crops.flatten(0, 1))
    _, parts = objective(student, output, views, {}, NOTHING)
    texts = [
        f"a photo with {DISTORTIONS[2]} artifacts, which is of excellent quality",
        f"a photo with {DISTORTIONS[7]} artifacts",
        "a photo",
    ]
    holds = {0: [0], 1: [1, 2, 4, 5], 2: [3]}  # text -> views
    features = [student.caption_features([text])[0] for text in texts]
    logits = student.clip.logit_scale.item() * _unit(output.cls) @ _unit(torch.stack(features)).T  # (6, 3)
    to_text = -np.mean([_log_softmax(logits)[view, text] for text, members in holds.items() for view in members])
    to_image = -np.mean([_log_softmax(logits.T)[text, members].mean() for text, members in holds.items()])
    assert parts["captions"] == pytest.approx((to_text + to_image) / 2, rel=1e-4)


def test_a_captions_features_do_not_depend_on_its_neighbours(stem_folder: Path) -> None:
    student = _student(stem_folder)
    short, long = "a photo", "a photo of a landscape with blur artifacts"
    torch.testing.assert_close(
        student.caption_features([short, long])[0], student.caption_features([short])[0], atol=1e-6, rtol=0
    )


def test_a_caption_that_is_too_long_for_the_tower_is_cut(stem_folder: Path) -> None:
    student = _student(stem_folder)
    room = student.clip.text_positions - 2
    assert len(student.clip.tokens("zebra " * 30)) > room
    features = student.caption_features(["zebra " * 30, "zebra " * 40])
    torch.testing.assert_close(features[0], features[1], atol=1e-6, rtol=0)


def test_rating_by_hand() -> None:
    # Four photos, three of set 0 and one of set 1; the second probe is the first, but shifted by one.
    natural = [0.5, -1.0, 3.0, 0.0]
    made = [[0.0, -1.0], [0.5, 0.5], [2.0, 1.0], [0.5, -2.0]]
    target = [1.0, -1.0, 0.5, 4.0]
    first = torch.tensor([[a, *b] for a, b in zip(natural, made, strict=True)])
    views = Views(
        crops=torch.empty(0),
        target=torch.tensor(target),
        group=torch.tensor([0, 0, 0, 1]),
        quality=torch.empty(0),
        scene=torch.empty(0),
        named_scene=torch.empty(0),
        natural=torch.empty(0),
        made=torch.empty(0),
        taught={},
    )

    def smooth(difference: float) -> float:
        return difference**2 / 2 if abs(difference) < 1 else abs(difference) - 0.5

    score = sum(
        np.mean([smooth(value + shift - wanted) for value, wanted in zip(natural, target, strict=True)])
        for shift in (0, 1)
    )
    plcc = 3 / 4 * (1 - np.corrcoef(natural[:3], target[:3])[0, 1]) + 1 / 4 * 1  # one photo correlates with nothing
    gaps = [value for a, b in zip(natural, made, strict=True) for value in (a - b[0], b[0] - b[1])]
    ranking = np.mean([math.log1p(math.exp(1 - 3 * gap)) for gap in gaps])
    parts = rating((first.flatten(), first.flatten() + 1), views)
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(
        {"score": score, "plcc": 2 * plcc, "ranking": 2 * ranking}, rel=1e-5
    )


def test_correlation_is_pearsons() -> None:
    a, b = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 1.0, 0.0])
    assert correlation(a, b).item() == pytest.approx(np.corrcoef(a.numpy(), b.numpy())[0, 1])
    assert correlation(100 + 5 * a, b).item() == pytest.approx(correlation(a, b).item(), rel=1e-4)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1.0, 2.0, 4.0], [0.3, 0.3, 0.3], 0),
        ([0.1, 0.1, 0.1], [1.0, 2.0, 4.0], 0),
        ([2.0], [1.0], 0),
        ([2.0, 3.0], [1.0, -1.0], -1),
    ],
)
def test_correlation_of_constants_and_of_few_photos_has_finite_gradients(
    a: list[float], b: list[float], expected: float
) -> None:
    predicted = torch.tensor(a, requires_grad=True)
    found = correlation(predicted, torch.tensor(b))
    found.backward()
    assert found.item() == pytest.approx(expected, abs=1e-6)
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all()


def test_a_set_with_one_or_two_photos_in_the_batch_leaves_gradients_finite() -> None:
    scores = torch.randn(3 * VIEWS, generator=torch.Generator().manual_seed(0), requires_grad=True)
    views = _views(target=torch.tensor([0.0, 1.0, 2.0]), group=torch.tensor([0, 1, 1]))
    torch.stack(list(rating((scores, scores), views).values())).sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_the_total_is_the_weighted_sum_and_a_weight_of_zero_switches_a_term_off(stem_folder: Path) -> None:
    student, views = _student(stem_folder), _views(taught=_taught())
    total, parts = _parts(student, views)
    assert total.item() == 0
    assert set(parts) == set(PARTS)
    for option in sorted(set(PARTS.values())):
        total, _ = _parts(student, views, **{option: 2.0})
        mine = sum(parts[name] for name, weight in PARTS.items() if weight == option)
        assert total.item() == pytest.approx(2 * mine, rel=1e-4), option


def test_gradients_reach_both_towers_the_words_and_the_temperature(stem_folder: Path) -> None:
    student = _student(stem_folder)
    views = _views(taught=_taught(), target=torch.tensor([0.3, -0.4]))  # errors of unlike size: none cancels another
    total, _ = _parts(student, views, **dict.fromkeys(OFF, 1.0))
    total.backward()
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if not name.endswith("k_proj.bias"):  # the softmax takes what all keys share away
            assert parameter.grad.abs().max() > 0, name
    names = dict(student.named_parameters())
    for part in ("token_embedding", "patch_embedding.stages.0", "text_model.encoder.layers.0", "logit_scale"):
        assert any(part in name for name in names), part


@pytest.mark.parametrize("option", ["alignment_weight", "caption_weight"])
def test_labels_alone_teach_both_towers(stem_folder: Path, option: str) -> None:
    student = _student(stem_folder)
    total, _ = _parts(student, _views(), **{option: 1.0})
    total.backward()
    gradients = {name: parameter.grad for name, parameter in student.clip.clip.named_parameters()}
    for part in (
        "token_embedding",
        "text_projection",
        "patch_embedding.stages.0.0",
        "visual_projection",
        "logit_scale",
    ):
        (found,) = [gradient for name, gradient in gradients.items() if part in name and name.endswith(("t", "scale"))]
        assert found is not None, part
        assert found.abs().max() > 0, part


def test_class_features_follow_the_token_embeddings(stem_folder: Path) -> None:
    student = _student(stem_folder)
    before = student.class_features()[0]
    with torch.no_grad():
        student.clip.clip.text_model.embeddings.token_embedding.weight.mul_(2)
    assert not torch.allclose(student.class_features()[0], before)


def test_what_is_seen_is_what_the_backbone_gives(stem_folder: Path) -> None:
    student, views = _student(stem_folder).eval(), _views()
    pixels = views.crops.flatten(0, 1)
    with torch.no_grad():
        output = student.encode(pixels)
        cls, patches = student.clip.encode_image(student.clip.preprocess(pixels))
        torch.testing.assert_close(output.cls, student.clip.project(cls))
        torch.testing.assert_close(output.patches, student.clip.project(patches))
        late = torch.cat([output.cls, output.patches.mean(dim=1)], dim=1)
        torch.testing.assert_close(student(pixels), F.linear(late, student.late.weight, student.late.bias)[:, 0])
    assert isinstance(output, StudentOutput)
    assert [stage.shape[1:] for stage in output.maps] == [(8, 16, 16), (16, 8, 8), (64, 4, 4)]
    assert student.image_size == 32


def test_contexts_are_renewed_as_a_function_of_seed_and_step(stem_folder: Path) -> None:
    student = _student(stem_folder)
    banks = (student.scene, student.distortion)

    def drawn(seed: int, step: int) -> Tensor:
        student.renew_contexts(seed=seed, step=step)
        return torch.stack([bank.context.detach().clone() for bank in banks])

    first = drawn(1, 5)
    assert not torch.equal(drawn(1, 6), first)
    assert not torch.equal(drawn(2, 5), first)
    assert torch.equal(drawn(1, 5), first)
    assert not torch.equal(first[0], first[1])
    assert first.std().item() == pytest.approx(0.02, rel=0.1)  # over 2 x 8 x 64 numbers
