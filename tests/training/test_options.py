import json
from pathlib import Path

import pytest

from mpiqe.errors import ConfigError
from mpiqe.model.options import from_mapping, to_mapping
from mpiqe.training.options import PretrainOptions, check_pretrain, read_toml, resolve, without_effect
from mpiqe.training.schedule import schedule_for
from mpiqe.view import View


def test_the_papers_settings_are_the_defaults_for_live_challenge() -> None:
    options = resolve({"data": "livec"})
    run = options.run
    assert (run.epochs, run.batch_size, run.crops) == (30, 64, 8)
    steps = -(-930 * run.crops // run.batch_size)  # of LIVE Challenge's 80 %
    schedule = schedule_for(
        steps_per_epoch=steps,
        epochs=run.epochs,
        warmup_epochs=run.warmup_epochs,
        learning_rate=run.learning_rate,
    )
    assert (schedule.peak, schedule.warmup) == (3e-5, 5 * steps)
    assert (options.loss.distortion_weight, options.loss.score_weight) == (1.0, 0.5)
    assert run.backbone == "openai/clip-vit-base-patch16"
    assert (options.model.context_length, options.model.visual_length, options.model.visual_depth) == (8, 4, None)


def test_the_default_of_each_decision_is_the_method_pages() -> None:
    values = resolve({}).to_mapping()
    expected = {
        "class_position": "end",
        "projection": "clip",
        "scene_target": "uniform",
        "windows": 7,
        "window_temperature": 1 / 20,
        "distortion_scale": "clip",
        "class_mean": False,
        "decoder_layers": 3,
        "pooling": "mean",
        "score_loss": "smooth_l1",
        "target": "standardised",
        "batch_unit": "crops",
        "mix_crops": True,
        "splits": "auto",
        "epoch": "last",
    }
    assert {key: values[key] for key in expected} == expected


def test_flags_go_before_the_file_and_the_file_before_the_dataset(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('data = "csv:photos.csv"\nbatch_size = 8\nwindows = 2\nlearning_rate = 1\n')
    options = resolve({**read_toml(file), "batch_size": 4}, where=str(file))
    assert (options.run.batch_size, options.model.windows, options.run.learning_rate) == (4, 2, 1.0)
    assert resolve({"data": "csv:x.csv"}).run.batch_size == 32


def test_what_is_recorded_gives_the_same_settings_again() -> None:
    options = resolve({"windows": 2, "seed": 9, "backbone": "embedded"})
    assert resolve(options.to_mapping()) == options


def test_unknown_keys_and_wrong_values_are_refused_with_what_is_known(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("lerning_rate = 1e-3\n")
    with pytest.raises(ConfigError, match=r"run.toml: unknown key 'lerning_rate'; known are .*learning_rate"):
        resolve(read_toml(file), where=str(file))
    with pytest.raises(ConfigError, match=r"pooling = 'sum': expected one of 'mean', 'max'"):
        resolve({"pooling": "sum"})
    with pytest.raises(ConfigError, match=r"epochs = '3': expected int; seed = True: expected int"):
        resolve({"epochs": "3", "seed": True})


@pytest.mark.parametrize("key", ["learning_rate", "score_weight", "window_temperature", "lora_alpha"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{key} = {value}: expected a finite number"):
        resolve({key: value})


def test_a_loss_is_not_weighed_below_zero() -> None:
    with pytest.raises(ConfigError, match=r"scene_weight = -1.0: must be at least 0; score_weight = -0.5"):
        resolve({"scene_weight": -1, "score_weight": -0.5})


def test_settings_that_another_one_leaves_without_effect_are_named() -> None:
    idle = without_effect(resolve({"lora_rank": 4, "stem_head_width": 8, "stem_head_layers": 2, "backbone_rate": 0.5}))
    assert [text.partition(" is for ")[0] for text in idle] == [
        "lora_rank = 4",
        "stem_head_width = 8",
        "stem_head_layers = 2",
        "backbone_rate = 0.5",
    ]
    assert without_effect(resolve({})) == []
    used = {"tune": "lora", "lora_rank": 4, "class_heads": True, "stem_head_width": 8, "stem_head_layers": 2}
    assert without_effect(resolve(used)) == []


def test_settings_that_contradict_each_other_are_refused_in_one_message() -> None:
    with pytest.raises(ConfigError, match=r"epochs = 0.*'val' picks on validation images, but validation is off"):
        resolve({"epochs": 0, "epoch": "val", "validation": False})
    with pytest.raises(ConfigError, match="batch_size = 20 crops is no multiple of crops = 8"):
        resolve({"batch_unit": "crops", "mix_crops": False, "batch_size": 20})
    with pytest.raises(ConfigError, match="cache_stem keeps what a frozen stem makes"):
        resolve({"cache_stem": True, "tune": "all"})
    assert resolve({"batch_unit": "crops", "batch_size": 20}).run.batch_size == 20


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("epochs: 3")
    with pytest.raises(ConfigError, match=r"run.toml is no TOML"):
        read_toml(file)
    with pytest.raises(ConfigError, match=r"absent.toml: No such file"):
        read_toml(tmp_path / "absent.toml")


def test_a_list_of_a_file_or_of_json_becomes_a_tuple(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('data = "csv:a.csv"\nalso = ["csv:b.csv", "csv:c.csv"]\n')
    options = resolve(read_toml(file), where=str(file))
    assert options.run.extra_data == ("csv:b.csv", "csv:c.csv")
    assert resolve(json.loads(json.dumps(options.to_mapping()))) == options
    assert resolve({}).run.extra_data == ()


@pytest.mark.parametrize(("value", "shown"), [("csv:b.csv", "'csv:b.csv'"), ([1], r"\[1\]"), (["a", True], ".*True.*")])
def test_what_is_no_list_of_texts_is_refused(tmp_path: Path, value: object, shown: str) -> None:
    with pytest.raises(ConfigError, match=rf"extra_data = {shown}: expected a list of str"):
        resolve({"also": value})
    with pytest.raises(ConfigError, match=rf"extra_data = {shown}: expected a list of str"):
        from_mapping(PretrainOptions, {"also": value}, where="options")


def test_what_is_recorded_of_a_pretraining_gives_the_same_settings_again() -> None:
    options = PretrainOptions(extra_data=("csv:b.csv",), teacher="folder", train_on_all=True)
    assert from_mapping(PretrainOptions, json.loads(json.dumps(to_mapping(options))), where="options") == options
    check_pretrain(options)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"slots": 1}, "slots = 1: must be 2 or more"),
        ({"batch_size": 2}, "batch_size = 2: must be 3 or more"),
        ({"batch_size": 10**20}, "batch_size = 10+: must be 65536 or less"),
        ({"slots": 10**9}, "slots = 10+: must be 4096 or less"),
        ({"seed": 1 << 63}, "seed = 9[0-9]+: must be 9223372036854775807 or less"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0: must be above zero"),
        ({"averaging": 1.0}, "averaging = 1.0: must be at least 0 and below 1"),
        ({"mirrored_pooling": True}, "mirrored_pooling = True: needs stem, or a start that has an EfficientNet stem"),
        ({"hint_weight": -0.5}, "hint_weight = -0.5: must be at least 0"),
        ({"caption_weight": float("nan")}, "caption_weight = nan: must be at least 0"),
    ],
)
def test_values_of_a_pretraining_that_cannot_be_meant_are_refused(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        check_pretrain(PretrainOptions(**change))  # type: ignore[arg-type]


def test_a_square_view_needs_its_side() -> None:
    assert resolve({"view_shape": "square", "view_side": 320}).run.view == View("square", 320)
    with pytest.raises(ConfigError, match="view_shape = 'square': needs view_side"):
        resolve({"view_shape": "square"})
