"""Time and memory of a step with the metric: what a training loop pays for it.

    python benchmarks/metric.py [--batch 4] [--side 512] [--crops 4 8] [--repeats 5] [--device cpu]

For each number of crops: the score without a gradient, and the loss with its gradient to the pixels, on a batch of
random images (N, 3, side, side). Each is measured in a process of its own: the median and the spread of the repeats
after one that does not count, and by how much the process, or the device, has grown at its peak since the model was
loaded.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

WHAT = ("score", "gradient")


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Times in seconds and growth in MB of one kind of step."""
    import torch

    from mpiqe.torch import create_metric

    loss = create_metric(as_loss=True, device=asked.device, crops=asked.crops[0])
    images = torch.rand(asked.batch, 3, asked.side, asked.side, generator=torch.Generator().manual_seed(0))
    images = images.to(asked.device)
    on_cuda = asked.device.startswith("cuda")
    before = torch.cuda.memory_allocated() if on_cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    times = []
    for _ in range(asked.repeats + 1):
        pixels = images.clone().requires_grad_(asked.what == "gradient")
        begun = time.perf_counter()
        value = loss(pixels)
        if asked.what == "gradient":
            value.backward()
        if on_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    peak = torch.cuda.max_memory_allocated() if on_cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"times": times[1:], "grown": (peak - before) / 1e6}


def main() -> None:
    """Start a process for each kind of step and print; or be one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=4, help="images in a step")
    parser.add_argument("--side", type=int, default=512, help="pixels along an image")
    parser.add_argument("--crops", type=int, nargs="+", default=[4, 8], help="per image")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--what", choices=WHAT, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.what:
        print(json.dumps(measure(asked)))
        return
    print(f"{asked.batch} images of {asked.side} x {asked.side} on {asked.device}, {asked.repeats} repeats")
    print("crops  step      ms per image  (least - most)  peak MB")
    for crops in asked.crops:
        for what in WHAT:
            shared = [
                "--batch",
                asked.batch,
                "--side",
                asked.side,
                "--repeats",
                asked.repeats,
                "--device",
                asked.device,
            ]
            command = [sys.executable, __file__, *map(str, shared), "--crops", str(crops), "--what", what]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            each = sorted(1000 * seconds / asked.batch for seconds in found["times"])
            print(
                f"{crops:5}  {what:8}  {statistics.median(each):12.0f}  ({each[0]:5.0f} - {each[-1]:5.0f})  "
                f"{found['grown']:7.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
