"""Move, copy and link files so that nothing is written over and a kill at any moment leaves every photo whole.

A move on one file system gives the file its new name first (a hard link, which fails where the name is taken) and takes
the old one away then. Between file systems the file is copied to a temporary name, flushed, read back and compared,
given its name, and only then removed from where it was.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import sys
import unicodedata

from mpiqe.regular_files import open_regular

_STEP = 1 << 20
_NO_LINKS = {
    errno.EXDEV,
    errno.EPERM,
    errno.EACCES,
    errno.EMLINK,
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
}


def move(source: str, target: str, temporary: str) -> None:
    """Move a file; ``temporary`` is a free name beside ``target`` for a copy, if one has to be made.

    Raises ``OSError``, ``FileExistsError`` where the target is another file, or the source itself by another path; the
    source is as it was then.
    """
    before = os.lstat(source)
    is_there = is_second_name(source, target)  # since a run that was killed, or for longer: it stays if this fails
    if not is_there and not _linked(source, target):
        copy(source, target, temporary)
        now = os.lstat(source)
        if (now.st_size, now.st_mtime_ns, now.st_ino) != (before.st_size, before.st_mtime_ns, before.st_ino):
            os.unlink(target)
            raise OSError(errno.EAGAIN, "it changed while it was copied")
    sync_folder(os.path.dirname(target))
    try:
        os.unlink(source)
    except OSError:
        if not is_there:
            os.unlink(target)  # the same file, or the copy that was just made of it
        raise
    sync_folder(os.path.dirname(source))


def add_name(file: str, name: str) -> None:
    """Give a file a second name. Raises ``OSError``, ``FileExistsError`` where that is taken."""
    os.link(file, name, follow_symlinks=False)
    sync_folder(os.path.dirname(name))


def copy(source: str, target: str, temporary: str) -> None:
    """Copy a file with its times, mode and extended attributes, and compare what the disk has with the source.

    Raises ``OSError``, ``FileExistsError`` where there is a target.
    """
    try:
        read = _copy_bytes(source, temporary)
        if digest_of(temporary) != read:
            raise OSError(errno.EIO, "the copy differs from what was read; nothing was removed")
        publish(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def is_second_name(one: str, other: str) -> bool:
    """Whether two paths are two names of one file, so that either may go and the file stays.

    Not so for one name that two paths lead to: a link among the folders, a folder mounted twice, a file system that
    ignores capitals.
    """
    try:
        about = os.lstat(one)
        return about.st_nlink > 1 and os.path.samestat(about, os.lstat(other)) and not _is_one_entry(one, other)
    except OSError:
        return False


def _is_one_entry(one: str, other: str) -> bool:
    (folder, name), (other_folder, other_name) = os.path.split(one), os.path.split(other)
    return folded(name) == folded(other_name) and os.path.samestat(os.stat(folder), os.stat(other_folder))


def folded(path: str) -> str:
    """A path as a file system compares it that ignores capitals."""
    return unicodedata.normalize("NFC", path).casefold()


def link(source: str, target: str) -> None:
    """Make a symbolic link; raises ``OSError``, ``FileExistsError`` where there is a target."""
    os.symlink(source, target)


def publish(temporary: str, target: str) -> None:
    """Give a finished file its name. Raises ``FileExistsError`` where that is taken."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # takes the name, or fails
        os.replace(temporary, target)
    else:
        os.unlink(temporary)
    sync_folder(os.path.dirname(target))


def digest_of(path: str) -> bytes:
    """BLAKE2b of a file's bytes, read from the disk where the system can drop its cached pages."""
    digest = hashlib.blake2b(digest_size=32)
    with open_regular(path) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while step := file.read(_STEP):
            digest.update(step)
    return digest.digest()


def same_content(one: str, other: str) -> bool:
    """Whether two files have the same bytes."""
    return os.path.getsize(one) == os.path.getsize(other) and digest_of(one) == digest_of(other)


def sync_folder(folder: str) -> None:
    """Flush a folder's entries to the disk, where the system has that."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems cannot
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _linked(source: str, target: str) -> bool:
    """Give the file a second name; ``False`` where that needs a copy."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


def _copy_bytes(source: str, temporary: str) -> bytes:
    """Copy what a file holds and how it is described; return the digest of what was read."""
    digest = hashlib.blake2b(digest_size=32)
    with open_regular(source) as file:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(descriptor, "wb") as copied:
            while step := file.read(_STEP):
                digest.update(step)
                copied.write(step)
            copied.flush()
            about = os.fstat(file.fileno())
            if hasattr(os, "chown"):
                with contextlib.suppress(OSError):  # only root may give files away
                    os.chown(temporary, about.st_uid, about.st_gid)
            shutil.copystat(source, temporary)
            os.fsync(copied.fileno())
    return digest.digest()
