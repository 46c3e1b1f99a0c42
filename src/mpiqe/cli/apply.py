"""``mpiqe apply``: carry out what was decided about photos."""

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from mpiqe.cli import selection_options
from mpiqe.errors import ConfigError
from mpiqe.printable import printable

if TYPE_CHECKING:
    from mpiqe.apply.places import FileAction, Plan
    from mpiqe.apply.sidecars import SidecarPlan

_DONE = {"move": "moved", "copy": "copied", "link": "linked"}


def apply(
    table: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help="Decisions, scores or a list of paths; - for standard input."),
    ] = None,
    move: Annotated[Path | None, typer.Option(help="Move the photos into this folder.", metavar="DIR")] = None,
    copy: Annotated[Path | None, typer.Option(help="Copy the photos into this folder.", metavar="DIR")] = None,
    link: Annotated[Path | None, typer.Option(help="Make symbolic links to them in it.", metavar="DIR")] = None,
    xmp: Annotated[bool, typer.Option("--xmp", help="Write ratings and scores into XMP sidecars.")] = False,
    go: Annotated[bool, typer.Option("--go", help="Do it; otherwise only say what would be done.")] = False,
    undo: Annotated[
        Path | None, typer.Option(help="Put back what the run of this journal did.", metavar="JOURNAL")
    ] = None,
    act_on: Annotated[
        str | None,
        typer.Option(
            help="Which decisions and ratings, as reject,1,2: pick, reject, undecided, 0 to 5. Default: reject for "
            "--move, pick for --copy and --link, all for --xmp.",
            metavar="WHICH",
        ),
    ] = None,
    min_score: selection_options.MinScore = None,
    max_score: selection_options.MaxScore = None,
    worst: selection_options.Worst = None,
    best: selection_options.Best = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="What paths are relative to, and from where folders are kept below DIR. Default: the current folder, "
            "and what all photos of FILE share.",
            metavar="ROOT",
        ),
    ] = None,
    flat: Annotated[bool, typer.Option("--flat", help="Put all into DIR itself, without their folders.")] = False,
    sidecar: Annotated[
        Literal["darktable", "adobe"] | None,
        typer.Option(help="darktable: NAME.EXT.xmp, digiKam's too; adobe: NAME.xmp. [default: darktable]", metavar="S"),
    ] = None,
    stars: Annotated[
        str | None,
        typer.Option(help="Qualities from which on 2, 3, 4 and 5 stars are given. [default: 0.2,0.4,0.6,0.8]"),
    ] = None,
    reject_below: Annotated[
        float | None, typer.Option(help="Rate photos of a lower quality as rejected.", metavar="Q")
    ] = None,
    replace_ratings: Annotated[
        bool, typer.Option("--replace-ratings", help="Let scores replace ratings that others gave.")
    ] = False,
    journal: Annotated[
        Path | None,
        typer.Option(help="Where to write the journal. Default: a new file in DIR, or here for --xmp.", metavar="FILE"),
    ] = None,
) -> None:
    """Move, copy or link photos, or rate them in XMP sidecars, by decisions or scores.

    FILE is what mpiqe report exports (columns path, decision, rating), what mpiqe
    score writes, or a list of paths. Without --go nothing is done. Nothing is
    deleted or written over, names that are taken get a number, and sidecars go
    with their photos. Each run with --go writes a journal, which --undo takes.

    Exit status: 0 all was done, 1 some photos were left alone, 2 wrong usage.
    """
    folders = {"move": move, "copy": copy, "link": link}
    of_folders = {"--flat": flat}
    of_xmp = {
        "--sidecar": sidecar,
        "--stars": stars,
        "--reject-below": reject_below,
        "--replace-ratings": replace_ratings,
    }
    if undo is not None:
        others = {
            "FILE": table,
            **{f"--{name}": folder for name, folder in folders.items()},
            "--xmp": xmp,
            "--go": go,
            "--act-on": act_on,
            "--min-score": min_score,
            "--max-score": max_score,
            "--worst": worst,
            "--best": best,
            "--root": root,
            **of_folders,
            **of_xmp,
            "--journal": journal,
        }
        if given := _given(others):
            raise ConfigError(f"--undo JOURNAL stands alone; leave out {given}")
        _undo(undo)
        return
    actions = [*(name for name, folder in folders.items() if folder is not None), *["xmp"] * xmp]
    if table is None or len(actions) != 1:
        raise ConfigError("give FILE and one of --move DIR, --copy DIR, --link DIR and --xmp; or --undo JOURNAL")
    (action,) = actions
    if given := _given(of_folders if action == "xmp" else of_xmp):
        where = "--move, --copy and --link" if action == "xmp" else "--xmp"
        raise ConfigError(f"with --{action}, leave out {given}, of use only with {where}")
    from mpiqe.apply.choice import chosen
    from mpiqe.apply.decisions import read_decisions
    from mpiqe.apply.places import plan_files
    from mpiqe.apply.sidecars import SidecarPlan, Thresholds
    from mpiqe.sources.find import standard_input

    thresholds = Thresholds.parse(stars, reject_below)
    read = read_decisions(table, standard_input([table]).read() if table == "-" else None)
    selection = selection_options.of(min_score=min_score, max_score=max_score, worst=worst, best=best)
    entries, words = chosen(read, action=action, act_on=act_on, selection=selection)
    if not entries:
        counts = ", ".join(f"{number} {state}" for state, number in read.counts.items() if number)
        typer.echo(f"nothing to do: no photo of {table} is {words}" + (f" ({counts})" if counts else ""))
        return
    if action == "xmp":
        style = sidecar or "darktable"
        plan = SidecarPlan(read, entries, os.path.abspath(root or "."), style, thresholds, replace_ratings)
        _write_sidecars(plan, go=go, journal=journal)
    else:
        folder = str(folders[action])
        base = None if root is None else str(root)
        file_action = cast("FileAction", action)
        files = plan_files(read, entries, action=file_action, folder=folder, root=base, flat=flat)
        sidecars = len(files.steps) - files.photos
        what = f"{_number(files.photos, 'photo')} of {len(read.entries)} ({words})"
        what += f" and {_number(sidecars, 'sidecar')}" if sidecars else ""
        _transfer(file_action, files, folder, what=what, go=go, journal=journal)


