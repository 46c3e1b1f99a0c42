"""Download images over http and https, with limits of size, time, redirects and attempts.

The standard library alone: its opener brings proxies and certificates along. What it lacks is a limit on the whole, so
each read waits no longer than is left of it, and a say in where it connects to: names are looked up here, and what was
looked up is what is connected to (``_Guard``).
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
from collections.abc import Callable, Iterable
from functools import cache, partial
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, cast
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from mpiqe.errors import ImageError
from mpiqe.sources import timeouts
from mpiqe.sources.photo import Limits, Photo, too_large
from mpiqe.sources.reach import Reach, host_name, is_public, plain_host
from mpiqe.sources.urls import host_of, last_name, shown

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_STEP = 1 << 16
_LOOK = 0.2  # seconds of silence after which a download that nobody waits for any more is ended
GRACE = 1.0  # seconds that a download has to say itself why it is late
Connect = Callable[..., socket.socket]
_UNSAFE = (
    "%/:=&?~#+!$,;'@()*[]"  # what a path or query may hold as it is; spaces and letters of any alphabet are quoted
)


def photo(url: str, limits: Limits, *, own: bool = True) -> Photo:
    """Return the photo at an address.

    ``own`` if the user named it himself; a table's cell did otherwise, which then leads to fewer hosts.
    """
    return Photo(
        shown(url), partial(_fetch, url, limits, own), relative=last_name(url), origin={"http": url, "own": own}
    )


def _fetch(url: str, limits: Limits, own: bool) -> bytes:
    """The bytes at an address; raises ``ImageError`` with the server's answer or whatever kept it from answering."""
    try:
        work = partial(_download, url, limits, own)
        return timeouts.call(work, store=host_of(url), timeout=limits.timeout + GRACE)
    except OSError as error:  # no name server answers, for one, which has no time-out here
        raise ImageError(None, error.strerror or str(error)) from error


def _download(url: str, limits: Limits, own: bool) -> bytes:
    deadline = time.monotonic() + limits.timeout
    for attempt in range(limits.attempts):
        try:
            return _get(url, limits, deadline, own=own)
        except _RefusedError as error:
            raise ImageError(None, str(error)) from None
        except _PassingError as error:
            pause = limits.pause * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311 # all at once is no help
            pause = max(pause, error.wait)
            last = attempt + 1 == limits.attempts
            if last or time.monotonic() + pause >= deadline:
                tries = "once" if attempt == 0 else f"{attempt + 1} times"
                raise ImageError(None, f"{error} (tried {tries})") from None
        timeouts.pause(pause)
    raise ImageError(None, "not tried at all: attempts must be at least 1")


class _RefusedError(Exception):
    """Trying again would not help."""


