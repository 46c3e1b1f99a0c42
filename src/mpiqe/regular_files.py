"""Opening files of this machine: regular ones only, so that no pipe is waited for and no device read without end."""

import errno
import os
import stat
from typing import IO

_STEP = 1 << 20  # bytes
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)


def open_regular(path: str) -> IO[bytes]:
    """Open a file to read its bytes; raises ``OSError`` for what is no regular file, at once even for a pipe."""
    descriptor = os.open(path, _FLAGS)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str, most: int) -> bytes:
    """A file's bytes, at most ``most`` and one of them; raises as ``open_regular`` does."""
    content = bytearray()
    with open_regular(path) as file:
        while step := file.read(min(_STEP, most + 1 - len(content))):
            content += step
    return bytes(content)
