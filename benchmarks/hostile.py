"""What do hostile files cost? Reads all of ``malformed.corpus``, and as many files with flipped bits as asked for.

    python benchmarks/hostile.py [--flips 2000] [--seed 0] [--timeout 10]

Each file lies between two good photos, which must score as alone. Printed are how many files were scored and refused,
the slowest, the reasons, and the largest memory of a reader process. Exit status 1 if a good photo suffered, a reason
is no clear line, or a reader took more than ``--memory`` megabytes.
"""

import argparse
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from malformed import corpus, encoded, photos
from memory import Mean
from PIL import Image

from mpiqe.decoding import DEFAULT_MAX_PIXELS
from mpiqe.errors import ImageError
from mpiqe.isolation.pool import Readers
from mpiqe.isolation.process import Cutting
from mpiqe.scoring.scorer import Scorer


def main() -> None:
    """Read, measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=10.0)
    parser.add_argument("--memory", type=int, default=1700)
    asked = parser.parse_args()
    scorer = Scorer(predictor=Mean(), workers=1, batch_size=1, read_timeout=asked.timeout)
    faults: list[str] = []
    reasons: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder) / "good.png"
        good.write_bytes(encoded(Image.linear_gradient("L").resize((300, 280)), "PNG"))
        alone = scorer(good)
        names: list[str] = []

        def paths() -> Iterator[str]:
            for name, content in (*corpus(), *flipped(asked.flips, asked.seed)):
                path = Path(folder) / f"{len(names)}-{name}"
                path.write_bytes(content)
                names.extend([str(path), str(good)])
                yield from names[-2:]

        before = "the first file"
        for row in scorer.rows(paths()):
            if row.path == str(good):
                if row.score != alone:
                    faults.append(f"the photo after {before}: {row.error or row.score}")
            else:
                before = row.path
                reasons[(row.error or "scored").partition(" (")[0]] += 1
                if row.error is not None and (not row.error.isprintable() or len(row.error) < 5):
                    faults.append(f"{row.path}: {row.error!r}")
        times = list(timed(names[::2], asked.timeout))
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    for reason, count in reasons.most_common(25):
        print(f"{count:>6}  {reason[:150]}")
    for seconds, name in sorted(times, reverse=True)[:5]:
        print(f"{seconds:6.2f} s  {name}")
    print(f"{len(times)} files: {reasons['scored']} scored, {len(times) - reasons['scored']} refused; ", end="")
    print(f"largest reader {largest} MB; {len(faults)} faults")
    print(*faults, sep="\n")
    sys.exit(bool(faults) or largest > asked.memory)


def timed(paths: list[str], timeout: float) -> Iterator[tuple[float, str]]:
    """Seconds that each takes by itself."""
    cutting = Cutting(size=224, count=8, mode="seeded", seed=0, max_pixels=DEFAULT_MAX_PIXELS)
    with closing(Readers(cutting=cutting, timeout=timeout)) as readers:
        for path in paths:
            started = time.monotonic()
            with suppress(ImageError):
                readers.read(path)
            yield time.monotonic() - started, Path(path).name


def flipped(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Sound files with one to twenty bits turned."""
    generator, whole = random.Random(seed), list(photos())  # noqa: S311
    for i in range(count):
        name, content = whole[i % len(whole)]
        data = bytearray(content)
        for _ in range(generator.randint(1, 20)):
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        yield f"bits-{i}-{name}", bytes(data)


if __name__ == "__main__":
    main()
