"""The fuzzer itself: it reads mutations with the real code, and notices whatever nothing from outside may do."""

import contextlib
import gc
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from benchmarks.fuzz import Tally, fuzz
from benchmarks.fuzz_kinds import KINDS, Kind
from benchmarks.fuzz_mutate import mutate

from benchmarks import fuzz as fuzz_module
from benchmarks import fuzz_child
from mpiqe.errors import ImageError
from mpiqe.sources import zip_archive
from mpiqe.sources.photo import Limits

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")


@pytest.mark.parametrize(
    "name",
    [
        "photos",
        "zips",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("formats", "archives", "arrow", "http", "labels")),
    ],
)
def test_a_few_mutations_of_each_kind_do_nothing_but_being_refused(name):
    tally = fuzz(KINDS[name], range(12), seed=1)
    assert tally.findings == []
    assert tally.mutations == tally.accepted + tally.refused == 12


@pytest.mark.parametrize(
    "name",
    [
        "archives",
        "zips",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("formats", "tables", "arrow", "checkpoints", "exported")
        ),
    ],
)
def test_every_file_that_is_changed_is_one_that_mpiqe_reads(name, tmp_path):
    kind = KINDS[name]
    for each, content in kind.make(tmp_path).items():
        path = tmp_path / "files" / each
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with kind.use(tmp_path) as use:
        for path in sorted((tmp_path / "files").rglob("*.*")):
            use(path)


def test_a_mutation_is_a_function_of_seed_and_number(tmp_path):
    files = {"a.json": json.dumps({"a": [1, 2, {"b": "c"}]}).encode(), "b.list": b"x\ny\n", "c.png": bytes(range(256))}
    for name, content in files.items():
        made = [
            [mutate(name, content, random.Random(number), others=files, canary=tmp_path) for number in range(50)]  # noqa: S311
            for _ in range(2)
        ]
        assert made[0] == made[1]
        assert len(set(made[0])) > 25


def test_mutations_of_zip_archives_move_members_beyond_what_a_file_can_have(tmp_path):
    """Such a member ended a run once: its place has 64 bits, and no more than 63 can be sought."""
    files, beyond = KINDS["zips"].make(tmp_path), 0
    for number in range(2000):
        changed = mutate("packed.zip", files["packed.zip"], random.Random(number), others=files, canary=tmp_path)  # noqa: S311
        with contextlib.suppress(zip_archive.DamagedError):
            members = list(zip_archive._members(io.BytesIO(changed)))
            beyond += any(each.offset >= 1 << 63 and not zip_archive._fault(each, Limits()) for each in members)
    assert beyond


def test_what_is_slow_to_read_is_a_twentieth_of_the_mutations():
    kind = Kind("made", KINDS["photos"].make, KINDS["photos"].use, slow=("large/",))
    files = {"a.txt": b"", "b.txt": b"", "large/a.txt": b"", "large/b.txt": b""}
    counts = Counter(fuzz_child._chosen(kind, files, random.Random(number)) for number in range(4000))  # noqa: S311
    assert set(counts) == set(files)
    assert 100 < counts["large/a.txt"] + counts["large/b.txt"] < 300


def read(monkeypatch, folder, use):
    """What the child says of five mutations that ``use`` is called with."""

    @contextmanager
    def using(_):
        yield use

    said = []
    kind = Kind("made", lambda _: {"a.txt": b"some text"}, using)
    monkeypatch.setattr(fuzz_child, "HARD_MEGABYTES", 1 << 20)
    monkeypatch.setattr(fuzz_child.resource, "setrlimit", lambda *_: None)  # this process lives on
    before = Path.cwd()
    with fuzz_child.ExitStack() as until_done:
        fuzz_child._read(kind, range(5), 0, folder, lambda line: said.append(json.loads(line)), until_done)
    assert Path.cwd() == before
    return [event for event in said if "end" in event]


def unless_sound(act):
    def use(path: Path):
        if path.read_bytes() != b"some text":
            act()

    return use


def fail(error):
    raise error


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda: fail(KeyError("x")), "traceback"),
        (lambda: fail(SystemExit(1)), "traceback"),
        (lambda: fail(MemoryError()), "memory"),
        (lambda: fail(ImageError("a.txt", "\x1b[2J")), "message"),
        (lambda: sys.audit("os.system", b"id"), "code"),
        (lambda: sys.audit("pickle.find_class", "os", "system"), "code"),
        (lambda: fail(ImageError("a.txt", "empty file")), None),
        (lambda: None, None),
    ],
)
def test_what_nothing_from_outside_may_do_is_noticed(monkeypatch, tmp_path, act, expected):
    events = read(monkeypatch, tmp_path, unless_sound(act))
    assert [event["end"] for event in events] == [0, 1, 2, 3, 4]
    for event in events:
        assert [what for what, _ in event["findings"]] == ([] if expected is None else [expected])


