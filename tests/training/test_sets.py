"""Several rated sets at once (D18): comparisons within sets, a line per set, steps of equal shares."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import pearsonr
from tests.training.first_step import assert_same_gradients, first_gradients
from torch.nn.functional import smooth_l1_loss
from typer.testing import CliRunner

from mpiqe.cli.main import app
from mpiqe.data.crop_dataset import Batch
from mpiqe.data.record import Record
from mpiqe.errors import ConfigError
from mpiqe.model.checkpoint import read_config
from mpiqe.model.loss import Counts, Loss
from mpiqe.model.mpiqe import MPIQE
from mpiqe.model.options import LossOptions
from mpiqe.training import train as module
from mpiqe.training.batches import StepSampler
from mpiqe.training.device import accelerator_for
from mpiqe.training.liqe_loss import pair_loss
from mpiqe.training.options import resolve
from mpiqe.training.reporter import Silent
from mpiqe.training.run_folder import RunFolder
from mpiqe.training.set_lines import SetLines, on_common_scale
from mpiqe.training.set_losses import SetLosses, plcc_loss, sets_of
from mpiqe.training.step import MPIQEObjective
from mpiqe.training.train import take_step, train

SMALL = {
    "windows": 3,
    "decoder_layers": 1,
    "crops": 2,
    "batch_size": 8,
    "epochs": 3,
    "warmup_epochs": 1,
    "learning_rate": 1e-2,
    "workers": 0,
    "device": "cpu",
    "precision": "fp32",
}
MIXTURE = {"sampling": "sets", "set_lines": "learned", "ranking_weight": 1.0, "plcc_weight": 0.5}


class StopsAfter(Silent):
    """Interrupts the run when an epoch has ended, as Ctrl-C does."""

    def __init__(self, epoch: int) -> None:
        self._last = epoch

    def epoch(self, row: Mapping[str, Any]) -> None:
        if row["epoch"] == self._last:
            raise KeyboardInterrupt


def _settings(rated: Path, further: Path, backbone: Path, **changes: object) -> dict[str, Any]:
    return {**SMALL, "data": f"csv:{rated}", "backbone": str(backbone), "extra_data": [f"csv:{further}"], **changes}


def _train(folder: Path, settings: dict[str, Any], **how: Any) -> dict[str, float | None]:
    return train(resolve(settings), RunFolder(folder), **{"reporter": Silent(), **how})


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_plcc_loss_is_scipys_within_each_set_and_a_set_of_one_rating_does_not_count() -> None:
    generator = torch.Generator().manual_seed(0)
    quality = torch.randn(12, generator=generator)
    mos = torch.randn(12, generator=generator)
    sets = torch.tensor([0, 1, 2] * 4)
    mos[sets == 2] = 3.5
    expected = [1 - pearsonr(quality[sets == each], mos[sets == each]).statistic for each in (0, 1)]
    assert float(plcc_loss(quality, mos, sets=sets)) == pytest.approx(sum(expected) / 2, abs=1e-6)
    assert float(plcc_loss(quality[:1], mos[:1], sets=sets[:1])) == 0


def test_the_gradient_that_each_prediction_gets_is_that_of_the_weighted_sum_over_the_whole_step() -> None:
    generator = torch.Generator().manual_seed(1)
    said = torch.randn(10, generator=generator).requires_grad_()
    mos = torch.randn(10, generator=generator)
    images = torch.tensor([0, 7, 3, 3, 9, 1, 5, 8, 2, 6])
    losses = SetLosses(LossOptions(ranking_weight=2.0, plcc_weight=0.5), ends=[4, 10], unit=1.5)
    cut = [4, 6]
    compared = losses(torch.split(said, cut), torch.split(mos, cut), torch.split(images, cut))
    sets = (images >= 4).long()
    ranking, plcc = pair_loss(said / 1.5, mos, sets=sets, images=images), plcc_loss(said, mos, sets=sets)
    (2 * ranking + 0.5 * plcc).backward()
    torch.testing.assert_close(torch.cat(compared.gradients), said.grad)
    assert [len(part) for part in compared.gradients] == cut
    assert float(losses.total(compared)) == pytest.approx((2 * ranking + 0.5 * plcc).item())


def test_a_set_does_not_know_the_scale_of_another() -> None:
    mos = torch.tensor([1.0, 2.0, 3.0, 4.0])
    images, losses = torch.arange(4), SetLosses(LossOptions(ranking_weight=1.0, plcc_weight=1.0), ends=[2, 4])
    said = [torch.tensor([0.0, 1.0, 0.0, 2.0])]
    one, other = (losses(said, [mos * factor + shift], [images]) for factor, shift in ((1, 0), (40, -7)))
    torch.testing.assert_close(one, other)


def test_every_step_has_equal_shares_of_the_sets_and_each_is_gone_through_before_it_comes_again() -> None:
    sampler = StepSampler(15, batch_size=6, parts=2, rank=0, world=1, seed=3, crops=2, sets=(3, 12))
    drawn: list[tuple[int, ...]] = []
    for epoch in range(1, 9):
        sampler.set_epoch(epoch)
        steps, keys = sampler.steps(), list(sampler)
        assert len(steps) == sampler.steps_per_epoch == 5
        for step in steps:
            assert Counter(sets_of(torch.tensor(step.images), [3, 15]).tolist()) == {0: 3, 1: 3}
        assert [len(part) for part in keys] == [3] * 10
        drawn += [key for part in keys for key in part]
    assert len(set(drawn)) == len(drawn)  # no crop of a photo comes twice in the same place
    counts = Counter(key[1:] for key in drawn)
    assert {counts[image, crop] for image in range(3) for crop in (0, 1)} == {20}  # 8 epochs x 15 of 6
    assert {counts[image, crop] for image in range(3, 15) for crop in (0, 1)} == {5}  # 120 of 24


def test_shares_that_do_not_divide_a_step_take_turns() -> None:
    sampler = StepSampler(30, batch_size=4, parts=1, rank=0, world=1, seed=0, sets=(10, 10, 10))
    sampler.set_epoch(1)
    shares = [Counter(sets_of(torch.tensor(step.images), [10, 20, 30]).tolist()) for step in sampler.steps()[:6]]
    assert all(sorted(share.values()) == [1, 1, 2] for share in shares)
    assert sum(shares, Counter()) == {0: 8, 1: 8, 2: 8}


def test_steps_of_equal_shares_repeat_themselves_and_differ_between_epochs() -> None:
    samplers = [StepSampler(20, batch_size=4, parts=1, rank=0, world=1, seed=0, sets=(8, 12)) for _ in range(2)]
    for sampler in samplers:
        sampler.set_epoch(3)
    assert samplers[0].steps() == samplers[1].steps()
    samplers[0].set_epoch(4)
    assert samplers[0].steps() != samplers[1].steps()


def test_a_line_begins_as_none_and_the_first_set_never_has_one() -> None:
    lines, said, sets = SetLines(3), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 1, 2])
    assert torch.equal(lines(said, sets, centre=50.0, unit=10.0), said)
    with torch.no_grad():
        lines.log_slope.copy_(torch.tensor([0.5, -0.5]).exp().log())
        lines.offset.fill_(1.0)
    assert lines(said, sets, centre=50.0, unit=10.0)[0] == 1.0


def test_lines_find_how_sets_were_rated_and_their_mos_come_back_to_the_common_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(300, generator=generator) * 10 + 50  # in MOS of the first set: mean 50, deviation 10
    sets = torch.arange(300) % 3
    slopes, offsets = torch.tensor([1.0, 0.6, 1.4]), torch.tensor([0.0, 0.8, -0.5])
    rated = ((common - 50) / 10 * slopes[sets] + offsets[sets]) * 10 + 50
    lines = SetLines(3)
    optimiser = torch.optim.Adam(lines.parameters(), lr=3e-2)
    for _ in range(400):
        loss = (lines(common, sets, centre=50.0, unit=10.0) - rated).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = lines.to_json()
    assert found == [pytest.approx([0.6, 0.8], abs=1e-3), pytest.approx([1.4, -0.5], abs=1e-3)]
    records = [Record(Path("x.png"), "x.png", float(mos)) for mos in rated[sets == 2]]
    back = [record.mos for record in on_common_scale(records, found[1], (50.0, 10.0))]
    assert back == pytest.approx(common[sets == 2].tolist(), abs=0.05)


@pytest.mark.parametrize("cuts", [(6,), (1, 3, 2)])
def test_a_step_leaves_the_gradient_of_all_its_losses_at_once(tiny_model: MPIQE, cuts: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (6, 2, 3, 32, 32), dtype=torch.uint8, generator=generator)
    mos, images = torch.randn(6, generator=generator), torch.tensor([0, 4, 1, 5, 3, 2])
    whole = Batch(crops, mos, torch.zeros(6, 9), torch.full((6,), -1), images)
    options, ends = LossOptions(score_weight=0.7, ranking_weight=2.0, plcc_weight=0.5), [3, 6]
    lines = SetLines(2)
    with torch.no_grad():
        lines.log_slope.fill_(0.3)

    def to_set(said: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        return lines(said, sets_of(indices, ends), centre=0.0, unit=1.0)

    said = tiny_model(crops.flatten(0, 1)).prediction
    sets = sets_of(images, ends)
    score = smooth_l1_loss(to_set(said, images.repeat_interleave(2)), mos.repeat_interleave(2))
    ranking = pair_loss(said.view(6, 2).mean(dim=1), mos, sets=sets, images=images)
    plcc = plcc_loss(said.view(6, 2).mean(dim=1), mos, sets=sets)
    (0.7 * score + 2.0 * ranking + 0.5 * plcc).backward()
    trained = {**dict(tiny_model.named_parameters()), **dict(lines.named_parameters())}
    expected = {name: value.grad.clone() for name, value in trained.items() if value.grad is not None}
    before = {name: value.detach().clone() for name, value in trained.items()}
    optimiser = torch.optim.SGD(trained.values(), lr=1.0)
    optimiser.zero_grad()
    parts = zip(*(torch.split(field, list(cuts)) for field in whole), strict=True)
    accelerator = accelerator_for(device="cpu", precision="fp32")
    losses = take_step(
        MPIQEObjective(tiny_model, Loss(options), Counts(12, 0, 0), SetLosses(options, ends=ends), to_set),
        (Batch(*part) for part in parts),
        accelerator.prepare_optimizer(optimiser),
        accelerator,
    )
    assert losses.total.item() == pytest.approx((0.7 * score + 2.0 * ranking + 0.5 * plcc).item(), rel=1e-5)
    assert len(expected) > 20
    assert "log_slope" in expected
    for name, gradient in expected.items():
        torch.testing.assert_close(before[name] - trained[name].detach(), gradient, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.slow
def test_a_mixture_trains_by_the_command_and_lowers_what_it_compares(
    rated_photos: Path, further_photos: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    settings = _settings(rated_photos, further_photos, tiny_folder, **MIXTURE, epochs=6, micro_batch=3)
    flags = [
        text
        for key, value in settings.items()
        for text in (f"--{key.replace('_', '-')}", *(value if isinstance(value, list) else [str(value)]))
    ]
    done = CliRunner().invoke(app, ["train", "--out", str(tmp_path / "run"), *flags])
    assert done.exit_code == 0, done.output
    rows = _rows(tmp_path / "run")
    for key in ("loss_ranking", "loss_plcc"):
        assert rows[-1][key] < rows[0][key], key
    assert len(rows[-1]["set_lines"]) == 1
    assert rows[-1]["set_lines"] != rows[0]["set_lines"] != [[1.0, 0.0]]
    total = sum(
        weight * rows[0][key]
        for key, weight in (
            ("loss_scene", 1),
            ("loss_distortion", 1),
            ("loss_score", 0.5),
            ("loss_ranking", 1),
            ("loss_plcc", 0.5),
        )
    )
    assert rows[0]["loss"] == pytest.approx(total, rel=1e-5)
    kept = read_config(tmp_path / "run" / "mpiqe.safetensors")
    assert kept.training["sampling"] == "sets"
    assert not any("set_lines" in name for name in load_file(tmp_path / "run" / "mpiqe.safetensors"))


def test_without_the_options_a_run_is_the_one_that_it_was(
    rated_photos: Path, further_photos: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[MPIQEObjective] = []
    take = module.take_step

    def note(objective: MPIQEObjective, *how: Any) -> Any:
        given.append(objective)
        return take(objective, *how)

    monkeypatch.setattr(module, "take_step", note)
    _train(tmp_path / "run", _settings(rated_photos, further_photos, tiny_folder, epochs=1))
    assert given
    assert all(objective.set_losses is None and objective.to_set is None for objective in given)
    assert not {"loss_ranking", "loss_plcc", "set_lines"} & set(_rows(tmp_path / "run")[0])


@pytest.mark.slow
def test_in_how_many_parts_a_batch_is_compared_changes_nothing(
    rated_photos: Path, further_photos: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    settings = _settings(rated_photos, further_photos, tiny_folder, **MIXTURE, epochs=1, learning_rate=1e-3)
    with first_gradients() as whole:
        _train(tmp_path / "whole", settings)
    with first_gradients() as parts:
        _train(tmp_path / "parts", {**settings, "accumulation": 3})
    assert_same_gradients(parts, whole)
    first, second = (_rows(tmp_path / name)[0] for name in ("whole", "parts"))
    for key in ("loss", "loss_ranking", "loss_plcc", "loss_score"):
        assert second[key] == pytest.approx(first[key], rel=1e-4), key


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mp-iqe", pytest.param("liqe", marks=pytest.mark.slow)])
def test_a_mixture_that_was_stopped_goes_on_to_the_same_bits(
    rated_photos: Path, further_photos: Path, tiny_folder: Path, tmp_path: Path, method: str
) -> None:
    own = MIXTURE if method == "mp-iqe" else {"method": "liqe", "sampling": "sets"}
    settings = _settings(rated_photos, further_photos, tiny_folder, **own)
    _train(tmp_path / "straight", settings)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "stopped", settings, reporter=StopsAfter(2))
    _train(tmp_path / "stopped", settings, resume=True)
    straight, stopped = (load_file(tmp_path / name / "mpiqe.safetensors") for name in ("straight", "stopped"))
    assert all(torch.equal(stopped[name], tensor) for name, tensor in straight.items())
    lines = [[row.get("set_lines") for row in _rows(tmp_path / name)] for name in ("straight", "stopped")]
    assert lines[0] == lines[1]
    assert read_config(tmp_path / "straight" / "mpiqe.safetensors").interval == (
        read_config(tmp_path / "stopped" / "mpiqe.safetensors").interval
    )


@pytest.mark.slow
def test_the_interval_of_a_mixture_is_calibrated_on_the_common_scale(
    rated_photos: Path, further_photos: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrate, seen = module.calibrate_on, []

    def note(predicted: Mapping[str, Any], **how: Any) -> Any:
        seen.append({name: [each.mos for each in rows] for name, rows in predicted.items()})
        return calibrate(predicted, **how)

    monkeypatch.setattr(module, "calibrate_on", note)
    for name, lines in (("fixed", "fixed"), ("learned", "learned")):
        _train(tmp_path / name, _settings(rated_photos, further_photos, tiny_folder, set_lines=lines))
    fixed, learned = seen
    own, further = fixed  # the further set has the same file name, so its name differs
    assert learned[own] == fixed[own]
    slope, offset = _rows(tmp_path / "learned")[-1]["set_lines"][0]
    sides = module._data(resolve(_settings(rated_photos, further_photos, tiny_folder)).run, Silent(), decode=False)[1]
    mean, deviation = module.target_statistics(sides.train)
    expected = [((mos - mean) / deviation - offset) / slope * deviation + mean for mos in fixed[further]]
    assert learned[further] == pytest.approx(expected)
    assert learned[further] != pytest.approx(fixed[further])


def test_what_several_sets_cannot_do_is_refused_in_one_message() -> None:
    with pytest.raises(ConfigError, match=r"sampling = 'sets' is for several .*; set_lines = 'learned' is for several"):
        resolve({"sampling": "sets", "set_lines": "learned"})
    with pytest.raises(ConfigError, match=r"ranking_weight = -1.0: must be at least 0; plcc_weight = -2.0"):
        resolve({"ranking_weight": -1, "plcc_weight": -2})
    with pytest.raises(ConfigError, match="liqe only ranks the images of a set"):
        resolve({"method": "liqe", "set_lines": "learned", "extra_data": ["csv:x.csv"]})
    with pytest.raises(ConfigError, match=r"ranking_weight = 1.0: liqe has losses of its own"):
        resolve({"method": "liqe", "ranking_weight": 1.0})
    mixed = {"ranked_data": ["csv:x.csv"], "stem_head": True, "stem_head_width": 8, "plcc_weight": 1.0}
    with pytest.raises(ConfigError, match=r"ranked_data has no scale and goes with none of .*; it has plcc_weight"):
        resolve(mixed)
