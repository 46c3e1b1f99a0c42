"""How much memory does scoring take: after many photos, and for one of 100 megapixels of each kind?

    python benchmarks/memory.py [--images 20000] [--embedded] [--kinds jpeg webp ...]

Memory is this process's and its readers' (proportional set size on Linux, sampled every 20 ms). Exit status 1 if it
grows by more than 5 % between the first thousand photos and the last, or if a large photo takes more than a gigabyte
(2**30 bytes; a WebP or JPEG 2000 1.7) over the idle process. Without ``--embedded`` the predictor is a mean, so that
what is seen is the reading.
"""

import argparse
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

import mpiqe
from mpiqe.images import Pixels
from mpiqe.runtimes.base import Prediction, Scale
from mpiqe.scoring.scorer import Scorer

SIDE = 10_000
MOST = dict.fromkeys(("webp", "webp lossless", "jpeg 2000"), 1700 << 20)
"""libwebp keeps two frames, and Pillow copies them twice; OpenJPEG keeps each sample in 32 bits."""
GIGABYTE = 1 << 30
GROWTH = 0.05


class Mean:
    """A predictor that costs nothing."""

    crop_size = 224
    crops_at_once = 128
    scenes = ()
    distortions = ()
    scale = Scale(low=0, high=255, unit="grey levels")
    computes = "numpy fp64 cpu"

    def predict(self, crops: Pixels) -> Prediction:
        """The mean of each crop."""
        nothing = np.empty((len(crops), 0), dtype=np.float32)
        return Prediction(crops.mean(axis=(1, 2, 3), dtype=np.float32), nothing, nothing)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--embedded", action="store_true", help="score with the embedded model")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--make", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.make:
        make(asked.kinds[0], Path(asked.make))
        return
    with tempfile.TemporaryDirectory() as folder:
        sound = many(Path(folder), asked.images, embedded=asked.embedded) if asked.images > 1000 else True
        for kind in asked.kinds:
            sound &= large(Path(folder), kind)
    sys.exit(not sound)


def many(folder: Path, images: int, *, embedded: bool) -> bool:
    """Resident memory after a thousand photos and after all, through ``Scorer.rows``."""
    paths = []
    for i in range(100):
        level = np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        paths.append(str(folder / f"{i}.jpg"))
        Image.fromarray(level).resize((300 + 4 * i, 500 - 2 * i)).save(paths[-1])
    scorer = mpiqe.load(crops=2) if embedded else Scorer(predictor=Mean())
    first, samples = 0.0, [0.0]
    for done, row in enumerate(scorer.rows(islice(cycle(paths), images)), start=1):
        if row.error:
            sys.exit(f"{row.path}: {row.error}")
        place = done % 1000  # 11 samples of the rows from 800 to 900: at the very end the readers are gone already
        if place == 800:
            samples = []
        if 800 <= place <= 900 and place % 10 == 0:
            samples.append(resident())
        if place == 900:
            first = first or statistics.median(samples)
            if done < 1000 or done % 5000 == 4900:
                print(f"{done:>8} photos {statistics.median(samples) / 2**20:8.1f} MB", flush=True)
    growth = statistics.median(samples) / first - 1
    print(f"growth since the first thousand {growth:+.1%}")
    return growth <= GROWTH


def large(folder: Path, kind: str) -> bool:
    """The peak over the idle process while a photo of 100 megapixels is scored among small ones."""
    path = folder / "large"
    subprocess.run([sys.executable, __file__, "--make", str(path), "--kinds", kind], check=True)
    small = folder / "small.png"
    Image.new("RGB", (300, 300)).save(small)
    idle = resident()
    with peak() as highest:
        rows = list(Scorer(predictor=Mean(), workers=2).rows([str(small), str(path), str(path), str(small)]))
    over, most = max(highest) - idle, MOST.get(kind, GIGABYTE)
    ok = over <= most and all(row.score for row in rows)
    said = next((row.error for row in rows if row.error), "")
    print(f"{kind:<20}{over / 2**20:8.0f} MB of {most >> 20} {'' if ok else 'TOO MUCH '}{said}", flush=True)
    path.unlink()
    return ok


@contextmanager
def peak() -> Iterator[list[int]]:
    """Samples of ``resident`` while the block runs."""
    samples, over = [resident()], threading.Event()

    def sample() -> None:
        while not over.wait(0.02):
            samples.append(resident())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def resident() -> int:
    """Bytes that this process and its children have in memory, shared pages counted once."""
    pids = [os.getpid()]
    for task in Path("/proc/self/task").iterdir():
        try:
            pids += map(int, (task / "children").read_text().split())
        except OSError:  # the thread has ended
            continue
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # the process has ended
            continue
        total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return total


def make(kind: str, path: Path) -> None:
    """Write a photo of 100 megapixels."""
    mode, form, options = KINDS[kind]
    tile = np.random.default_rng(0).integers(0, 256, (50, 50, 4), dtype=np.uint8)
    if form == "PNG16":
        path.write_bytes(_png_16(np.asarray(Image.fromarray(tile).convert("RGB"))))
        return
    small = Image.fromarray(tile).resize((1000, 1000), Image.Resampling.BICUBIC)
    if mode not in {"RGBA", "I;16"}:
        small = small.convert("RGB").convert(mode)
    if mode == "I;16":
        small = Image.fromarray(np.asarray(small.convert("L")).astype(np.uint16) * 257)
    whole = Image.new(mode, (SIDE, SIDE))
    if mode == "P":
        whole.putpalette(small.getpalette() or [])
    for left in range(0, SIDE, 1000):
        for top in range(0, SIDE, 1000):
            whole.paste(small, (left, top))
    if options.get("exif"):
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {**options, "exif": exif}
    whole.save(path, form, **options)


def _png_16(tile: Pixels) -> bytes:
    row = b"\0" + np.tile(tile[0].astype(">u2") * 257, (SIDE // len(tile[0]), 1)).tobytes()
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(SIDE)) + packer.flush()

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


KINDS: dict[str, tuple[str, str, dict[str, object]]] = {
    "jpeg": ("RGB", "JPEG", {"subsampling": 0}),
    "jpeg progressive": ("RGB", "JPEG", {"subsampling": 0, "progressive": True}),
    "jpeg cmyk": ("CMYK", "JPEG", {}),
    "jpeg rotated": ("RGB", "JPEG", {"exif": True}),
    "png rgb": ("RGB", "PNG", {"compress_level": 1}),
    "png rgba": ("RGBA", "PNG", {"compress_level": 1}),
    "png grey 16": ("I;16", "PNG", {"compress_level": 1}),
    "png rgb 16": ("RGB", "PNG16", {}),
    "png palette": ("P", "PNG", {"compress_level": 1}),
    "tiff": ("RGB", "TIFF", {}),
    "tiff lzw": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    "webp": ("RGB", "WEBP", {"method": 0, "quality": 50}),
    "webp lossless": ("RGB", "WEBP", {"method": 0, "quality": 0, "lossless": True}),
    "jpeg 2000": ("RGB", "JPEG2000", {}),
}

if __name__ == "__main__":
    main()
