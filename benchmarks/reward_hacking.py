"""When does improving a photo by the gradient of its score become cheating, and what helps?

    python benchmarks/reward_hacking.py OUT [--photo examples/astronaut] [--steps 60] [--ways plain crops ..]

Starts from PHOTO-blur.jpg, whose original PHOTO.jpg is known, and takes steps of Adam down the quality loss. At every
fifth step it measures what the loss does not see: PSNR and SSIM to the original, the deviation of noise in levels as
Immerkaer (1996) estimates it, and the score of the same picture mirrored and moved by 5 pixels, which people would rate
alike. Cheating is what raises the score while these get worse. The ways:

    plain     the pixels are free, the score is of the model's own crops: what one would write first
    crops     the score is of 8 crops drawn anew at every step, from the photo at native size
    noise     plain, and noise of 2 levels is added to what is scored at every step
    ensemble  the mean of the score at three sizes of the photo
    all       random crops, noise and the three sizes together
    filter    the pixels are not free: what is learned is one filter of 7 x 7 numbers for the whole photo

Writes OUT/steps.csv, OUT/WAY-STEP.png and OUT/reward_hacking.jpg, the pictures beside each other with the curves.
"""

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from mpiqe.torch import QualityLoss, create_metric

EVERY = 5  # steps from one measurement to the next
RATE = 1 / 255  # Adam's: a level a step
NOISE = 2 / 255
SIZES = (320, 288, 256)  # of the views of an ensemble
COLUMNS = ("way", "step", "score", "mirrored", "psnr", "ssim", "noise")


class Way(NamedTuple):
    """One way to improve a photo."""

    losses: list[dict[str, Any]]
    """Options of each loss, whose mean is minimised."""
    noise: float = 0.0
    free: bool = True
    """Whether the pixels are free, or the numbers of one filter."""


RANDOM: dict[str, Any] = {"crop_mode": "random", "crops": 8, "view_side": 0}
WAYS = {
    "plain": Way([{}]),
    "crops": Way([RANDOM]),
    "noise": Way([{}], noise=NOISE),
    "ensemble": Way([{"view_side": side} for side in SIZES]),
    "all": Way([{"crop_mode": "random", "view_side": side} for side in SIZES], noise=NOISE),
    "filter": Way([{}], free=False),
}


class Pixels(nn.Module):
    """A photo (1, 3, H, W) whose pixels are parameters."""

    def __init__(self, photo: Tensor) -> None:
        super().__init__()
        self.photo = nn.Parameter(photo.clone())

    def forward(self) -> Tensor:
        """The photo in [0, 1]."""
        return self.photo.clamp(0, 1)


class Filter(nn.Module):
    """A photo (1, 3, H, W) behind a filter of 7 x 7 parameters, at first the one that changes nothing."""

    def __init__(self, photo: Tensor) -> None:
        super().__init__()
        self.register_buffer("photo", photo.transpose(0, 1))
        self.weight = nn.Parameter(torch.zeros(1, 1, 7, 7))
        with torch.no_grad():
            self.weight[..., 3, 3] = 1

    def forward(self) -> Tensor:
        """The filtered photo in [0, 1]."""
        padded = F.pad(self.photo, (3, 3, 3, 3), mode="reflect")
        filtered = F.conv2d(padded, self.weight / self.weight.sum())  # brightness stays
        return filtered.transpose(0, 1).clamp(0, 1)


def improve(photo: Tensor, way: Way, *, steps: int, seed: int = 0) -> Iterator[tuple[int, Tensor]]:
    """Yield (step, photo (1, 3, H, W) in [0, 1]) before the first of ``EVERY`` steps and after the last."""
    torch.manual_seed(seed)
    losses: list[QualityLoss] = [create_metric(as_loss=True, device="cpu", **options) for options in way.losses]
    made: nn.Module = Pixels(photo) if way.free else Filter(photo)
    optimizer = torch.optim.Adam(made.parameters(), lr=RATE if way.free else RATE * 2)
    for step in range(steps + 1):
        improved = made()
        if step % EVERY == 0:
            yield step, improved.detach()
        if step < steps:
            seen = (improved + way.noise * torch.randn_like(improved)).clamp(0, 1) if way.noise else improved
            optimizer.zero_grad()
            for loss in losses:  # one after the other: the memory of one
                (loss(seen) / len(losses)).backward(retain_graph=loss is not losses[-1])
            optimizer.step()