def test_memory_is_measured_mutation_by_mutation(monkeypatch, tmp_path):
    events = read(monkeypatch, tmp_path, unless_sound(lambda: len(b"x" * (50 << 20))))
    measured = [event["megabytes"] for event in events]
    assert all(45 < megabytes < 80 for megabytes in measured), measured


def test_memory_is_measured_where_malloc_keeps_free_memory_of_earlier_work(monkeypatch, tmp_path):
    len(b"x" * (31 << 20))  # from now on glibc takes blocks up to this size from its heap
    blocks = [b"x" * (20 << 20) for _ in range(5)]
    above = [bytearray(1000) for _ in range(3000)]  # as long as they are there the heap does not shrink
    del blocks
    events = read(monkeypatch, tmp_path, unless_sound(lambda: len(b"x" * (50 << 20))))
    measured = [event["megabytes"] for event in events]
    assert all(45 < megabytes < 80 for megabytes in measured), measured
    assert len(above) == 3000


@pytest.mark.slow
def test_garbage_of_earlier_work_is_not_freed_while_memory_is_measured(monkeypatch, tmp_path):
    def leave_garbage_behind():
        ring: list = [b"x" * (50 << 20)]
        ring.append(ring)

    def act():
        gc.collect()
        leave_garbage_behind()

    monkeypatch.setattr(gc, "freeze", lambda: None)
    leave_garbage_behind()
    events = read(monkeypatch, tmp_path, unless_sound(act))
    measured = [event["megabytes"] for event in events]
    assert all(45 < megabytes < 80 for megabytes in measured), measured


@pytest.mark.slow
def test_a_process_that_dies_costs_one_mutation_and_the_next_is_read(monkeypatch, tmp_path):
    """``fuzz`` starts a stand-in for the child, which dies of SIGSEGV at mutation 1 and hangs at 3."""
    child = tmp_path / "benchmarks" / "fuzz_child.py"
    child.parent.mkdir()
    child.write_text(
        "import json, os, signal, sys, time\n"
        "for number in range(int(sys.argv[2]), int(sys.argv[3])):\n"
        "    print(json.dumps({'begin': number, 'file': 'a'}), flush=True)\n"
        "    if number == 1:\n        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    if number == 3:\n        time.sleep(60)\n"
        "    end = {'end': number, 'file': 'a', 'reason': None, 'findings': [], 'seconds': 0, 'clock': 0,"
        "           'megabytes': 0}\n"
        "    print(json.dumps(end), flush=True)\n"
    )
    monkeypatch.setattr("benchmarks.fuzz.ROOT", tmp_path)
    tally = fuzz(Kind("made", KINDS["photos"].make, KINDS["photos"].use, seconds=0.3), range(6))
    assert [(each.number, each.what) for each in tally.findings] == [(1, "signal"), (3, "time")]
    assert tally.findings[0].detail == "died of SIGSEGV"
    assert (tally.mutations, tally.accepted) == (6, 4)


@pytest.mark.slow
def test_time_in_which_the_machine_runs_others_does_not_count(monkeypatch, tmp_path):
    """The stand-in for the child has a processor with three others that never pause: 1.2 s of its own take 4.8."""
    child = tmp_path / "benchmarks" / "fuzz_child.py"
    child.parent.mkdir()
    child.write_text(
        "import json, os, subprocess, sys, time\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "others = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(3)]\n"
        "time.sleep(1)\n"
        "print(json.dumps({'begin': 0, 'file': 'a'}), flush=True)\n"
        "began = time.process_time()\n"
        "while time.process_time() < began + 1.2: pass\n"
        "print(json.dumps({'end': 0, 'file': 'a', 'reason': None, 'findings': [], 'seconds': 0, 'clock': 0,"
        " 'megabytes': 0}), flush=True)\n"
        "for other in others: other.kill()\n"
    )
    monkeypatch.setattr(fuzz_module, "ROOT", tmp_path)
    tally = fuzz(Kind("made", KINDS["photos"].make, KINDS["photos"].use, seconds=0.45), range(1))
    assert (tally.mutations, tally.findings) == (1, [])


@pytest.mark.slow  # eight seconds
def test_a_hang_in_many_processes_is_found_although_they_wait_for_each_other(monkeypatch, tmp_path):
    child = tmp_path / "benchmarks" / "fuzz_child.py"
    child.parent.mkdir()
    child.write_text(
        "import json, os, subprocess, sys\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "others = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(3)]\n"
        "print(json.dumps({'begin': 0, 'file': 'a'}), flush=True)\n"
        "while True: pass\n"
    )
    monkeypatch.setattr(fuzz_module, "ROOT", tmp_path)
    tally = fuzz(Kind("made", KINDS["photos"].make, KINDS["photos"].use, seconds=0.45), range(1))
    assert [(each.number, each.what) for each in tally.findings] == [(0, "time")]


