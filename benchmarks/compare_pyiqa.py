"""Compare the speed of MP-IQE on ViT-B/16 with LIQE, CLIP-IQA and CLIP-IQA+ of pyiqa, photo by photo, in one run.

    python benchmarks/compare_pyiqa.py --pyiqa-python PYTHON [--runtime openvino-bf16] [--repeats 11]

Each scores one JPEG of 512 x 384 pixels from disk at a time, from the file to the score, its model loaded before, on
the same number of threads. They take turns, so that a slow minute falls on all. All weights are random: speed does not
depend on them, and nothing is downloaded. Each metric runs with its own defaults (``benchmarks/pyiqa_metric.py``); the
operations of one photo are printed beside the times, for they differ: MP-IQE with 8 crops on ViT-B/16 takes about twice
those of LIQE with 15 on ViT-B/32.

pyiqa has an environment of its own, since torchvision has to match torch's build and none matches ours:

    python3.11 -m venv /tmp/pyiqa_venv
    /tmp/pyiqa_venv/bin/pip install --no-cache-dir "setuptools<80" wheel
    /tmp/pyiqa_venv/bin/pip install --no-cache-dir torch==2.8.0 torchvision==0.23.0
    /tmp/pyiqa_venv/bin/pip install --no-cache-dir pyiqa==0.1.16 "setuptools<80"

(CLIP, which pyiqa imports, needs the pkg_resources of an older setuptools. On Linux torch brings some gigabytes of CUDA
libraries along; none of them is used here.)
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

from mpiqe.bench.machine import describe_machine, usable_cores
from mpiqe.bench.photos import SIZES, write_photos
from mpiqe.bench.timing import PAUSE, seconds

PYIQA_METRIC = Path(__file__).with_name("pyiqa_metric.py")
METRICS = ("liqe", "clipiqa", "clipiqa+")
OURS = ("openvino-bf16", "onnx-fp32")
WARM_UP = 2


class PyiqaMetric:
    """One metric of pyiqa in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def start(self, photo: Path) -> dict[str, Any]:
        """Wait until it is ready; what it says of itself."""
        about: dict[str, Any] = self._ask(photo)["about"]
        return about

    def seconds(self, photo: Path) -> float:
        """What it took for one photo, by its own clock."""
        return float(self._ask(photo)["seconds"])

    def _ask(self, photo: Path) -> dict[str, Any]:
        streams = self._process
        assert streams.stdin is not None  # noqa: S101  # both are pipes
        assert streams.stdout is not None  # noqa: S101
        streams.stdin.write(json.dumps({"path": str(photo)}) + "\n")
        streams.stdin.flush()
        line = streams.stdout.readline()
        if not line:
            raise SystemExit(f"the metric's process ended with status {streams.wait()}; its last words are above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def started(python: str, metric: str, threads: int) -> Iterator[PyiqaMetric]:
    """Start a metric; its process ends with the context."""
    command = [python, str(PYIQA_METRIC), metric, "--threads", str(threads)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield PyiqaMetric(process)  # leaving closes its stdin, which ends it


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    python = parser.add_mutually_exclusive_group(required=True)
    python.add_argument("--pyiqa-python", metavar="PYTHON", help="python of pyiqa's environment")
    python.add_argument("--peers", help=argparse.SUPPRESS)  # its name before
    parser.add_argument("--metric", action="append", choices=METRICS, help="all if not given; may be repeated")
    parser.add_argument("--runtime", action="append", metavar="R", help=f"as of mpiqe bench; {' and '.join(OURS)}")
    parser.add_argument("--backbone", default="vit-b-16")
    parser.add_argument("--crops", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--threads", type=int, default=usable_cores())
    asked = parser.parse_args()
    if asked.peers:
        print("--peers is now --pyiqa-python; the old name goes away in the next version", file=sys.stderr)
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        photos = write_photos(folder, size=SIZES[0], number=4)
        ours, gflop = _ours(folder, asked)
        works, about = dict(ours), dict.fromkeys(ours, ("MP-IQE", gflop))
        for metric in asked.metric or METRICS:
            theirs = stack.enter_context(started(asked.pyiqa_python or asked.peers, metric, asked.threads))
            said = theirs.start(photos[0])
            works[metric], about[metric] = theirs.seconds, (said["what"], said["gflop"])
        taken = in_turns(works, photos, asked.repeats)
    print(f"{machine['processor']}, {asked.threads} threads; {machine['versions']}")
    print(f"one photo of 512 x 384 from file to score, median of {asked.repeats} (least to most)")
    first = statistics.median(taken[next(iter(ours))])
    for name, spent in taken.items():
        what, operations = about[name]
        times = f"{statistics.median(spent) / first:6.2f} x"
        spread = f"({1000 * min(spent):.0f} to {1000 * max(spent):.0f})"
        middle = 1000 * statistics.median(spent)
        print(f"{name:<24}{middle:8.0f} ms {spread:<18}{times}  {operations:6.0f} GFLOP  {what}")


def in_turns(works: dict[str, Any], photos: Sequence[Path], repeats: int) -> dict[str, list[float]]:
    """Seconds of each: every turn has a photo, and all of them score it, one after another."""
    import time

    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn, photo in zip(range(-WARM_UP, repeats), cycle(photos), strict=False):
        for name, work in works.items():
            time.sleep(PAUSE)
            spent = work(photo)
            if turn >= 0:
                taken[name].append(spent)
    return taken


def _ours(folder: Path, asked: argparse.Namespace) -> tuple[dict[str, Any], float]:
    """MP-IQE with random weights under each runtime: photo -> seconds; and GFLOP a photo."""
    import torch

    from mpiqe.bench import flops
    from mpiqe.bench.eager import Eager
    from mpiqe.bench.runtimes import Source, build
    from mpiqe.model.untrained import create_untrained, shape_named
    from mpiqe.scoring.scorer import Scorer

    torch.set_num_threads(asked.threads)
    weights = create_untrained(folder / "untrained", shape_named(asked.backbone), crops=asked.crops)
    subjects, _ = build(Source(weights, folder=folder, threads=asked.threads), asked.runtime or OURS)
    scorers = {subject.name: Scorer(predictor=subject.predictor, crops=asked.crops) for subject in subjects}

    def timed(scorer: Scorer) -> Any:
        return lambda photo: seconds(lambda: scorer(photo))

    works = {f"mpiqe, {name}": timed(scorer) for name, scorer in scorers.items()}
    return works, asked.crops * flops.mpiqe(Eager(weights).shape) / 1e9


if __name__ == "__main__":
    main()
