"""Where a page finds the photos themselves: addresses of folders of this machine, relative to the page."""

import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from mpiqe.gallery.table import split_path


def folder_addresses(photos: Iterable[tuple[str, str | None]], page_folder: Path) -> dict[str, str]:
    """The address of each folder, by how it stands in paths, of photos that are files: (path in rows, its file).

    Relative, so that a page that is moved with its photos, or mounted elsewhere, still finds them.
    """
    addresses: dict[str, str] = {}
    root = os.path.realpath(page_folder)
    for path, file in photos:
        folder, _ = split_path(path)
        if file is not None and folder not in addresses:
            addresses[folder] = _address(os.path.dirname(os.path.abspath(file)), root)
    return addresses


def _address(folder: str, root: str) -> str:
    try:
        relative = os.path.relpath(os.path.realpath(folder), root)
    except ValueError:  # on another drive of Windows
        return Path(folder).as_uri() + "/"
    return quote(os.fsencode(relative.replace(os.sep, "/"))) + "/"
