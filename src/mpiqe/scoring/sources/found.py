"""A photo before it is read: its name, where it came from, and how its bytes are had where they are not a file's."""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from mpiqe.errors import ImageError
from mpiqe.scoring.sources.reach import Reach


@runtime_checkable
class Fetched(Protocol):
    """A photo whose bytes have to be fetched first."""

    @property
    def name(self) -> str:
        """What its row and messages call it; holds no secrets."""

    def fetch(self) -> bytes:
        """Its whole file; raises ``ImageError`` that begins with the name. Called on a reading thread.

        What may hang is asked with ``patience.call``, so that it ends in time and when the rows are closed.
        """


@dataclass(frozen=True)
class Limits:
    """How much a photo that has to be fetched may cost, and where it may come from."""

    max_bytes: int = 256 << 20
    """Larger downloads, objects, members and cells are refused."""
    timeout: float = 60.0
    """Seconds that one download may take, with its redirects and retries, or one request to a store."""
    connect_timeout: float = 10.0
    """Seconds until a server must have taken the connection."""
    read_timeout: float = 20.0
    """Seconds that a server may stay silent."""
    attempts: int = 4
    """How often a download is tried where trying again can help."""
    redirects: int = 5
    """How many redirects are followed."""
    pause: float = 0.5
    """Seconds before the second attempt; each further pause is twice as long."""
    reach: Reach = field(default_factory=Reach)
    """Where addresses may lead."""


@dataclass(frozen=True)
class Broken:
    """A photo of which is known already that it cannot be had."""

    name: str
    reason: str

    def fetch(self) -> bytes:
        """Raises ``ImageError`` with the reason."""
        raise ImageError(f"{self.name}: {self.reason}")


class Found(NamedTuple):
    """A photo's path and where it came from."""

    path: str
    """What its row calls it: the path of a file, ``archive::member``, a URL without its secrets."""
    below: str | None = None
    """The folder that stood for it; ``None`` for a photo that was named itself."""
    fetched: Fetched | None = None
    """How its bytes are had; ``None`` where ``path`` is a file."""
    inside: str | None = None
    """For what is not a file: a relative path to name its picture by, as untrusted as the archive or the URL."""

    @property
    def source(self) -> str | Fetched:
        """What ``Scorer.rows`` takes."""
        return self.path if self.fetched is None else self.fetched


def broken(path: str, reason: str) -> Found:
    """A photo, or an archive of them, that cannot be had."""
    return Found(path, fetched=Broken(path, reason), inside="broken")


def too_large(size: int | None, limit: int) -> str:
    """Why something is refused."""
    said = "more than that" if size is None else f"{size} bytes"
    return f"over the limit of {limit} bytes ({said}); raise --max-bytes if you trust it"
