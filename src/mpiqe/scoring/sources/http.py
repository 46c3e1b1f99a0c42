"""Photos at http and https addresses, within limits of size, time, redirects and attempts.

The standard library alone: its opener brings proxies and certificates along. What it lacks is a limit on the whole, so
each read waits no longer than is left of it.
"""

import base64
import http.client
import io
import random
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, cast
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from mpiqe.errors import ImageError
from mpiqe.scoring.sources import patience
from mpiqe.scoring.sources.found import Limits, too_large
from mpiqe.scoring.sources.urls import host_of, shown

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_STEP = 1 << 16
_LOOK = 0.2  # seconds of silence after which a download that nobody waits for any more is ended
_GRACE = 1.0  # seconds that a download has to say itself why it is late
_UNSAFE = (
    "%/:=&?~#+!$,;'@()*[]"  # what a path or query may hold as it is; spaces and letters of any alphabet are quoted
)


@dataclass(frozen=True)
class Download:
    """A photo at an address."""

    url: str = field(repr=False)  # may hold a password
    limits: Limits

    @property
    def name(self) -> str:
        """The address without its secrets."""
        return shown(self.url)

    def fetch(self) -> bytes:
        """Its bytes; raises ``ImageError`` with the server's answer or whatever kept it from answering."""
        try:
            return patience.call(self._fetch, store=host_of(self.url), timeout=self.limits.timeout + _GRACE)
        except OSError as error:  # no name server answers, for one, which has no time-out here
            raise ImageError(f"{self.name}: {error.strerror}") from error

    def _fetch(self) -> bytes:
        deadline = time.monotonic() + self.limits.timeout
        for attempt in range(self.limits.attempts):
            try:
                return _get(self.url, self.limits, deadline)
            except _RefusedError as error:
                raise ImageError(f"{self.name}: {error}") from None
            except _PassingError as error:
                pause = self.limits.pause * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311 # all at once is no help
                pause = max(pause, error.wait)
                last = attempt + 1 == self.limits.attempts
                if last or time.monotonic() + pause >= deadline:
                    tries = "once" if attempt == 0 else f"{attempt + 1} times"
                    raise ImageError(f"{self.name}: {error} (tried {tries})") from None
            patience.pause(pause)
        raise ImageError(f"{self.name}: not tried at all: attempts must be at least 1")


class _RefusedError(Exception):
    """Trying again would not help."""


