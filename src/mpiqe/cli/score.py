"""``mpiqe score``: photos in, a row for each out."""

from pathlib import Path
from typing import Annotated

import typer

from mpiqe.cli import photos


def score(
    paths: photos.Paths,
    weights: photos.Weights = None,
    form: Annotated[
        photos.Format, typer.Option("--format", help="A table to look at; csv or jsonl for scripts.")
    ] = "table",
    output: Annotated[
        Path | None, typer.Option(help="Write the rows to this file, as they come.", metavar="FILE")
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(help="Write a picture for each photo to this folder, as mpiqe explain does.", metavar="DIR"),
    ] = None,
    crops: photos.Crops = None,
    seed: photos.Seed = 0,
    batch_size: photos.BatchSize = None,
    workers: photos.Workers = None,
    runtime: photos.Runtime = "auto",
    device: photos.Device = "auto",
    precision: photos.Precision = "auto",
    max_pixels: photos.MaxPixels = 200_000_000,
) -> None:
    """Score photos: how good do they look?

    A photo that cannot be read gets its row too, with the reason.

    Exit status: 0 all were scored, 1 some were not, 2 nothing to score or wrong usage.
    """
    photos.run(
        paths,
        verb="score",
        form=form,
        output=output,
        pictures=explain,
        weights=weights,
        crops=crops,
        seed=seed,
        batch_size=batch_size,
        workers=workers,
        runtime=runtime,
        device=device,
        precision=precision,
        max_pixels=max_pixels,
    )
