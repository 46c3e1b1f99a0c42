"""The ``mpiqe`` command. Each subcommand has its own file and imports what it needs when it runs.

Exit status of all of them: 0 done, 1 done in part (the command says what that means), 2 a usage error or any
``MPIQEError``, 130 interrupted, 141 the reader of our output went away.
"""

import os
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mpiqe.cli.apply import apply
from mpiqe.cli.bench import bench
from mpiqe.cli.best import best
from mpiqe.cli.data import data
from mpiqe.cli.demo import demo
from mpiqe.cli.evaluate import evaluate
from mpiqe.cli.explain import explain
from mpiqe.cli.export import export
from mpiqe.cli.interrupts import raising
from mpiqe.cli.pretrain import pretrain
from mpiqe.cli.report import report
from mpiqe.cli.reproduce import reproduce
from mpiqe.cli.score import score
from mpiqe.cli.serve import serve
from mpiqe.cli.train import train
from mpiqe.errors import MPIQEError
from mpiqe.extras import lacking
from mpiqe.printable import printable

_LINES = "\n\t"  # what of an error's text a terminal may obey


class _Commands(TyperGroup):
    """Turn the exceptions of a command into one line and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with raising() as interrupted:
                try:
                    return super().invoke(ctx)
                except Exception as error:
                    if interrupted.is_set() and not isinstance(error, typer.Exit):
                        raise KeyboardInterrupt from error
                    raise
        except MPIQEError as error:
            typer.echo(f"mpiqe: {printable(str(error), keep=_LINES)}", err=True)
            raise typer.Exit(2) from error
        except ModuleNotFoundError as error:
            reason = lacking(error, why="for this command")
            if reason is None:
                raise
            typer.echo(f"mpiqe: {reason}", err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.echo("mpiqe: interrupted", err=True)
            raise typer.Exit(130) from error
        except BrokenPipeError as error:  # `mpiqe score . | head`
            os.dup2(
                os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno() if sys.stdout else 1
            )  # for the flush when Python exits
            raise typer.Exit(141) from error
        except OSError as error:  # a full disk, a folder that may not be written
            said = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
            typer.echo(f"mpiqe: {printable(said, keep=_LINES)}", err=True)
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # its boxes cut flags at 80 columns, and its markup takes [plots] for a style
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (score, explain, best, report, apply, export, train, evaluate, reproduce, pretrain, demo, bench, serve):
    app.command()(command)
app.add_typer(data, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mpiqe {version('mpiqe')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """How good does a photo look? MP-IQE: blind image quality assessment with multi-modal prompts."""


def main() -> None:
    """The console script."""
    app(prog_name="mpiqe")
