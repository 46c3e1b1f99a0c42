"""The folder of a page: its thumbnails and maps, the page, its scripts and its style."""

import base64
import hashlib
import html
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mpiqe.atomic import write_atomic
from mpiqe.errors import ConfigError
from mpiqe.gallery.packing import Contents, data_script

PAGE = "index.html"
MOST_IN_ONE_FILE = 5000
"""Photos in a page of a single file, 35 MB."""
SCRIPTS = (
    "columns.js",
    "shots.js",
    "decisions.js",
    "exports.js",
    "choose.js",
    "histogram.js",
    "grid.js",
    "bars.js",
    "detail.js",
    "page.js",
)
_STYLE = "style.css"
_DATA = "data.js"
_OURS = '<meta name="generator" content="mpiqe report">'
_THUMBNAILS = ("thumbs", "thumbs-2")  # of the first and the second table
_MAPS = "maps"
_IN_A_FOLDER = 1000  # files
# Nothing is fetched and nothing runs but the page's own scripts, whatever a file's name may hold. file: is for photos.
_POLICY = "default-src 'none'; img-src 'self' data: file:; base-uri 'none'; form-action 'none'"


class PageFolder:
    """A folder for one page. Pictures are written as they come, the page when all is known.

    With ``single_file`` the page holds everything and is the only file.
    """

    def __init__(self, folder: Path, *, single_file: bool) -> None:
        self.folder = folder
        self.single_file = single_file
        self._maps = 0

    @property
    def page(self) -> Path:
        """The file to open."""
        return self.folder / PAGE

    def make(self) -> None:
        """Make the folder, without the pictures of an earlier page; raises ``ConfigError`` for what is no page's."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self.page.exists():
                taken = [name for name in (*_THUMBNAILS, _MAPS) if (self.folder / name).exists()]
                if taken and not self._is_unfinished():
                    raise ConfigError(f"{self.folder / taken[0]} is not ours to write to; name another --out")
            elif _OURS not in self.page.read_text(encoding="utf-8", errors="replace")[:4096]:
                raise ConfigError(f"{self.page} is no page of mpiqe report; name another --out for this one")
            for name in (*_THUMBNAILS, _MAPS):
                if (self.folder / name).is_dir():
                    shutil.rmtree(self.folder / name)
            if not self.single_file:
                self._marker.write_text("This folder is written by mpiqe report.\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write to {self.folder}: {error.strerror}; name another --out") from error

    @property
    def _marker(self) -> Path:
        return self.folder / ".mpiqe-report"

    def _is_unfinished(self) -> bool:
        return self._marker.is_file()

    def check_count(self, photos: int) -> None:
        """Raise ``ConfigError`` for more photos than a single file should hold."""
        if self.single_file and photos > MOST_IN_ONE_FILE:
            raise ConfigError(f"a single file holds {MOST_IN_ONE_FILE} photos at most; leave out --single-file")

    def pictures(self, table: int) -> "Pictures":
        """Thumbnails of the first or the second table's photos, 0 or 1."""
        return Pictures(self, _THUMBNAILS[table])

    def add_map(self, number: int, content: bytes) -> str:
        """Keep the distortion map of a photo; returns its address."""
        return self.add(f"{_MAPS}/{number:06}", content)

    def add(self, name: str, content: bytes) -> str:
        """Keep a picture; returns its address: a file beside the page, or a data URI in a single file."""
        is_webp = content[8:12] == b"WEBP"
        if self.single_file:
            return f"data:image/{'webp' if is_webp else 'jpeg'};base64,{base64.b64encode(content).decode('ascii')}"
        address = f"{name}.{'webp' if is_webp else 'jpg'}"
        path = self.folder / address
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return address

    def write(self, contents: Contents) -> None:
        """Write the page; what it needs is there before it."""
        data, style = data_script(contents), _resource(_STYLE)
        scripts = {name: _resource(name) for name in SCRIPTS}
        if not self.single_file:
            for name, text in {_DATA: data, _STYLE: style, **scripts}.items():
                write_atomic(self.folder / name, text.encode())
        write_atomic(self.page, self._html(contents.title, {_DATA: data, **scripts}, style).encode())

    def _html(self, title: str, scripts: dict[str, str], style: str) -> str:
        if self.single_file:
            sources = " ".join(map(_digest, scripts.values()))
            policy = f"{_POLICY}; script-src {sources}; style-src {_digest(style)}"
            head = f"<style>{style}</style>"
            body = "\n".join(f"<script>{text}</script>" for text in scripts.values())
        else:
            policy = f"{_POLICY}; script-src 'self' file:; style-src 'self' file:"
            head = f'<link rel="stylesheet" href="{_STYLE}">'
            body = "\n".join(f'<script src="{quote(name)}"></script>' for name in scripts)
        parts = {"policy": policy, "title": html.escape(title), "style": head, "scripts": body}
        before, *rest = _resource(PAGE).split("{{")
        filled = [before]
        for part in rest:
            name, after = part.split("}}", 1)
            filled += [parts[name], after]
        return "".join(filled)


class Pictures:
    """The thumbnails of a table's photos, added in the photos' order."""

    def __init__(self, folder: PageFolder, name: str) -> None:
        self._folder = folder
        self._name = name
        self._count = 0
        self._suffix = ""
        self._data: list[str | None] = []
        self.absent: list[int] = []
        """Photos without a thumbnail, by number."""

    def add(self, content: bytes | None) -> None:
        """Keep the next photo's thumbnail, if it has one."""
        address = None
        if content is None:
            self.absent.append(self._count)
        else:
            name = f"{self._name}/{self._count // _IN_A_FOLDER:03}/{self._count:06}"
            address = self._folder.add(name, content)
            self._suffix = Path(address).suffix
        if self._folder.single_file:
            self._data.append(address)
        self._count += 1

    def to_json(self) -> dict[str, Any]:
        """Plain values by which the page finds the thumbnails; of files their names follow from the numbers."""
        if self._folder.single_file:
            return {"data": self._data}
        return {"folder": self._name, "suffix": self._suffix, "absent": self.absent}


def _resource(name: str) -> str:
    return (files("mpiqe.gallery") / "page" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """What a content security policy names a script or style in the page by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
