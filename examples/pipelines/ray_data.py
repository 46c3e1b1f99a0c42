"""Scores in Ray Data: pip install ".[ray]" (in the repository). Run it in examples/."""

from pathlib import Path

import ray

import mpiqe

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
files = sorted(map(str, Path().absolute().glob("c*.jpg")))

photos = ray.data.read_binary_files(files, include_paths=True)
scored = photos.map_batches(
    mpiqe.RayScorer, fn_constructor_kwargs={"column": "bytes", "isolate": False}, batch_size=8, concurrency=1
).drop_columns(["bytes"])
rows = sorted(scored.take_all(), key=lambda row: row["path"])
for row in rows[:4]:
    print(Path(row["path"]).name, round(row["score"], 2), row["distortion"])
