"""Decoded photos in temporary files, for training that cuts crops of the same photos again and again.

The files are mapped, so processes share them through the system's page cache, whatever the size of shared memory.
"""

import contextlib
import os
import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np

from mpiqe import images
from mpiqe.images import Pixels
from mpiqe.view import View

_PREFIX = "mpiqe-photo-cache-"
_UNLOCKED = "mpiqe-new-photo-cache-"  # until it is locked: another process that begins now would take it for abandoned
_SHARE = 0.5  # of the folder's free space and of the memory that is free


class PhotoCache:
    """What crops are cut from, decoded once for all processes; a photo that no longer fits is decoded each time.

    ``room``: bytes in all. Each of ``writers`` processes may fill its share, so that they need not talk. The folder is
    a new one among the system's temporary files, or in ``beside``, and goes when the cache does. That of a process
    which was killed stays until the next cache is made there.
    """

    def __init__(self, *, room: int, writers: int = 1, beside: Path | None = None) -> None:
        for left in Path(beside or tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            _remove_abandoned(left)
        made = Path(tempfile.mkdtemp(prefix=_UNLOCKED, dir=beside))
        lock = _locked(made)
        self.folder = made.rename(made.with_name(made.name.replace(_UNLOCKED, _PREFIX)))
        weakref.finalize(self, _remove, self.folder, os.getpid(), lock)
        self._room = room // max(1, writers)

    def canvas(self, index: int, image: Path | str, *, size: int, view: View) -> Pixels:
        """The photo as ``read_crops`` cuts crops of ``size`` from it, (H, W, 3) uint8; ``index`` names it here.

        Raises ``ImageError``.
        """
        file = self.folder / f"{index}.npy"
        if file.exists():
            kept: Pixels = np.load(file, mmap_mode="r", allow_pickle=False)
            return kept
        pixels = np.asarray(images.read_canvas(image, size=size, view=view)[1])
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            part = self.folder / f"{index}.{os.getpid()}.part"
            try:
                with part.open("wb") as stream:
                    np.save(stream, pixels, allow_pickle=False)
                part.replace(file)  # two processes may write the same photo: the bytes are the same too
            except OSError:  # a disk that somebody else has filled: nothing is lost but time
                part.unlink(missing_ok=True)
                self._room = 0
        return pixels


def room_for_photos(*, free: int) -> int:
    """Bytes that decoded photos may take among the temporary files of a machine with ``free`` bytes of memory."""
    return int(_SHARE * min(shutil.disk_usage(tempfile.gettempdir()).free, free))


def _locked(folder: Path) -> int | None:
    """A descriptor that holds ``folder`` for this process and those that it forks, whatever ends them.

    ``None`` where another process holds it, or where there are no such locks: on Windows, on some network file systems.
    """
    try:
        import fcntl
    except ImportError:
        return None
    descriptor = None
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor


def _remove_abandoned(folder: Path) -> None:
    """Remove a cache of this user's that no process holds any more."""
    with contextlib.suppress(OSError, AttributeError):  # gone meanwhile; Windows has no user ids
        if folder.lstat().st_uid != os.getuid():
            return
        descriptor = _locked(folder)
        if descriptor is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


def _remove(folder: Path, owner: int, lock: int | None) -> None:
    """Not in a forked process, which has a copy of the cache: the files are its parent's."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)
