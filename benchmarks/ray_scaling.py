"""How much quicker are two workers of a Ray cluster than one, and what does Ray itself cost?

    python benchmarks/ray_scaling.py [--photos 2400] [--repeats 5] [--size 1024] [--shard-size 300] [--crops N]

Scores the same photos on this machine in three ways, in turns: with the local engine, its model on one thread; with Ray
and one single-threaded worker; with Ray and two. Photos are SIZE x SIZE JPEGs made from those in examples/, in a
temporary folder. Rows go to csv. For each way are printed the median photos/s with lowest and highest, and apart from
it the seconds of start-up: locally until a few photos are scored, with Ray until there are two shards for each worker.
The rate is that of the time after. With Ray it ends when the first worker may be out of work. The scaling ratio is that
of the medians with two workers and one.
"""

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

import mpiqe
from mpiqe.batch.parquet_sink import parts_folder
from mpiqe.batch.ray.engine import cluster, scored
from mpiqe.batch.ray.worker import Job
from mpiqe.batch.resume import identity
from mpiqe.sources.find import Limits
from mpiqe.sources.passed_over import PassedOver

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=2400)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--shard-size", type=int, default=300)
    parser.add_argument("--crops", type=int)
    asked = parser.parse_args()
    if asked.photos // asked.shard_size < 6:
        parser.error("too few shards: --photos must be six times --shard-size at least")
    rates: dict[str, list[float]] = {"local": [], "1 worker": [], "2 workers": []}
    starts: dict[str, list[float]] = {name: [] for name in rates}
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder) / "photos", asked.photos, asked.size)
        for repeat in range(asked.repeats):
            for name, workers in (("local", 0), ("1 worker", 1), ("2 workers", 2)):
                output = Path(folder) / f"{repeat}-{workers}.csv"
                with ProcessPoolExecutor(
                    1, get_context("spawn")
                ) as fresh:  # Ray does not start beside a model's threads
                    way = (
                        fresh.submit(with_ray, photos, output, workers, asked)
                        if workers
                        else fresh.submit(here, photos, asked)
                    )
                    start, rate = way.result()
                starts[name].append(start)
                rates[name].append(rate)
    print(f"{os.cpu_count()} processors, {asked.photos} photos of {asked.size} x {asked.size}, shards of "
          f"{asked.shard_size}, medians of {asked.repeats} (lowest to highest)")  # fmt: skip
    for name in rates:
        print(f"{name:<10}{_said(rates[name])} photos/s   start-up {_said(starts[name])} s")
    ratio = statistics.median(rates["2 workers"]) / statistics.median(rates["1 worker"])
    print(f"2 workers / 1 worker: {ratio:.2f}")
    print(f"1 worker / local: {statistics.median(rates['1 worker']) / statistics.median(rates['local']):.2f}")


def make_photos(folder: Path, number: int, size: int) -> Path:
    folder.mkdir()
    sources = sorted(EXAMPLES.glob("*.jpg"))
    for index in range(number):
        with Image.open(sources[index % len(sources)]) as photo:
            photo.resize((size, size)).save(folder / f"{index:05}.jpg", quality=90)
    return folder


def here(photos: Path, asked: argparse.Namespace) -> tuple[float, float]:
    """Seconds until the model is there, and photos a second."""
    started = time.perf_counter()
    scorer = mpiqe.load(crops=asked.crops, workers=1, threads=1)
    paths = sorted(map(str, photos.iterdir()))
    list(scorer.rows(paths[:4]))
    ready = time.perf_counter()
    rows = list(scorer.rows(paths))
    return ready - started, len(rows) / (time.perf_counter() - ready)


def with_ray(photos: Path, output: Path, workers: int, asked: argparse.Namespace) -> tuple[float, float]:
    """Seconds until each worker has a shard, and photos a second from then on until the first worker has none left.

    The last shards are left out where not all workers are busy any more.
    """
    parts_folder(output).mkdir()
    started = time.perf_counter()
    job = Job(
        paths=(str(photos),),
        output=output,
        form="csv",
        directory=os.getcwd(),
        settings={"mpiqe": version("mpiqe"), "model": identity(None)},
        options={"crops": asked.crops, "device": "cpu", "workers": 1, "threads": 1},
        limits=Limits(),
        column=None,
        shard_size=asked.shard_size,
    )
    with cluster("local", processors=workers):
        came = [(time.perf_counter(), part.rows) for part in scored(job, [], actors=workers, left_out=PassedOver())]
    steady = came[2 * workers - 1 : len(came) - workers + 1]  # the second shard of each has come; none is out of work
    (first, _), *others = steady
    return first - started, sum(rows for _, rows in others) / (others[-1][0] - first)


def _said(values: list[float]) -> str:
    return f"{statistics.median(values):7.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
