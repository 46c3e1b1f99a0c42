"""Ctrl-C while ``mpiqe score`` waits for somebody else: a real process, real servers, stores that hang."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

PROGRAM = f"""
import asyncio, pathlib, runpy, threading
import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.memory import MemoryFileSystem

def hangs(where):
    pathlib.Path(__file__).with_suffix("." + where).touch()

class Slow(MemoryFileSystem):
    protocol = "slow"
    def info(self, path, **_):
        return {{"name": path, "size": 3, "type": "file"}}
    def isdir(self, path):
        return "." not in path
    def ls(self, *_, **__):
        hangs("slow")
        threading.Event().wait()
    def cat_file(self, *_, **__):
        hangs("slow")
        threading.Event().wait()
    open = cat_file

class Asynchronous(AsyncFileSystem):
    protocol = "asynchronous"
    async def _info(self, path, **_):
        return {{"name": path, "size": 3, "type": "file"}}
    async def _cat_file(self, *_, **__):
        hangs("asynchronous")
        await asyncio.sleep(1000)

fsspec.register_implementation("slow", Slow)
fsspec.register_implementation("asynchronous", Asynchronous)
runpy.run_path({str(Path(__file__).with_name("conftest.py"))!r}, run_name="__main__")
"""
SAYS = {
    "says nothing": b"",
    "says to come again": b"HTTP/1.0 503 Busy\r\nRetry-After: 30\r\n\r\n",
    "says a little at a time": b"HTTP/1.0 200 OK\r\n\r\n",
}

STORED = ("slow://a.jpg", "slow://folder", "slow://s.tar", "asynchronous://a.jpg")


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts the command with the stores from above."""
    monkeypatch.setenv("no_proxy", "*")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    started = []

    def run(*arguments):
        command = [sys.executable, str(program), "score", *arguments, "--format", "csv", "--batch-size", "1"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def interrupted(process):
    """What it had to say; it takes no longer than three seconds."""
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert time.monotonic() - began < 3
    assert process.returncode == 130
    assert err.count("\n") == 1
    assert err.startswith("mpiqe: interrupted")
    return out


@pytest.fixture
def server():
    """Takes connections and says to each what it was told to; ``asked`` counts them."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        held = []

        class Server:
            says = b""
            address = f"127.0.0.1:{listener.getsockname()[1]}"

            def asked(self):
                return len(held)

        server = Server()

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.sendall(server.says)
                held.append(connection)
                if b"503" in server.says:
                    connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=serve, daemon=True).start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)
        for connection in held:
            connection.close()


@pytest.mark.parametrize(
    ("says", "alone"),
    [
        *(pytest.param(says, True, marks=pytest.mark.slow, id=f"{says}, alone") for says in SAYS),
        pytest.param("says nothing", False, id="says nothing, among others"),
        *(pytest.param(s, False, marks=pytest.mark.slow, id=f"{s}, among others") for s in list(SAYS)[1:]),
    ],
)
def test_an_interrupt_waits_for_no_server(start, server, folder, says, alone):
    server.says = SAYS[says]
    others = [] if alone else [str(folder), f"http://{server.address}/y.jpg"]
    process = start(*others, f"http://{server.address}/x.jpg")
    wait_for(lambda: server.asked() >= (1 if alone else 2))
    time.sleep(0.2)  # it has seen by then what the server says
    interrupted(process)


def test_an_interrupt_waits_for_no_encryption(start, server):
    process = start(f"https://{server.address}/x.jpg", f"https://{server.address}/y.jpg")
    wait_for(server.asked)
    interrupted(process)


@pytest.mark.parametrize(
    ("path", "alone"),
    [
        *(pytest.param(path, True, marks=pytest.mark.slow, id=f"{path}, alone") for path in STORED[:-1]),
        pytest.param(STORED[-1], True, id=f"{STORED[-1]}, alone"),
        pytest.param(STORED[0], False, id=f"{STORED[0]}, among others"),
        *(pytest.param(path, False, marks=pytest.mark.slow, id=f"{path}, among others") for path in STORED[1:]),
    ],
)
def test_an_interrupt_waits_for_no_store(start, folder, tmp_path, path, alone):
    allowed = ["--allow-scheme", path.partition(":")[0]]
    process = start(*([] if alone else [str(folder)]), path, *allowed)
    wait_for((tmp_path / f"program.{path.partition(':')[0]}").exists)
    time.sleep(0.1)
    interrupted(process)


@pytest.mark.slow
def test_a_store_that_hangs_costs_its_row_and_does_not_keep_the_command_from_its_end(start, folder):
    photos = [str(folder / "a.png"), "slow://a.jpg", str(folder / "b.png")]
    process = start(*photos, "--timeout", "2", "--allow-scheme", "slow")
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err == "mpiqe: 1 of 3 photos could not be scored; their rows say why\n"
    assert "no answer within 2 s; raise --timeout if it only comes slowly" in out
    assert ",50.0," in out
    assert ",100.0," in out
