"""How much does `mpiqe serve` bear? 64 clients, hostile requests among them, for as long as asked for.

    python benchmarks/serve.py [--seconds 600] [--clients 64] [--hostile 0.1] [--photos 200] [--workers N] [--json FILE]

First and last `mpiqe score` scores the same photos (500 x 500, JPEG quality 90); its rate is from the first row to the
last. In between a server answers clients that each send one photo after the other: for a tenth of the time, 20 s at
least, good photos alone, of which rate, p50 and p99 are taken; then for the whole time good photos and hostile
requests: files of ``malformed.corpus``, bodies over the limit, broken forms and JSON, callers who go away, what is no
HTTP. Memory is the proportional set size of the server and its readers, once a second.

Exit status 1 if an answer was lost or another than `mpiqe score` gives, if memory grew by more than 5 % from the second
quarter of the time to the last, or if the server did not end with status 0. The rate is for the reader to judge: 90 %
of that of `mpiqe score` is the aim, and other work on the machine weighs on both.
"""

import argparse
import itertools
import json
import os
import platform
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from malformed import corpus
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MPIQE = [sys.executable, "-m", "mpiqe"]
MOST_BYTES = 4_000_000
GROWTH = 0.05
DIFFERENCE = 1e-4  # of the score's range, between a photo alone and in company


