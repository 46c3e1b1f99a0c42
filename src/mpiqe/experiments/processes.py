"""A pool of processes that end with their parent, and a lock for a folder."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TypeVar

import torch

from mpiqe.errors import ConfigError

LOCK = ".lock"
_WATCH_SECONDS = 0.5
T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold ``folder`` against other processes; ``ConfigError`` if one holds it. A lock goes with its process."""
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"another process is at work in {folder}; wait for it, or name another folder") from error
        yield


def in_processes(work: Callable[[T], R], items: Sequence[T], *, jobs: int) -> Iterator[R]:
    """``work`` of every item in the order that they end, ``jobs`` at a time, each process with its share of the cores.

    No more than ``jobs`` items are ever handed out, so that an interruption costs these alone. Whatever ends this
    process or this loop ends the others. Raises ``ConfigError`` if one of them is killed.
    """
    context = get_context("spawn")
    stop = context.Event()
    share = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(stop, share))
    waiting, ahead = set[Future[R]](), iter(items)
    try:
        for item in ahead:
            waiting.add(pool.submit(work, item))
            if len(waiting) == jobs:
                ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield future.result()
        while waiting:
            ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ended:
                yield future.result()
    except BrokenProcessPool as error:
        raise ConfigError(
            f"one of the {jobs} processes was killed from outside, for want of memory perhaps: try fewer --jobs; "
            "what is done stays, and the same command goes on"
        ) from error
    finally:
        if waiting:
            stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(stop: Event, threads: int) -> None:
    """In a new process: its share of the cores, and a thread that ends it with its parent or when told to.

    Ctrl-C reaches every process of a terminal; here it is the parent that decides.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel, stop), daemon=True).start()


def _watch(parent: int, stop: Event) -> None:
    while not connection.wait([parent], timeout=_WATCH_SECONDS) and not stop.is_set():
        pass
    os._exit(1)
