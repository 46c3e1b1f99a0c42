"""Does anything that is read from outside run code, crash, flood or escape as a traceback?

    python -m benchmarks.fuzz [--count 200] [--kinds photos lists ..] [--seed 0] [--json FILE]
    python -m benchmarks.fuzz --count 10000 --json FILE [--resume]   # the long mode; goes on behind what FILE has
    python -m benchmarks.fuzz --kinds lists --only 17 --keep FOLDER   # one mutation again, and its files

For each kind of input sound files are made, changed in a way that is a function of the seed and a number, and read by
the code that ``mpiqe`` reads them with. That is done in a process apart (``fuzz_child``), so that one which dies, hangs
or eats memory is told from the number of its mutation; the next process goes on behind it. Findings are

- ``code``: a command, a pickle, a library or a file out of the input's reach was asked for (an audit hook sees it);
- ``signal``: the process that read it, which stands for mpiqe's own, died;
- ``traceback``: anything but an ``MPIQEError`` came out;
- ``message``: an error holds letters that a terminal would obey;
- ``time`` and ``memory``: over the kind's bound, in seconds of this process's own time and in megabytes on top of what
  it had before. What takes six times these seconds by the clock is ended. (Processes apart have bounds of their own,
  which ``mpiqe`` sets.)

Printed is a row for each kind. Exit status 1 if there are findings. Everything runs on the CPU and without a network.
"""

import argparse
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fuzz_kinds import KINDS, Kind

from mpiqe.atomic import write_atomic

ROOT = Path(__file__).resolve().parents[1]
FINDINGS = ("code", "signal", "traceback", "message", "time", "memory")
_START_SECONDS = 1200.0  # to import torch on a busy machine and to make the sound files
SAVE_SECONDS = 20.0
"""Between two writes of what has been read of a kind so far."""
_STUCK = 6.0  # times a kind's seconds that it may take by the clock, whatever the processor does meanwhile


@dataclass
class Finding:
    """What a mutation did that nothing from outside may do."""

    kind: str
    number: int
    what: str
    file: str
    detail: str


@dataclass
class Tally:
    """What came of the mutations of one kind."""

    kind: str
    mutations: int = 0
    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    """Of the reading process's own time, for the slowest mutation."""
    clock: float = 0.0
    """Seconds by the clock, for the slowest mutation: processes apart and time-outs among them."""
    megabytes: float = 0.0
    took: float = 0.0
    """Seconds by the clock, for all of them."""
    count: int = 0
    seed: int = 0
    following: int = 0
    """The number of the next mutation: ``count``, where all are read."""
    findings: list[Finding] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=200, help="mutations of each kind; 10000 in the long mode")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), metavar="KIND")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one mutation alone")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the last mutation's files there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings, every 20 s and after each kind")
    parser.add_argument("--resume", action="store_true", help="go on behind what FILE has with this count and seed")
    asked = parser.parse_args()
    if asked.resume and not asked.json:
        parser.error("--resume goes on with a --json FILE")
    numbers = range(asked.count) if asked.only is None else range(asked.only, asked.only + 1)
    tallies = _done(asked.json, len(numbers), asked.seed) if asked.resume and asked.json.exists() else []
    counts = (f"{what:>10}" for what in FINDINGS)
    print(
        f"{'kind':<12}{'read':>7}{'taken':>7}{'refused':>8}", *counts, "  s most clock most MB most    took", flush=True
    )
    by_kind = {tally.kind: tally for tally in tallies}

    def save() -> None:
        if asked.json:
            write_atomic(asked.json, json.dumps([asdict(tally) for tally in by_kind.values()], indent=1).encode())

    for name in dict.fromkeys((*by_kind, *asked.kinds)):
        tally = by_kind.setdefault(name, Tally(name, count=len(numbers), seed=asked.seed, following=numbers.start))
        todo = range(tally.following, numbers.stop)
        try:
            fuzz(KINDS[name], todo, seed=asked.seed, keep=asked.keep, tally=tally, save=save)
        finally:  # where it is ended, too
            save()
        print(_row(tally), flush=True)
    tallies = list(by_kind.values())
    for tally in tallies:
        for what, number in Counter((finding.what, finding.detail) for finding in tally.findings).most_common():
            first = next(each for each in tally.findings if (each.what, each.detail) == what)
            print(f"{tally.kind} {what[0]} x {number}, first {first.number} ({first.file}): {what[1][:400]}")
    sys.exit(any(tally.findings for tally in tallies))


def _done(file: Path, count: int, seed: int) -> list[Tally]:
    """What an earlier run has written, of kinds that it was in the middle of as well."""
    told = [
        Tally(**{"following": tally["count"], **tally, "findings": [Finding(**each) for each in tally["findings"]]})
        for tally in _tallies(file)
    ]
    return [tally for tally in told if (tally.count, tally.seed) == (count, seed)]


def _tallies(file: Path) -> list[dict[str, Any]]:
    return list(json.loads(file.read_text()))


def _row(tally: Tally) -> str:
    found = Counter(finding.what for finding in tally.findings)
    counts = " ".join(f"{found[what]:>10}" for what in FINDINGS)
    return (
        f"{tally.kind:<12}{tally.mutations:>7}{tally.accepted:>7}{tally.refused:>8} {counts}"
        f" {tally.seconds:>7.1f} {tally.clock:>10.1f} {tally.megabytes:>7.0f} {tally.took:>7.0f}"
    )


