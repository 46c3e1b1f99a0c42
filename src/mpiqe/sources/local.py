"""Images in folders of this machine."""

import os
from collections.abc import Iterable, Iterator

from mpiqe.decoding import SUFFIXES
from mpiqe.regular_files import open_regular
from mpiqe.sources import passed_over
from mpiqe.sources.kinds import is_archive, is_table
from mpiqe.sources.passed_over import PassedOver
from mpiqe.sources.patterns import Entry

FIGURE_MARK = ("Software", "mpiqe explain")
"""Key and text that a figure's PNG file holds, so that it is told from photos."""

_FIGURE_CHUNK = b"tEXt" + b"\0".join(word.encode() for word in FIGURE_MARK)
_HEAD = 512  # bytes of a PNG file; the chunk comes right after the header of 33
_SAVED = {"dataset_info.json", "state.json"}  # what datasets' save_to_disk writes beside its tables


def is_image(name: str) -> bool:
    """Whether it has the name of an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def is_member(name: str) -> bool:
    """Whether a member of an archive has the name of an image, ``.image`` too, and is not hidden."""
    hidden = any(part.startswith(".") and part.strip(".") for part in name.split("/"))
    return (is_image(name) or name.lower().endswith(".image")) and not hidden


def is_figure(path: str) -> bool:
    """Whether a file is a figure that mpiqe has drawn of an image (``FIGURE_MARK``)."""
    if not path.lower().endswith(".png"):
        return False
    try:
        with open_regular(path) as file:
            return _FIGURE_CHUNK in file.read(_HEAD)
    except OSError:  # reading it as an image will say what is wrong
        return False


def saved_tables(folder: str) -> list[str]:
    """Return the tables of a folder that Hugging Face's ``save_to_disk`` wrote, its splits by name; else none."""
    try:
        names = {entry.name: entry for entry in listing(folder)}
        if names.keys() >= _SAVED:
            return [names[name].path for name in sorted(names) if name.startswith("data-") and name.endswith(".arrow")]
        if "dataset_dict.json" in names:
            splits = (entry for entry in names.values() if entry.is_folder and not entry.is_link)
            return [table for split in splits for table in saved_tables(split.path)]
    except OSError:  # going through it will say so
        pass
    return []


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


def below(folder: str, left_out: PassedOver, output: str | None = None) -> Iterator[str]:
    """Yield every image and archive below a folder, ordered by name within each folder; the others are ``left_out``.

    Tables are not followed: what their cells lead to was not named by whoever named the folder. Names that begin with a
    dot, links to folders, and figures of mpiqe are passed over too. ``output``, a real path, and what lies beside it
    under names that begin with its own, is being written and does not count. A folder that cannot be listed stands for
    itself.
    """
    try:
        entries = list(listing(folder))
    except OSError:
        yield folder
        return
    own = os.path.basename(output) if output and os.path.realpath(folder) == os.path.dirname(output) else None
    for entry in entries:
        if own is not None and f"{entry.name}.".startswith(f"{own}.") and not is_image(entry.name):
            continue
        if entry.name.startswith("."):
            left_out.add(passed_over.HIDDEN)
        elif entry.is_folder:
            if entry.is_link:
                left_out.add(passed_over.LINKS)
            else:
                yield from below(entry.path, left_out, output)
        elif (kind := kind_left_out(entry.name, entry.path)) is not None:
            left_out.add_file(entry.name) if kind == "" else left_out.add(kind)
        else:
            yield entry.path


def kind_left_out(name: str, path: str) -> str | None:
    """Why a scan passes over a file that is not hidden: ``None`` if it does not, "" for one that is no image."""
    if is_table(name):
        return passed_over.TABLES
    if is_image(name):
        return passed_over.FIGURES if is_figure(path) else None
    return None if is_archive(name) else ""
