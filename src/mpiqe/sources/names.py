"""Which images are wanted, by patterns of their names."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from mpiqe.sources.urls import scheme


@dataclass(frozen=True)
class Names:
    """Patterns (``*``, ``?``, ``[a-z]``) of names that are wanted and of those that are not.

    A pattern without a slash is compared with the last part of a name, the file's or the member's; one with a slash
    with any end of the whole name that begins at a folder, where ``*`` stands for slashes too (``thumbs/*``). Without
    ``include`` all are wanted that ``exclude`` does not match.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything can be left out."""
        return bool(self.include or self.exclude)

    def wanted(self, name: str) -> bool:
        """Whether the image of that name (``Photo.name``) is wanted."""
        path = name.partition("?")[0] if scheme(name) is not None else name
        path = "/" + path.replace("\\", "/").replace("::", "/")
        if self.include and not any(_matches(path, pattern) for pattern in self.include):
            return False
        return not any(_matches(path, pattern) for pattern in self.exclude)


def _matches(path: str, pattern: str) -> bool:
    if "/" in pattern:
        return fnmatchcase(path, f"*/{pattern.lstrip('/')}")
    return fnmatchcase(path.rpartition("/")[2], pattern)