def test_a_run_that_was_stopped_goes_on_behind_what_its_file_has(monkeypatch, tmp_path, capsys):
    """The stand-in for the child refuses all it reads; the file of the first run is as a stopped one leaves it."""
    child = tmp_path / "benchmarks" / "fuzz_child.py"
    child.parent.mkdir()
    child.write_text(
        "import json, sys\n"
        "for number in range(int(sys.argv[2]), int(sys.argv[3])):\n"
        "    print(json.dumps({'begin': number, 'file': 'a'}), flush=True)\n"
        "    print(json.dumps({'end': number, 'file': 'a', 'reason': f'no {number}', 'findings': [], 'seconds': 1,"
        " 'clock': 1, 'megabytes': 0}), flush=True)\n"
    )
    monkeypatch.setattr(fuzz_module, "ROOT", tmp_path)
    monkeypatch.setattr(fuzz_module, "SAVE_SECONDS", -1.0)
    file = tmp_path / "fuzz.json"
    reasons = {f"no {number}": 1 for number in range(4)}
    stopped = Tally("photos", 4, 0, 4, count=6, following=4, took=50.0, reasons=reasons)
    file.write_text(json.dumps([asdict(stopped)]))
    saved = []

    def write(path: Path, text: bytes) -> None:
        saved.append(json.loads(text))
        path.write_bytes(text)

    monkeypatch.setattr(fuzz_module, "write_atomic", write)
    monkeypatch.setattr(sys, "argv", ["fuzz", "--count", "6", "--kinds", "photos", "--json", str(file), "--resume"])
    with pytest.raises(SystemExit) as ended:
        fuzz_module.main()
    assert ended.value.code == 0
    (tally,) = json.loads(file.read_text())
    assert (tally["mutations"], tally["refused"], tally["following"]) == (6, 6, 6)
    assert tally["reasons"] == {f"no {number}": 1 for number in range(6)}
    assert tally["took"] >= 50.0
    assert [(each["mutations"], each["following"]) for (each,) in saved] == [(5, 5), (6, 6), (6, 6)]
    assert "photos            6      0       6" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_is_terminated_saves_what_it_has_and_leaves_no_process_behind(tmp_path):
    """The stand-in for the child reads five mutations, and is at the sixth for as long as it lives."""
    root, told, file = Path(__file__).parents[2], tmp_path / "child", tmp_path / "fuzz.json"
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "fuzz.py").write_text((root / "benchmarks" / "fuzz.py").read_text())  # starts the child that is beside it
    (folder / "fuzz_child.py").write_text(
        "import array, fcntl, json, os, termios, time\n"
        "from pathlib import Path\n"
        "unread = array.array('i', [1])\n"
        "for number in range(6):\n"
        "    print(json.dumps({'begin': number, 'file': 'a'}), flush=True)\n"
        "    if number == 5:\n"
        "        while unread[0]:\n"
        "            fcntl.ioctl(1, termios.FIONREAD, unread)\n"
        "            time.sleep(0.05)\n"
        "        time.sleep(1)\n"  # what has been read is counted by now
        f"        Path({str(told) + '.part'!r}).write_text(str(os.getpid()))\n"
        f"        os.replace({str(told) + '.part'!r}, {str(told)!r})\n"
        "        time.sleep(600)\n"
        "    print(json.dumps({'end': number, 'file': 'a', 'reason': None, 'findings': [], 'seconds': 0, 'clock': 0,"
        " 'megabytes': 0}), flush=True)\n"
    )
    command = [sys.executable, "-m", "benchmarks.fuzz", "--count", "100000", "--kinds", "labels", "--json", str(file)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, root / "src", root)))}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not told.exists():
            time.sleep(0.05)
        assert process.poll() is None
        process.terminate()
        assert process.wait() == 128 + signal.SIGTERM
    (tally,) = json.loads(file.read_text())
    assert (tally["kind"], tally["mutations"], tally["accepted"], tally["following"]) == ("labels", 5, 5, 5)
    assert not Path(f"/proc/{told.read_text()}").exists()


@pytest.mark.slow
def test_a_process_that_is_slow_between_two_mutations_is_no_finding(monkeypatch, tmp_path):
    """The stand-in for the child waits twice as long as a mutation may take, before the second one."""
    child = tmp_path / "benchmarks" / "fuzz_child.py"
    child.parent.mkdir()
    child.write_text(
        "import json, time\n"
        "for number in range(2):\n"
        "    time.sleep(4 * number)\n"
        "    print(json.dumps({'begin': number, 'file': 'a'}), flush=True)\n"
        "    print(json.dumps({'end': number, 'file': 'a', 'reason': None, 'findings': [], 'seconds': 0, 'clock': 0,"
        " 'megabytes': 0}), flush=True)\n"
    )
    monkeypatch.setattr(fuzz_module, "ROOT", tmp_path)
    tally = fuzz(Kind("made", KINDS["photos"].make, KINDS["photos"].use, seconds=0.3), range(2))
    assert (tally.mutations, tally.findings) == (2, [])
