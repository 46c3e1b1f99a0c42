"""Every TOML of docs/recipes.md trains, with its own keys, on a small backbone of the same kind."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.small_siglip import write_siglip

from mpiqe.errors import ConfigError
from mpiqe.parse import parse_toml
from mpiqe.training.options import resolve
from mpiqe.training.reporter import Silent
from mpiqe.training.run_folder import RunFolder
from mpiqe.training.train import train

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
SIZES = {"epochs": 1, "crops": 2, "batch_size": 12, "learning_rate": 1e-3}  # of a run that takes seconds
HERE = {"windows": 3, "decoder_layers": 1, "workers": 0, "device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_siglip(tmp_path_factory.mktemp("backbone") / "small-siglip")


def test_there_are_the_three_recipes() -> None:
    recipes = [parse_toml(block) for block in BLOCKS]
    assert [recipe["backbone"] for recipe in recipes] == [
        "google/siglip2-so400m-patch14-384",
        "openai/clip-vit-base-patch16",
        "openai/clip-vit-base-patch32",
    ]
    for recipe in recipes:
        resolve(recipe)  # as it stands


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_recipe_trains_with_its_own_keys_on_a_small_backbone_of_its_kind(
    number: int, rated_photos: Path, further_photos: Path, tiny_folder: Path, siglip_folder: Path, tmp_path: Path
) -> None:
    recipe: dict[str, Any] = parse_toml(BLOCKS[number])
    if recipe["tune"] == "lora" and find_spec("peft") is None:
        pytest.skip("needs peft: pip install -e '.[test]'")
    settings = {**recipe, **{key: value for key, value in SIZES.items() if key in recipe}, **HERE}
    settings["backbone"] = str(siglip_folder if "siglip" in recipe["backbone"] else tiny_folder)
    settings["data"] = f"csv:{rated_photos}"
    for place in ("root", "labels"):  # a table has its own
        settings.pop(place, None)
    if "extra_data" in recipe:
        settings["extra_data"] = [f"csv:{further_photos}" for _ in recipe["extra_data"]]
    figures = train(resolve(settings), RunFolder(tmp_path / "run"), reporter=Silent())
    assert figures["count"] == 4
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    asked = {name: recipe.get(f"{name}_weight", 0) > 0 for name in ("ranking", "plcc")}
    assert {name: f"loss_{name}" in row for name in asked} == asked
    assert len(row.get("set_lines", [])) == (len(recipe["extra_data"]) if "set_lines" in recipe else 0)


def test_a_recipe_of_sets_says_what_is_missing_where_they_have_no_folder() -> None:
    recipe = parse_toml(BLOCKS[1])
    recipe["extra_data"] = []
    with pytest.raises(ConfigError, match="sampling = 'sets' is for several rated sets; give extra_data"):
        resolve(recipe)
