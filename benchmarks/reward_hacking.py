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
SIZES = (320, 352, 384)  # of the views of an ensemble; less than a crop of the embedded model (320) is refused
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
    """The blurred photo, what each way has made of it at its last step, the original; and curves below."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    blurred = stem.with_name(stem.name + "-blur.jpg")
    height, width, _ = read(blurred).shape
    box = (width // 2 - 112, height // 4 - 56, width // 2 + 112, height // 4 + 168)
    figure, axes = plt.subplots(3, len(ways) + 2, figsize=(2.1 * (len(ways) + 2), 5.6))
    for axis in axes.flat:
        axis.axis("off")
        axis.tick_params(labelsize=7)
    own = {way: [row for row in rows if row["way"] == way] for way in ways}
    first = own[ways[0]][0]
    axes[0, 0].imshow(Image.open(blurred).crop(box))
    axes[0, 0].set_title(f"blurred\nscore {first['score']:.0f}, SSIM {first['ssim']:.2f}", fontsize=8)
    axes[0, -1].imshow(Image.open(stem.with_suffix(".jpg")).crop(box))
    axes[0, -1].set_title("original", fontsize=8)
    for column, way in enumerate(ways, start=1):
        last = own[way][-1]
        axes[0, column].imshow(Image.open(out / f"{way}-{last['step']}.png").crop(box))
        axes[0, column].set_title(f"{way}\nscore {last['score']:.0f}, SSIM {last['ssim']:.2f}", fontsize=8)
        steps = [row["step"] for row in own[way]]
        for place, names in ((1, ("score", "mirrored")), (2, ("ssim",))):
            axis = axes[place, column]
            axis.axis("on")
            for name in names:
                axis.plot(steps, [row[name] for row in own[way]], label=name, linewidth=1.2)
            values = [row[name] for row in rows for name in names]
            margin = (max(values) - min(values)) / 20
            axis.set_ylim(min(values) - margin, max(values) + margin)
            axis.set_xlim(0, last["step"])
            if column == 1:
                axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(out / "reward_hacking.jpg", dpi=100, pil_kwargs={"quality": 85})
    plt.close(figure)


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
