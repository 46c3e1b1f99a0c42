"""``mpiqe bench``: how fast does scoring go on this machine, and what is in its way?"""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from mpiqe.runtimes.registry import measured_help

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mpiqe.bench.report import Report
    from mpiqe.bench.timing import Timed


def bench(
    weights: Annotated[
        str | None,
        typer.Option(
            help="A run folder, a .safetensors file or a hub id; the embedded model if not given.", metavar="W"
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="random:vit-b-16 (-b-32, -l-14): random weights of that shape.", metavar="B"),
    ] = None,
    crops: Annotated[
        int | None, typer.Option(help="Crops per photo; the model's own number if not given.", metavar="N")
    ] = None,
    repeats: Annotated[int, typer.Option(help="How often each piece of work is measured.", metavar="N")] = 5,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            help=measured_help(),
            metavar="R",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every repeat as JSON.")] = False,
) -> None:
    """Measure scoring on this machine's processor, beside what bounds it.

    Matrix product, bare image tower, decoding, the model, files to rows, start-up and memory: medians, interleaved.
    """
    from rich.console import Console

    from mpiqe.bench.measure import Settings, measure

    shown = Console(stderr=True)
    with shown.status("starting") as status:
        report = measure(
            Settings(weights=weights, backbone=backbone, crops=crops, repeats=repeats, runtimes=tuple(runtime or ())),
            note=status.update,
        )
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2))
    else:
        _print(report, Console(highlight=False))


def _print(report: "Report", console: "Console") -> None:
    machine, settings = report.machine, report.settings
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    console.print(f"{machine['processor']}, {machine['cores']} cores; Python {machine['python']}, {versions}")
    console.print(
        f"{report.model['name']}, {settings['crops']} crops a photo, batches of {settings['batch']}; medians of "
        f"{settings['repeats']} (lowest to highest)"
    )
    console.print(_ceilings(report), _runtimes(report), sep="\n")
    for what, timed in report.start_up.items():
        spread = f"({min(timed.seconds):.2f} to {max(timed.seconds):.2f})"
        console.print(f"{what}: {timed.median:.2f} s {spread}, a fresh process")
    if report.peak_memory_mb is not None:
        console.print(f"peak memory of mpiqe score, its largest process: {report.peak_memory_mb:.0f} MB")
    sizes = ", ".join(f"{each.bits_per_pixel:.1f} at {each.size[0]} x {each.size[1]}" for each in report.decoding)
    console.print(f"photos: {settings['photos']}; bits per pixel: {sizes}; decoded on one thread")
    operations = report.model["operations"]
    if operations is not None:
        figures = ", ".join(f"{name} {number / 1e9:.2f}" for name, number in operations.items())
        console.print(f"GFLOP a crop, by the formula of mpiqe.bench.flops (a multiply-add is two): {figures}")
    for what, why in report.left_out.items():
        console.print(f"left out: {what}: {why}")


def _ceilings(report: "Report") -> "Table":
    table = _table("", "median", "", "spread")
    for precision, timed in report.floor.items():
        table.add_row(f"matrix product, {report.floor_by} {precision}", *_cells(timed, "GFLOP/s", 1e9))
    for each in report.decoding:
        table.add_row(f"decoding, {each.size[0]} x {each.size[1]}", *_cells(each.read, "photos/s"))
    if report.plain is not None:
        table.add_row("plain eager fp32 model", *_cells(report.plain, "photos/s"))
    for runtime in report.runtimes:
        if runtime.bare is not None:
            table.add_row(f"bare tower, {runtime.name}", *_cells(runtime.bare, "photos/s"))
    return table


def _runtimes(report: "Report") -> "Table":
    table = _table("", "photos/s", "", "spread", "of tower", "of product", "x plain")
    for each in report.runtimes:
        lines = [(f"model, {each.name}", each.model, each.share_of_bare, report.share_of_peak(each))]
        for size, rows in each.pipelines.rows.items():
            lines.append((f"rows {size[0]} x {size[1]}", rows, each.pipelines.share_of_bare(size), None))
        for name, part, bare, peak in lines:
            times = report.times_plain(part)
            table.add_row(
                name,
                *_cells(part, ""),
                "" if bare is None else f"{bare:.1%}",
                "" if peak is None else f"{peak:.1%}",
                "" if times is None else f"{times:.2f}",
            )
    return table


def _table(*heads: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for index, head in enumerate(heads):
        table.add_column(head, no_wrap=True, justify="right" if index and head != "spread" else "left")
    return table


def _cells(timed: "Timed", unit: str, scale: float = 1.0) -> tuple[str, str, str]:
    rates = [rate / scale for rate in timed.rates]
    digits = 1 if timed.rate / scale >= 10 else 2
    return f"{timed.rate / scale:.{digits}f}", unit, f"({min(rates):.{digits}f} to {max(rates):.{digits}f})"
