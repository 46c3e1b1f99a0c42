"""One metric of pyiqa in pyiqa's own environment, run by compare_pyiqa.py over a pipe.

    PYIQA_PYTHON benchmarks/pyiqa_metric.py METRIC [--threads 2]

Random weights stand in for those that it would download; speed does not depend on them. A line ``{"path": ...}`` on
stdin is answered with ``{"seconds": ..., "score": ...}`` on stdout: from the file to the score, the model being loaded.
The first line out is ``{"about": ...}``: what is run, and how many operations one call takes, counted by torch.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time

TOWERS = {  # embed_dim, image_resolution, vision_layers, vision_width, vision_patch_size, as in OpenAI's files
    "ViT-B/32": (512, 224, 12, 768, 32),
    "RN50": (1024, 224, (3, 4, 6, 3), 64, None),
}
TEXT = (77, 49408, 512, 8, 12)  # context_length, vocab_size, transformer_width, heads, layers, of both
METRICS = {
    "liqe": "LIQE: CLIP ViT-B/32, 15 crops of 224 x 224 at a stride of 32, text features kept, fp32",
    "clipiqa": "CLIP-IQA: CLIP RN50 on the whole photo, 10 prompts through the text tower in each call, fp32",
    "clipiqa+": "CLIP-IQA+: CLIP RN50 on the whole photo, 2 learned prompts through the text tower each call, fp32",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("metric", choices=METRICS)
    parser.add_argument("--threads", type=int, default=None)
    asked = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever pyiqa prints goes to stderr
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCH_HOME"] = cache  # LIQE keeps its text features there
        os.makedirs(os.path.join(cache, "hub", "pyiqa"))
        metric = untrained_metric(asked.metric, asked.threads)
        path = json.loads(sys.stdin.readline())["path"]
        about = {"what": METRICS[asked.metric], "gflop": operations(metric, path) / 1e9}
        answers.write(json.dumps({"about": about}) + "\n")
        for line in sys.stdin:
            path = json.loads(line)["path"]
            started = time.perf_counter()
            score = float(metric(path))
            seconds = time.perf_counter() - started
            if not math.isfinite(score):
                sys.exit(f"{asked.metric} answers {score} to {path}")
            answers.write(json.dumps({"seconds": seconds, "score": score}) + "\n")


def untrained_metric(name, threads, *, as_loss=False, device="cpu"):  # type: ignore[no-untyped-def]
    """Pyiqa's metric by its own default settings, on CLIPs made here."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    import pyiqa
    from pyiqa.archs import clipiqa_arch, liqe_arch
    from pyiqa.archs.clip_model import CLIP

    def load(backbone, device="cpu"):  # type: ignore[no-untyped-def]
        return CLIP(*TOWERS[backbone], *TEXT).to(device).eval()

    clipiqa_arch.load = liqe_arch.load = load
    return pyiqa.create_metric(name, as_loss=as_loss, device=torch.device(device), pretrained=False)


def operations(metric, path):  # type: ignore[no-untyped-def]
    """Of one call, a multiply-add being two."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    torch.backends.mha.set_fastpath_enabled(False)  # the counter does not know the fused kernel
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        metric(path)
    torch.backends.mha.set_fastpath_enabled(True)
    return counter.get_total_flops()


if __name__ == "__main__":
    main()
