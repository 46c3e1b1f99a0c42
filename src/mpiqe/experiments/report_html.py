"""A report's blocks as one HTML page that needs nothing else: no other file, no script, light or dark, on paper too."""

import base64
import mimetypes
from collections.abc import Sequence
from html import escape
from itertools import groupby
from string import Template

from mpiqe.experiments.report_blocks import (
    Block,
    Column,
    Drawing,
    Entry,
    Facts,
    Footnotes,
    Grid,
    Heading,
    Image,
    OnlyHTML,
    Part,
    Text,
    Warnings,
)
from mpiqe.experiments.report_style import STYLE

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """The whole file, pictures and all."""
    body = [_block(block) for block in blocks]
    headings = [block for block in blocks if isinstance(block, Heading)]
    if headings:
        links = "".join(f'<li><a href="#{escape(one.anchor)}">{escape(one.text)}</a></li>' for one in headings)
        body.insert(blocks.index(headings[0]), f"<nav><ul>{links}</ul></nav>")
    return _PAGE.substitute(title=escape(title), style=STYLE, body="\n".join(body))


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f'<h2 id="{escape(block.anchor)}">{escape(block.text)}</h2>'
        case Text():
            return f"<p>{escape(block.text)}</p>"
        case OnlyHTML():
            return f'<p class="aside">{escape(block.text)}</p>'
        case Warnings():
            items = "".join(f"<li>{escape(item)}</li>" for item in block.items)
            return f'<div class="warnings"><p>Before you trust a figure</p><ul>{items}</ul></div>'
        case Facts():
            items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in block.items)
            return f"<dl>{items}</dl>"
        case Grid():
            return _grid(block)
        case Footnotes():
            items = "".join(f"<li>{escape(item)}</li>" for item in block.items)
            return f'<ol class="footnotes">{items}</ol>'
        case Drawing():
            return _figure("image/svg+xml", block.svg, "", block.caption)
        case Image():
            kind = mimetypes.guess_type(block.path.name)[0] or "image/png"
            return _figure(kind, block.path.read_bytes(), block.title, block.caption)


def _figure(kind: str, content: bytes, title: str, caption: str) -> str:
    data = base64.b64encode(content).decode("ascii")
    name = f"<b>{escape(title)}.</b> " if title else ""
    return (
        f'<figure><img src="data:{kind};base64,{data}" alt="{escape(title or caption)}">'
        f"<figcaption>{name}{escape(caption)}</figcaption></figure>"
    )


def _grid(grid: Grid) -> str:
    caption = f"<caption>{escape(grid.title)}</caption>" if grid.title else ""
    parts = "\n".join(_part(part, grid.columns) for part in grid.parts)
    return f'<div class="wide"><table class="{grid.kind}">{caption}\n{_head(grid.columns)}\n{parts}\n</table></div>'


def _head(columns: Sequence[Column]) -> str:
    """One line, or two where columns share what stands over them."""
    if not any(column.over for column in columns):
        return f"<thead><tr>{''.join(_title(column, '') for column in columns)}</tr></thead>"
    upper, lower = "", ""
    for over, shared in groupby(columns, key=lambda column: column.over):
        under = list(shared)
        if over:
            upper += f'<th class="over" colspan="{len(under)}" scope="colgroup">{escape(over)}</th>'
            lower += "".join(_title(column, "first" if column is under[0] else "") for column in under)
        else:
            upper += "".join(_title(column, "", rows=2) for column in under)
    return f"<thead><tr>{upper}</tr><tr>{lower}</tr></thead>"


def _title(column: Column, place: str, *, rows: int = 1) -> str:
    span = f' rowspan="{rows}"' if rows > 1 else ""
    return f'<th scope="col"{span}{_kinds(column, place)}>{escape(column.title)}</th>'


def _part(part: Part, columns: Sequence[Column]) -> str:
    title = ""
    if part.title:
        title = f'<tr class="part"><th colspan="{len(columns)}" scope="rowgroup">{escape(part.title)}</th></tr>\n'
    return f"<tbody>\n{title}" + "\n".join(_row(row, columns) for row in part.rows) + "\n</tbody>"


def _row(row: Sequence[Entry], columns: Sequence[Column]) -> str:
    cells = [f'<th scope="row"{_kinds(columns[0], row[0].tone)}>{_entry(row[0])}</th>']
    for place, entry in enumerate(row[1:], start=1):
        column = columns[place]
        first = "first" if column.over and column.over != columns[place - 1].over else ""
        cells.append(f"<td{_kinds(column, first, entry.tone)}>{_entry(entry)}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _kinds(column: Column, *others: str) -> str:
    kinds = " ".join(filter(None, ("number" if column.numbers else "", *others)))
    return f' class="{kinds}"' if kinds else ""


def _entry(entry: Entry) -> str:
    beside = f' <span class="beside">({escape(entry.beside)})</span>' if entry.beside else ""
    notes = f"<sup>{', '.join(map(str, entry.notes))}</sup>" if entry.notes else ""
    return escape(entry.text) + notes + beside
