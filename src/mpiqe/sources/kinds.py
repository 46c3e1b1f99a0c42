"""The table of archives: a row for each kind of file that holds images as members."""

from typing import NamedTuple


class ArchiveKind(NamedTuple):
    """How such a file is told by its name, and what opens it."""

    suffixes: tuple[str, ...]
    """In lower case, with the dot."""
    module: str
    """Imported when such a file is opened.

    It has ``photos(location, *, shown, limits, budget, opened)``, which yields a ``Photo`` for each member with the
    name of an image, and ``count(location)``, how many these are, or ``None`` where that takes reading everything.
    ``location`` is a path, or what ``opened`` opens; messages call it ``shown``. ``budget`` bounds what is held in
    memory of members that cannot be read again. Whatever goes wrong is a photo that fails, never an exception.
    """


ARCHIVES = (
    ArchiveKind((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"), "mpiqe.sources.tar"),
    ArchiveKind((".zip",), "mpiqe.sources.zip_archive"),
)
TABLE_SUFFIXES = (".parquet", ".arrow")


def kind_of(name: str) -> ArchiveKind | None:
    """The kind of archive that a file of this name is; ``None`` for any other file, and for a table."""
    return next((kind for kind in ARCHIVES if name.lower().endswith(kind.suffixes)), None)


def is_table(name: str) -> bool:
    """Whether it has the name of a Parquet or Arrow table, whose cells may lead elsewhere."""
    return name.lower().endswith(TABLE_SUFFIXES)


def is_archive(name: str) -> bool:
    """Whether it has the name of what holds images: an archive or a table."""
    return kind_of(name) is not None or is_table(name)


def listed() -> str:
    """The first suffix of each kind, and those of tables, for help."""
    *most, last = (*(kind.suffixes[0] for kind in ARCHIVES), *TABLE_SUFFIXES)
    return f"{', '.join(most)} and {last}"


def stem_of(archive: str) -> str:
    """The last part of an archive's path without the suffix of its kind; figures of its members lie below it."""
    name, kind = archive.replace("\\", "/").rpartition("/")[2], kind_of(archive)
    suffix = next((suffix for suffix in kind.suffixes if name.lower().endswith(suffix)), "") if kind else ""
    return name[: len(name) - len(suffix)] or name
