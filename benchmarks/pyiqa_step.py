"""A step with pyiqa's LIQE in pyiqa's own environment, done for metric.py at every line of stdin.

    PYIQA_PYTHON benchmarks/pyiqa_step.py --what gradient [--batch 4] [--side 512] [--threads 2]

Random weights stand in for those that it would download. ``score`` is a metric without gradients, ``gradient`` the
metric made with ``as_loss=True`` and its gradient to the pixels. The answer is ``{"seconds": ..., "processor": ...,
"grown": MB}``.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time

from pyiqa_metric import untrained_metric  # of this folder, which is on the path of a script


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--what", choices=("score", "gradient"), required=True)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever pyiqa prints goes to stderr
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCH_HOME"] = cache  # LIQE keeps its text features there
        os.makedirs(os.path.join(cache, "hub", "pyiqa"))
        metric = untrained_metric("liqe", asked.threads, as_loss=asked.what == "gradient", device=asked.device)
        metric.net.text_features = metric.net.text_features.detach()  # else the text tower's graph
        serve(metric, asked, answers)


def serve(metric, asked, answers):  # type: ignore[no-untyped-def]
    """One step a line; memory is counted from here on."""
    import torch

    images = torch.rand(asked.batch, 3, asked.side, asked.side, generator=torch.Generator().manual_seed(0))
    images = images.to(asked.device)
    on_cuda = asked.device.startswith("cuda")

    def used():  # type: ignore[no-untyped-def]
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return torch.cuda.max_memory_allocated() if on_cuda else resident

    before = used()
    for _ in sys.stdin:
        started, busy = time.perf_counter(), time.process_time()
        pixels = images.clone().requires_grad_(asked.what == "gradient")
        value = metric(pixels)
        if asked.what == "gradient":
            (-value).backward()  # it does not negate what is to be raised
        if on_cuda:
            torch.cuda.synchronize()
        spent = {"seconds": time.perf_counter() - started, "processor": time.process_time() - busy}
        answers.write(json.dumps({**spent, "grown": (used() - before) / 1e6}) + "\n")


if __name__ == "__main__":
    main()
