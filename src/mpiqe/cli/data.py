"""``mpiqe data``: rated datasets."""

from pathlib import Path
from typing import Annotated

import typer

from mpiqe.cli.dataset_options import AsPublished, Data, ImageColumn, Labels, MosColumn, Root
from mpiqe.data.registry import names

data = typer.Typer(
    no_args_is_help=True,
    help=f"Make, check and describe rated datasets: {', '.join(names())}, or a table of your own.",
)


@data.callback()
def _data() -> None:
    """Rated datasets."""


@data.command()
def synthesize(
    clean: Annotated[str, typer.Argument(help="folder of clean photos, or csv:FILE with the columns image,mos")],
    out: Annotated[Path, typer.Argument(help="folder to write the set to")],
    count: Annotated[int | None, typer.Option(help="number of photos: the best rated, or a folder's first")] = None,
    each: Annotated[
        int | None, typer.Option(help="versions of each photo, drawn from the types x 5 levels; default 125 or all")
    ] = None,
    seed: Annotated[int, typer.Option(help="random seed")] = 0,
    further: Annotated[bool, typer.Option("--further", help="also WebP, AVIF, JPEG twice, thumbnails ..")] = False,
    kind: Annotated[list[str] | None, typer.Option(help="only this type (JPEG, WebP ..); may be repeated")] = None,
) -> None:
    """A synthetic set from clean photos: KADID-10k's 25 distortions in five levels, in its layout.

    The level is a stand-in for quality (5 for the clean photo, 1 at level 5): nobody has rated these images.
    Exit status 1 if a photo could not be read.
    """
    from rich.console import Console

    from mpiqe.cli.progress_line import ProgressLine
    from mpiqe.data import read_dataset
    from mpiqe.data.synthesize import synthesize as make
    from mpiqe.data.synthetic import ALL_KINDS, KINDS, LEVELS, kinds_named
    from mpiqe.errors import ConfigError, DatasetError
    from mpiqe.sources.find import photo_files, standard_input
    from mpiqe.sources.passed_over import PassedOver, described

    if count is not None and count < 1:
        raise ConfigError(f"--count {count}: must be 1 or more")
    if kind and further:
        raise ConfigError("give --kind or --further, not both: --kind takes the further types too")
    asked = kinds_named(kind) if kind else ALL_KINDS if further else KINDS
    versions = min(125, LEVELS * len(asked)) if each is None else each
    left_out = PassedOver()
    if clean.startswith("csv:"):
        records = sorted(read_dataset(clean).records, key=lambda record: (-record.mos, record.name))
        photos = [record.image for record in records]
    else:
        photos = list(photo_files([clean], stdin=standard_input([clean]), left_out=left_out))
    if not photos:
        raise DatasetError(f"{clean}: no photos there; give a folder of images or csv:FILE")
    if left_out.counts():
        typer.echo(f"mpiqe: passed over: {described(left_out.counts())}", err=True)
    photos = photos[:count]
    console = Console(stderr=True)
    failed = 0
    with ProgressLine(console=console, unit="photos", total=len(photos)) as line:

        def progress(photo: Path, fault: str | None) -> None:
            nonlocal failed
            line.advance()
            if fault is not None:
                failed += 1
                with line.aside():
                    typer.echo(f"mpiqe: left out: {fault}", err=True)

        number = make(photos, out, each=versions, seed=seed, kinds=asked, progress=progress)
    typer.echo(
        f"{out}: {number} images of {len(photos) - failed} photos; train on them with --extra-data csv:{out}/labels.csv"
    )
    if failed:
        raise typer.Exit(1)


@data.command()
def check(
    data: Data,
    root: Root = None,
    labels: Labels = None,
    as_published: AsPublished = False,
    image_column: ImageColumn = None,
    mos_column: MosColumn = None,
) -> None:
    """Check every image and label of a dataset and print all faults in one list.

    Exit status 1 if there are any. Before them: counts beside the release's, label coverage, image sizes.
    """
    from rich.console import Console

    from mpiqe.cli.dataset_tables import looks, overview
    from mpiqe.cli.progress_line import ProgressLine
    from mpiqe.data.describe import describe as figures_of
    from mpiqe.data.examine import read_leniently
    from mpiqe.data.inspection import inspect
    from mpiqe.data.registry import spec_of

    reading = read_leniently(
        data, root=root, labels=labels, as_published=as_published, image_column=image_column, mos_column=mos_column
    )
    faults, spec = list(reading.faults), spec_of(data)
    console = Console(highlight=False)
    console.print(spec.title if spec else data, style="bold", markup=False)
    for note in (reading.lost, *(reading.dataset.notes if reading.dataset else ())):
        if note:
            console.print(note, markup=False, soft_wrap=True)
    if reading.dataset is not None:
        images = len(reading.dataset.records)
        with ProgressLine(unit="images", total=images) as line:
            seen = inspect(reading.dataset, progress=line.advance)
        faults += [*seen.faults, *seen.alike]
        console.print(overview(figures_of(reading.dataset, spec), spec))
        console.print(looks(reading.dataset, seen.sizes, spec))
    if not faults:
        typer.echo("no faults")
        return
    typer.echo("\n  ".join([f"{len(faults):,} fault{'s' if len(faults) > 1 else ''}", *faults]))
    raise typer.Exit(1)


@data.command()
def describe(
    data: Data,
    root: Root = None,
    labels: Labels = None,
    as_published: AsPublished = False,
    image_column: ImageColumn = None,
    mos_column: MosColumn = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="also draw the MOS histogram (needs mpiqe[plots])")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Statistics of a dataset: counts beside the release's, MOS, scenes, distortions, splits. Opens no image."""
    import dataclasses
    import json

    from rich.console import Console

    from mpiqe.cli.dataset_tables import classes, overview
    from mpiqe.data import histogram, read_dataset
    from mpiqe.data.describe import describe as figures_of
    from mpiqe.data.registry import spec_of

    if out is not None:
        histogram.check(out)
    dataset = read_dataset(
        data, root=root, labels=labels, as_published=as_published, image_column=image_column, mos_column=mos_column
    )
    spec = spec_of(data)
    description = figures_of(dataset, spec)
    if json_output:
        typer.echo(json.dumps(dataclasses.asdict(description)))
    else:
        console = Console(highlight=False)
        console.print(description.title, style="bold", markup=False)
        for note in dataset.notes:
            console.print(note, markup=False, soft_wrap=True)
        console.print(overview(description, spec))
        for title, coverage in (("distortions", description.distortions), ("scenes", description.scenes)):
            if coverage.labelled:
                console.print()
                console.print(classes(title, coverage, description))
    if out is not None:
        histogram.save(histogram.draw(dataset, description), out)
        typer.echo(f"{out}", err=json_output)
