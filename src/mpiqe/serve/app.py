"""The routes of the service, as an ASGI application."""

import asyncio
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mpiqe.errors import ConfigError, ImageError
from mpiqe.runtimes.base import interval_model_of
from mpiqe.scoring.score import Score
from mpiqe.scoring.scorer import Scorer
from mpiqe.serve.body import DisconnectedError, RefusedError, SentPhoto, discard_body, parse_photos, read_body
from mpiqe.serve.metrics import CONTENT_TYPE, Metrics
from mpiqe.serve.openapi import document
from mpiqe.serve.options import ServeOptions, Token, is_loopback
from mpiqe.serve.service import BusyError, ScoringService

_OPEN = frozenset({"/health"})
_CLIENT_CLOSED = 499  # as nginx counts a caller who went away; nobody reads it
_DECIMALS = 6


class Application:
    """The service of one scorer. ``close`` it after the last request."""

    def __init__(self, scorer: Scorer, options: ServeOptions, *, token: Token | None) -> None:
        self._scorer = scorer
        self._options = options
        self._model = scorer.scale.model
        gauges = {
            "mpiqe_queue_photos": ("Photos that were taken and are not scored yet.", lambda: float(self.service.taken)),
            "mpiqe_queue_photos_most": ("Bound of the queue.", lambda: float(options.queue)),
            "mpiqe_held_bytes": ("Bytes of the bodies that are held.", lambda: float(self.service.held)),
        }
        self.metrics = Metrics(gauges, model=self._model)
        self.service: ScoringService = ScoringService(scorer, options, on_batch=self.metrics.batch)
        self._parsing = ThreadPoolExecutor(1, thread_name_prefix="mpiqe-parse")  # one: it copies what it reads
        self._document = document(
            max_bytes=options.max_bytes, max_files=options.max_files, needs_token=token is not None
        )
        routes = [
            Route("/score", self._score, methods=["POST"]),
            Route("/model", self._describe, methods=["GET"]),
            Route("/health", self._health, methods=["GET"]),
            Route("/metrics", self._count, methods=["GET"]),
            Route("/openapi.json", self._openapi, methods=["GET"]),
        ]
        handlers: dict[Any, Any] = {
            RefusedError: _refused,
            BusyError: self._busy,
            DisconnectedError: _gone,
            HTTPException: _http_error,
            Exception: _failed,
        }
        inner = Starlette(routes=routes, exception_handlers=handlers)
        inner.router.redirect_slashes = False
        self.asgi: ASGIApp = _Guard(inner, token=token, metrics=self.metrics, paths={route.path for route in routes})

    def close(self) -> None:
        """End the service; what is being scored is given up."""
        self.service.close()
        self._parsing.shutdown(cancel_futures=True)

    async def _score(self, request: Request) -> Response:
        with self.service.request() as share:
            headers = request.headers
            body = await read_body(request.receive, headers.get("content-length"), share, self._options)
            parse = partial(parse_photos, headers.get("content-type", ""), body, max_files=self._options.max_files)
            photos = await asyncio.get_running_loop().run_in_executor(self._parsing, parse)
            del body, parse
            share.resize(len(photos))
            results = await self._answers(request, photos)
        rows = [_row(photo.name, result) for photo, result in zip(photos, results, strict=True)]
        answer = {"model": self._model, "results": rows}
        if any(row["error"] is None for row in rows):
            return _Json(answer)
        reasons = "; ".join(dict.fromkeys(str(row["error"]) for row in rows))
        return _Json({"error": reasons, **answer}, status_code=422)

    async def _answers(self, request: Request, photos: Sequence[SentPhoto]) -> list[Score | ImageError]:
        """The score of each photo, or why it cannot be read; raises what else comes."""
        futures = [self.service.submit(photo.content) for photo in photos]
        waiting = [asyncio.wrap_future(future) for future in futures]
        gone = asyncio.ensure_future(request.receive())  # ends when the caller goes away
        try:
            everything = asyncio.gather(*waiting, return_exceptions=True)
            either: list[asyncio.Future[Any]] = [everything, gone]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not everything.done():
                for future in futures:
                    future.cancel()  # those that are being read go on: their place is not free until they are done
                await everything
                for _ in futures:
                    self.metrics.photo("abandoned")
                raise DisconnectedError
            found: list[Score | BaseException] = everything.result()
        finally:
            gone.cancel()
        for each in found:
            self.metrics.photo(_outcome(each))
        for each in found:
            if isinstance(each, ConfigError):  # the system is short of processes or memory
                raise RefusedError(503, str(each), Retry_After="5") from each
            if not isinstance(each, (Score, ImageError)):
                raise each
        return [each for each in found if isinstance(each, (Score, ImageError))]

    async def _describe(self, _: Request) -> Response:
        scorer, scale, interval = self._scorer, self._scorer.scale, interval_model_of(self._scorer.predictor)
        return _Json(
            {
                "model": self._model,
                "unit": scale.unit,
                "low": scale.low,
                "high": scale.high,
                "higher_is_better": scale.higher_is_better,
                "interval_level": interval.level if interval and scorer.crops >= interval.crops else None,
                "crops": scorer.crops,
                "crop_size": scorer.predictor.crop_size,
                "scenes": list(scorer.predictor.scenes),
                "distortions": list(scorer.predictor.distortions),
                "computes": scorer.predictor.computes,
                "mpiqe": version("mpiqe"),
                "limits": {
                    "bytes": self._options.max_bytes,
                    "files": self._options.max_files,
                    "pixels": scorer.max_pixels,
                    "queue": self._options.queue,
                },
            }
        )

    async def _health(self, _: Request) -> Response:
        return _Json({"status": "ok"})

    async def _count(self, _: Request) -> Response:
        return PlainTextResponse(self.metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def _openapi(self, _: Request) -> Response:
        return _Json(self._document)

    async def _busy(self, _: Request, error: BusyError) -> Response:
        self.metrics.refused(error.bound)
        return _error(503, f"too much work: {error}", {"Retry-After": str(error.retry_after)})


class _Guard:
    """Middleware: checks token and origin, drains what is left of a body, and counts responses."""

    def __init__(self, app: ASGIApp, *, token: Token | None, metrics: Metrics, paths: set[str]) -> None:
        self._app = app
        self._token = token
        self._metrics = metrics
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        exchange = _Exchange(scope, receive, send)
        refusal = self._refusal(scope)
        try:
            await (refusal or self._app)(scope, exchange.receive, exchange.send)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.request(path, exchange.status, time.monotonic() - began)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Request(scope).headers
        if self._token is not None:
            if scope["path"] not in _OPEN and not self._token.fits(headers.get("authorization")):
                return _error(
                    401, "send the token as Authorization: Bearer TOKEN", {"WWW-Authenticate": 'Bearer realm="mpiqe"'}
                )
        elif (origin := headers.get("origin")) is not None and not _is_of_this_machine(origin):
            return _error(403, "a web page of another machine may not use this service: it has no token")
        return None


class _Exchange:
    """One request and its response in the guard."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.status = 500
        self._receive = receive
        self._send = send
        self._expects_leave = any(name == b"expect" for name, _ in scope["headers"])
        self._is_read = False
        self._has_begun = False

    async def receive(self) -> Message:
        self._has_begun = True
        message = await self._receive()
        self._is_read = message["type"] == "http.disconnect" or not message.get("more_body")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            waits_for_leave = self._expects_leave and not self._has_begun
            if not self._is_read and not waits_for_leave:
                await discard_body(self.receive)
        await self._send(message)


class _Json(JSONResponse):
    """JSON in ASCII, whatever letters a photo's name has."""

    def render(self, content: Any) -> bytes:
        """Return the bytes."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def _outcome(result: "Score | BaseException") -> str:
    if isinstance(result, Score):
        return "scored"
    if isinstance(result, ImageError):
        return "unreadable"
    return "refused" if isinstance(result, BusyError) else "failed"


def _row(name: str | None, result: Score | ImageError) -> dict[str, Any]:
    score = result if isinstance(result, Score) else None
    return {
        "name": name,
        "score": score and _rounded(score.score),
        "quality": None if score is None or score.quality is None else _rounded(score.quality),
        "spread": score and _rounded(score.spread),
        "interval": [_rounded(end) for end in score.interval] if score and score.interval else None,
        "scene": {key: _rounded(value) for key, value in score.scene.items()} if score else None,
        "distortion": {key: _rounded(value) for key, value in score.distortion.items()} if score else None,
        "width": score and score.size[0],
        "height": score and score.size[1],
        "error": result.reason if isinstance(result, ImageError) else None,
    }


def _rounded(value: float) -> float:
    return round(value, _DECIMALS)


def _is_of_this_machine(origin: str) -> bool:
    """Whether a web page's ``Origin`` is this machine; pages of others are refused."""
    try:
        host = urlsplit(origin).hostname or ""
        return host == "localhost" or is_loopback(host)
    except ValueError:
        return False


def _error(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    return _Json({"error": reason}, status_code=status, headers=headers)


async def _refused(_: Request, error: RefusedError) -> Response:
    return _error(error.status, error.reason, error.headers)


async def _gone(_: Request, _error_: DisconnectedError) -> Response:
    return Response(status_code=_CLIENT_CLOSED)


async def _http_error(_: Request, error: HTTPException) -> Response:
    return _error(error.status_code, error.detail.lower(), dict(error.headers or {}))


async def _failed(_: Request, error: Exception) -> Response:
    return _error(500, f"this is a fault of the service ({type(error).__name__}); its log has more")
