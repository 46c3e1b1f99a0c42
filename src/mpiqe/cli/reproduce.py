"""``mpiqe reproduce``: the paper's tables and figures, and a report with its figures beside ours."""

import shlex
import sys
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mpiqe import bounds
from mpiqe.cli.reporter import TerminalReporter
from mpiqe.data.registry import names as dataset_names

if TYPE_CHECKING:
    from mpiqe.experiments.plan import Plan

TARGETS = (
    *("table1", "table2", "table3", "table4", "table5", "table6"),
    *("lines", "mixture", "readings", "figure3", "figure4"),
)


class Target(str, Enum):
    """What can be reproduced."""

    table1 = "table1"
    table2 = "table2"
    table3 = "table3"
    table4 = "table4"
    table5 = "table5"
    table6 = "table6"
    lines = "lines"
    mixture = "mixture"
    readings = "readings"
    figure3 = "figure3"
    figure4 = "figure4"
    all = "all"


def reproduce(
    targets: Annotated[
        list[Target],
        typer.Argument(
            metavar="TARGET..",
            help=f"tables and figures of the paper: {', '.join(TARGETS)} or all; "
            "lines: a linear probe, visual-only, full fine-tuning and LIQE on frozen towers beside MP-IQE; "
            "mixture: trained on all datasets but one; readings: other readings of the paper",
        ),
    ],
    roots: Annotated[
        Path,
        typer.Option(
            "--roots", help='TOML file: livec = "FOLDER", "csv:FILE" = "FOLDER", .. and labels = "FOLDER" (LIQE\'s)'
        ),
    ] = Path("roots.toml"),
    out: Annotated[Path, typer.Option("--out", help="folder of the runs and the report")] = Path("reproduction"),
    backbone: Annotated[
        str | None, typer.Option(help="CLIP by hub id or folder, or 'embedded'; default the paper's")
    ] = None,
    datasets: Annotated[
        str | None,
        typer.Option(
            help=f"only these of {', '.join(dataset_names())} and the roots file's tables; separated by commas"
        ),
    ] = None,
    variants: Annotated[
        str | None,
        typer.Option(help="only these of the models that the tables take, and mp-iqe; separated by commas"),
    ] = None,
    repeats: Annotated[int, typer.Option(help="how many of the ten splits")] = 10,
    epochs: Annotated[int | None, typer.Option(help="epochs; default the paper's 30")] = None,
    epoch: Annotated[
        Literal["last", "val"] | None,
        typer.Option(help="D14: report the last epoch, or keep validation images back and pick on them"),
    ] = None,
    splits: Annotated[
        Literal["auto", "liqe", "own"] | None, typer.Option(help="D13: LIQE's splits or the project's own")
    ] = None,
    labels_as_published: Annotated[
        bool, typer.Option("--labels-as-published", help="keep what LIQE's files say of LIVE's fast-fading images")
    ] = False,
    best_on_test: Annotated[
        bool, typer.Option("--best-on-test", help="add the column that picks the epoch on the test images")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="TOML of mpiqe train's settings; a table variants.NAME is for one variant"),
    ] = None,
    jobs: Annotated[int, typer.Option(help="runs at a time")] = 1,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="run nothing: write the report of what is done")
    ] = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="print the plan and stop, without loading CLIP")] = False,
) -> None:
    """The paper's tables and figures from your folders of data, its own numbers beside ours.

    Prints the plan first: which cells can run, which lack data, how long it takes. The same command continues what was
    stopped or killed, run by run. OUT/report.html, report.md, cells.csv and claims.csv are the result; all predictions
    are kept. Exit status 1 if something failed; the rest is done then.
    """
    from mpiqe.errors import ConfigError
    from mpiqe.experiments.plan import make_plan
    from mpiqe.experiments.study import Study, read_roots, read_settings
    from mpiqe.experiments.tables import tables

    if not 1 <= jobs <= bounds.MOST_WORKERS:
        raise ConfigError(f"--jobs {jobs}: must be 1 or more, and {bounds.MOST_WORKERS} or less")
    wanted = [target.value for target in targets]
    names = [name for name in TARGETS if name in wanted or "all" in wanted]
    places, labels = read_roots(roots)
    settings, own, note = read_settings(config) if config else ({}, {}, None)
    flags: dict[str, Any] = {"backbone": backbone, "epochs": epochs, "epoch": epoch, "splits": splits}
    settings |= {key: value for key, value in flags.items() if value is not None}
    if labels_as_published and labels is None:
        raise ConfigError(f'--labels-as-published needs LIQE\'s label files: add labels = "FOLDER" to {roots}')
    if epoch == "val":
        settings["validation"] = True
    settings |= {"labels_as_published": True} if labels_as_published else {}
    settings |= {"test_each_epoch": True} if best_on_test else {}
    known = tables()
    study = Study(
        out=out,
        tables=tuple(known[name] for name in names if name in known),
        places=places,
        labels=labels,
        datasets=tuple(datasets.split(",")) if datasets else None,
        repeats=repeats,
        figures=tuple(name for name in names if name not in known),
        settings=settings,
        own=own,
        note=note,
        variants=tuple(variants.split(",")) if variants else None,
    )
    with TerminalReporter() as reporter:
        plan = make_plan(study, measure=not plan_only, begin=not report_only)
        _print_plan(plan)
        if plan_only:
            return
        from mpiqe.experiments.processes import folder_lock
        from mpiqe.experiments.reproduce import reproduce as run_all

        try:
            with folder_lock(out):
                findings = run_all(
                    plan,
                    jobs=jobs,
                    command=shlex.join(["mpiqe", *sys.argv[1:]]),
                    say=reporter.note,
                    reporter=reporter,
                    report_only=report_only,
                )
        except KeyboardInterrupt:
            reporter.note(f"stopped; what is done is in {out}, and the same command goes on")
            raise
    typer.echo(f"report: {out / 'report.html'}, {out / 'report.md'}, {out / 'cells.csv'}, {out / 'claims.csv'}")
    for name, fault in findings.faults.items():
        typer.echo(f"mpiqe: {name}: {fault}", err=True)
    if findings.faults:
        raise typer.Exit(1)


def _print_plan(plan: "Plan") -> None:
    typer.echo("plan")
    for table in plan.study.tables:
        for part in plan.parts(table):
            state = part.lacking or f"{part.done} of {part.runs} runs done"
            cells = f"{part.cells} cell{'s' if part.cells > 1 else ''}"
            typer.echo(f"  {table.key:<8} {part.name:<14} {cells:<8} {state}")
    for figure in plan.study.figures:
        typer.echo(f"  {figure:<8} {plan.study.figure_dataset or 'no dataset to draw it on'}")
    left = "how long they take is measured when they start"
    if plan.measured is not None and plan.measured.seconds is None:
        left = "none is begun"
    elif plan.measured is not None:
        time = timedelta(seconds=round(plan.measured.seconds or 0))
        left = f"about {time} one after another, by a step measured now"
    typer.echo(f"  {len(plan.left)} of {len(plan.runs)} runs are left (one may serve several tables): {left}")
    if plan.measured is not None and plan.measured.memory:
        typer.echo(f"  memory of a step: about {plan.measured.memory}")
    for note in plan.notes:
        typer.echo(f"  careful: {note}")
