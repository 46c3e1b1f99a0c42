"""One object of a store as a file that comes and goes whole: what ``--output s3://bucket/scores.csv`` names."""

from pathlib import Path

from mpiqe.errors import ConfigError
from mpiqe.sources import store
from mpiqe.sources.photo import Limits
from mpiqe.sources.urls import scheme, shown


class StoredFile:
    """An object at an address; all steps raise ``ConfigError`` with the address and the store's own reason."""

    def __init__(self, url: str, limits: Limits) -> None:
        if scheme(url) in ("http", "https"):
            raise ConfigError(f"{shown(url)}: rows go to a file or an object store, not to an http address")
        self.url = url
        self.name = shown(url)
        self._limits = limits

    def size(self) -> int | None:
        """Return its bytes; ``None`` where there is no such object."""
        return store.transferred(self.url, self._limits, "find")

    def fetch(self, to: Path) -> None:
        """Write it to a local file."""
        store.transferred(self.url, self._limits, "get", to)

    def put(self, source: Path) -> None:
        """Write a local file there, in place of any object that is there."""
        store.transferred(self.url, self._limits, "put", source)

    def remove(self) -> None:
        """Remove the object."""
        store.transferred(self.url, self._limits, "remove")
