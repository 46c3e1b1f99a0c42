"""Images in object stores, through fsspec: s3://, gs://, az:// and further schemes that the user allows."""

import errno
import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, TypeVar, cast

from mpiqe.errors import ConfigError, ImageError
from mpiqe.extras import needing
from mpiqe.regular_files import open_regular, read_regular
from mpiqe.sources import passed_over, timeouts
from mpiqe.sources.kinds import is_archive, is_table
from mpiqe.sources.local import is_image
from mpiqe.sources.passed_over import PassedOver
from mpiqe.sources.patterns import Entry, is_wild, match, names_a_suffix, split_wild
from mpiqe.sources.photo import Limits, Photo, too_large, unreadable
from mpiqe.sources.urls import addressed, host_of, last_name, scheme, shown

Result = TypeVar("Result")
Archive = TypeVar("Archive")

LISTING = 10  # times as long as a photo: a folder of a million objects is listed in a thousand answers
_AHEAD = 1 << 20  # bytes of an archive that are read at once
LATER = 1.0  # seconds after ours that a store's own time-out comes, so that ours is the one in the message


def photo(url: str, limits: Limits, *, size: int | None = None, relative: str | None = None) -> Photo:
    """Return the photo at an address; ``size`` is its bytes, if a listing has them."""
    return Photo(
        shown(url),
        partial(_fetch, url, limits, size),
        relative=last_name(url) if relative is None else relative,
        origin={"object": url, "size": size},
    )


def _fetch(url: str, limits: Limits, size: int | None) -> bytes:
    """Return an object's bytes; raises ``ImageError`` with the store's error, or that it does not answer."""
    try:
        return _Store(url, limits).content(size)
    except ImageError:
        raise
    except Exception as error:  # each store has exceptions of its own
        raise ImageError(None, _reason(error)) from error


def objects(
    url: str, *, limits: Limits, archive: Callable[[str], Archive], left_out: PassedOver
) -> Iterator[Photo | Archive]:
    """Yield what an address stands for: itself, the images and archives below a folder, or what a pattern matches.

    ``archive`` makes of the address of an archive what stands for it. ``left_out`` counts what is passed over: tables,
    unless their suffix is named, and what is no image.

    Raises ``ConfigError`` where fsspec, or its part for this store, is not installed.
    """
    store = _Store(url, limits)
    try:
        store.connect()
    except (ImportError, ConfigError) as error:
        raise ConfigError(_missing(url, error)) from error
    except Exception as error:  # an unknown scheme, credentials that are none
        yield unreadable(shown(url), _reason(error))
        return
    try:
        yield from _below(store, url, limits, archive, left_out)
    except Exception as error:  # a listing that the store refuses; rows that came before it stand
        yield unreadable(shown(url), _reason(error))


def opened(url: str, *, limits: Limits) -> IO[bytes]:
    """An archive to be read from front to back, each step within the time of a photo.

    Opening and reading raise ``OSError`` whatever the store raises.
    """
    return io.BufferedReader(_File(_Store(url, limits)), _AHEAD)


def transferred(
    url: str, limits: Limits, what: Literal["find", "get", "put", "remove"], local: Path | None = None
) -> int | None:
    """Find or remove an object, get it into a ``local`` file or put that in its place; return its bytes if it is found.

    Raises ``ConfigError`` with the address and the store's reason.
    """
    store = _Store(url, limits)
    try:
        store.connect()
        return store.patiently(partial(store.transfer, what, str(local)), times=LISTING)
    except FileNotFoundError:
        if what == "find":
            return None
        raise ConfigError(f"{shown(url)}: no such object or folder") from None
    except ImportError as error:
        raise ConfigError(_missing(url, error)) from error
    except Exception as error:  # each store has exceptions of its own
        raise ConfigError(f"{shown(url)}: {_reason(error)}") from error


def _below(
    store: "_Store", url: str, limits: Limits, archive: Callable[[str], Archive], left_out: PassedOver
) -> Iterator[Photo | Archive]:
    path, names_all = store.path, False

    def listing(folder: str) -> Iterator[Entry]:
        for info in sorted(store.listing(folder), key=lambda info: str(info["name"])):
            name = str(info["name"]).rstrip("/")
            if name and name != folder.rstrip("/"):
                yield Entry(name.rpartition("/")[2], name, info["type"] == "directory", size=info.get("size"))

    if is_wild(path) and not store.exists():
        folder, parts = split_wild(path)
        chosen = match(folder, parts, listing)
        names_all = names_a_suffix(path)
    elif not is_image(path) and not is_archive(path) and store.is_folder():
        folder = path
        chosen = match(path, ["**"], listing)
    else:
        yield archive(url) if is_archive(addressed(shown(url))) else photo(url, limits)
        return
    none = True
    for entry in chosen:
        if not names_all and is_table(entry.name):
            left_out.add(passed_over.TABLES)
            continue
        if not names_all and not is_image(entry.name) and not is_archive(entry.name):
            left_out.add_file(entry.name)
            continue
        none = False
        address = _address(store.system, entry.path, url, path)
        if address.count("::") != url.count("::"):  # the store's word, which is not to lead anywhere else
            reason = "its name holds ::, by which fsspec would take it for several addresses"
            yield unreadable(shown(address), reason)
            continue
        relative = entry.path.removeprefix(folder).lstrip("/")
        if is_archive(addressed(shown(address))):
            yield archive(address)
        else:
            yield photo(address, limits, size=entry.size, relative=relative)
    if none:
        reason = "nothing matches this pattern" if is_wild(path) else "no image in this folder"
        yield unreadable(shown(url), reason)


