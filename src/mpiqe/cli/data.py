"""``mpiqe data``: sets of rated images."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

data = typer.Typer(no_args_is_help=True, help="Make, check and describe sets of rated images.")

Data: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="live, csiq, kadid, livec, bid, koniq, koniq:512x384, koniq:zscore or csv:FILE"
    ),
]
Root: TypeAlias = Annotated[Path | None, typer.Option(metavar="DIR", help="folder of the dataset")]
Labels: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="DIR", help="folder of LIQE's label files: scenes, distortions, splits")
]
AsPublished: TypeAlias = Annotated[
    bool, typer.Option("--labels-as-published", help="keep what LIQE's files say of LIVE's fast-fading images")
]


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
    further: Annotated[bool, typer.Option("--further", help="also WebP, AVIF, JPEG twice, thumbnails ..")] = False,
) -> None:
    """A synthetic set from clean photos: KADID-10k's 25 distortions in five levels, in its layout.

    The level is a stand-in for quality (5 for the clean photo, 1 at level 5): nobody has rated these images.
    Exit status 1 if a photo could not be read.
    """
    from rich.console import Console

    from mpiqe.cli.progress_line import ProgressLine
    from mpiqe.data import read_dataset
    from mpiqe.data.synthesize import synthesize as make
    from mpiqe.data.synthetic import ALL_KINDS, KINDS
    from mpiqe.errors import DatasetError
    from mpiqe.sources.find import photo_files, standard_input

    if clean.startswith("csv:"):
        records = sorted(read_dataset(clean).records, key=lambda record: (-record.mos, record.name))
        photos = [record.image for record in records]
    else:
        photos = list(photo_files([clean], stdin=standard_input([clean])))
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

        number = make(photos, out, each=each, seed=seed, kinds=ALL_KINDS if further else KINDS, progress=progress)
    typer.echo(
        f"{out}: {number} images of {len(photos) - failed} photos; train on them with --also csv:{out}/labels.csv"
    )
    if failed:
        raise typer.Exit(1)


@data.command()
def check(data: Data, root: Root = None, labels: Labels = None, as_published: AsPublished = False) -> None:
    """Look at every picture and label of a set and print all faults in one list.

    Exit status 1 if there are any. Before them: counts beside the release's, label coverage, sizes of the pictures.
    """
    from rich.console import Console

    from mpiqe.cli.dataset_tables import looks, overview
    from mpiqe.cli.progress_line import ProgressLine
    from mpiqe.data.check import inspect
    from mpiqe.data.describe import describe as figures_of
    from mpiqe.data.examine import read_leniently
    from mpiqe.data.releases import release_of

    reading = read_leniently(data, root=root, labels=labels, as_published=as_published)
    faults, release = list(reading.faults), release_of(data)
    console = Console(highlight=False)
    console.print(release.title if release else data, style="bold", markup=False)
    if reading.lost:
        console.print(reading.lost, markup=False, soft_wrap=True)
    if reading.dataset is not None:
        images = len(reading.dataset.records)
        with ProgressLine(console=Console(stderr=True), unit="pictures", total=images, shared=False) as line:
            seen = inspect(reading.dataset, progress=line.advance)
        faults += [*seen.faults, *seen.alike]
        console.print(overview(figures_of(reading.dataset, release), release))
        console.print(looks(reading.dataset, seen.sizes, release))
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
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="also draw the MOS histogram (needs mpiqe\\[plots])")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Figures of a set: counts beside the release's, MOS, scenes, distortions, splits. Opens no picture."""
    import dataclasses
    import json

    from rich.console import Console

    from mpiqe.cli.dataset_tables import classes, overview
    from mpiqe.data import histogram, read_dataset
    from mpiqe.data.describe import describe as figures_of
    from mpiqe.data.releases import release_of

    if out is not None:
        histogram.check_library()
        histogram.check_name(out)
    dataset, release = read_dataset(data, root=root, labels=labels, as_published=as_published), release_of(data)
    description = figures_of(dataset, release)
    if json_output:
        typer.echo(json.dumps(dataclasses.asdict(description)))
    else:
        console = Console(highlight=False)
        console.print(description.title, style="bold", markup=False)
        console.print(overview(description, release))
        for title, coverage in (("distortions", description.distortions), ("scenes", description.scenes)):
            if coverage.labelled:
                console.print()
                console.print(classes(title, coverage, description))
    if out is not None:
        histogram.save(histogram.draw(dataset, description), out)
        typer.echo(f"{out}", err=json_output)
