"""``mpiqe`` with a modest model, run as a program: brightness is quality. The environment makes it slow, or fail.

``PREDICT_SECONDS``: how long a call of the model takes. ``FAIL_ABOVE``: a score above which it fails. ``HEAD_SECONDS``:
how long a request's header may take.
"""

import os
import sys
import time

import numpy as np

from mpiqe.cli.start import main
from mpiqe.runtimes.base import Prediction, Scale
from mpiqe.scoring import loading
from mpiqe.scoring.scorer import Scorer


class Brightness:
    crop_size = 32
    crops_at_once = 128
    scenes = ("night", "day")
    distortions = ("dull", "none")
    scale = Scale(low=0, high=255, unit="grey levels", model="brightness 1")
    computes = "numpy fp64 cpu"

    def predict(self, crops):
        time.sleep(float(os.environ.get("PREDICT_SECONDS", "0")))
        score = crops.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)
        if score.max() > float(os.environ.get("FAIL_ABOVE", "inf")):
            raise RuntimeError("the model fails")
        halves = np.stack([1 - score / 255, score / 255], axis=1)
        return Prediction(score=score, scene=halves, distortion=halves)


def load(weights, *, crops, runtime, device, precision, **options):
    return Scorer(predictor=Brightness(), crops=8 if crops is None else crops, **options)


if __name__ == "__main__":
    loading.load = load
    if "HEAD_SECONDS" in os.environ:
        from mpiqe.serve import server

        server._HEAD_SECONDS = float(os.environ["HEAD_SECONDS"])
    sys.exit(main())
