"""Time and memory of a step with the metric: what a training loop pays for it.

    python benchmarks/metric.py [--batch 4] [--side 512] [--crops 4 8] [--repeats 5] [--device cpu]
        [--pyiqa-python PYTHON] [--shape vit-b-32]

For each number of crops: the score without a gradient, and the loss with its gradient to the pixels, on a batch of
random images (N, 3, side, side); with ``--pyiqa-python`` (``compare_pyiqa.py`` says how to make that environment) the
same of pyiqa's LIQE, a ViT-B/32 of random weights on its own 15 crops. Ours is the embedded model; ``--shape`` adds
MP-IQE of random weights on one of `mpiqe bench`'s towers, with 15 crops, so that like is beside like.

Each has a process of its own, and they take turns, so that a slow minute falls on all: the median and the spread of
the repeats after one that does not count, and by how much the process, or the device, has grown at its peak since the
model was loaded. ``times`` is the mean over turns of a row's time over that of the first row: seconds of the processor
on a CPU, which other work on the machine hardly changes, seconds of the clock on a GPU.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

WHAT = ("score", "gradient")
PYIQA_STEP = Path(__file__).with_name("pyiqa_step.py")
LIQE_CROPS = 15


class Row(NamedTuple):
    """One line of the table: whose step, which, and the command of the process that does it."""

    model: str
    crops: int
    what: str
    command: list[str]


class Measured(NamedTuple):
    """Seconds of a row's steps in the order of the turns, by the clock and as compared, and its growth in MB."""

    seconds: list[float]
    compared: list[float]
    grown: float


def serve(step: Callable[[], None], used: Callable[[], float]) -> None:
    """Do ``step`` at every line of stdin; answer with its seconds, by the clock and of the processor, and the growth of
    ``used()`` bytes in MB.
    """
    before = used()
    for _ in sys.stdin:
        begun, busy = time.perf_counter(), time.process_time()
        step()
        spent = {"seconds": time.perf_counter() - begun, "processor": time.process_time() - busy}
        print(json.dumps({**spent, "grown": (used() - before) / 1e6}), flush=True)


def work(asked: argparse.Namespace) -> None:
    """Be the process of one row of ours."""
    import torch

    from mpiqe.torch import create_metric

    torch.set_num_threads(asked.threads)
    loss = create_metric(asked.weights, as_loss=True, device=asked.device, crops=asked.crops[0])
    images = torch.rand(asked.batch, 3, asked.side, asked.side, generator=torch.Generator().manual_seed(0))
    images = images.to(asked.device)
    on_cuda = asked.device.startswith("cuda")

    def step() -> None:
        pixels = images.clone().requires_grad_(asked.what == "gradient")
        value = loss(pixels)
        if asked.what == "gradient":
            value.backward()
        if on_cuda:
            torch.cuda.synchronize()

    serve(step, torch.cuda.max_memory_allocated if on_cuda else most_resident)


def most_resident() -> float:
    """The most bytes that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_turns(rows: Sequence[Row], repeats: int, *, on_cpu: bool = True) -> list[Measured]:
    """Start every row's process and let them take turns; the first turn does not count."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(row.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for row in rows
        ]
        turns = [[_ask(process, row) for process, row in zip(processes, rows, strict=True)] for _ in range(repeats + 1)]
    return [
        Measured(
            *([turn[place][key] for turn in turns[1:]] for key in ("seconds", "processor" if on_cpu else "seconds")),
            turns[-1][place]["grown"],
        )
        for place in range(len(rows))
    ]


def _ask(process: "subprocess.Popen[str]", row: Row) -> dict[str, float]:
    assert process.stdin is not None  # noqa: S101  # both are pipes
    assert process.stdout is not None  # noqa: S101
    process.stdin.write("\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"the process of {row.model}, {row.what}, ended with {process.wait()}; see above")
    answer: dict[str, float] = json.loads(line)
    return answer


def table(rows: Sequence[Row], found: Sequence[Measured], *, batch: int) -> list[str]:
    """A line a row, after two of heads; ``times`` is against the first row of the same step."""
    first = {what: next(of for row, of in zip(rows, found, strict=True) if row.what == what) for what in WHAT}
    lines = ["model                crops  step      ms per image  (least - most)  times  peak MB"]
    for row, (seconds, compared, grown) in zip(rows, found, strict=True):
        each = sorted(1000 * one / batch for one in seconds)
        times = statistics.fmean(one / other for one, other in zip(compared, first[row.what].compared, strict=True))
        lines.append(
            f"{row.model:<19}{row.crops:7}  {row.what:8}  {statistics.median(each):12.0f}  "
            f"({each[0]:5.0f} - {each[-1]:5.0f})  {times:5.2f}  {grown:7.0f}"
        )
    return lines


def main() -> None:
    """Start a process for each kind of step and print; or be one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4, help="images in a step")
    parser.add_argument("--side", type=int, default=512, help="pixels along an image")
    parser.add_argument("--crops", type=int, nargs="+", default=[4, 8], help="per image")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pyiqa-python", metavar="PYTHON", help="python of pyiqa's environment")
    parser.add_argument("--shape", help="MP-IQE of random weights on these towers too, 15 crops")
    parser.add_argument("--what", choices=WHAT, help=argparse.SUPPRESS)
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.what:
        work(asked)
        return
    shared = [
        word for name in ("batch", "side", "device", "threads") for word in (f"--{name}", str(getattr(asked, name)))
    ]
    with tempfile.TemporaryDirectory() as folder:
        ours = [("embedded", None, crops) for crops in asked.crops]
        if asked.shape:
            from mpiqe.model.untrained import create_untrained, shape_named

            weights = create_untrained(Path(folder), shape_named(asked.shape), crops=LIQE_CROPS)
            ours.append((f"MP-IQE, {asked.shape}", str(weights), LIQE_CROPS))
        rows = []
        for model, weights, crops in ours:
            own = [*shared, "--crops", str(crops), *(["--weights", weights] if weights else [])]
            rows += [Row(model, crops, what, [sys.executable, __file__, *own, "--what", what]) for what in WHAT]
        if asked.pyiqa_python:
            python = [asked.pyiqa_python, str(PYIQA_STEP), *shared]
            rows += [Row("pyiqa's LIQE", LIQE_CROPS, what, [*python, "--what", what]) for what in WHAT]
        found = in_turns(rows, asked.repeats, on_cpu=asked.device == "cpu")
    size = f"{asked.side} x {asked.side}"
    print(f"{asked.batch} images of {size} on {asked.device}, {asked.threads} threads, {asked.repeats} repeats")
    print("\n".join(table(rows, found, batch=asked.batch)))


if __name__ == "__main__":
    main()
