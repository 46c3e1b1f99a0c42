import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from benchmarks.malformed import slow_jpeg
from PIL import Image
from tests.processes import lives, readers_of, seconds_of

from mpiqe.errors import ConfigError, ImageError
from mpiqe.isolation import pool, process, protocol
from mpiqe.isolation.pool import Readers
from mpiqe.isolation.process import Cutting, Reader
from mpiqe.isolation.protocol import Buffers
from mpiqe.sources import http
from mpiqe.sources.photo import Limits, Photo

CUTTING = Cutting(size=32, count=8, mode="seeded", seed=0, max_pixels=200_000_000)
linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes in /proc")


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
    return condition()


BEYOND_STARTING = 0.8
"""Seconds of a processor: a process that has used them has started, and works on what takes far longer than others."""


def until_busy(pid):
    """Wait until a process that has read a photo is at work on one that takes far longer."""
    before = seconds_of(pid)
    until(lambda: seconds_of(pid) >= before + 0.1, seconds=60)


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    if Path("/proc/self/task").is_dir():
        assert not readers_of()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("mpiqe")]


@pytest.fixture
def slow(tmp_path):
    """A small file that keeps a decoder busy for half a minute."""
    path = tmp_path / "slow.jpg"
    path.write_bytes(slow_jpeg(scans=30_000))
    return str(path)


@pytest.fixture
def at_start(monkeypatch):
    """Has every reader process do something before it begins."""
    boot = process.BOOT

    def insert(*lines):
        before, from_, rest = boot.partition("from mpiqe.isolation")
        monkeypatch.setattr(process, "BOOT", "; ".join([before.rstrip("; "), *lines, from_ + rest]))

    return insert


def fetched(name, content):
    """A photo that comes from elsewhere."""

    def fetch():
        if content is None:
            raise ImageError(None, "404 Not Found")
        return content

    return Photo(name, fetch)


@linux
def test_rows_are_read_in_other_processes_and_score_as_in_this_one(make_scorer, photos):
    scorer = make_scorer(workers=2, batch_size=2)
    with closing(scorer.rows(photos)) as rows:
        first = next(rows)
        assert 1 <= len(readers_of()) <= 2
        found = [first, *rows]
    assert [row.score for row in found] == scorer(photos)
    assert [row.score for row in make_scorer(isolate=False).rows(photos)] == scorer(photos)


@linux
def test_no_more_processes_are_started_than_there_are_photos(make_scorer, photos):
    started = set()
    for _ in make_scorer(workers=16, batch_size=1).rows(photos[:3]):
        started |= readers_of()
    assert 1 <= len(started) <= 3


@linux
def test_a_single_photo_and_a_call_are_read_in_this_process(make_scorer, photos, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    [row] = make_scorer().rows(photos[:1])
    assert row.score == make_scorer()(photos[0])
    assert list(make_scorer().rows([])) == []
    with pytest.raises(TypeError):
        list(make_scorer().rows(photos[:2]))


@linux
@pytest.mark.parametrize(
    "kind", [signal.SIGSEGV, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGKILL, signal.SIGTERM))]
)
def test_a_reader_that_dies_costs_one_row_which_names_the_signal(make_scorer, photos, slow, kind):
    scorer = make_scorer(workers=1, batch_size=1)
    alone = scorer(photos)
    with closing(scorer.rows([*photos[:3], slow, *photos[3:]])) as rows:
        found = [next(rows)]
        [child] = readers_of()
        until_busy(child)  # with the slow one, which is not in the first two batches
        os.kill(child, kind)
        found += rows
    assert found[3].error.startswith(f"the process that read it died of {kind.name}")
    assert [row.score for row in found if row.score] == alone


@linux
def test_a_reader_that_hangs_costs_one_row_which_says_how_long(make_scorer, photos, slow):
    scorer = make_scorer(workers=1, batch_size=1, read_timeout=3)
    with closing(scorer.rows([*photos[:3], slow, *photos[3:]])) as rows:
        found = [next(rows)]
        [child] = readers_of()
        until_busy(child)
        os.kill(child, signal.SIGSTOP)
        found += rows
    assert found[3].error == "took longer than 3 s to read; raise read_timeout (--timeout) if it only comes slowly"
    assert [row.score for row in found if row.score] == scorer(photos)
    assert not lives(child)