class Load:
    """Clients of one server, and what became of their requests."""

    def __init__(self, port: int, photos: dict[str, bytes], expected: dict[str, float], tolerance: float) -> None:
        self.port = port
        self.photos = list(photos.items())
        self.expected = expected
        self.tolerance = tolerance
        self.lock = threading.Lock()
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.hostile: Counter[str] = Counter()
        self.faults: list[str] = []

    def run(self, clients: int, seconds: float, *, hostile: float) -> float:
        """Let so many clients ask for so long; returns good photos a second."""
        self.seconds.clear()
        began = time.monotonic()
        threads = [
            threading.Thread(target=self._client, args=(number, began + seconds, hostile)) for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(self.seconds) / (time.monotonic() - began)

    def _client(self, number: int, end: float, hostile: float) -> None:
        generator = random.Random(number)  # noqa: S311
        files = HOSTILE_FILES[number % len(HOSTILE_FILES) :] + HOSTILE_FILES[: number % len(HOSTILE_FILES)]
        kinds = itertools.islice(itertools.cycle(KINDS), number, None)
        bad = itertools.cycle(files)
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            while time.monotonic() < end:
                try:
                    if generator.random() < hostile:
                        connection.close()  # the server would do so if this takes long
                        self._be_hostile(next(kinds), *next(bad))
                    else:
                        self._ask(connection, *generator.choice(self.photos))
                except (OSError, HTTPException, ValueError, KeyError) as error:
                    self._fault(f"{type(error).__name__}: {error}")
                    connection.close()

    def _ask(self, connection: HTTPConnection, name: str, content: bytes) -> None:
        while True:
            began = time.monotonic()
            connection.request("POST", "/score", content, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            value = json.loads(answer.read())
            spent = time.monotonic() - began
            with self.lock:
                self.statuses[answer.status] += 1
            if answer.status != 503:
                break
            time.sleep(float(answer.headers["Retry-After"]))
        if answer.status != 200 or abs(value["results"][0]["score"] - self.expected[name]) > self.tolerance:
            self._fault(f"{name}: {answer.status} {value}")
            return
        with self.lock:
            self.seconds.append(spent)

    def _be_hostile(self, kind: str, name: str, content: bytes) -> None:
        with self.lock:
            self.hostile[kind] += 1
        if kind in ("cut off", "gone", "garbage"):
            with closing(socket.create_connection(("127.0.0.1", self.port), timeout=60)) as plain:
                plain.sendall(_no_request(kind, content))
                if kind == "garbage":
                    plain.recv(1000)
            return
        body, headers, allowed = _request(kind, content)
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            connection.request("POST", "/score", body, headers)
            answer = connection.getresponse()
            value = json.loads(answer.read())
            with self.lock:
                self.statuses[answer.status] += 1
            if answer.status not in (*allowed, 503):
                self._fault(f"{kind} {name}: {answer.status} {value}")

    def _fault(self, text: str) -> None:
        with self.lock:
            self.faults.append(text)


KINDS = ("file", "file", "file", "file", "too large", "json", "form", "cut off", "gone", "garbage")
HOSTILE_FILES = [(name, content) for name, content in corpus() if len(content) < MOST_BYTES]


def _request(kind: str, content: bytes) -> tuple[bytes, dict[str, str], tuple[int, ...]]:
    """A body with its headers, and the statuses that answer it."""
    if kind == "file":
        return content, {"Content-Type": "image/jpeg"}, (200, 422)
    if kind == "too large":
        return bytes(MOST_BYTES + 1), {"Content-Type": "image/jpeg"}, (413,)
    if kind == "json":
        return b'{"images": [{"base64": "' + content[:5000] + b'"}', {"Content-Type": "application/json"}, (422,)
    return b"--b\r\n" + content, {"Content-Type": "multipart/form-data; boundary=b"}, (422,)


def _no_request(kind: str, content: bytes) -> bytes:
    """What is sent over a connection that is closed before there is an answer, or what is no HTTP."""
    if kind == "garbage":
        return b"\x16\x03\x01" + content[:100] + b"\r\n\r\n"
    head = f"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content) + (kind == 'cut off')}\r\n\r\n"
    return head.encode() + content


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--hostile", type=float, default=0.1, help="share of the requests")
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--workers", type=int, help="of both commands")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    options = ["--workers", str(asked.workers)] if asked.workers else []
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder), asked.photos)
        before, expected = score(Path(folder), options)
        server, port = start_server(options)
        model = read_json(port, "/model")
        load = Load(port, photos, expected, DIFFERENCE * (model["high"] - model["low"]))
        rate = load.run(asked.clients, max(20.0, asked.seconds / 10), hostile=0.0)
        times = sorted(load.seconds)
        samples: list[int] = []
        over = threading.Event()
        sampler = threading.Thread(target=sample, args=(server.pid, samples, over))
        sampler.start()
        mixed = load.run(asked.clients, asked.seconds, hostile=asked.hostile)
        over.set()
        sampler.join()
        server.send_signal(signal.SIGTERM)
        status = server.wait(120)
        after, _ = score(Path(folder), options)
    early, late = (statistics.median(part) for part in (quarter(samples, 1), quarter(samples, 3)))
    found = {
        "machine": f"{os.cpu_count()} processors, {platform.machine()}, load {os.getloadavg()[0]:.1f} at the end",
        "model": model["model"],
        "computes": model["computes"],
        "clients": asked.clients,
        "seconds": asked.seconds,
        "score_rates": [round(before, 2), round(after, 2)],
        "serve_rate": round(rate, 2),
        "serve_share_of_score": round(rate / statistics.mean((before, after)), 3),
        "p50": round(times[len(times) // 2], 3),
        "p99": round(times[int(len(times) * 0.99)], 3),
        "good_rate_among_hostile": round(mixed, 2),
        "statuses": dict(sorted(load.statuses.items())),
        "hostile": dict(load.hostile),
        "lost_or_wrong": len(load.faults),
        "memory_mb": [round(early / 1e6, 1), round(late / 1e6, 1), round(max(samples) / 1e6, 1)],
        "growth": round(late / early - 1, 4),
        "exit_status": status,
    }
    for name, value in found.items():
        print(f"{name}: {value}")
    print(*load.faults[:20], sep="\n")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(bool(load.faults) or found["growth"] > GROWTH or status != 0)


def make_photos(folder: Path, number: int) -> dict[str, bytes]:
    """Photos of 500 x 500 pixels in a folder, and their bytes by name."""
    sources = sorted(EXAMPLES.glob("*.jpg"))
    for index in range(number):
        with Image.open(sources[index % len(sources)]) as photo:
            made = photo.resize((500, 500)).rotate(index // len(sources))
        made.save(folder / f"{index:05}.jpg", quality=90)
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.jpg"))}


def score(folder: Path, options: list[str]) -> tuple[float, dict[str, float]]:
    """Photos a second of `mpiqe score`, and the scores by name."""
    command = [*MPIQE, "score", str(folder), "--format", "jsonl", *options]
    came, found = [], {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            row = json.loads(line)
            came.append(time.monotonic())
            found[Path(row["path"]).name] = row["score"]
    if process.returncode or len(came) < 2:
        sys.exit("mpiqe score failed")
    return (len(came) - 1) / (came[-1] - came[0]), found


def start_server(options: list[str]) -> tuple["subprocess.Popen[str]", int]:
    """A server on a free port, ready."""
    command = [*MPIQE, "serve", "--port", "0", "--max-bytes", str(MOST_BYTES), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    line = process.stderr.readline() if process.stderr else ""
    match = re.search(r":(\d+)$", line.strip())
    if not match:
        sys.exit(line)
    return process, int(match[1])


def read_json(port: int, path: str) -> dict[str, Any]:
    """What the server says of itself."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path)
        value: dict[str, Any] = json.loads(connection.getresponse().read())
        return value


def sample(pid: int, samples: list[int], over: threading.Event) -> None:
    """Bytes that a process and its children have in memory, once a second."""
    while not over.wait(1.0):
        samples.append(sum(map(resident, [pid, *children(pid)])))


def children(pid: int) -> list[int]:
    """The processes that it has started."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:  # the thread has ended
            continue
    return found


def resident(pid: int) -> int:
    """Bytes of a process, shared pages counted in part; 0 for one that has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:"))


def quarter(samples: list[int], number: int) -> list[int]:
    """The samples of a quarter of the time, from 0 to 3."""
    size = max(1, len(samples) // 4)
    return samples[number * size : (number + 1) * size]


if __name__ == "__main__":
    main()