def measure(photo: Tensor, original: np.ndarray, metric: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """What a photo (1, 3, H, W) in [0, 1] is like, as it would be saved."""
    saved = (photo * 255).round().byte()
    pixels = saved[0].permute(1, 2, 0).numpy()
    moved = saved.flip(3)[:, :, 5:, 5:]
    with torch.no_grad():
        score, mirrored = metric(saved).item(), metric(moved).item()
    return {
        "score": score,
        "mirrored": mirrored,
        "psnr": float(peak_signal_noise_ratio(original, pixels)),
        "ssim": float(structural_similarity(original, pixels, channel_axis=2)),
        "noise": noise_of(saved.float().mean(dim=1, keepdim=True)),
    }


def noise_of(grey: Tensor) -> float:
    """Deviation of noise in (1, 1, H, W), from what is left where a filter has removed edges."""
    kernel = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])[None, None]
    return float(F.conv2d(grey, kernel).abs().mean() * (torch.pi / 2) ** 0.5 / 6)


def read(path: Path) -> np.ndarray:
    """(H, W, 3) uint8."""
    return np.asarray(Image.open(path).convert("RGB"))


def draw(out: Path, rows: list[dict[str, Any]], stem: Path, ways: list[str]) -> None:
    """Pictures of each way above its curves, as a change since the first step."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    height, width, _ = read(stem.with_name(stem.name + "-blur.jpg")).shape
    box = (width // 2 - 112, height // 4 - 56, width // 2 + 112, height // 4 + 168)
    figure, axes = plt.subplots(3, len(ways), figsize=(2.2 * len(ways), 6.6), squeeze=False)
    for column, way in enumerate(ways):
        own = [row for row in rows if row["way"] == way]
        last = own[-1]["step"]
        best = max(own, key=lambda row: row["ssim"])
        for place, row in ((0, best), (1, own[-1])):
            axes[place, column].imshow(Image.open(out / f"{way}-{row['step']}.png").crop(box))
            axes[place, column].set_title(
                f"{way}, step {row['step']}\nscore {row['score']:.0f}, SSIM {row['ssim']:.2f}", fontsize=8
            )
            axes[place, column].axis("off")
        steps = [row["step"] for row in own]
        for name, unit in (("score", 1), ("mirrored", 1), ("psnr", 1), ("noise", 1)):
            axes[2, column].plot(steps, [(row[name] - own[0][name]) / unit for row in own], label=name, linewidth=1)
        axes[2, column].set_xlim(0, last)
        axes[2, column].tick_params(labelsize=7)
        axes[2, column].set_xlabel("step", fontsize=7)
    axes[2, 0].set_ylabel("change since step 0", fontsize=7)
    axes[2, 0].legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(out / "reward_hacking.jpg", dpi=110, pil_kwargs={"quality": 88})


def main() -> None:
    """Improve, measure, write and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--photo", type=Path, default=Path("examples/astronaut"), help="without -blur.jpg and .jpg")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--draw", action="store_true", help="draw what OUT/steps.csv says, without a step")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    table = asked.out / "steps.csv"
    if asked.draw:
        with table.open(newline="") as file:
            rows = [{k: v if k == "way" else float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        draw(asked.out, [{**row, "step": int(row["step"])} for row in rows], asked.photo, asked.ways)
        return
    original = read(asked.photo.with_suffix(".jpg"))
    blurred = torch.from_numpy(read(asked.photo.with_name(asked.photo.name + "-blur.jpg")).copy())
    photo = blurred.permute(2, 0, 1)[None] / 255
    metric = create_metric(device="cpu")
    rows = []
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for way in asked.ways:
            begun = time.monotonic()
            for step, improved in improve(photo, WAYS[way], steps=asked.steps):
                row = {"way": way, "step": step, **measure(improved, original, metric)}
                rows.append(row)
                writer.writerow(row)
                file.flush()
                pixels = (improved[0] * 255).round().byte().permute(1, 2, 0).numpy()
                Image.fromarray(pixels).save(asked.out / f"{way}-{step}.png")
                shown = "  ".join(f"{name} {row[name]:.3f}" for name in COLUMNS[2:])
                print(f"{way:9} {step:4}  {shown}  {time.monotonic() - begun:.0f} s", flush=True)
    draw(asked.out, rows, asked.photo, asked.ways)


if __name__ == "__main__":
    main()