def test_a_file_that_keeps_a_decoder_busy_costs_one_row(make_scorer, photos, slow):
    started = time.monotonic()
    rows = list(make_scorer(workers=2, read_timeout=1).rows([*photos[:5], slow, *photos[5:]]))
    assert time.monotonic() - started < 10
    assert [i for i, row in enumerate(rows) if row.error] == [5]
    assert rows[5].error.startswith("took longer than 1 s")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no alarms")
def test_a_reader_without_a_parent_to_end_it_ends_itself(slow, monkeypatch):
    monkeypatch.setattr(process, "GRACE", 0.0)
    alone = Reader(timeout=0.5)  # nobody calls its tick
    alone.wait_until_ready()
    with pytest.raises(ImageError, match=r"took longer than 0\.5 s"):
        alone.read("path", os.fsencode(slow), CUTTING, threading.Lock(), Buffers(CUTTING.crops_bytes))
    assert not alone.alive


@pytest.mark.slow
@linux
def test_a_parent_that_is_killed_leaves_no_readers(slow):
    code = f"""
from mpiqe.isolation.pool import Readers
from mpiqe.isolation.protocol import Buffers
from mpiqe.isolation.process import Cutting
from mpiqe.view import View
import threading, time
readers = Readers(cutting=Cutting(**{CUTTING.__dict__}), timeout=60)
for _ in range(2):
    threading.Thread(target=readers.read, args=[{slow!r}]).start()
time.sleep(100)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    found = until(lambda: len(now := readers_of(parent.pid)) == 2 and now)
    until(lambda: all(seconds_of(pid) > BEYOND_STARTING for pid in found), seconds=60)
    parent.kill()
    parent.wait()
    until(lambda: not any(map(lives, found)), seconds=5)


@linux
def test_idle_readers_end_with_their_parent_even_if_a_pipe_stays_open(photos):
    code = f"""
import json, os, time
from mpiqe.isolation.pool import Readers
from mpiqe.isolation.protocol import Buffers
from mpiqe.isolation.process import Cutting
from mpiqe.view import View
readers = Readers(cutting=Cutting(**{CUTTING.__dict__}), timeout=60)
readers.read({photos[0]!r})
fork = os.fork()  # inherits the pipes, as multiprocessing's children do
if fork == 0:
    time.sleep(10)
    os._exit(0)
