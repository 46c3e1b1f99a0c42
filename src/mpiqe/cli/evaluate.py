"""``mpiqe evaluate``: how well a checkpoint agrees with people on a dataset."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mpiqe.cli.dataset_options import AsPublished, ImageColumn, Labels, MosColumn, Root
from mpiqe.cli.reporter import TerminalReporter, figures
from mpiqe.data.registry import data_help


def evaluate(
    weights: Annotated[
        str, typer.Argument(help="run folder, checkpoint file or hub id; 'embedded' for the package's own")
    ],
    data: Annotated[
        str | None, typer.Option(help=f"dataset: {data_help()}; default the run's own, with its folders and columns")
    ] = None,
    root: Root = None,
    labels: Labels = None,
    labels_as_published: AsPublished = False,
    image_column: ImageColumn = None,
    mos_column: MosColumn = None,
    split: Annotated[
        int | None, typer.Option(help="which of the ten splits; default the one that the checkpoint was trained on")
    ] = None,
    splits: Annotated[
        Literal["auto", "liqe", "own"] | None,
        typer.Option(help="D13: LIQE's splits or the project's own; default auto, or the run's on its own dataset"),
    ] = None,
    part: Annotated[Literal["train", "val", "test", "all"], typer.Option(help="which images")] = "test",
    crops: Annotated[int | None, typer.Option(help="crops per image; default the checkpoint's")] = None,
    view_side: Annotated[
        int | None,
        typer.Option(help="bring photos down to N x N pixels or less, 0: not; default the checkpoint's", metavar="N"),
    ] = None,
    crop_mode: Annotated[
        Literal["seeded", "grid"] | None, typer.Option(help="D12: where crops are cut; default the checkpoint's")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="where the backbone lies, if not where it was")] = None,
    predictions: Annotated[Path | None, typer.Option(help="also write image,mos,score,spread to this CSV")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    device: Annotated[Literal["auto", "cpu"], typer.Option(help="auto or cpu")] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"] | None,
        typer.Option(help="arithmetic; default fp32, or a run folder's own on the dataset that it was trained on"),
    ] = None,
) -> None:
    """SRCC, PLCC (raw and after the logistic fit), KRCC and RMSE of a checkpoint on a dataset's split.

    `mpiqe evaluate RUN` alone gives the run's test figures again. RMSE is left out where the dataset's MOS are on
    another scale than the scores.
    """
    import json

    from mpiqe import bounds
    from mpiqe.atomic import why_not_writable
    from mpiqe.errors import ConfigError
    from mpiqe.training.assess import Evaluated, assess

    if crops is not None and not 1 <= crops <= bounds.MOST_CROPS:
        raise ConfigError(f"--crops {crops}: must be 1 or more, and {bounds.MOST_CROPS} or less")
    if predictions is not None and (fault := why_not_writable(predictions) or _no_place(predictions)):
        raise ConfigError(f"--predictions {predictions}: {fault}")
    with TerminalReporter() as reporter:
        result, rows, title = assess(
            weights,
            on=Evaluated(
                data=data,
                root=root,
                labels=labels,
                labels_as_published=labels_as_published,
                image_column=image_column,
                mos_column=mos_column,
                splits=splits,
                split=split,
                part=part,
            ),
            crops=crops,
            view_side=view_side,
            crop_mode=crop_mode,
            backbone=backbone,
            device=device,
            precision=precision,
            reporter=reporter,
        )
    if predictions is not None:
        from mpiqe.training.evaluate import to_csv

        predictions.write_text(to_csv(rows), encoding="utf-8")
    typer.echo(json.dumps(result) if json_output else figures(result, title))


def _no_place(file: Path) -> str | None:
    """Why the file's folder cannot hold it."""
    if file.is_dir():
        return "a folder, not a file"
    return None if file.parent.is_dir() else f"there is no folder {file.parent}"