def fuzz(
    kind: Kind,
    numbers: range,
    *,
    seed: int = 0,
    keep: Path | None = None,
    tally: Tally | None = None,
    save: Callable[[], None] = lambda: None,
) -> Tally:
    """Read so many mutations of one kind, in as many processes as it takes, and add what comes of them to ``tally``.

    ``save`` is called every 20 s.
    """
    if tally is None:
        tally = Tally(kind.name, count=len(numbers), seed=seed)
    before, started = tally.took, time.monotonic()

    def save_now_and_then() -> None:
        tally.took = round(before + time.monotonic() - started, 1)
        if tally.took - saved[0] > SAVE_SECONDS:
            saved[0] = tally.took
            save()

    saved = [before]
    with tempfile.TemporaryDirectory() as temporary:
        following = numbers.start
        while following < numbers.stop:
            folder = keep or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            following = _one_process(kind, range(following, numbers.stop), seed, folder, tally, save_now_and_then)
            tally.following = following
    tally.took = round(before + time.monotonic() - started, 1)
    return tally


def _one_process(
    kind: Kind, numbers: range, seed: int, folder: Path, tally: Tally, after_each: Callable[[], None]
) -> int:
    """Until it ends; the number to go on with."""
    command = [sys.executable, "-m", "benchmarks.fuzz_child", kind.name, str(numbers.start), str(numbers.stop)]
    errors = folder.parent / f"{folder.name}.stderr"
    with (
        errors.open("wb") as told,
        subprocess.Popen(
            [*command, str(seed), str(folder)],
            stdout=subprocess.PIPE,
            stderr=told,
            cwd=ROOT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), **_OFFLINE},
        ) as process,
    ):
        under_way: dict[str, Any] | None = None
        try:
            for event in _events(process, kind, tally):
                if "begin" in event:
                    under_way = event
                elif "end" in event:
                    under_way = None
                    _count(kind, event, tally)
                    tally.following = event["end"] + 1
                    after_each()
            process.wait(_START_SECONDS)  # it has closed its end
        except TimeoutError as error:
            if under_way is None:
                raise RuntimeError(f"{kind.name}: nothing from the process between two mutations: {error}") from error
            tally.findings.append(Finding(kind.name, under_way["begin"], "time", under_way["file"], str(error)))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    said = errors.read_text(errors="replace").strip()
    if under_way is None and code != 0:
        raise RuntimeError(f"{kind.name}: the process ended with {code} between two mutations: {said[-2000:]}")
    if under_way is None:
        return numbers.stop
    if not any(each.number == under_way["begin"] for each in tally.findings):
        died = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        tally.findings.append(Finding(kind.name, under_way["begin"], "signal", under_way["file"], f"died of {died}"))
    tally.mutations += 1
    return int(under_way["begin"]) + 1


_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "no_proxy": "*",
    "PYTHONFAULTHANDLER": "",
    "AWS_EC2_METADATA_DISABLED": "true",  # stores fail at once, as where there is no network
    "AWS_MAX_ATTEMPTS": "1",
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nobody",
}


def _events(process: "subprocess.Popen[bytes]", kind: Kind, tally: Tally) -> Iterator[dict[str, Any]]:
    """What the child says, as it comes; raises ``TimeoutError`` where it is silent for too long.

    Time for which it was ready to run and the machine ran others does not count.
    """
    assert process.stdout is not None  # noqa: S101 # it is a pipe
    waiting, limit = b"", _START_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        last, credit, before = time.monotonic(), 0.0, dict[str, float]()
        while True:
            if not selector.select(timeout=1.0):
                waited = kept_waiting(process.pid)
                credit += max((waited[thread] - before[thread] for thread in waited if thread in before), default=0.0)
                before = waited
                if time.monotonic() - last - credit > limit:
                    raise TimeoutError(f"not done after {limit:g} s")
                continue
            step = os.read(process.stdout.fileno(), 1 << 16)
            if not step:
                return
            *lines, waiting = (waiting + step).split(b"\n")
            for line in lines:
                event = json.loads(line)
                last, credit, before = time.monotonic(), 0.0, {}
                limit = _STUCK * kind.seconds if "begin" in event else _START_SECONDS  # between two it is our own work
                yield event


def kept_waiting(process: int) -> dict[str, float]:
    """Seconds for which each thread of a process and of those that it has started was ready to run, but did not run.

    By the thread's folder in /proc. One thread's count: of many that run at once, some always wait for the others.
    """
    parents: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            parents[int(place.parent.name)] = int(place.read_text().rpartition(")")[2].split()[1])
    family = [process]
    for each in family:
        family += [child for child, parent in parents.items() if parent == each]
    waited: dict[str, float] = {}
    for each in family:
        with contextlib.suppress(OSError):
            for thread in os.scandir(f"/proc/{each}/task"):
                waited[thread.path] = int(Path(thread.path, "schedstat").read_text().split()[1]) / 1e9
    return waited


def _count(kind: Kind, event: dict[str, Any], tally: Tally) -> None:
    tally.mutations += 1
    tally.seconds = max(tally.seconds, event["seconds"])
    tally.clock = max(tally.clock, event["clock"])
    tally.megabytes = max(tally.megabytes, event["megabytes"])
    found = list(map(tuple, event["findings"]))
    if event["seconds"] > kind.seconds:
        found.append(("time", f"over {kind.seconds:g} s"))
    if event["megabytes"] > kind.megabytes:
        found.append(("memory", f"over {kind.megabytes} MB"))
    tally.findings += [Finding(kind.name, event["end"], what, event["file"], detail) for what, detail in found]
    if event["reason"] is None:
        tally.accepted += 1
    else:
        tally.refused += 1
        tally.reasons[event["reason"]] = tally.reasons.get(event["reason"], 0) + 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the reading process is ended with it
    main()
