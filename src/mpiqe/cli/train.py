"""``mpiqe train``: MP-IQE on a rated dataset."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mpiqe.cli.flags import with_flags
from mpiqe.cli.reporter import TerminalReporter, figures, is_main_process
from mpiqe.model.options import RENAMED, LossOptions, ModelOptions
from mpiqe.training.options import FLAG_NAMES, RunOptions, read_toml, resolve


@with_flags(
    *(RunOptions, ModelOptions, LossOptions),
    defaults={"batch_size": "the paper's for the dataset: 32 or 64"},
    renamed=RENAMED,
    flags=FLAG_NAMES,
)
def train(
    given: dict[str, Any],
    out: Annotated[Path, typer.Option("--out", help="folder of the run")],
    config: Annotated[Path | None, typer.Option("--config", help="TOML file of settings; flags go before it")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run in --out from its last epoch")] = False,
    paper: Annotated[
        bool,
        typer.Option("--paper", help="exactly the paper's settings for its dataset, but for --backbone"),
    ] = False,
) -> None:
    """Train MP-IQE and report on the test images once, at the end.

    Settings are the paper's for the dataset where there is no reason for others, then those of --config, then the
    flags; it is said which are not the paper's. --from goes on from a whole trained model and takes over what that
    model is and sees. --resume needs only --out: it takes up the run's own settings.
    """
    from mpiqe.training.paper import with_papers
    from mpiqe.training.run_folder import BEFORE_THEY_WERE, RunFolder
    from mpiqe.training.train import train as run_training

    run = RunFolder(out)
    asked = {**(read_toml(config) if config else {}), **given}
    before = {**BEFORE_THEY_WERE, **run.settings()} if resume else {}
    source = asked.get("from", asked.get("start"))
    if source is not None and not resume:
        from mpiqe.training.start import read_start, settings_of

        before = settings_of(read_start(str(source)))
    where = str(config or "options")
    asked = {**before, **asked}
    options = resolve(with_papers(asked, where=where) if paper else asked, where=where)
    with TerminalReporter(quiet=not is_main_process()) as reporter:
        try:
            result = run_training(options, run, resume=resume, reporter=reporter)
        except (KeyboardInterrupt, OSError):  # stopped, or a full disk
            reporter.note(run.how_to_go_on("train"))
            raise
    if is_main_process():
        if result["count"]:
            typer.echo(figures(result, f"test images of split {options.run.split}"))
        else:
            typer.echo("no images were kept back to test on (--train-on-all), so there are no figures")
        typer.echo(f"run folder: {out}")
