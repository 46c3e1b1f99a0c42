"""LIQE's own public code on weights and batches that compare_liqe.py made, in an environment of its own.

    PYTHON benchmarks/liqe_original.py vocabulary FOLDER
    PYTHON benchmarks/liqe_original.py train FOLDER --checkout LIQE_DIR

``vocabulary`` writes the tokenizer of OpenAI's `clip` in transformers' format. ``train`` executes the assignments and
functions of ``train_unique_clip_weight.py`` that are named below, unchanged but for the number of steps in an epoch,
and calls that file's ``train`` for each epoch: its ``do_batch``, its losses and its weights of them, on batches of
ours. The evaluation on six datasets, with which its ``train`` ends, is left out. No code of LIQE's is kept here.
"""

import argparse
import ast
import json
import sys
from pathlib import Path
from typing import Any

SCRIPT = "train_unique_clip_weight.py"
CONSTANTS = ("dists", "scenes", "qualitys", "dist_map", "map2label", "dists_map", "scene2label", "mtl", "opt")
OBJECTS = ("loss_img2", "loss_scene", "joint_texts")
FUNCTIONS = ("calc_loss", "freeze_model", "do_batch", "train")
STEPS = "num_steps_per_epoch"
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's


class EpochEnded(Exception):  # noqa: N818  # no error
    """Raised where the original would evaluate."""


def parts_of(source: str, *, steps: int) -> tuple[str, str]:
    """Of the original script: its assignments, and its functions with ``steps`` in an epoch, as two programs.

    Exits with what is missing where the script is not as it was.
    """
    tree = ast.parse(source)
    wanted, functions = [*CONSTANTS, *OBJECTS], []
    assignments: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in wanted:
            wanted.remove(node.targets[0].id)  # the first one: later ones are of its variants
            assignments.append(node)
        elif isinstance(node, ast.FunctionDef) and node.name in FUNCTIONS:
            functions.append(node)
    missing = wanted + [name for name in FUNCTIONS if name not in {node.name for node in functions}]
    shortened = 0
    for each in ast.walk(ast.Module(list(functions), [])):
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name) and each.targets[0].id == STEPS:
            each.value = ast.copy_location(ast.Constant(steps), each.value)
            shortened += 1
    if missing or shortened != 1:
        raise SystemExit(f"{SCRIPT} is not the one that is known here: {', '.join(missing) or STEPS} is not in it")
    return ast.unparse(ast.Module(assignments, [])), ast.unparse(ast.Module(list(functions), []))


