"""``mpiqe report``: a static page to look through scored photos."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mpiqe.cli import photos


def report(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="What mpiqe score takes; or one table of scores (.jsonl, .csv, .parquet), or two to compare.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="The folder for the page; made if it does not exist.", metavar="DIR", show_default=False),
    ],
    single_file: Annotated[
        bool, typer.Option("--single-file", help="One file with everything in it; for 5,000 photos at most.")
    ] = False,
    title: Annotated[str | None, typer.Option(help="What the page is called.", metavar="TEXT")] = None,
    thumbnail: Annotated[int, typer.Option(help="Pixels along a thumbnail's longer side.", metavar="N")] = 256,
    worst: Annotated[
        int | None,
        typer.Option(help="Show where the distortion is in the N worst photos; default 24, of a table 0.", metavar="N"),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show where the distortion is in all photos.")] = False,
    group_by: Annotated[
        Literal["time", "similarity", "folder"],
        typer.Option(help="Photos whose best shot is marked, as mpiqe best groups them.", metavar="BY"),
    ] = "time",
    within: Annotated[float, typer.Option(help="time: seconds from one photo to the next.", metavar="S")] = 2.0,
    most_bits: Annotated[
        int, typer.Option(help="similarity: of 64 bits that hashes of like photos may differ in.", metavar="N")
    ] = 10,
    clear_from: Annotated[
        float, typer.Option(help="Margin from which on the best shot is told from the next.", metavar="M")
    ] = 1.0,
    margin_by: Annotated[
        Literal["difference", "intervals"] | None, typer.Option(help="As in mpiqe best.", metavar="BY")
    ] = None,
    weights: photos.Weights = None,
    crops: photos.Crops = None,
    view_side: photos.ViewSide = None,
    crop_mode: photos.CropMode = None,
    seed: photos.Seed = 0,
    batch_size: photos.BatchSize = None,
    workers: photos.Workers = None,
    runtime: photos.Runtime = "auto",
    device: photos.Device = "auto",
    precision: photos.Precision = "auto",
    max_pixels: photos.MaxPixels = 200_000_000,
    max_bytes: photos.MaxBytes = 256 << 20,
    timeout: photos.Timeout = 60.0,
    column: photos.Column = None,
    include: photos.Include = None,
    exclude: photos.Exclude = None,
    allow_scheme: photos.AllowScheme = None,
    allow_host: photos.AllowHost = None,
) -> None:
    """Make a page to look through photos, the worst first, and to pick and reject.

    DIR/index.html opens from disk in a browser and asks no server for anything.
    Ratings and rejects made there are exported for mpiqe apply.

    Two tables of the same photos, by two models or of two versions, are shown
    side by side, sorted by how far they disagree.

    Exit status: 0 done, 1 some photos could not be read, 2 nothing to show or wrong usage.
    """
    from mpiqe.gallery.report import write_report
    from mpiqe.gallery.shots import Grouping

    photos.refuse_missing(paths)
    with photos.Display() as display:
        result = write_report(
            paths,
            out,
            single_file=single_file,
            title=title,
            thumbnail=thumbnail,
            worst=worst,
            explain_all=explain,
            grouping=Grouping(
                by=group_by, within=within, most_bits=most_bits, clear_from=clear_from, margin_by=margin_by
            ),
            on_progress=display,
            count_total=display.is_shown,
            max_bytes=max_bytes,
            timeout=timeout,
            column=column,
            include=include or (),
            exclude=exclude or (),
            allow_scheme=allow_scheme or (),
            allow_host=allow_host or (),
            max_pixels=max_pixels,
            workers=workers,
            weights=weights,
            crops=crops,
            view_side=view_side,
            crop_mode=crop_mode,
            seed=seed,
            batch_size=batch_size,
            runtime=runtime,
            device=device,
            precision=precision,
        )
    for note in result.notes:
        typer.echo(f"mpiqe: {note}", err=True)
    typer.echo(f"{result.photos} photos in {result.page}")
    if result.failed:
        typer.echo(f"mpiqe: {result.failed} photos could not be read; the page says why", err=True)
        raise typer.Exit(1)
