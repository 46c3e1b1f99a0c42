"""Listen, serve, and shut down gracefully on a signal."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from io import BytesIO
from types import FrameType
from typing import Any

import h11
import uvicorn
from PIL import Image
from uvicorn.protocols.http.h11_impl import H11Protocol

from mpiqe.errors import ImageError
from mpiqe.scoring.scorer import Scorer
from mpiqe.serve.app import Application
from mpiqe.serve.options import ServeOptions, Token

_HEAD_SECONDS = 20.0  # for the header of a request to arrive
_IDLE_SECONDS = 75  # that a connection without a request is kept
_MOST_CONNECTIONS = 1000
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b'Content-Length: 33\r\n\r\n{"error":"too many connections"}\n'
)
_ENDING = (signal.SIGINT, signal.SIGTERM)


def serve(
    scorer: Scorer,
    listener: socket.socket,
    options: ServeOptions,
    *,
    token: Token | None,
    on_ready: Callable[[], object],
) -> bool:
    """Serve until SIGINT or SIGTERM, then finish what was taken; ``on_ready`` is called when photos can be sent.

    Only for the main thread, where signals come. Returns whether everything was finished: a second SIGINT gives up what
    is left. Before anything is taken, raises ``ConfigError`` if no process can be started to read photos in, and
    ``WeightsError`` for a model that fails.
    """
    application = Application(scorer, options, token=token)
    try:
        with contextlib.suppress(ImageError):  # max_pixels may be less
            application.service.submit(_first_photo()).result()
        config = uvicorn.Config(
            application.asgi,
            http=_Protocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_IDLE_SECONDS,
        )
        server = _Server(config, on_ready)
        asyncio.run(server.serve(sockets=[listener]))
        return not server.force_exit
    finally:
        application.close()


class _Server(uvicorn.Server):
    """A server that shuts down on a signal and does not raise it again."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Finish what was taken at the first signal; at a second SIGINT give it up."""
        super().handle_exit(sig, frame)
        if self.force_exit:
            self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it would tell of each that is given up
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals here while serving."""
        before = {number: signal.signal(number, self.handle_exit) for number in _ENDING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Protocol(H11Protocol):
    """Bounds the number of connections, and the time until a header is complete."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Accept the connection, or answer that there are too many."""
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.write(_FULL)
            transport.close()
        else:
            self._time_head()

    def data_received(self, data: bytes) -> None:
        """Receive bytes; the time for a header begins with its first one."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._end_timer()
        elif self._head_timer is None and not self.transport.is_closing():
            self._time_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection."""
        self._end_timer()
        super().connection_lost(exc)

    def _time_head(self) -> None:
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._too_slow)

    def _end_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        if self.conn.our_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


def _first_photo() -> bytes:
    """A photo for a warm-up, so that the first request does not wait for a process to start."""
    file = BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    return file.getvalue()
