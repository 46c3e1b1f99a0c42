"""``mpiqe pretrain``: a compact CLIP-shaped backbone from rated photos."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mpiqe.cli.flags import with_flags
from mpiqe.cli.reporter import TerminalReporter
from mpiqe.model.options import RENAMED
from mpiqe.training.options import PretrainOptions


@with_flags(PretrainOptions, renamed=RENAMED)
def pretrain(
    given: dict[str, Any],
    out: Annotated[Path, typer.Option("--out", help="folder of the run; the backbone is its backbone/")],
    resume: Annotated[bool, typer.Option("--resume", help="continue the run in --out from its last epoch")] = False,
) -> None:
    """Teach a compact CLIP-shaped backbone from rated photos and distortions made of them.

    What comes out is a folder in transformers' CLIP format for `mpiqe train --backbone`.
    """
    from mpiqe.model.options import from_mapping
    from mpiqe.pretrain.loop import pretrain as run_pretraining
    from mpiqe.training.run_folder import RunFolder

    run = RunFolder(out)
    options = from_mapping(PretrainOptions, {**(run.settings() if resume else {}), **given}, where="options")
    with TerminalReporter() as reporter:
        try:
            folder = run_pretraining(options, run, resume=resume, reporter=reporter)
        except (KeyboardInterrupt, OSError):  # stopped, or a full disk
            reporter.note(run.how_to_go_on("pretrain"))
            raise
    typer.echo(f"backbone: {folder}")
