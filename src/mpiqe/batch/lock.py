"""Lock an output, so that only one job writes it at a time."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from mpiqe.errors import ConfigError

_FAR = 1 << 30  # on Windows nobody can read what is locked, so a byte is locked beyond what is written
_TRIES = 100


@contextlib.contextmanager
def alone(output: Path) -> Iterator[None]:
    """Lock ``output`` while the context lasts.

    The system's own lock is held on a file beside it (``lock_file``), which is removed in the end. The lock is gone
    with the process, whatever ends that: a run that is killed locks nobody out. It leaves the file, which the next run
    takes over. The output itself cannot be what is locked, since it and its settings are replaced on the way.

    Where a file system has no locks, NFS without their service say, the run goes on without: a lock is a courtesy to
    who starts a second run by mistake, and no reason not to do the first. Raises ``ConfigError`` where another run has
    it, or the file cannot be made.
    """
    path = lock_file(output)
    held = _taken(path, output)
    try:
        yield
    finally:
        if held is not None:
            _let_go(held, path)


def lock_file(output: Path) -> Path:
    """Return the file that is locked, beside the output itself also if that is named by a link."""
    output = Path(os.path.realpath(output))
    return output.with_name(f"{output.name}.run.lock")


def _taken(path: Path, output: Path) -> int | None:
    """The open and locked file; ``None`` where there are no locks."""
    for _ in range(_TRIES):
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise _unwritable(output, path, error) from error
        try:
            _lock(file)
        except (BlockingIOError, PermissionError) as error:
            by = os.read(file, 1000).decode(errors="replace")
            os.close(file)
            raise ConfigError(
                f"{output} is being written by another run{by and f' ({by})'}; wait for its end, or name another "
                "--output"
            ) from error
        except OSError:  # no locks here
            _let_go(file, path)
            return None
        if _is_at(file, path):
            try:
                os.ftruncate(file, 0)
                os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
            except OSError as error:  # a full disk
                _let_go(file, path)
                raise _unwritable(output, path, error) from error
            return file
        os.close(file)  # the run that had it removed it between our two steps
    return None  # a file system that gives one file two numbers: nothing tells whether a lock on it holds


def _unwritable(output: Path, path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"cannot write to {output}: {error.strerror} ({path.name} beside it); name another --output")


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(file, 0, os.SEEK_SET)

    def _let_go(file: int, path: Path) -> None:
        os.close(file)  # first: an open file cannot be removed
        with contextlib.suppress(OSError):  # another run has opened it already, and will remove it
            path.unlink(missing_ok=True)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _let_go(file: int, path: Path) -> None:
        with contextlib.suppress(OSError):  # left behind, it keeps nobody out
            path.unlink(missing_ok=True)  # while it is locked: who has opened it sees that it is gone
        os.close(file)
