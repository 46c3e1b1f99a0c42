"""Building blocks of a report, independent of the output format: plain text and numbers, not escaped."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

Tone = Literal["", "plus", "minus", "faint"]
"""How HTML colours an entry."""


@dataclass(frozen=True)
class Entry:
    """One entry of a grid."""

    text: str
    beside: str = ""
    """Smaller, in brackets after it: ``0.655 (10)``."""
    notes: tuple[int, ...] = ()
    """Numbers of the footnotes that belong to it."""
    tone: Tone = ""


NOTHING = Entry("\N{EN DASH}")
"""There is no such figure."""


@dataclass(frozen=True)
class Column:
    """A column's head."""

    title: str
    over: str = ""
    """Stands over neighbours that share it."""
    numbers: bool = True
    """Set to the right, in digits of one width."""

    @property
    def whole(self) -> str:
        """Both in one line."""
        return f"{self.over} {self.title}".strip()


@dataclass(frozen=True)
class Section:
    """Rows under a heading of their own, which may be empty."""

    title: str
    rows: tuple[tuple[Entry, ...], ...]


@dataclass(frozen=True)
class Grid:
    """A table of one set of columns in one or more parts; the first column names the rows."""

    kind: Literal["figures", "quoted", "details", "claims"]
    title: str
    columns: tuple[Column, ...]
    parts: tuple[Section, ...]

    @property
    def heads(self) -> list[tuple[str, list[Column]]]:
        """Neighbouring columns with what stands over them."""
        return [(over, list(under)) for over, under in groupby(self.columns, key=lambda column: column.over)]


@dataclass(frozen=True)
class Heading:
    """A section begins; ``anchor`` is its name within the page."""

    text: str
    anchor: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Warnings:
    """Caveats, shown at the top."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What something is, each with its name."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Footnotes:
    """Numbered from 1, as entries name them."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Drawing:
    """A plot of figures that the grids have as well, so it is left out where it cannot be shown, in Markdown."""

    svg: bytes
    caption: str


@dataclass(frozen=True)
class Image:
    """A picture in a file."""

    path: Path
    title: str
    caption: str


@dataclass(frozen=True)
class OnlyHTML:
    """A line about the page itself, which the other form has no use for."""

    text: str


Block = Heading | Text | Warnings | Facts | Grid | Footnotes | Drawing | Image | OnlyHTML
