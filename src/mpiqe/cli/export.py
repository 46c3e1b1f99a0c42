"""``mpiqe export``: a model as one graph that runs without this package."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mpiqe.runtimes.registry import GraphForm


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the graph.", show_default=False)],
    weights: Annotated[
        str | None,
        typer.Option(
            help="A run folder, a .safetensors file or a hub id; the embedded model if not given.", metavar="W"
        ),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Where the backbone of W lies now, if not where it was trained.", metavar="B")
    ] = None,
    form: Annotated[GraphForm, typer.Option("--format", help="The graph's format.")] = "onnx",
    precision: Annotated[
        Literal["fp32", "int8"],
        typer.Option(help="int8: weights of eight bits, for CPUs without bf16; onnx only."),
    ] = "fp32",
    photo: Annotated[
        list[Path] | None,
        typer.Option(
            help="Compare with PyTorch on this photo, not on scikit-image's; may be repeated.", metavar="FILE"
        ),
    ] = None,
) -> None:
    """Write a model as one graph: crops in, score and probabilities out.

    DIR gets the graph, mpiqe.json, which says what its numbers mean, and a
    README with a script that runs it without mpiqe. Before it is done, its
    answers are compared with PyTorch's on real photos.
    mpiqe score PHOTOS --weights DIR runs it here.
    """
    from mpiqe.extras import needing

    with needing("to export a model"):
        from mpiqe.runtimes.export import export as write

    name, photos = weights or "embedded", photo or ()
    checked = write(name, folder, form=form, precision=precision, backbone=backbone, photos=photos)
    typer.echo(f"{folder}: {sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.1f} MB")
    for entry in checked:
        typer.echo(
            f"{entry.precision}: at most {entry.score:.1e} of the score's range and {entry.probability:.1e} in a "
            "probability from PyTorch in fp32"
        )