def _given(options: Mapping[str, object]) -> str:
    """The names of the options that were given."""
    return ", ".join(name for name, value in options.items() if value is not None and value is not False)


def _transfer(action: "FileAction", plan: "Plan", folder: str, *, what: str, go: bool, journal: Path | None) -> None:
    from mpiqe.apply.execute import check_room, move_files
    from mpiqe.apply.journal import default_path, started
    from mpiqe.cli.progress_line import ProgressLine

    if plan.steps:
        check_room(plan, action, folder)
    if not go:
        for step in plan.steps:
            typer.echo(f"{action}  {_shown(step.source)} -> {_shown(step.target)}")
        typer.echo(f"would {action} {what} to {_shown(folder)}; nothing was done: --go does it")
        _end(plan.left)
        return
    failures: list[tuple[str, str]] = []
    if plan.steps:
        path = journal or default_path(folder)
        about = {"action": action, "directory": os.getcwd()}
        with started(path, about) as book, _telling_undo(path):
            with ProgressLine(unit="files", total=len(plan.steps)) as line:
                failures = move_files(plan, action, book, on_step=line.advance)
            failed = f"; {_number(len(failures), 'file')} of these failed" if failures else ""
            typer.echo(f"{_DONE[action]} {what} to {_shown(folder)}{failed}")
    _end([*plan.left, *failures])


def _write_sidecars(plan: "SidecarPlan", *, go: bool, journal: Path | None) -> None:
    from mpiqe.apply.execute import write_sidecars
    from mpiqe.apply.journal import default_path, started
    from mpiqe.cli.progress_line import ProgressLine

    failures: list[tuple[str, str]] = []
    edits = plan.edits()
    first = next(edits, None)
    all_edits = chain([] if first is None else [first], edits)
    if first is not None and go:
        path = journal or default_path(".")
        about = {"action": "xmp", "directory": os.getcwd()}
        with (
            started(path, about) as book,
            _telling_undo(path),
            ProgressLine(unit="photos", total=len(plan.entries)) as line,
        ):
            failures = write_sidecars(all_edits, book, on_step=line.advance)
    else:
        for edit in all_edits:
            rating = "no rating" if edit.rating is None else f"rating {edit.rating}" + " (kept)" * edit.kept_rating
            typer.echo(f"{'create' if edit.before is None else 'change'}  {_shown(edit.path)}  {rating}")
    written = sum(plan.ratings.values()) - plan.unchanged - len(failures)
    said = ", ".join(f"{number} {_rating_said(rating)}" for rating, number in sorted(plan.ratings.items(), key=_order))
    verb = "wrote" if go else "would write"
    failed = f"{len(failures)} failed, " if failures else ""
    typer.echo(
        f"{verb} {_number(written, 'sidecar')}, {failed}{plan.unchanged} need no change; of all: {said or 'none'}"
    )
    if any(entry.decision != "reject" and entry.rating is None and entry.quality is not None for entry in plan.entries):
        typer.echo(f"ratings by score: {plan.thresholds}")
    if plan.kept:
        typer.echo(f"{_number(plan.kept, 'rating')} of others stay; --replace-ratings replaces them")
    if plan.other_style:
        other = "adobe" if plan.style == "darktable" else "darktable"
        typer.echo(
            f"{_number(plan.other_style, 'photo')} also have a sidecar of --sidecar {other}, which stays as it is"
        )
    if not go:
        typer.echo("nothing was done: --go does it")
    _end([*plan.left, *failures])


def _undo(journal: Path) -> None:
    from mpiqe.apply.undo import undo
    from mpiqe.cli.progress_line import ProgressLine

    with ProgressLine(unit="files", total=None) as line:

        def advance(total: int) -> None:
            line.total = total
            line.advance()

        result = undo(journal, on_step=advance)
    typer.echo(f"put back {result.back} of {_number(result.back + len(result.left), 'file')}")
    _end(result.left)


@contextmanager
def _telling_undo(journal: Path) -> Iterator[None]:
    """Say how to undo, whatever ends the run."""
    try:
        yield
    finally:
        typer.echo(f"to undo: mpiqe apply --undo {printable(shlex.quote(_from_here(str(journal))))}")


def _end(left: list[tuple[str, str]]) -> None:
    """Name what was left alone on the standard error, and end with status 1 if there is any."""
    from mpiqe.apply.places import NOT_THERE

    for path, reason in left:
        typer.echo(f"mpiqe: left alone: {_shown(path)}: {printable(reason)}", err=True)
    if left and all(reason == NOT_THERE for _, reason in left):
        typer.echo(
            "mpiqe: a table has the paths of the command that made it: run this in the same folder, or give --root",
            err=True,
        )
    if left:
        raise typer.Exit(1)


def _shown(path: str) -> str:
    """A path for the terminal, from here on if it lies below the current folder."""
    return printable(_from_here(path))


def _from_here(path: str) -> str:
    return path.removeprefix(os.path.join(os.getcwd(), ""))


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _rating_said(rating: int | None) -> str:
    return {None: "without a rating", -1: "rejected", 0: "unrated", 1: "with 1 star"}.get(
        rating, f"with {rating} stars"
    )


def _order(counted: tuple[int | None, int]) -> int:
    return -2 if counted[0] is None else counted[0]
