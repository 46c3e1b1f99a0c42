"""A report's blocks as one HTML page that needs nothing else: no other file, no script, light or dark, on paper too."""

import base64
import mimetypes
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from mpiqe.experiments.report.blocks import Block, Drawing, Heading, Image


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """The whole file, pictures and all."""
    environment = Environment(
        loader=PackageLoader("mpiqe.experiments.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters["data_uri"] = _data_uri
    return environment.get_template("report.html").render(
        title=title,
        style=(files(__package__) / "templates" / "style.css").read_text(encoding="utf-8"),
        blocks=[(type(block).__name__, block) for block in blocks],
        headings=[block for block in blocks if isinstance(block, Heading)],
    )


def _data_uri(block: Drawing | Image) -> str:
    """The picture itself, where HTML takes an address."""
    if isinstance(block, Drawing):
        kind, content = "image/svg+xml", block.svg
    else:
        kind, content = mimetypes.guess_type(block.path.name)[0] or "image/png", block.path.read_bytes()
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
