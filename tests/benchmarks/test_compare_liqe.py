"""What holds LIQE here against its public code, without that code, which is no part of this repository."""

from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.liqe_original import CONSTANTS, FUNCTIONS, OBJECTS, parts_of

from benchmarks import compare_liqe
from mpiqe.model.clip import FrozenCLIP

SCRIPT = "\n".join(
    [
        "import not_installed",
        *(f"{name} = 1" for name in (*CONSTANTS, *OBJECTS)),
        "if mtl == 1:",
        "    joint_texts = 2",
        *(f"def {name}(): return '{name}'" for name in FUNCTIONS if name != "train"),
        "def train():",
        "    num_steps_per_epoch = 200",
        "    return num_steps_per_epoch + joint_texts",
        "not_installed.run()",
    ]
)


def test_the_originals_functions_run_with_fewer_steps_and_nothing_else_of_its_script_does() -> None:
    assignments, functions = parts_of(SCRIPT, steps=7)
    scope: dict[str, object] = {}
    exec(assignments, scope)  # noqa: S102
    exec(functions, scope)  # noqa: S102
    assert scope["train"]() == 7 + 1  # type: ignore[operator]
    assert scope["do_batch"]() == "do_batch"  # type: ignore[operator]


@pytest.mark.parametrize("gone", ["dist_map = 1", "def do_batch(): return 'do_batch'", "    num_steps_per_epoch = 200"])
def test_another_script_is_refused_with_what_it_lacks(gone: str) -> None:
    lacking = next(name for name in ("dist_map", "do_batch", "num_steps_per_epoch") if name in gone)
    with pytest.raises(SystemExit, match=rf"{lacking} is not in it"):
        parts_of(SCRIPT.replace(gone + "\n", ""), steps=7)


def test_every_weight_has_its_place_in_openais_layout(tiny_clip: FrozenCLIP) -> None:
    weights = tiny_clip.weights()
    theirs = compare_liqe.as_openai(weights)
    assert sum(tensor.numel() for tensor in theirs.values()) == sum(tensor.numel() for tensor in weights.values())
    attention = "encoder.layers.0.self_attn"
    joined = theirs["transformer.resblocks.0.attn.in_proj_weight"]
    for part, name in zip(joined.chunk(3), "qkv", strict=True):
        torch.testing.assert_close(part, weights[f"text_model.{attention}.{name}_proj.weight"])
    torch.testing.assert_close(theirs["visual.proj"].T, weights["visual_projection.weight"])


def test_labels_of_the_batches_are_the_originals_in_our_order(tmp_path: Path) -> None:
    sets, labels = compare_liqe.make_batches(tmp_path, 16, 3, seed=0)
    assert [len(batches[0].mos) for batches in sets] == list(compare_liqe.IMAGES)
    for batches, words in zip(sets, labels, strict=True):
        for batch, said in zip(batches, words, strict=True):
            assert batch.crops.shape[1:] == (compare_liqe.CROPS, 3, 16, 16)
            assert (batch.scene > 0).sum(dim=1).tolist() == said["valid"]
            assert batch.mos[0] == batch.mos[1], "no tie"
            for row, names in enumerate(said["scenes"]):
                first = compare_liqe.WORDS["scenes"].index(names[0])  # the same order as ours
                assert batch.scene[row, first] > 0
    kept = np.load(tmp_path / "set-1.npz")["crops"]
    np.testing.assert_array_equal(kept[2], sets[1][2].crops.numpy())


def test_differences_stand_beside_the_largest_value() -> None:
    ours = {name: np.ones((2, 3)) for name in ("quality", "scene", "distortion")}
    theirs = {**ours, "quality": np.full((2, 3), 4.0)}
    lines = compare_liqe.compared(ours, theirs, epochs=0, steps=1)
    assert lines[0].split()[-3:] == ["3.00e+00", "4", "7.50e-01"]
    assert lines[1].split()[-3:] == ["0.00e+00", "1", "0.00e+00"]