def _address(system: Any, path: str, url: str, asked: str) -> str:
    """The address of a ``path`` that was found at ``url``, whose own path is ``asked``; keeps host, user and chain."""
    head, chain, rest = url.partition("::")
    head, own = head.rstrip("/"), asked.strip("/")
    if head.endswith(own):
        return f"{head[: len(head) - len(own)]}{path.lstrip('/')}{chain}{rest}"
    return cast("str", system.unstrip_protocol(path))


class _Store:
    """An address in fsspec; every call has a timeout and runs on a helper thread."""

    def __init__(self, url: str, limits: Limits) -> None:
        self.url = url
        self.limits = limits
        self.system: Any = None
        self.path = ""

    def patiently(self, work: Callable[[], Result], *, times: int = 1) -> Result:
        return timeouts.call(work, store=host_of(self.url), timeout=times * self.limits.timeout)

    def connect(self) -> None:
        """Raises ``ConfigError`` without fsspec, ``ImportError`` without its part for this store."""
        self.patiently(self._connect)

    def content(self, size: int | None) -> bytes:
        """The whole object, of ``size`` bytes if that is known; raises a nameless ``ImageError`` if it is too large."""
        return self.patiently(partial(self._content, size))

    def listing(self, folder: str) -> list[dict[str, Any]]:
        return self.patiently(lambda: list(self.system.ls(folder, detail=True)), times=LISTING)

    def exists(self) -> bool:
        return self.patiently(lambda: bool(self.system.exists(self.path)))

    def is_folder(self) -> bool:
        return self.patiently(lambda: bool(self.system.isdir(self.path)))

    def open(self) -> Any:
        self._connect()
        return open_regular(self.path) if self._is_local() else self.system.open(self.path, "rb")

    def _connect(self) -> None:
        refusal = self.limits.reach.refusal(self.url, chains=True)  # whoever asks, nothing else gets to fsspec
        if refusal is not None:
            raise PermissionError(errno.EPERM, refusal)
        with needing("for addresses other than http(s)"):
            from fsspec.core import url_to_fs
        self.system, path = url_to_fs(self.url)
        self.path = str(path)

    def transfer(self, what: str, local: str) -> int | None:
        """Do what ``transferred`` says, to what was connected."""
        if what == "find":
            self.system.invalidate_cache()
            size = self.system.info(self.path).get("size")
            return None if size is None else int(size)
        if what == "remove":
            self.system.rm_file(self.path)
        else:
            (self.system.get_file(self.path, local) if what == "get" else self.system.put_file(local, self.path))
        return None

    def _content(self, size: int | None) -> bytes:
        self._connect()
        limit = self.limits.max_bytes
        said = self._asked("info").get("size") if size is None else size
        if said is not None and said > limit:
            raise ImageError(None, too_large(said, limit))
        if self._is_local():  # a device has no size and no end
            content = read_regular(self.path, limit)
        elif said == 0:  # some stores give no range of nothing
            content = b""
        else:
            content = bytes(self._asked("cat_file", 0, limit + 1))  # no more, whatever it said
        if len(content) > limit:
            raise ImageError(None, too_large(None, limit))
        return content

    def _is_local(self) -> bool:
        from fsspec.implementations.local import LocalFileSystem

        return isinstance(self.system, LocalFileSystem)

    def _asked(self, method: str, *arguments: Any) -> Any:
        """Call a method of the store; an asynchronous one gets the time-out too, so that it can end the call."""
        if method not in vars(self.system):  # where fsspec puts what it derives from an asynchronous method
            return getattr(self.system, method)(self.path, *arguments)
        from fsspec.asyn import sync

        call = getattr(self.system, f"_{method}")
        return sync(self.system.loop, call, self.path, *arguments, timeout=self.limits.timeout + LATER)


class _File(io.RawIOBase):
    """An object as a file; after a call that fails it is not used any more, not even closed."""

    def __init__(self, store: _Store) -> None:
        self._store = store
        self._file: Any = None
        self._file = self._patiently(lambda _: store.open())
        self._seekable = bool(self._file.seekable())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def readinto(self, buffer: Any) -> int:
        content = self._patiently(lambda file: bytes(file.read(len(buffer))))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._patiently(lambda file: int(file.seek(offset, whence)))

    def tell(self) -> int:
        return self._patiently(lambda file: int(file.tell()))

    def close(self) -> None:
        if self._file is not None:
            self._patiently(lambda file: file.close())
            self._file = None
        super().close()

    def _patiently(self, work: Callable[[Any], Result]) -> Result:
        file, self._file = self._file, None
        try:
            result = self._store.patiently(partial(work, file))
        except ImageError:  # nobody waits any more
            raise
        except Exception as error:
            raise OSError(0, _reason(error)) from error
        self._file = file
        return result


def _missing(url: str, error: Exception) -> str:
    if isinstance(error, ConfigError):
        return f"{shown(url)}: {error}"
    return f"{shown(url)}: {shown(str(error)).rstrip('.')}; fsspec needs that package for {scheme(url)}://"


def _reason(error: Exception) -> str:
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "No such object"
    if isinstance(error, OSError) and error.strerror:
        return shown(error.strerror)
    return shown(" ".join(f"{type(error).__name__}: {error}".split()))[:500]
