"""``mpiqe serve``: score photos that come over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from mpiqe.cli import photos


def serve(
    weights: photos.Weights = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for all of this machine's.", metavar="A")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any free one.", metavar="N")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token that callers must send; else MPIQE_TOKEN has it.", metavar="FILE"),
    ] = None,
    without_token: Annotated[
        bool, typer.Option("--without-token", help="Let everybody who reaches --host use it.")
    ] = False,
    queue: Annotated[int, typer.Option(help="Photos taken at a time; more get 503.", metavar="N")] = 256,
    max_bytes: Annotated[int, typer.Option(help="Refuse larger requests.", metavar="N")] = 64 << 20,
    max_files: Annotated[int, typer.Option(help="Refuse requests with more photos.", metavar="N")] = 32,
    max_pixels: photos.MaxPixels = 200_000_000,
    timeout: Annotated[
        float, typer.Option(help="Seconds for a body to arrive, a photo to wait, and to be read.", metavar="S")
    ] = 30.0,
    crops: photos.Crops = None,
    view_side: photos.ViewSide = None,
    crop_mode: photos.CropMode = None,
    seed: photos.Seed = 0,
    batch_size: photos.BatchSize = None,
    workers: photos.Workers = None,
    runtime: photos.Runtime = "auto",
    device: photos.Device = "auto",
    precision: photos.Precision = "auto",
) -> None:
    """Score photos that come over HTTP: POST /score, GET /model.

    Ctrl-C or SIGTERM: what was taken is finished, nothing more is taken.
    A second Ctrl-C gives it up.

    Exit status: 0 all that was taken was answered, 130 some was given up, 2 wrong usage.
    """
    from mpiqe.errors import ConfigError
    from mpiqe.extras import needing
    from mpiqe.scoring import loading

    with needing("to serve"):
        from mpiqe.serve.options import TOKEN_VARIABLE, ServeOptions, listen, read_token
        from mpiqe.serve.server import serve as run

    options = ServeOptions(
        queue=queue,
        max_bytes=max_bytes,
        max_files=max_files,
        timeout=timeout,
        held_bytes=max(4 * max_bytes, ServeOptions.held_bytes),
    )
    token = read_token(token_file)
    if without_token and token is not None:
        where = "--token-file" if token_file else TOKEN_VARIABLE
        raise ConfigError(f"{where} has a token that callers must send, and --without-token asks for none: give one")
    with listen(host, port, token=token, without_token=without_token) as listener:
        scorer = loading.load(
            weights,
            crops=crops,
            view_side=view_side,
            crop_mode=crop_mode,
            seed=seed,
            batch_size=batch_size,
            workers=workers,
            runtime=runtime,
            device=device,
            precision=precision,
            max_pixels=max_pixels,
            read_timeout=timeout,
        )
        where = listener.getsockname()
        address = f"[{where[0]}]" if ":" in where[0] else where[0]

        def announce() -> None:
            typer.echo(f"mpiqe: {scorer.scale.model or 'the model'} on http://{address}:{where[1]}", err=True)

        finished = run(scorer, listener, options, token=token, on_ready=announce)
    if not finished:
        raise typer.Exit(130)
