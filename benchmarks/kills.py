"""Does a run that is killed, and continued, end in the same file?

    python benchmarks/kills.py [--photos 300] [--kills 20] [--seed 0] [--formats csv jsonl parquet]

For each format ``mpiqe score FOLDER --output FILE --resume`` is started on a folder of photos, killed with ``kill -9``
at a random moment of its scoring, and started again, twenty times; then it may finish. The file must be that of a run
which nobody disturbed: csv and jsonl byte for byte, Parquet row for row with its schema. Printed are each kill's moment
and the rows that were there. Exit status 1 if anything differs. Photos are small and lie in a temporary folder; every
tenth is broken.

Some kills come before there is a new row, the others at a moment after the first, drawn so that all of them spread over
the photos. A run that finishes before its kill is compared, and the next begins from nothing. The draws are seeded;
what a run has done by then depends on the machine.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from mpiqe.batch.parquet_sink import EarlierParquet, parts_folder
from mpiqe.batch.resume import EarlierText

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="+", default=["csv", "jsonl", "parquet"])
    parser.add_argument("--program", nargs="+", default=[sys.executable, "-m", "mpiqe"], help="what runs mpiqe")
    asked = parser.parse_args()
    differ = 0
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder) / "photos", asked.photos)
        for form in asked.formats:
            same = try_format(form, photos, Path(folder), asked)
            print(f"{form}: {'the same as undisturbed' if same else 'DIFFERS'}", flush=True)
            differ += not same
    sys.exit(differ > 0)


def make_photos(folder: Path, number: int) -> Path:
    """Photos of 256 x 256 pixels, of which every tenth is cut short."""
    folder.mkdir()
    sources = sorted(EXAMPLES.glob("*.jpg"))
    for index in range(number):
        path = folder / f'{index:05} of "{number}", shrunk.jpg'  # a name that csv has to quote
        with Image.open(sources[index % len(sources)]) as photo:
            photo.resize((256, 256)).save(path, quality=90)
        if index % 10 == 9:
            path.write_bytes(path.read_bytes()[:1000])
    return folder


def try_format(form: str, photos: Path, folder: Path, asked: argparse.Namespace) -> bool:
    """Kill and continue; whether the file is the same whenever a run has finished."""
    whole, killed = folder / f"whole.{form}", folder / f"killed.{form}"
    command = [*asked.program, "score", str(photos), "--output"]
    first, took = _undisturbed([*command, str(whole)], whole, form)
    print(f"{form}: undisturbed {took:.1f} s, first rows after {first:.1f} s")
    moments = random.Random(asked.seed)  # noqa: S311
    kills = 0
    while kills < asked.kills:
        before = rows_of(killed, form)
        left = (took - first) * (1 - before / asked.photos) / (asked.kills - kills)
        early = moments.random() < (0.5 if form == "parquet" else 0.25)  # before there is a row, or after the first new
        delay = moments.random() * (first if early else 2 * left)
        started = time.monotonic()
        with subprocess.Popen([*command, str(killed), "--resume"], stderr=subprocess.DEVNULL) as process:
            if not early:
                _wait_for_rows(process, killed, form)
            ended = _ends_within(process, delay)
            process.send_signal(signal.SIGKILL)
        if ended:  # nothing was killed: it counts as a run, and the next begins from nothing
            if not _same(whole, killed, form, process.returncode):
                return False
            killed.unlink()
            continue
        kills += 1
        after = rows_of(killed, form)
        print(
            f"{form}: {kills:3}  killed after {time.monotonic() - started:5.2f} s  rows {before} -> {after}", flush=True
        )
    done = subprocess.run([*command, str(killed), "--resume"], stderr=subprocess.DEVNULL, check=False)
    return _same(whole, killed, form, done.returncode)


def _same(whole: Path, killed: Path, form: str, status: int) -> bool:
    if status != 1:  # every tenth photo fails
        print(f"{form}: exit status {status}, not 1")
        return False
    return content(whole, form) == content(killed, form) and not parts_folder(killed).exists()


def content(path: Path, form: str) -> Any:
    """All that must agree."""
    if form != "parquet":
        return path.read_bytes()
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    return table.schema.metadata, table.schema, table.to_pylist()


def rows_of(path: Path, form: str) -> int:
    """How many whole rows there are."""
    earlier = EarlierParquet(path) if form == "parquet" else EarlierText(path, form)
    return sum(1 for _ in earlier)


def _undisturbed(command: list[str], output: Path, form: str) -> tuple[float, float]:
    """Seconds to the first rows and to the end."""
    started = time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        _wait_for_rows(process, output, form)
        first = time.monotonic() - started
        process.wait()
    return first, time.monotonic() - started


def _wait_for_rows(process: "subprocess.Popen[bytes]", output: Path, form: str) -> None:
    before = _extent(output, form)
    while process.poll() is None and _extent(output, form) <= before:
        time.sleep(0.01)


def _extent(output: Path, form: str) -> int:
    """What grows with the rows: bytes, or parts."""
    if form == "parquet":
        return len(list(parts_folder(output).glob("part-*.parquet")))
    return output.stat().st_size if output.exists() else 0


def _ends_within(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


if __name__ == "__main__":
    main()
