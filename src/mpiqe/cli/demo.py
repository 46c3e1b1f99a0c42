"""``mpiqe demo``: one picture of what a model says while photos get worse."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="The picture: .png, or .jpg for a smaller file.", metavar="FILE")] = Path(
        "demo.png"
    ),
    weights: Annotated[
        str | None,
        typer.Option(
            help="A run folder, a .safetensors file or a hub id; the embedded model if not given.", metavar="W"
        ),
    ] = None,
) -> None:
    """Draw four photos under rising blur, noise, JPEG compression and darkness, with their scores.

    The photos come with scikit-image; nothing is downloaded. Needs mpiqe[plots].
    """
    from mpiqe.demo import check_libraries, check_name, draw, save, score_photos, table
    from mpiqe.scoring.loading import load

    check_libraries()
    check_name(out)
    scorer = load(weights)
    typer.echo("scoring 84 pictures", err=True)
    series = score_photos(scorer)
    save(draw(series, scorer.scale), out)
    typer.echo(f"{table(series, scorer.scale)}\n{out}")
