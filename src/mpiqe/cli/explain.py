"""``mpiqe explain``: draw where an image's distortion is and what the model attends to."""

from pathlib import Path
from typing import Annotated

import typer

from mpiqe.cli import photos


def explain(
    paths: photos.Paths,
    out: Annotated[
        Path,
        typer.Option(help="The folder for the figures; made if it does not exist.", metavar="DIR", show_default=False),
    ],
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
    null: photos.Null = False,
    include: photos.Include = None,
    exclude: photos.Exclude = None,
    allow_scheme: photos.AllowScheme = None,
    allow_host: photos.AllowHost = None,
) -> None:
    """Show where a photo's distortion is and what the model attends to.

    Each photo gets a figure: the photo, its most probable distortion and the
    decoder's attention laid over it, the score and the five most probable labels.
    Figures lie in DIR as the photos in their folders, named after them.

    The rows are those of mpiqe score. A photo that cannot be read gets its row
    too, with the reason.

    Exit status: 0 all were explained, 1 some were not, 2 nothing to explain or wrong usage.
    """
    from mpiqe.batch.job import score_to

    with photos.Display(shares_terminal=photos.writes_to_terminal()) as display:
        result = score_to(
            paths,
            photos.standard_output(display, None),
            on_progress=display,
            count_total=display.is_shown,
            figures=out,
            name_figures=True,
            column=column,
            null=null,
            include=include or (),
            exclude=exclude or (),
            max_bytes=max_bytes,
            timeout=timeout,
            allow_scheme=allow_scheme or (),
            allow_host=allow_host or (),
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
    photos.sum_up(result, verb="explained", to_file=False, update=False, rows_left_out=False)
