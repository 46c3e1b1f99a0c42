"""A report's blocks as Markdown: GitHub's, tables included."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from mpiqe.experiments.report.blocks import (
    Block,
    Column,
    Entry,
    Facts,
    Footnotes,
    Grid,
    Heading,
    Image,
    Text,
    Warnings,
)

_MARKS = re.compile(r"[\\`*<>|\[\]~$]|&(?=#?\w+;)|(?<!\w)_|_(?!\w)")
_OPENING = re.compile(r"^(?=[#+\-=])|^(\d+)(?=[.)])")  # of a heading, a list, a rule


def to_markdown(title: str, blocks: Sequence[Block], *, beside: Path) -> str:
    """The whole file; pictures are named as seen from the folder ``beside``."""
    written = [f"# {escape(title)}"]
    written += [text for block in blocks if (text := _block(block, beside))]
    return "\n\n".join(written) + "\n"


def escape(text: str) -> str:
    """Plain text in one line, with nothing left in it that Markdown would take for its own."""
    return _MARKS.sub(r"\\\g<0>", " ".join(text.split()))


def _paragraph(text: str) -> str:
    """The same where a line begins with it."""
    return _OPENING.sub(r"\1\\", escape(text))


def _block(block: Block, beside: Path) -> str:
    match block:
        case Heading():
            return f"## {escape(block.text)}"
        case Text():
            return _paragraph(block.text)
        case Warnings():
            return "\n".join(
                ["> **Before you trust a figure**", ">", *(f"> - {_paragraph(item)}" for item in block.items)]
            )
        case Facts():
            return "\n".join(f"- **{escape(name)}**: {escape(text)}" for name, text in block.items)
        case Grid():
            return _grid(block)
        case Footnotes():
            return "\n".join(f"- [{number}] {escape(item)}" for number, item in enumerate(block.items, start=1))
        case Image():
            place = quote(os.path.relpath(block.path, beside).replace(os.sep, "/"))
            return f"![{escape(block.title)}]({place})\n\n*{escape(block.caption)}*"
        case _:
            return ""


def _grid(grid: Grid) -> str:
    tables = [_table(part.title, grid.columns, part.rows) for part in grid.parts]
    return "\n\n".join(([f"**{escape(grid.title)}**"] if grid.title else []) + tables)


def _table(title: str, columns: Sequence[Column], rows: Sequence[Sequence[Entry]]) -> str:
    """One part, its title in place of the first column's; padded, so that it can be read as it stands."""
    heads = [title or columns[0].whole, *(column.whole for column in columns[1:])]
    lines = [[escape(head) for head in heads], *([_entry(entry) for entry in row] for row in rows)]
    widths = [max(3, *(len(line[place]) for line in lines)) for place in range(len(columns))]

    def set_line(line: Sequence[str]) -> str:
        return (
            "| "
            + " | ".join(
                text.rjust(width) if column.numbers else text.ljust(width)
                for text, width, column in zip(line, widths, columns, strict=True)
            )
            + " |"
        )

    rule = "|" + "|".join(
        " " + "-" * (width - 1) + ": " if column.numbers else " " + "-" * width + " "
        for width, column in zip(widths, columns, strict=True)
    ) + "|"  # fmt: skip
    return "\n".join([set_line(lines[0]), rule, *map(set_line, lines[1:])])


def _entry(entry: Entry) -> str:
    beside = f" ({escape(entry.beside)})" if entry.beside else ""
    notes = "".join(f" [{number}]" for number in entry.notes)
    return escape(entry.text) + beside + notes
