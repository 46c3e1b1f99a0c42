"""The options of all commands that read a rated dataset."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from mpiqe.data.registry import LABELS_AS_PUBLISHED_HELP, data_help

Data: TypeAlias = Annotated[str, typer.Argument(metavar="DATA", help=data_help())]
Root: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="DIR", help="folder of the dataset, or of a table's images")
]
Labels: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="DIR", help="folder of LIQE's label files: scenes, distortions, splits")
]
AsPublished: TypeAlias = Annotated[bool, typer.Option("--labels-as-published", help=LABELS_AS_PUBLISHED_HELP)]
ImageColumn: TypeAlias = Annotated[
    str | None, typer.Option(metavar="NAME", help="with csv:FILE: the column of image paths, if it has an unusual name")
]
MosColumn: TypeAlias = Annotated[
    str | None, typer.Option(metavar="NAME", help="with csv:FILE: the column of MOS, if it has an unusual name")
]
