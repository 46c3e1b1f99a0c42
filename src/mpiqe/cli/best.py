"""``mpiqe best``: the best shot of each group of photos that belong together."""

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mpiqe.cli import photos
from mpiqe.printable import printable

if TYPE_CHECKING:
    from mpiqe.best.shots import Best
    from mpiqe.runtimes.base import Scale


def best(
    paths: photos.Paths,
    group_by: Annotated[
        Literal["time", "similarity", "folder"],
        typer.Option(help="time: by EXIF; similarity: by perceptual hash; folder.", metavar="BY"),
    ] = "time",
    within: Annotated[float, typer.Option(help="time: seconds from one photo to the next.", metavar="S")] = 2.0,
    most_bits: Annotated[
        int, typer.Option(help="similarity: of 64 bits that hashes of like photos may differ in.", metavar="N")
    ] = 10,
    clear_from: Annotated[
        float, typer.Option(help="Margin from which on the best is told from the next; docs/act.md.", metavar="M")
    ] = 1.0,
    margin_by: Annotated[
        Literal["difference", "intervals"] | None,
        typer.Option(
            help="A margin's unit. difference: that of two shots, measured on bursts; the default where the model has "
            "one. intervals: those of the two scores.",
            metavar="BY",
        ),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print a JSON list of the groups.")] = False,
    decisions: Annotated[
        Path | None,
        typer.Option(
            help="Write a table for mpiqe apply: picks are the best, rejects clearly behind.",
            metavar="FILE.csv",
        ),
    ] = None,
    singles: Annotated[bool, typer.Option("--singles", help="Show photos that are alone, too.")] = False,
    weights: photos.Weights = None,
    workers: photos.Workers = None,
    runtime: photos.Runtime = "auto",
    device: photos.Device = "auto",
    precision: photos.Precision = "auto",
    timeout: photos.Timeout = 60.0,
) -> None:
    """Find the best shot of each burst.

    Photos are grouped, scored and ordered within their group. The margin is how far
    the best is ahead of the next: at 1, the chance of the wrong order is 10 %. Below
    --clear-from, by default 1, the model cannot tell them apart, and says so.

    Exit status: 0 all were scored, 1 some were not, 2 no photos or wrong usage.
    """
    from mpiqe.best.grouping import group_photos
    from mpiqe.best.shots import Shot, best_of, unit_of
    from mpiqe.cli.progress_line import ProgressLine
    from mpiqe.errors import ConfigError
    from mpiqe.scoring.loading import load
    from mpiqe.sources.find import photo_files, standard_input
    from mpiqe.sources.passed_over import PassedOver, described, no_image

    photos.refuse_missing(paths)
    left_out = PassedOver()
    files = list(dict.fromkeys(map(str, photo_files(paths, stdin=standard_input(paths), left_out=left_out))))
    if not files:
        raise ConfigError(no_image(paths, left_out))
    if left_out.counts():
        typer.echo(f"mpiqe: passed over: {described(left_out.counts())}", err=True)
    if not clear_from > 0:
        raise ConfigError(f"--clear-from must be above 0, not {clear_from:g}")
    if decisions is not None and decisions.exists():
        raise ConfigError(f"{decisions} is there already; name another file for the decisions")
    if decisions is not None and not decisions.parent.is_dir():
        raise ConfigError(f"{decisions}: there is no folder {decisions.parent}; make it first")
    scorer = load(weights, workers=workers, runtime=runtime, device=device, precision=precision, read_timeout=timeout)
    difference = unit_of(scorer.scale, margin_by)
    numbers = group_photos(files, group_by, within=within, most_bits=most_bits, workers=scorer.workers, timeout=timeout)
    groups: dict[int, list[Shot]] = defaultdict(list)
    failed = 0
    with ProgressLine(unit="photos", total=len(files)) as line:
        for number, row in zip(numbers, scorer.rows(files), strict=True):
            line.advance()
            if row.score is None:
                failed += 1
                with line.aside():
                    typer.echo(f"mpiqe: left out: {printable(row.path)}: {printable(row.error or '')}", err=True)
            else:
                groups[number].append(Shot(row.path, row.score.score, row.score.quality, row.score.interval))
    higher = scorer.scale.higher_is_better
    found = [
        best_of(shots, higher_is_better=higher, clear_from=clear_from, difference=difference)
        for _, shots in sorted(groups.items())
    ]
    shown = [group for group in found if singles or len(group.shots) > 1]
    if json_output:
        typer.echo(json.dumps([_values(group, number, group_by) for number, group in enumerate(shown, 1)], indent=1))
    else:
        _show(shown, scorer.scale, alone=sum(len(group.shots) == 1 for group in found), singles=singles)
    if group_by == "time" and not any(len(group.shots) > 1 for group in found):
        typer.echo(
            f"mpiqe: no two photos were taken within {within:g} s by the times in their EXIF, and a photo without one "
            "stays alone; --group-by similarity or folder groups them otherwise",
            err=True,
        )
    if decisions is not None:
        _decide([group for group in found if len(group.shots) > 1], decisions)
    if failed:
        raise typer.Exit(1)


def _values(group: "Best", number: int, group_by: str) -> dict[str, Any]:
    """A group in JSON; names that are not UTF-8 are written as in the rows of mpiqe score."""
    from mpiqe.batch.sinks import encode_name

    return {
        "group": number,
        "group_by": group_by,
        "best_shot": encode_name(group.best.path),
        "margin": group.margin,
        "margin_by": group.margin_by,
        "can_tell": group.can_tell,
        "photos": [
            {
                "path": encode_name(shot.path),
                "score": round(shot.score, 6),
                "quality": shot.quality,
                "interval_low": shot.interval and shot.interval[0],
                "interval_high": shot.interval and shot.interval[1],
                "behind": group.behind(shot),
            }
            for shot in group.shots
        ],
    }


def _show(groups: "list[Best]", scale: "Scale", *, alone: int, singles: bool) -> None:
    """A line for each photo, the best of its group first."""
    width = max(len(f"{end:.{scale.decimals}f}") for end in (scale.low, scale.high)) + 1
    for number, group in enumerate(groups, 1):
        verdict = "alone"
        if len(group.shots) > 1:
            margin = "" if group.margin is None else f" (margin {group.margin:.2f})"
            verdict = f"best of {len(group.shots)}{margin}" if group.can_tell else f"cannot tell{margin}"
        typer.echo(f"group {number}: {verdict}")
        for shot in group.shots:
            mark = "*" if shot is group.best else " "
            typer.echo(f"  {mark} {shot.score:>{width}.{scale.decimals}f}  {printable(shot.path)}")
    together = sum(len(group.shots) for group in groups if len(group.shots) > 1)
    tell = sum(group.can_tell for group in groups)
    bursts = sum(len(group.shots) > 1 for group in groups)
    hidden = "" if singles else ", not shown"
    groups_said = f"{bursts} group{'' if bursts == 1 else 's'}"
    typer.echo(f"{groups_said} of {together} photos, {tell} with a clear best; {alone} alone{hidden}")


def _decide(groups: "list[Best]", path: Path) -> None:
    from mpiqe.batch.sinks import encode_name

    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "decision", "rating"])
        for group in groups:
            for shot in group.shots:
                writer.writerow([encode_name(shot.path), group.decision(shot), ""])
