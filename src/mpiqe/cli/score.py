"""``mpiqe score``: score images and write a row for each."""

from pathlib import Path
from typing import Annotated

import typer

from mpiqe.cli import photos, selection_options


def score(
    paths: photos.Paths,
    weights: photos.Weights = None,
    form: Annotated[
        photos.Format | None,
        typer.Option("--format", help="table, csv, jsonl, json, parquet or paths; else as FILE ends.", metavar="F"),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            help="Write the rows to this file, as they come: .csv, .jsonl, .json (also .gz), .parquet, .txt.",
            metavar="FILE",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue --output where an earlier run ended.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the rows of --output when all new ones are there.")
    ] = False,
    update: Annotated[
        bool,
        typer.Option("--update", help="Keep the rows of unchanged photos, score new ones, drop vanished ones."),
    ] = False,
    min_score: selection_options.MinScore = None,
    max_score: selection_options.MaxScore = None,
    worst: selection_options.Worst = None,
    best: selection_options.Best = None,
    sort: selection_options.Sorting = None,
    print0: Annotated[
        bool,
        typer.Option("--print0", help="Just paths, each ended by NUL, for xargs -0; --format paths: one a line."),
    ] = False,
    explain: Annotated[
        Path | None,
        typer.Option(help="Draw each photo into this folder, as mpiqe explain does.", metavar="DIR"),
    ] = None,
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
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Columns of tables that rows have too: id,label; may be repeated.", metavar="NAMES"),
    ] = None,
    null: photos.Null = False,
    include: photos.Include = None,
    exclude: photos.Exclude = None,
    allow_scheme: photos.AllowScheme = None,
    allow_host: photos.AllowHost = None,
    engine: photos.Engine = "local",
    shard_size: photos.ShardSize = photos.SHARD_SIZE,
    address: photos.Address = None,
) -> None:
    """Score photos: how good do they look?

    A photo that cannot be read gets its row too, with the reason.

    Exit status: 0 all were scored, 1 some were not, 2 nothing to score or wrong usage.
    """
    from mpiqe.batch.job import score_to

    file_format = selection_options.form(form, print0=print0)
    selection = selection_options.of(min_score=min_score, max_score=max_score, worst=worst, best=best, sort=sort)
    shares_terminal = output is None and photos.writes_to_terminal()
    with photos.Display(shares_terminal=shares_terminal, overwrite=overwrite) as display:
        result = score_to(
            paths,
            photos.standard_output(display, file_format) if output is None else output,
            on_progress=display,
            count_total=display.is_shown,
            file_format=file_format,
            selection=selection,
            resume=resume,
            overwrite=overwrite,
            update=update,
            figures=explain,
            column=column,
            keep=[name for names in keep or () for name in names.split(",") if name],
            null=null,
            include=include or (),
            exclude=exclude or (),
            max_bytes=max_bytes,
            timeout=timeout,
            allow_scheme=allow_scheme or (),
            allow_host=allow_host or (),
            engine=engine,
            address=address,
            shard_size=shard_size,
            weights=weights,
            crops=crops,
            view_side=view_side,
            crop_mode=crop_mode,
            seed=seed,
            batch_size=batch_size,
            workers=workers,
            runtime=runtime,
            device=device,
            precision=precision,
            max_pixels=max_pixels,
        )
    photos.sum_up(
        result,
        verb="scored",
        to_file=output is not None,
        update=update,
        rows_left_out=selection is not None or file_format in ("paths", "paths0"),
    )
