"""Processes apart that are forks, for ``benchmarks.fuzz``: starting Python and its libraries takes a second each time.

A process that has the libraries loaded forks for each process that ``mpiqe`` would start; the fork runs the same
``main`` with the same pipes and the same bounds. Thousands of tables and label files that end theirs are read so.

python -m benchmarks.fuzz_forks SOCKET    # what forks; started by ``forked``
"""

import importlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

_STEP = 0.002  # seconds between two looks at whether a fork has ended
_LOADED = ("mpiqe.isolation.image_child", "mpiqe.isolation.table_child", "mpiqe.data.label_child")
_LIBRARIES = ("scipy.io", "openpyxl", "xlrd")


def main(number: int) -> None:
    """Fork, and say how forks ended, until nobody asks any more."""
    for name in (*_LOADED, *_LIBRARIES):
        importlib.import_module(name)
    asked = socket.socket(fileno=number)
    asked.sendall(b"ready\n")
    while True:
        request, pipes, _, _ = socket.recv_fds(asked, 1 << 16, 3)
        if not request:
            return
        wanted = json.loads(request)
        if "wait" in wanted:
            answer = _ended(wanted["wait"])
        else:
            answer = os.fork()
            if answer == 0:
                asked.close()
                _become(wanted["module"], wanted["arguments"], pipes)
            for pipe in pipes:
                os.close(pipe)
        asked.sendall(json.dumps(answer).encode() + b"\n")


def _ended(process: int) -> int | None:
    pid, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def _become(module: str, arguments: list[Any], pipes: list[int]) -> None:
    """A process apart, to its end."""
    status = 1
    try:
        os.setsid()
        for number, pipe in enumerate(pipes):
            os.dup2(pipe, number)
            os.close(pipe)
        run = importlib.import_module(module).main
        if module.startswith("mpiqe.isolation."):
            arguments = [os.getppid(), arguments[0]]
        run(*arguments)
        sys.stdout.flush()
        status = 0
    finally:
        os._exit(status)


class _Fork:
    """As much of ``subprocess.Popen`` as mpiqe uses."""

    def __init__(self, forker: "_Forker", module: str, arguments: list[Any], pipes: list[int]) -> None:
        self.returncode: int | None = None
        self.stdin: Any = None
        self.stdout: Any = None
        self.stderr: Any = None
        self._forker = forker
        self.pid = int(forker.ask({"module": module, "arguments": arguments}, pipes))

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._forker.ask({"wait": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        last = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if last is not None and time.monotonic() > last:
                raise subprocess.TimeoutExpired("fork", timeout or 0)
            time.sleep(_STEP)
        return int(self.returncode or 0)

    def kill(self) -> None:
        if self.returncode is None:  # until it is waited for its number is no other's
            os.kill(self.pid, signal.SIGKILL)


class _Forker:
    """The end of the socket at which forks are asked for."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._answers = end.makefile("r")
        self._lock = threading.Lock()
        self._answers.readline()

    def ask(self, request: dict[str, Any], pipes: list[int] | None = None) -> Any:
        with self._lock:
            socket.send_fds(self._end, [json.dumps(request).encode()], pipes or [])
            return json.loads(self._answers.readline())

    def close(self) -> None:
        """With it the forking process ends."""
        self._answers.close()

    def start_apart(self, child: str, *, timeout: float, **_: str) -> _Fork:
        """As ``mpiqe.isolation.process.start_apart``."""
        from mpiqe.isolation.process import GRACE, widen

        ours: list[int] = []
        theirs: list[int] = []
        for number in range(3):
            read, write = os.pipe()
            theirs.append(read if number == 0 else write)
            ours.append(write if number == 0 else read)
        fork = _Fork(self, f"mpiqe.isolation.{child}", [timeout + GRACE], theirs)
        for pipe in theirs:
            os.close(pipe)
        fork.stdin, fork.stdout = io.FileIO(ours[0], "w"), io.FileIO(ours[1], "r")
        fork.stderr = io.FileIO(ours[2], "r")
        widen(fork.stdin)
        widen(fork.stdout)
        return fork

    def run(self, command: list[str], *, stdout: Any, timeout: float, **_: Any) -> SimpleNamespace:
        """As ``subprocess.run`` of the command of ``mpiqe.data.label_process``."""
        nothing = os.open(os.devnull, os.O_RDWR)
        fork = _Fork(self, "mpiqe.data.label_child", command[4:6], [nothing, stdout.fileno(), nothing])
        os.close(nothing)
        try:
            return SimpleNamespace(returncode=fork.wait(timeout))
        except subprocess.TimeoutExpired:
            fork.kill()
            fork.wait()
            raise


@contextmanager
def forked() -> Generator[None, None, None]:
    """All that mpiqe reads apart is read in forks of one process."""
    from mpiqe.data import label_process
    from mpiqe.isolation import process, table_process

    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "benchmarks.fuzz_forks", str(theirs.fileno())]
    environment = {**os.environ, **process.ONE_THREAD, "ARROW_DEFAULT_MEMORY_POOL": "system"}
    with subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment):
        theirs.close()
        with ours:
            forker = _Forker(ours)
            kept = process.start_apart, table_process.start_apart, label_process.subprocess
            instead = SimpleNamespace(**{**vars(subprocess), "run": forker.run})
            process.start_apart = table_process.start_apart = forker.start_apart  # type: ignore[assignment]
            label_process.subprocess = instead  # type: ignore[assignment]
            try:
                yield
            finally:
                process.start_apart, table_process.start_apart, label_process.subprocess = kept
                forker.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
