"""Photos in object stores and wherever else fsspec gets: s3://, gs://, az://, hf://, sftp://, memory://, file:// ..."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, cast

from mpiqe.errors import ConfigError, ImageError
from mpiqe.extras import needing
from mpiqe.scoring.sources.folders import is_archive, is_image
from mpiqe.scoring.sources.found import Found, Limits, broken, too_large
from mpiqe.scoring.sources.patterns import Entry, is_wild, match, names_a_suffix, split_wild
from mpiqe.scoring.sources.urls import last_name, scheme, shown


@dataclass(frozen=True)
class Object:
    """A photo that fsspec gets."""

    url: str = field(repr=False)  # may hold a password
    limits: Limits
    size: int | None = None
    """Its bytes, where a listing has told them."""

    @property
    def name(self) -> str:
        """The address without its secrets."""
        return shown(self.url)

    def fetch(self) -> bytes:
        """Its bytes; raises ``ImageError`` with what the store says."""
        limit = self.limits.max_bytes
        try:
            system, path = _system(self.url)
            size = self.size if self.size is not None else system.info(path).get("size")
            if size is not None and size > limit:
                raise ImageError(f"{self.name}: {too_large(size, limit)}")
            content = bytes(system.cat_file(path) if size is not None else system.cat_file(path, 0, limit + 1))
        except ImageError:
            raise
        except Exception as error:  # each store has exceptions of its own
            raise ImageError(f"{self.name}: {_reason(error)}") from error
        if len(content) > limit:
            raise ImageError(f"{self.name}: {too_large(None, limit)}")
        return content


def objects(url: str, *, limits: Limits) -> Iterator[Found]:
    """What an address stands for: itself, the images below a folder, or what a pattern matches; archives stay closed.

    Raises ``ConfigError`` where fsspec, or its part for this store, is not installed.
    """
    try:
        system, path = _system(url)
    except (ImportError, ConfigError) as error:
        raise ConfigError(_missing(url, error)) from error
    except Exception as error:  # an unknown scheme, credentials that are none
        yield broken(shown(url), _reason(error))
        return
    try:
        yield from _below(system, path, url, limits)
    except Exception as error:  # a listing that the store refuses; rows that came before it stand
        yield broken(shown(url), _reason(error))


def opened(url: str) -> IO[bytes]:
    """An archive to be read from front to back; raises ``OSError`` whatever the store raises."""
    try:
        system, path = _system(url)
        return cast("IO[bytes]", system.open(path, "rb"))
    except Exception as error:
        raise OSError(0, _reason(error)) from error


def _below(system: Any, path: str, url: str, limits: Limits) -> Iterator[Found]:
    def listing(folder: str) -> Iterator[Entry]:
        for info in sorted(system.ls(folder, detail=True), key=lambda info: str(info["name"])):
            name = str(info["name"]).rstrip("/")
            if name and name != folder.rstrip("/"):
                yield Entry(name.rpartition("/")[2], name, info["type"] == "directory", size=info.get("size"))

    if is_wild(path) and not system.exists(path):
        folder, parts = split_wild(path)
        chosen = match(folder, parts, listing)
        if not names_a_suffix(path):
            chosen = (entry for entry in chosen if is_image(entry.name) or is_archive(entry.name))
    elif not is_image(path) and not is_archive(path) and system.isdir(path):
        folder = path
        chosen = (entry for entry in match(path, ["**"], listing) if is_image(entry.name))
    else:
        yield Found(shown(url), None, Object(url, limits), last_name(url))
        return
    none = True
    for entry in chosen:
        none = False
        address = _address(system, entry.path, url, path)
        inside = entry.path.removeprefix(folder).lstrip("/")
        yield Found(shown(address), None, Object(address, limits, entry.size), inside)
    if none:
        yield broken(shown(url), "nothing matches this pattern" if is_wild(path) else "no image in this folder")


def _address(system: Any, path: str, url: str, asked: str) -> str:
    """The address of a ``path`` that was found at ``url``, whose own path is ``asked``; keeps host, user and chain."""
    head, chain, rest = url.partition("::")
    head, own = head.rstrip("/"), asked.strip("/")
    if head.endswith(own):
        return f"{head[: len(head) - len(own)]}{path.lstrip('/')}{chain}{rest}"
    return cast("str", system.unstrip_protocol(path))


def _system(url: str) -> tuple[Any, str]:
    with needing("for addresses other than http(s)"):
        from fsspec.core import url_to_fs
    system, path = url_to_fs(url)
    return system, str(path)


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