def write_vocabulary(folder: Path) -> None:
    """``vocab.json`` and ``merges.txt`` of OpenAI's tokenizer, as it holds them."""
    from clip.simple_tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    (folder / "vocab.json").write_text(json.dumps(tokenizer.encoder, ensure_ascii=False), encoding="utf-8")
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.get)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def train(folder: Path, checkout: Path) -> None:
    """Write ``theirs.npz``: what ``calc_loss`` is given and returns, gradients, weights of losses, last parameters."""
    import clip
    import numpy as np
    import torch
    import torch.nn.functional as F
    from clip.model import CLIP

    asked = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    torch.set_num_threads(asked["threads"])
    sys.path.insert(0, str(checkout))
    from itertools import product

    import MNL_Loss
    from weight_methods import WeightMethods

    model = CLIP(*asked["shape"])
    with np.load(folder / "weights.npz") as file:
        model.load_state_dict({name: torch.from_numpy(file[name]) for name in file.files})
    model.eval()
    first, functions = parts_of((checkout / SCRIPT).read_text(encoding="utf-8"), steps=asked["steps"])
    scope: dict[str, Any] = {name: getattr(MNL_Loss, name) for name in dir(MNL_Loss) if not name.startswith("_")}
    scope |= {"torch": torch, "np": np, "F": F, "clip": clip, "product": product, "device": "cpu", "model": model}
    scope |= {"time": __import__("time"), "train_loss": []}
    exec(compile(first, "assignments of " + SCRIPT, "exec"), scope)  # noqa: S102  # their code is what is measured
    exec(compile(functions, "functions of " + SCRIPT, "exec"), scope)  # noqa: S102

    found: dict[str, Any] = {"texts": scope["joint_texts"].numpy()}
    sets = [_batches(folder, number, asked) for number in range(asked["sets"])]
    scope["train_loaders"] = sets
    seen: list[tuple[Any, ...]] = []
    calc_loss = scope["calc_loss"]

    def kept(quality, mos, counts, distortion, distortion_target, scene, scene_target):  # type: ignore[no-untyped-def]
        losses = calc_loss(quality, mos, counts, distortion, distortion_target, scene, scene_target)
        seen.append((quality, scene, distortion, torch.stack(losses)))
        return losses

    def evaluate(*_: Any, **__: Any) -> None:
        raise EpochEnded

    scope |= {"calc_loss": kept, "eval": evaluate, "live_val_loader": None}
    scope["freeze_model"](scope["opt"])
    scope["optimizer"] = torch.optim.AdamW(model.parameters(), lr=asked["rate"], weight_decay=asked["decay"])
    scope["weighting_method"] = WeightMethods(
        method="dwa", n_tasks=3, alpha=1.5, temp=2.0, n_train_batch=asked["steps"], n_epochs=max(1, asked["epochs"]),
        main_task=0, device="cpu",
    )  # fmt: skip

    def keep_gradients(*_: Any) -> None:
        step = len(seen) - 1
        if step % asked["steps"] == 0:
            found.update(
                {
                    f"gradient {step} {name}": p.grad.numpy().copy()
                    for name, p in model.named_parameters()
                    if p.grad is not None
                }
            )

    scope["optimizer"].register_step_pre_hook(keep_gradients)
    if not asked["epochs"]:  # the forward pass alone
        with torch.no_grad():
            crops = torch.cat([batches[0]["I"] for batches in sets])
            joint = scope["do_batch"](crops, scope["joint_texts"])[0]
        found["joint"] = joint.view(-1, *(len(scope[name]) for name in ("qualitys", "scenes", "dists_map"))).numpy()
    for epoch in range(asked["epochs"]):
        scope["epoch"] = epoch
        try:
            scope["train"](model, None, None, None, None, None)
        except EpochEnded:
            continue
        raise SystemExit(f"{SCRIPT}'s train did not come to its evaluation")
    for place, name in enumerate(("quality", "scene", "distortion", "losses")):
        if seen:
            found[name] = np.stack([step[place].detach().double().numpy() for step in seen])
    found["weights"] = scope["weighting_method"].method.lambda_weight.T
    found |= {f"last {name}": p.detach().numpy() for name, p in model.named_parameters()}
    np.savez(folder / "theirs.npz", **found)
    names = {name: scope[name] for name in ("scenes", "dists_map")}
    (folder / "theirs.json").write_text(json.dumps(names), encoding="utf-8")


def _batches(folder: Path, number: int, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """One dataset's batches as the original's loaders give them, its photos normalised as CLIP's are."""
    import numpy as np
    import torch

    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
    labels = asked["labels"][number]
    with np.load(folder / f"set-{number}.npz") as file:
        crops, mos = torch.from_numpy(file["crops"]), torch.from_numpy(file["mos"])
    return [
        {
            "I": (crops[step].float() / 255 - mean) / deviation,
            "mos": mos[step],
            "dist_type": labels[step]["distortions"],
            **{f"scene_content{place + 1}": [names[place] for names in labels[step]["scenes"]] for place in range(3)},
            "valid": torch.tensor(labels[step]["valid"]),
        }
        for step in range(len(crops))
    ]


def main() -> None:
    """Do what is asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("vocabulary", "train"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkout", type=Path)
    asked = parser.parse_args()
    if asked.what == "vocabulary":
        write_vocabulary(asked.folder)
    else:
        train(asked.folder, asked.checkout)


if __name__ == "__main__":
    main()
