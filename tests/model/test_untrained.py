import json

import numpy as np
import pytest
from tests.tiny import TINY, TINY_OPTIONS
from transformers import CLIPConfig

import mpiqe
from mpiqe.errors import ConfigError
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.untrained import BACKBONE, create_untrained, shape_named

# transformers' own defaults are OpenAI's ViT-B/32; of the others, what openai/clip-vit-*'s config.json differ in
DIFFERENT = {
    "vit-b-32": ({}, {}, 512),
    "vit-b-16": ({"patch_size": 16}, {}, 512),
    "vit-l-14": (
        {"patch_size": 14, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
        | {"num_attention_heads": 16},
        {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        768,
    ),
}
ASKED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act")


@pytest.mark.parametrize("name", DIFFERENT)
def test_the_towers_have_the_shapes_of_openais(name, tmp_path, monkeypatch) -> None:
    vision, text, joint = DIFFERENT[name]
    published = CLIPConfig(vision_config=vision, text_config=text, projection_dim=joint)
    written: dict[str, dict] = {}
    monkeypatch.setattr("mpiqe.model.compact.write_untrained", lambda folder, **config: written.update(config))
    from mpiqe.model.compact import create_compact

    create_compact(tmp_path, words=["photo"], options=shape_named(name))
    for key in (*ASKED, "patch_size", "image_size"):
        assert written["vision"][key] == getattr(published.vision_config, key), key
    for key in (*ASKED, "max_position_embeddings"):
        assert written["text"][key] == getattr(published.text_config, key), key
    assert written["joint_width"] == published.projection_dim


def test_an_untrained_model_is_loaded_and_scores_like_any_other(tmp_path) -> None:
    scorer = mpiqe.load(create_untrained(tmp_path, TINY, options=TINY_OPTIONS, crops=3))
    assert scorer.crops == 3
    assert np.isfinite(scorer(np.full((40, 50, 3), 90, dtype=np.uint8)).score)
    assert "random weights" in str(scorer.scale)


def test_untrained_weights_are_a_function_of_the_seed(tmp_path) -> None:
    folders = [
        create_untrained(tmp_path / str(number), TINY, options=TINY_OPTIONS, seed=seed)
        for number, seed in enumerate((1, 1, 2))
    ]
    digests = [FrozenCLIP.from_pretrained(folder / BACKBONE).digest() for folder in folders]
    assert digests[0] == digests[1] != digests[2]
    assert json.loads((folders[0] / BACKBONE / "config.json").read_text())["projection_dim"] == 32


def test_an_unknown_shape_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no shape 'vit-g'.*vit-b-16"):
        shape_named("vit-g")
