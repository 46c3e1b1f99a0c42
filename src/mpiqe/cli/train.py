"""``mpiqe train``: MP-IQE on a rated dataset."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mpiqe.cli.flags import with_flags
from mpiqe.cli.reporter import TerminalReporter, figures, is_main_process
from mpiqe.model.options import RENAMED, LossOptions, ModelOptions
from mpiqe.training.options import RunOptions, read_toml, resolve


@with_flags(
    *(RunOptions, ModelOptions, LossOptions),
    defaults={"batch_size": "the paper's for the dataset: 32 or 64"},
    renamed=RENAMED,
)
def train(
    given: dict[str, Any],
    out: Annotated[Path, typer.Option("--out", help="folder of the run")],
    config: Annotated[Path | None, typer.Option("--config", help="TOML file of settings; flags go before it")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run in --out from its last epoch")] = False,
) -> None:
    """Train MP-IQE and report on the test images once, at the end.

    Settings are the paper's for the dataset, then those of --config, then the flags. --resume needs only --out: it
    takes up the run's own settings.
    """
    from mpiqe.training.run_folder import RunFolder
    from mpiqe.training.train import train as run_training

    run = RunFolder(out)
    asked = {**(read_toml(config) if config else {}), **given}
    before = run.settings() if resume else {}
    options = resolve({**before, **asked}, where=str(config or "options"))
    with TerminalReporter(quiet=not is_main_process()) as reporter:
        try:
            result = run_training(options, run, resume=resume, reporter=reporter)
        except KeyboardInterrupt:
            reporter.note(run.how_to_go_on("train"))
            raise
    if is_main_process():
        if result["count"]:
            typer.echo(figures(result, f"test images of split {options.run.split}"))
        else:
            typer.echo("no images were kept back to test on (--train-on-all), so there are no figures")
        typer.echo(f"run folder: {out}")
