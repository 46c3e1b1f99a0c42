"""Images in folders of this machine."""

import os
from collections.abc import Iterable, Iterator

from mpiqe.decoding import SUFFIXES
from mpiqe.sources.patterns import Entry

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
PARQUET_SUFFIX = ".parquet"


def is_image(name: str) -> bool:
    """Whether it has the name of an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def is_archive(name: str) -> bool:
    """Whether it has the name of a tar or Parquet file."""
    return name.lower().endswith((*TAR_SUFFIXES, PARQUET_SUFFIX))


def listing(folder: str) -> Iterable[Entry]:
    """The folder's entries by name; raises ``OSError``."""
    with os.scandir(folder or ".") as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        yield Entry(
            name=entry.name,
            path=os.path.join(folder, entry.name) if folder else entry.name,
            is_folder=_is_folder(entry),
            is_link=entry.is_symlink(),
        )


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere: reading it will say what is wrong
        return False


def below(folder: str) -> Iterator[str]:
    """Every image below a folder, ordered by name within each folder; where one holds none, its tar and Parquet files.

    Names that begin with a dot are passed over, links to folders are not followed. A folder that cannot be listed
    stands for itself.
    """
    try:
        entries = [entry for entry in listing(folder) if not entry.name.startswith(".")]
    except OSError:
        yield folder
        return
    images = any(is_image(entry.name) and not entry.is_folder for entry in entries)
    for entry in entries:
        if entry.is_folder:
            if not entry.is_link:
                yield from below(entry.path)
        elif is_image(entry.name) or (not images and is_archive(entry.name)):
            yield entry.path
