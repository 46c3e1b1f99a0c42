"""Hold `--method liqe` against LIQE's public code, on the same random weights, photos and labels.

    python benchmarks/compare_liqe.py --liqe-python PYTHON --checkout LIQE_DIR [--shape small] [--epochs 4] [--steps 5]

LIQE_DIR is a checkout of https://github.com/zwx8981/LIQE, PYTHON that of an environment with torch and OpenAI's `clip`,
which stands apart from this one: pyiqa's (``compare_pyiqa.py`` says how to make it) has both, with "numpy<2.4" (later
ones refuse a sum in LIQE's ``weight_methods.py``). There
``liqe_original.py`` runs the original's own ``train`` for some epochs, both towers being tuned by AdamW with weight
decay 0.001; here ``take_step`` does the same steps. Two rated sets give 4 and 6 images a step, three crops of
random pixels of each, one to three scenes, one of its distortions, and MOS on scales of their own, with ties.

Printed is the largest difference of each quantity beside the largest value of it: probabilities and expected quality,
each loss, the dynamic weights, the gradients at the first step of each epoch, and how far parameters went. With
``--epochs 0 --shape vit-b-32`` (or another of `mpiqe bench`'s shapes) the forward pass alone is compared, at full size.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mpiqe.data.crop_dataset import Batch
from mpiqe.labels import DISTORTIONS, SCENES, distortion, scene
from mpiqe.model.build import build_model
from mpiqe.model.clip import FrozenCLIP
from mpiqe.model.clip_files import write_untrained
from mpiqe.model.compact import CompactOptions
from mpiqe.model.liqe import LIQE, Marginals, texts, tokenise
from mpiqe.model.loss import Losses
from mpiqe.model.options import ModelOptions
from mpiqe.model.untrained import SHAPES
from mpiqe.training.device import accelerator_for
from mpiqe.training.liqe_loss import LIQELoss, dynamic_weights
from mpiqe.training.liqe_step import LIQEObjective
from mpiqe.training.train import take_step

ORIGINAL = Path(__file__).with_name("liqe_original.py")
SMALL = CompactOptions(
    stem_channels=(), vision_width=128, vision_layers=3, text_width=64, text_layers=2, joint_width=64,
    activation="quick_gelu",
)  # fmt: skip
IMAGES = (4, 6)  # a step, of each set
CROPS = 3
DECAY = 0.001  # the original's
SCALE = 10.0  # cosines of random towers are as far apart as those of trained ones at 100
WORDS = {  # of the original's files; fast fading is left out, since the reader of LIVE here has its own word for it
    "scenes": ("animal", "cityscape", "human", "indoor", "landscape", "night", "plant", "still_life", "others"),
    "distortions": (
        "jpeg2000 compression", "jpeg compression", "white noise", "gaussian blur", "fnoise", "contrast", "lens",
        "motion", "diffusion", "shifting", "color quantization", "oversaturation", "desaturation", "white with color",
        "impulse", "multiplicative", "white noise with denoise", "brighten", "darken", "shifting the mean", "jitter",
        "noneccentricity patch", "pixelate", "quantization", "color blocking", "sharpness", "realistic blur",
        "realistic noise", "underexposure", "overexposure", "realistic contrast change", "other realistic",
    ),
}  # fmt: skip
Arrays = Mapping[str, npt.NDArray[Any]]


def write_backbone(folder: Path, shape: CompactOptions, *, seed: int) -> FrozenCLIP:
    """A CLIP of random weights with the vocabulary that ``folder`` holds, and an inverse temperature of ``SCALE``."""
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    start, end = vocabulary["<|startoftext|>"], vocabulary["<|endoftext|>"]
    settings = {"tokenizer_class": "CLIPTokenizer", "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    settings |= {"unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    common = {"hidden_act": shape.activation}
    write_untrained(
        folder,
        vision={
            "hidden_size": shape.vision_width,
            "intermediate_size": 4 * shape.vision_width,
            "num_hidden_layers": shape.vision_layers,
            "num_attention_heads": shape.vision_width // 64,
            "patch_size": shape.patch_size,
            "image_size": shape.image_size,
            **common,
        },
        text={
            "hidden_size": shape.text_width,
            "intermediate_size": 4 * shape.text_width,
            "num_hidden_layers": shape.text_layers,
            "num_attention_heads": shape.text_width // 64,
            "vocab_size": len(vocabulary),
            "max_position_embeddings": 77,
            "bos_token_id": start,
            "eos_token_id": end,
            "pad_token_id": end,
            **common,
        },
        joint_width=shape.joint_width,
        seed=seed,
    )
    clip = FrozenCLIP.from_pretrained(folder)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in clip.weights().items():
            if name == "logit_scale":
                tensor.fill_(SCALE).log_()
            elif tensor.dim() > 1:  # wide enough for photos and texts to differ
                fan = tensor[0].numel()
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * (1.5 / fan**0.5 if fan > 1 else 1.0))
            else:
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return clip


def as_openai(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights or their gradients by the names, and in the layout, of OpenAI's code."""
    found = {
        "logit_scale": weights["logit_scale"],
        "visual.class_embedding": weights["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": weights["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": weights["vision_model.embeddings.patch_embedding.weight"],
        "visual.proj": weights["visual_projection.weight"].T,
        "token_embedding.weight": weights["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": weights["text_model.embeddings.position_embedding.weight"],
        "text_projection": weights["text_projection.weight"].T,
    }
    norms = {
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
        "ln_final": "text_model.final_layer_norm",
    }
    for tower, theirs in (("vision_model", "visual.transformer"), ("text_model", "transformer")):
        number = 1 + max(int(name.split(".")[3]) for name in weights if name.startswith(f"{tower}.encoder.layers."))
        for layer in range(number):
            ours, block = f"{tower}.encoder.layers.{layer}", f"{theirs}.resblocks.{layer}"
            norms |= {f"{block}.ln_{place}": f"{ours}.layer_norm{place}" for place in (1, 2)}
            norms |= {f"{block}.attn.out_proj": f"{ours}.self_attn.out_proj"}
            norms |= {f"{block}.mlp.c_fc": f"{ours}.mlp.fc1", f"{block}.mlp.c_proj": f"{ours}.mlp.fc2"}
            for part in ("weight", "bias"):
                projections = [weights[f"{ours}.self_attn.{name}_proj.{part}"] for name in "qkv"]
                found[f"{block}.attn.in_proj_{part}"] = torch.cat(projections)
    return found | {
        f"{name}.{part}": weights[f"{own}.{part}"] for name, own in norms.items() for part in ("weight", "bias")
    }


def make_batches(folder: Path, size: int, steps: int, *, seed: int) -> tuple[list[list[Batch]], list[Any]]:
    """Random photos, MOS and labels: for each set its batches here, and the original's words for its labels."""
    random = np.random.default_rng(seed)
    sets, labels, begin = [], [], 0
    for number, images in enumerate(IMAGES):
        colours, contrasts = (random.uniform(0, 255, (steps, images, 1, 3, 1, 1)) for _ in range(2))
        noise = random.normal(0, 0.5, (steps, images, CROPS, 3, 7, 7))
        crops = np.clip(colours + contrasts * noise, 0, 255).astype(np.uint8)
        crops = crops.repeat(-(-size // 7), axis=-1).repeat(-(-size // 7), axis=-2)[..., :size, :size]
        mos = random.uniform(0, (100, 1)[number], (steps, images)).astype(np.float32)
        mos[:, 1] = mos[:, 0]  # a tie
        np.savez(folder / f"set-{number}.npz", crops=crops, mos=mos)
        batches, words = [], []
        for step in range(steps):
            valid = random.integers(1, 4, images)
            scenes = [list(random.choice(WORDS["scenes"], 3, replace=False)) for _ in range(images)]
            distortions = list(random.choice(WORDS["distortions"], images))
            words.append({"scenes": scenes, "distortions": distortions, "valid": valid.tolist()})
            target = torch.zeros(images, len(SCENES))
            for row, (names, count) in enumerate(zip(scenes, valid, strict=True)):
                target[row, [SCENES.index(scene(name)) for name in names[:count]]] = 1 / int(count)
            classes = torch.tensor([DISTORTIONS.index(distortion(name)) for name in distortions])
            places = torch.arange(begin, begin + images)
            batches.append(Batch(torch.from_numpy(crops[step]), torch.from_numpy(mos[step]), target, classes, places))
        sets.append(batches)
        labels.append(words)
        begin += images
    return sets, labels


class Recorded(LIQELoss):
    """The loss, with what it is given and returns kept step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Marginals, Losses]] = []

    def __call__(self, found: Marginals, **what: Tensor) -> Losses:
        """As ``LIQELoss``."""
        losses = super().__call__(found, **what)
        self.steps.append((found, losses))
        return losses


def train_ours(model: LIQE, sets: list[list[Batch]], *, epochs: int, steps: int, rate: float) -> dict[str, Any]:
    """What ``liqe_original.py`` finds of the original, of ``model``."""
    accelerator = accelerator_for(device="cpu", precision="fp32")
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=DECAY)
    loss, found, weights, means = Recorded(), dict[str, Any](), [], []

    def keep_gradients(*_: Any) -> None:
        step = len(loss.steps) - 1
        if step % steps == 0:
            named = {name.removeprefix("clip.clip."): p.grad for name, p in model.named_parameters()}
            there = {name: torch.zeros(()) if gradient is None else gradient for name, gradient in named.items()}
            found.update({f"gradient {step} {name}": t.numpy().copy() for name, t in as_openai(there).items()})

    optimiser.register_step_pre_hook(keep_gradients)
    prepared = accelerator.prepare_optimizer(optimiser)
    for _ in range(epochs):
        loss.weights = dynamic_weights(means)
        weights.append([loss.weights.score, loss.weights.distortion, loss.weights.scene])
        for step in range(steps):
            parts = [batches[step] for batches in sets]
            whole = Batch(*(torch.cat(column) for column in zip(*parts, strict=True)))
            ends = [sum(IMAGES[: number + 1]) for number in range(len(IMAGES))]
            take_step(LIQEObjective(model, loss, ends=ends), [whole], prepared, accelerator)
        last = torch.tensor([[float(part.detach()) for part in losses[1:]] for _, losses in loss.steps[-steps:]])
        means.append(last.double().mean(dim=0).tolist())
    found["weights"] = np.array(weights)
    for name in ("quality", "scene", "distortion"):
        found[name] = np.stack([getattr(of, name).detach().double().numpy() for of, _ in loss.steps])
    order = ("score", "distortion", "scene")
    found["losses"] = np.stack([[float(getattr(losses, name).detach()) for name in order] for _, losses in loss.steps])
    return found | {f"last {name}": t.detach().numpy() for name, t in as_openai(model.clip.weights()).items()}


@torch.no_grad()
def forward_ours(model: LIQE, sets: list[list[Batch]]) -> dict[str, Any]:
    """Expected quality and probabilities of the first step's photos."""
    crops = torch.cat([batches[0].crops for batches in sets])
    logits = model.joint_logits(crops.flatten(0, 1), model.fold())
    marginals = model.marginals(logits.view(*crops.shape[:2], -1).mean(dim=1))
    return {name: getattr(marginals, name).double().numpy() for name in ("quality", "scene", "distortion")}


def read_theirs(folder: Path) -> dict[str, Any]:
    """``theirs.npz``, its classes in our order, and marginals where it has the joint probabilities alone."""
    names = json.loads((folder / "theirs.json").read_text(encoding="utf-8"))
    with np.load(folder / "theirs.npz") as file:
        found = {name: file[name] for name in file.files}
    if "joint" in found:
        joint = found.pop("joint").astype(np.float64)
        found["quality"] = joint.sum(axis=(2, 3)) @ np.arange(1, 6)
        found["scene"], found["distortion"] = joint.sum(axis=(1, 3)), joint.sum(axis=(1, 2))
    places = {
        "scene": [names["scenes"].index(word) for word in _THEIR_SCENES],
        "distortion": [names["dists_map"].index(word) for word in _THEIR_DISTORTIONS],
    }
    return found | {name: found[name][..., order] for name, order in places.items() if name in found}


def compared(ours: Arrays, theirs: Arrays, *, epochs: int, steps: int) -> list[str]:
    """A line for each quantity: the largest difference, the largest value, and their ratio."""
    lines = []

    def add(what: str, mine: npt.NDArray[Any], other: npt.NDArray[Any]) -> None:
        apart, size = float(np.abs(mine - other).max()), float(np.abs(other).max())
        lines.append(f"{what:<44}{apart:12.2e}{size:12.4g}{apart / size if size else 0:12.2e}")

    for name in ("quality", "scene", "distortion"):
        spread = float(ours[name].std(axis=-1 if name == "quality" else -2).mean())
        if epochs:
            add(f"{name}, first step", ours[name][0], theirs[name][0])
        add(f"{name} (deviation over photos {spread:.3g})", ours[name], theirs[name])
    if not epochs:
        return lines
    for place, name in enumerate(("quality", "distortion", "scene")):
        add(f"loss of {name}, every step", ours["losses"][:, place], theirs["losses"][:, place])
    add("dynamic weights, every epoch", ours["weights"], theirs["weights"][:epochs])
    for step in range(0, epochs * steps, steps):
        names = [name for name in theirs if name.startswith(f"gradient {step} ")]
        flat = [np.concatenate([of[name].ravel() for name in names]) for of in (ours, theirs)]
        add(f"gradients of {len(names)} tensors, step {step + 1}", *flat)
    return lines


def main() -> None:
    """Make everything, run both, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--liqe-python", metavar="PYTHON", required=True, help="of an environment with OpenAI's clip")
    parser.add_argument("--checkout", metavar="LIQE_DIR", type=Path, required=True)
    parser.add_argument("--shape", choices=("small", *SHAPES), default="small")
    parser.add_argument("--epochs", type=int, default=4, help="0: the forward pass alone")
    parser.add_argument("--steps", type=int, default=5, help="an epoch")
    parser.add_argument("--rate", type=float, default=1e-3, help="of AdamW; the original's is 5e-6")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    shape = SMALL if asked.shape == "small" else SHAPES[asked.shape]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run(asked.liqe_python, "vocabulary", str(folder))
        clip = write_backbone(folder, shape, seed=asked.seed)
        begin = {name: tensor.numpy().copy() for name, tensor in as_openai(clip.weights()).items()}
        np.savez(folder / "weights.npz", **begin)
        sets, labels = make_batches(folder, clip.image_size, asked.steps, seed=asked.seed)
        sizes = (shape.joint_width, shape.image_size, shape.vision_layers, shape.vision_width, shape.patch_size)
        text = (77, begin["token_embedding.weight"].shape[0], shape.text_width, shape.text_width // 64)
        settings = {
            "shape": [*sizes, *text, shape.text_layers], "sets": len(sets), "labels": labels, "decay": DECAY,
            **{key: getattr(asked, key) for key in ("epochs", "steps", "rate", "threads")},
        }  # fmt: skip
        (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        _run(asked.liqe_python, "train", str(folder), "--checkout", str(asked.checkout))
        theirs = read_theirs(folder)
    model = build_model(clip, ModelOptions(method="liqe", tune="all"), seed=asked.seed)
    assert isinstance(model, LIQE)  # noqa: S101
    check_texts(clip, theirs["texts"])
    if asked.epochs:
        ours = train_ours(model, sets, epochs=asked.epochs, steps=asked.steps, rate=asked.rate)
    else:
        ours = forward_ours(model, sets)
    print(f"{asked.shape}, {asked.epochs} epochs of {asked.steps} steps; all {len(texts())} texts have the same tokens")
    print(f"{'':<44}{'difference':>12}{'largest':>12}{'ratio':>12}")
    print("\n".join(compared(ours, theirs, epochs=asked.epochs, steps=asked.steps)))
    if asked.epochs:
        print(how_far(begin, ours, theirs))


def check_texts(clip: FrozenCLIP, theirs: npt.NDArray[Any]) -> None:
    """Exit where a text has other tokens than the original's, (495, 77); order is by their own classes there."""
    ids, last = tokenise(clip, texts())
    ours = {tuple(row[: int(end) + 1]) for row, end in zip(ids.tolist(), last, strict=True)}
    rows = {tuple(int(token) for token in row[: int(row.argmax()) + 1]) for row in theirs}
    if ours != rows:
        raise SystemExit(f"{len(ours ^ rows)} texts have other tokens")


def how_far(begin: Arrays, ours: Arrays, theirs: Arrays) -> str:
    """How far all parameters went together here and there, and how far apart they ended."""
    flat = [
        np.concatenate([(of[f"last {name}"] - before).ravel() for name, before in begin.items()])
        for of in (ours, theirs)
    ]
    apart = np.linalg.norm(flat[0] - flat[1])
    here, there = map(np.linalg.norm, flat)
    return f"parameters went {here:.4g} here, {there:.4g} there, and ended {apart / there:.1e} of that apart"


def _run(python: str, *arguments: str) -> None:
    done = subprocess.run([python, str(ORIGINAL), *arguments], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(f"{ORIGINAL.name} ended with status {done.returncode}; its last words are above")


_THEIR_SCENES = ("animal", "cityscape", "human", "indoor", "landscape", "night", "plant", "still_life", "others")
_THEIR_DISTORTIONS = (
    "blur", "color", "contrast", "jpeg compression", "jpeg2000 compression", "noise", "overexposure", "quantization",
    "underexposure", "spatial", "other",
)  # fmt: skip


if __name__ == "__main__":
    main()