class _PassingError(Exception):
    """Trying again may help, after ``wait`` seconds at least."""

    def __init__(self, reason: str, *, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def _get(url: str, limits: Limits, deadline: float, *, own: bool) -> bytes:
    try:
        request = _request(url)
        connecting = min(limits.connect_timeout, _left(deadline))
        guard = _Guard(limits.reach, deadline, host=host_name(url), own=own)
        with _opener(limits, deadline, guard).open(request, timeout=connecting) as response:
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


def _opener(limits: Limits, deadline: float, guard: "_Guard") -> urllib.request.OpenerDirector:
    redirects = _Redirects()
    redirects.max_redirections = limits.redirects  # type: ignore[misc] # the library reads it from the handler
    opener = urllib.request.OpenerDirector()  # build_opener's would open file:, ftp: and data: as well
    for handler in (
        urllib.request.ProxyHandler(),
        _Plain(limits, deadline, guard),
        _Encrypted(limits, deadline, guard),
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


class _Guard:
    """Says which addresses a download may connect to, from its first request to its last redirect.

    The first request of what a user named himself goes wherever that leads. A table's cell, and any redirect, goes to
    public addresses and to allowed hosts; a redirect from a server with an address that is not public may stay there,
    or go on to hosts that the user named. A public server, and whoever is in charge of its name, thus never gets a
    request into a private network.
    """

    def __init__(self, reach: Reach, deadline: float, *, host: str, own: bool) -> None:
        self._reach = reach
        self._deadline = deadline
        self._host = host
        self._own = own
        self._is_redirect = False
        self._began_at: str | None = None
        """The address that the first request went to where it is not public; "" for one that a proxy has found."""

    def hop(self, request: urllib.request.Request) -> Connect:
        """What makes the connection for a request; raises ``_RefusedError`` where it may not be made."""
        is_redirect, self._is_redirect = self._is_redirect, True
        if request.has_proxy() or getattr(request, "_tunnel_host", None):
            self._check_for_proxy(host_name(request.full_url), is_redirect)
            return socket.create_connection
        return partial(self._connect, is_redirect)

    def _connect(
        self, is_redirect: bool, place: tuple[str, int], timeout: float, source: tuple[str, int] | None = None
    ) -> socket.socket:
        """As ``socket.create_connection``, to what may be connected to among the host's addresses."""
        host = plain_host(place[0])
        found = socket.getaddrinfo(*place, 0, socket.SOCK_STREAM)
        admitted = [one for one in found if self._admits(host, str(one[4][0]), is_redirect)]
        if not admitted:
            raise _RefusedError(_not_public(host, str(found[0][4][0]), is_redirect))
        fault: OSError | None = None
        for family, kind, protocol, _, address in admitted:
            try:
                connection = socket.socket(family, kind, protocol)
            except OSError as error:  # no IPv6 here
                fault = error
                continue
            try:
                connection.settimeout(min(timeout, _left(self._deadline)))
                if source:
                    connection.bind(source)
                connection.connect(address)
            except BaseException as error:
                connection.close()
                if not isinstance(error, OSError):
                    raise
                fault = error
            else:
                if not is_redirect and not is_public(str(address[0])):
                    self._began_at = str(address[0])
                return connection
        raise fault or OSError("no address")

    def _admits(self, host: str, address: str, is_redirect: bool) -> bool:
        if self._reach.allows(host, address):
            return True
        if not is_redirect:
            return self._own or self._reach.names(host)
        if self._began_at is None:
            return False
        return address == self._began_at or host == self._host or self._reach.names(host)

    def _check_for_proxy(self, host: str, is_redirect: bool) -> None:
        """A proxy looks the name up and connects; what that leads to from here is all that can be checked."""
        try:
            addresses = [str(one[4][0]) for one in socket.getaddrinfo(host, None, 0, socket.SOCK_STREAM)]
        except OSError:
            addresses = []
        private = [address for address in addresses if not self._reach.allows(host, address)]
        if not addresses and "." not in host and not self._reach.names(host):
            private = [""]  # a name of this network that only the proxy knows
        if not private:
            return
        if not all(self._admits_through_proxy(host, address, is_redirect) for address in private):
            raise _RefusedError(_not_public(host, private[0] or "that only the proxy knows", is_redirect))
        if not is_redirect:
            self._began_at = private[0]

    def _admits_through_proxy(self, host: str, address: str, is_redirect: bool) -> bool:
        if not is_redirect:
            return self._own or self._reach.names(host)
        return self._began_at is not None and (
            address == self._began_at != "" or host == self._host or self._reach.names(host)
        )


def _not_public(host: str, address: str, is_redirect: bool) -> str:
    said = f"redirects to {host}, whose" if is_redirect else "its"
    advice = f"--allow-host {host} lets tables and redirects lead there"
    return f"{said} address, {address}, is not a public one; {advice}"


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, limits: Limits, deadline: float, guard: _Guard) -> None:
        super().__init__()
        self.connection = partial(_Connection, limits=limits, deadline=deadline)
        self.guard = guard

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(cast("Any", partial(self.connection, connect=self.guard.hop(req))), req)


class _Encrypted(urllib.request.HTTPSHandler):
    def __init__(self, limits: Limits, deadline: float, guard: _Guard) -> None:
        super().__init__(context=_context())
        self.connection = partial(_EncryptedConnection, limits=limits, deadline=deadline)
        self.guard = guard

    def https_open(self, req: urllib.request.Request) -> Any:
        connection = partial(self.connection, connect=self.guard.hop(req))
        return self.do_open(cast("Any", connection), req, context=_context())


class _Connection(http.client.HTTPConnection):
    def __init__(self, host: str, *, limits: Limits, deadline: float, connect: Connect, **options: Any) -> None:
        super().__init__(host, **options)
        self.response_class = partial(_response, limits=limits, deadline=deadline)  # type: ignore[assignment]
        self._create_connection = connect  # what http.client connects by, since Python 3.3


class _EncryptedConnection(http.client.HTTPSConnection):
    def __init__(self, host: str, *, limits: Limits, deadline: float, connect: Connect, **options: Any) -> None:
        super().__init__(host, **options)
        self.response_class = partial(_response, limits=limits, deadline=deadline)  # type: ignore[assignment]
        self._create_connection = connect


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
    timeouts.check()
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