class _PassingError(Exception):
    """Trying again may help, after ``wait`` seconds at least."""

    def __init__(self, reason: str, *, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def _get(url: str, limits: Limits, deadline: float) -> bytes:
    try:
        request = _request(url)
        connecting = min(limits.connect_timeout, _left(deadline))
        with _opener(limits, deadline).open(request, timeout=connecting) as response:
            return _body(response, limits.max_bytes)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _AGAIN:
            raise _PassingError(_status(error.code), wait=_wait(error.headers.get("Retry-After"))) from None
        redirect = 300 <= error.code < 400
        raise _RefusedError("redirects too often" if redirect else _status(error.code)) from None
    except urllib.error.URLError as error:
        raise _connection(error.reason) from None
    except OSError as error:
        raise _connection(error) from None
    except (http.client.InvalidURL, ValueError):  # a port that is no number, a host that cannot be one
        raise _RefusedError("not a valid address") from None
    except http.client.HTTPException as error:
        raise _PassingError(f"the answer is no proper HTTP ({type(error).__name__})") from None


def _body(response: Any, limit: int) -> bytes:
    said = response.length
    if said is not None and said > limit:
        raise _RefusedError(too_large(said, limit))
    content = bytearray()
    while step := response.read(min(_STEP, limit + 1 - len(content))):
        content += step
        if len(content) > limit:
            raise _RefusedError(too_large(None, limit))
    if said is not None and len(content) < said:
        raise _PassingError(f"cut short: {len(content)} of {said} bytes came")
    return bytes(content)


def _request(url: str) -> urllib.request.Request:
    """With user and password as a header that no redirect takes along."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if not host.isascii():
        host = host.encode("idna").decode()
    safe = urlunsplit((parts.scheme, host, quote(parts.path, safe=_UNSAFE), quote(parts.query, safe=_UNSAFE), ""))
    request = urllib.request.Request(safe, headers={"User-Agent": f"mpiqe/{version('mpiqe')}", "Accept": "image/*,*/*"})  # noqa: S310
    if user:
        token = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def _opener(limits: Limits, deadline: float) -> urllib.request.OpenerDirector:
    redirects = _Redirects()
    redirects.max_redirections = limits.redirects  # type: ignore[misc] # the library reads it from the handler
    opener = urllib.request.OpenerDirector()  # build_opener's would open file:, ftp: and data: as well
    for handler in (
        urllib.request.ProxyHandler(),
        _Plain(limits, deadline),
        _Encrypted(limits, deadline),
        redirects,
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirects(urllib.request.HTTPRedirectHandler):
    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        target = urlsplit(headers.get("location") or headers.get("uri") or "").scheme.lower()
        if target not in ("", "http", "https"):  # the library would follow to ftp:, and its message show the address
            fp.close()
            raise _RefusedError(f"redirects to {target}:, which is not followed")
        fp.close()  # the library would read it, to whatever end
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, limits: Limits, deadline: float) -> None:
        super().__init__()
        self.connection = partial(_Connection, limits=limits, deadline=deadline)

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(cast("Any", self.connection), req)


class _Encrypted(urllib.request.HTTPSHandler):
    def __init__(self, limits: Limits, deadline: float) -> None:
        super().__init__(context=_context())
        self.connection = partial(_EncryptedConnection, limits=limits, deadline=deadline)

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(cast("Any", self.connection), req, context=_context())


class _Connection(http.client.HTTPConnection):
    def __init__(self, host: str, *, limits: Limits, deadline: float, **options: Any) -> None:
        super().__init__(host, **options)
        self.response_class = partial(_response, limits=limits, deadline=deadline)  # type: ignore[assignment]


class _EncryptedConnection(http.client.HTTPSConnection):
    def __init__(self, host: str, *, limits: Limits, deadline: float, **options: Any) -> None:
        super().__init__(host, **options)
        self.response_class = partial(_response, limits=limits, deadline=deadline)  # type: ignore[assignment]


def _response(sock: socket.socket, *, limits: Limits, deadline: float, **options: Any) -> http.client.HTTPResponse:
    return http.client.HTTPResponse(cast("Any", _Timed(sock, limits, deadline)), **options)


class _Timed:
    """A socket, as far as a response needs it, whose file keeps to the limits."""

    def __init__(self, sock: socket.socket, limits: Limits, deadline: float) -> None:
        self.sock, self.limits, self.deadline = sock, limits, deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        raw = cast("socket.SocketIO", self.sock.makefile(cast("Any", mode), buffering=0))
        return io.BufferedReader(_TimedFile(self.sock, raw, self.limits, self.deadline))


class _TimedFile(io.RawIOBase):
    def __init__(self, sock: socket.socket, raw: socket.SocketIO, limits: Limits, deadline: float) -> None:
        self.sock, self.raw, self.limits, self.deadline = sock, raw, limits, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        silent = time.monotonic() + self.limits.read_timeout
        while True:
            self.sock.settimeout(min(_LOOK, _left(silent), _left(self.deadline)))
            try:
                return self.sock.recv_into(buffer)
            except TimeoutError:
                continue  # _left says when to give up

    def close(self) -> None:
        self.raw.close()
        super().close()


def _left(deadline: float) -> float:
    patience.check()
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _connection(reason: object) -> _RefusedError | _PassingError:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return _RefusedError(f"its certificate is not to be trusted ({reason.verify_message})")
    if isinstance(reason, TimeoutError):
        return _PassingError("no answer in time")
    if isinstance(reason, socket.gaierror):
        return _PassingError(f"its host cannot be found ({reason.strerror})")
    if isinstance(reason, OSError):
        return _PassingError(f"no connection, or one that broke ({reason.strerror or type(reason).__name__})")
    return _RefusedError(shown(str(reason)))


def _status(code: int) -> str:
    known = next((status.phrase for status in _statuses() if status == code), "")
    return f"the server answers {code} {known}".rstrip()


def _statuses() -> Iterable[HTTPStatus]:
    return HTTPStatus


def _wait(header: str | None) -> float:
    """Seconds of a Retry-After header; a date in it is not worth the reading."""
    return float(header) if header and header.isdecimal() else 0.0


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()  # reads some hundred certificates, which takes longer than a small photo
