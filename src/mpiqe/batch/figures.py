"""The folder for the figures of explanations. Does not import torch."""

import io
import os
import re
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

from PIL.PngImagePlugin import PngInfo

from mpiqe.atomic import write_atomic
from mpiqe.errors import ConfigError
from mpiqe.scoring.explanation import Explanation
from mpiqe.scoring.render import draw
from mpiqe.sources.local import FIGURE_MARK
from mpiqe.sources.photo import Photo

_DEEPEST = 16  # folders in each other that a name out of an archive may ask for
_LONGEST_STEM = 200  # bytes; file systems take 255, and a file that is being written has a longer name


class FigureFolder:
    """A figure for each image, in a folder laid out as the images are; nothing is ever written outside of it.

    An image that was found in a folder has its figure at the same place below this one, an image that was named itself
    right in it; that of an archive's member lies in a folder named after the archive, and what comes from an address is
    named after its end. The name is the image's with ``.png``; ``-2`` and so on is added where two images of one run
    would share a figure, even on a file system that ignores capitals. Figures of earlier runs are written over, images
    that are to be explained never are (``photos_outside``).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._root = Path(os.path.realpath(folder))
        self._taken: set[str] = set()

    def make(self) -> None:
        """Make the folder if it is not there; raises ``ConfigError`` where that cannot be."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror
            raise ConfigError(f"cannot write figures to {self.folder}: {reason}; name another folder") from error

    def photos_outside(self, found: Iterable[Photo]) -> Iterator[Photo]:
        """Yield the photos without those in this folder: figures of this run or an earlier one, found on the way.

        Raises ``ConfigError`` where photos in this folder were asked for: their figures could take their place.
        """
        for photo in found:
            if photo.file is None or not self._holds_photo(photo.file):
                yield photo
            elif photo.folder is None or self._holds(photo.folder):
                raise ConfigError(
                    f"{photo.name} lies in the folder that figures are to be written to, {self.folder}; "
                    "name another folder for them, so that no photo is written over"
                )

    def place(self, photo: Photo) -> Path:
        """Return the path for a photo's figure, another one at each call."""
        if photo.file is None:
            within, name = os.path.split(_harmless(photo.relative))
        else:
            folder, name = os.path.split(photo.file)
            within = "" if photo.folder is None else os.path.relpath(folder, photo.folder)
        stem = os.fsdecode(os.fsencode(os.path.splitext(name)[0])[:_LONGEST_STEM])
        for number in count(1):
            named = os.path.normpath(os.path.join(within, f"{stem}.png" if number == 1 else f"{stem}-{number}.png"))
            if named.casefold() not in self._taken:
                break
        self._taken.add(named.casefold())
        return self.folder / named

    def write(self, photo: Photo, explanation: Explanation) -> Path:
        """Draw the explanation and write it to the photo's place, whole or not at all; returns that place."""
        content, mark = io.BytesIO(), PngInfo()
        mark.add_text(*FIGURE_MARK)  # so that no later scan takes it for a photo
        draw(explanation).save(
            content, "PNG", pnginfo=mark, compress_level=3
        )  # twice as quick as Pillow's 6 for a tenth more bytes
        path = self.place(photo)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content.getvalue())
        return path

    def _holds_photo(self, path: str) -> bool:
        """Whether a file lies in this folder, itself or what it is a link to."""
        return self._holds(os.path.dirname(path) or ".") or self._holds(path)

    def _holds(self, path: str) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self._root)


def _harmless(name: str) -> str:
    """A name out of an archive or an address as a relative path that leads nowhere else, on any file system."""
    parts = (re.sub(r'[\x00-\x1f\x7f:*?"<>|]', "_", part).strip(" ") for part in re.split(r"[/\\]+", name))
    kept = [os.fsdecode(os.fsencode(part)[:_LONGEST_STEM]) for part in parts if part.strip(".")] or ["photo"]
    folders = [f"{part}_" if part.casefold().endswith(".png") else part for part in kept[-_DEEPEST:-1]]
    return "/".join([*folders, kept[-1]])  # no folder is where a figure may come to lie