print(json.dumps(fork), flush=True)
time.sleep(100)
"""
    parent = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE)
    fork = json.loads(parent.stdout.readline())
    [child] = readers_of(parent.pid) - {fork}
    parent.kill()
    parent.wait()
    parent.stdout.close()
    try:
        until(lambda: not lives(child), seconds=5)
    finally:
        os.kill(fork, signal.SIGKILL)


@linux
def test_closing_the_rows_waits_for_no_photo(make_scorer, photos, slow):
    rows = make_scorer(workers=2, batch_size=1).rows([*photos[:3], *[slow] * 5])
    next(rows)
    started = time.monotonic()
    rows.close()
    assert time.monotonic() - started < 3
    assert not readers_of()


@pytest.mark.parametrize("isolate", [pytest.param(False, marks=pytest.mark.slow), True])
def test_closing_the_rows_waits_for_no_server(make_scorer, photos, isolate, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.jpg"
        hangs = http.photo(url, Limits(timeout=60))
        rows = make_scorer(workers=2, batch_size=1, isolate=isolate).rows([*photos[:5], *[hangs] * 5])
        next(rows)
        silent.accept()[0].close()  # it is tried again
        started = time.monotonic()
        rows.close()
        assert time.monotonic() - started < 3
        until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("fetch for mpiqe")], 3)


@pytest.mark.slow
@linux
@pytest.mark.parametrize("group", [False, True], ids=["kill -INT", "Ctrl-C"])
def test_an_interrupt_ends_the_command_and_its_readers_at_once(photos, slow, group):
    program = str(Path(__file__).parents[1] / "cli" / "conftest.py")
    process = subprocess.Popen(
        [sys.executable, program, "score", *photos, slow, slow, "--format", "csv", "--batch-size", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    process.stdout.readline()
    found = until(lambda: readers_of(process.pid))
    until(lambda: any(seconds_of(pid) > BEYOND_STARTING for pid in found), seconds=60)
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    try:
        _, err = process.communicate(timeout=5)
    finally:
        process.kill()
        process.communicate()
    assert err.startswith(b"mpiqe: interrupted, ")
    assert err.count(b"\n") == 1
    assert process.returncode == 130
    until(lambda: not any(map(lives, found)), seconds=3)


def test_readers_that_cannot_be_started_are_told_once(make_scorer, photos, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ConfigError, match=r"cannot start a process that reads photos: .*No such file.*isolate=False"):
        list(make_scorer().rows(photos))


def test_what_a_reader_says_when_it_cannot_start_is_told(make_scorer, photos, monkeypatch):
    monkeypatch.setattr(process, "BOOT", "import nothing_of_that_name")
    with pytest.raises(ConfigError, match="No module named 'nothing_of_that_name'"):
        list(make_scorer().rows(photos))


def test_starting_is_tried_again_once_it_has_worked(photos, monkeypatch):
    monkeypatch.setattr(pool, "PAUSE", 0.01)
    start, failures = process.start_apart, iter([False, True, True])

    def started(child, *, timeout):
        if next(failures, False):
            raise OSError("resource temporarily unavailable")
        return start(child, timeout=timeout)

    monkeypatch.setattr(process, "start_apart", started)
    with closing(Readers(cutting=CUTTING, timeout=60)) as readers:
        first = readers.read(photos[3])
        for one in readers._all:
            one.kill()
        with pytest.raises(ImageError, match="died of"):
            readers.read(photos[3])
        np.testing.assert_array_equal(readers.read(photos[3])[0], first[0])


def test_an_answer_without_meaning_costs_its_row_and_no_signal_is_blamed(make_scorer, photos, monkeypatch):
    monkeypatch.setattr(process, "LAST_SECONDS", 0.1)
    at_once = iter([False, True])  # the second photo's

    def receive(pipe, *, most, buffers=None):
        header, crops = protocol.receive(pipe, most=most, buffers=buffers)
        return ({"widht": 1} if "width" in header and next(at_once, False) else header), crops

    monkeypatch.setattr(process, "receive", receive)
    rows = list(make_scorer(workers=1).rows(photos[:3]))
    assert [row.error for row in rows] == [None, "the process that read it gave an answer without meaning", None]


def test_readers_have_one_limit_of_pixels_and_not_that_of_pillow_too(make_scorer, photos, tmp_path, at_start):
    webp = tmp_path / "a.webp"
    with Image.open(photos[0]) as photo:
        photo.save(webp)
    at_start("from PIL import Image; Image.MAX_IMAGE_PIXELS = 10")
    assert [row.error for row in make_scorer().rows([str(webp)] * 2)] == [None, None]


def test_what_libraries_print_does_not_reach_the_answers(photos, at_start, capfd):
    at_start(
        "import os; from mpiqe import images; quiet = images.crop_positions",
        "images.crop_positions = lambda *a, **k: (os.write(1, b'x'), os.write(2, b'y'), quiet(*a, **k))[2]",
    )
    with closing(Readers(cutting=CUTTING, timeout=60)) as readers:
        assert readers.read(photos[3])[0].shape == (8, 32, 32, 3)
    assert capfd.readouterr() == ("", "")


def test_fetched_photos_score_as_files_do_and_fail_by_name(make_scorer, photos):
    contents = [Path(path).read_bytes() for path in photos]
    sources = [fetched(f"s3://{i}", content) for i, content in enumerate(contents)]
    sources[3:3] = [fetched("gone", None), fetched("broken", contents[0][:60]), photos[0]]
    for isolate in (True, False):
        scorer = make_scorer(isolate=isolate)
        rows = list(scorer.rows(sources))
        assert [row.path for row in rows][2:7] == ["s3://2", "gone", "broken", photos[0], "s3://3"]
        assert rows[3].error == "404 Not Found"
        assert rows[4].error.startswith("cannot be decoded")
        assert [row.score for row in rows if row.score] == scorer([*photos[:3], photos[0], *photos[3:]])


def test_photos_in_memory_keep_their_place_among_files(make_scorer, photos):
    image = Image.open(photos[4]).convert("RGB")
    rows = list(make_scorer(batch_size=2).rows([photos[0], image, np.asarray(image), Path(photos[4]).read_bytes()]))
    assert [row.path == photos[0] for row in rows] == [True, False, False, False]
    assert rows[1].score == rows[2].score == rows[3].score != rows[0].score


def test_a_relative_path_is_the_parents(make_scorer, photos, monkeypatch, tmp_path):
    names = [Path(path).name for path in photos]
    scorer = make_scorer(workers=1, batch_size=1)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with closing(Readers(cutting=CUTTING, timeout=60)) as readers:
        with pytest.raises(ImageError, match=rf"^{names[0]}: No such file"):
            readers.read(names[0])
        monkeypatch.chdir(tmp_path)
        readers.read(names[0])
    assert [row.score for row in scorer.rows(names)] == scorer(photos)


def test_errors_read_the_same_from_either_side(make_scorer, photos, tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "cut.png").write_bytes(Path(photos[0]).read_bytes()[:100])
    Image.new("RGB", (9000, 1)).save(tmp_path / "strip.png")
    bad = [str(tmp_path / name) for name in ("empty.jpg", "text.png", "cut.png", "strip.png", "none.gif")]
    bad += ["", "nul\0.jpg"]
    apart, here = ([row.error for row in make_scorer(isolate=i, max_pixels=10**6).rows(bad)] for i in (True, False))
    assert apart == here
    assert all(apart)


def test_memory_is_used_again_when_its_array_and_all_views_of_it_are_gone():
    buffers = Buffers(6)
    first, second = buffers.take(), buffers.take()
    first[:], second[:] = 1, 2
    view = first.reshape(2, 3)[1]
    del first
    third = buffers.take()
    third[:] = 3
    assert view.tolist() == [1, 1, 1]
    del view
    fourth = buffers.take()
    assert fourth.tolist() == [1] * 6
    assert second.tolist() == [2] * 6


@linux
def test_a_file_that_needs_too_much_memory_costs_its_row(make_scorer, photos, tmp_path, at_start):
    at_start("from mpiqe.isolation import image_child as c; c.HEADROOM = 16 << 20; c.BYTES_PER_PIXEL = 0")
    large = tmp_path / "large.png"
    Image.new("RGB", (3000, 3000)).save(large)
    rows = list(make_scorer(workers=1).rows([photos[0], str(large), photos[1]]))
    assert rows[1].error == "needs more memory than the 16 MB that a photo of its size may take"
    assert rows[0].score
    assert rows[2].score


@linux
def test_large_photos_are_decoded_one_at_a_time(make_scorer, tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    Image.new("L", (5000, 4100)).save(path, compress_level=1)
    at_once, most = 0, 0

    class Leave:
        def __init__(self):
            self.lock = threading.Lock()

        def __enter__(self):
            nonlocal at_once, most
            self.lock.acquire()
            at_once += 1
            most = max(most, at_once)

        def __exit__(self, *_):
            nonlocal at_once
            at_once -= 1
            self.lock.release()

    entered = []
    original = Readers.__init__

    def initialise(self, **options):
        original(self, **options)
        self._leave = Leave()
        entered.append(self._leave)

    monkeypatch.setattr(Readers, "__init__", initialise)
    rows = list(make_scorer(workers=3).rows([str(path)] * 6))
    assert all(row.score == rows[0].score for row in rows)
    assert rows[0].score
    assert most == 1


def test_no_module_of_the_working_directory_is_run(make_scorer, photos, tmp_path, monkeypatch):
    trap = tmp_path / "downloaded"
    trap.mkdir()
    for name in ("keyword.py", "typing.py", "numpy.py"):
        (trap / name).write_text(f"open({str(tmp_path / 'caught')!r}, 'w').close()\nraise SystemExit\n")
    monkeypatch.chdir(trap)
    assert all(row.score for row in make_scorer().rows(photos))
    assert not (tmp_path / "caught").exists()
