"""``mpiqe data``: sets of rated images."""

from pathlib import Path
from typing import Annotated

import typer

data = typer.Typer(no_args_is_help=True, help="Make sets of rated images.")


@data.callback()
def _data() -> None:
    """Sets of rated images."""


@data.command()
def synthesize(
    clean: Annotated[str, typer.Argument(help="folder of clean photos, or csv:FILE with the columns image,mos")],
    out: Annotated[Path, typer.Argument(help="folder to write the set to")],
    count: Annotated[int | None, typer.Option(help="so many photos: the best rated, or a folder's first")] = None,
    each: Annotated[int, typer.Option(help="versions of each photo, drawn from the 25 types x 5 levels")] = 125,
    seed: Annotated[int, typer.Option(help="seed of everything drawn")] = 0,
) -> None:
    """A synthetic set from clean photos: KADID-10k's 25 distortions in five levels, in its layout.

    The level is a stand-in for quality (5 for the clean photo, 1 at level 5): nobody has rated these images.
    Exit status 1 if a photo could not be read.
    """
    import sys

    from rich.console import Console

    from mpiqe.cli.progress_line import ProgressLine
    from mpiqe.data import read_dataset
    from mpiqe.data.synthesize import synthesize as make
    from mpiqe.errors import DatasetError
    from mpiqe.scoring.paths import expand

    if clean.startswith("csv:"):
        records = sorted(read_dataset(clean).records, key=lambda record: (-record.mos, record.name))
        photos = [record.image for record in records]
    else:
        photos = [Path(path) for path in expand([clean], stdin=sys.stdin.buffer)]
    if not photos:
        raise DatasetError(f"{clean}: no photos there; give a folder of images or csv:FILE")
    photos = photos[:count]
    console = Console(stderr=True)
    failed = 0
    with ProgressLine(console=console, unit="photos", total=len(photos), shared=False) as line:

        def progress(photo: Path, fault: str | None) -> None:
            nonlocal failed
            line.advance()
            if fault is not None:
                failed += 1
                with line.aside():
                    typer.echo(f"mpiqe: left out: {fault}", err=True)

        number = make(photos, out, each=each, seed=seed, progress=progress)
    typer.echo(
        f"{out}: {number} images of {len(photos) - failed} photos; train on them with --also csv:{out}/labels.csv"
    )
    if failed:
        raise typer.Exit(1)
