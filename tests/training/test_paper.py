from pathlib import Path

import pytest

from mpiqe.errors import ConfigError
from mpiqe.training.options import resolve
from mpiqe.training.paper import not_the_papers, papers_settings, with_papers


@pytest.mark.parametrize(("dataset", "batch", "weight"), [("livec", 64, 0.5), ("live", 32, 0.1), ("koniq", 64, 0.5)])
def test_the_papers_settings_of_a_dataset(dataset: str, batch: int, weight: float) -> None:
    options = resolve(with_papers({"data": dataset, "root": "somewhere", "split": 3, "seed": 7}, where="options"))
    run = options.run
    assert (run.epochs, run.warmup_epochs, run.learning_rate, run.validation) == (30, 5, 3e-5, False)
    assert (run.batch_size, options.loss.score_weight, run.batch_unit, run.crops) == (batch, weight, "crops", 8)
    assert (run.root, run.split, run.seed) == ("somewhere", 3, 7)
    assert not_the_papers(options) is None


def test_the_defaults_differ_from_the_paper_in_what_is_said() -> None:
    said = not_the_papers(resolve({"data": "livec"}))
    assert said is not None
    assert "validation = on (the paper's: off)" in said
    assert said.endswith("; --paper takes its settings")
    assert "batch_size" not in said
    said = not_the_papers(resolve({"data": "csv:x.csv", "train_on_all": True, "view_side": 384}))
    assert said is not None
    assert "train_on_all = on" in said
    assert "view_side = 384 (the paper's: 0)" in said
    assert "--paper" not in said


def test_what_contradicts_the_paper_is_refused_in_one_message_and_a_backbone_is_not() -> None:
    with pytest.raises(ConfigError, match=r"epochs = 3, the paper's is 30; from = 'embedded', the paper's is None"):
        with_papers({"data": "livec", "epochs": 3, "from": "embedded", "crops": 8}, where="options")
    with pytest.raises(ConfigError, match="the paper has no settings for --data csv; its datasets are live, csiq"):
        with_papers({"data": "csv:x.csv"}, where="options")
    options = resolve(with_papers({"data": "livec", "backbone": "embedded"}, where="options"))
    assert options.run.backbone == "embedded"
    assert not_the_papers(options) == (
        "not as in the paper: backbone = 'embedded' (the paper's: 'openai/clip-vit-base-patch16'); "
        "--paper takes its settings"
    )


def test_every_setting_is_the_papers_a_place_or_the_machines(tmp_path: Path) -> None:
    papers = papers_settings("livec")
    values = resolve({}).to_mapping()
    free = set(values) - set(papers)
    assert free >= {"data", "root", "split", "seed", "device", "workers", "accumulation"}
    assert not free & {
        "epochs",
        "crops",
        "batch_unit",
        "mix_crops",
        "validation",
        "windows",
        "score_weight",
        "fraction",
    }
