"""Options of a server: address, bounds and token."""

import hmac
import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mpiqe import bounds
from mpiqe.errors import ConfigError
from mpiqe.regular_files import open_regular

TOKEN_VARIABLE = "MPIQE_TOKEN"  # noqa: S105 # the name of the variable
_LEAST_TOKEN = 16  # characters; fewer can be guessed
_MOST_TOKEN = 4096
_MOST_QUEUE = 100_000
_MOST_FILES = 1000


@dataclass(frozen=True)
class ServeOptions:
    """Bounds of a server. Raises ``ConfigError``, with all faults in one message."""

    queue: int = 256
    """Photos that are taken at a time, those that are being read and scored included."""
    max_bytes: int = 64 << 20
    """Bytes of one request's body."""
    max_files: int = 32
    """Photos of one request."""
    timeout: float = 30.0
    """Seconds for a body to arrive, and seconds that a photo may wait until it is read. How long reading it may take is
    the scorer's ``read_timeout``."""
    held_bytes: int = 256 << 20
    """Bytes of all bodies that are held at a time."""

    def __post_init__(self) -> None:
        faults = [
            bounds.whole_number("queue", self.queue, most=_MOST_QUEUE),
            bounds.whole_number("max_bytes", self.max_bytes, most=bounds.MOST_BYTES),
            bounds.whole_number("max_files", self.max_files, most=_MOST_FILES),
            bounds.whole_number("held_bytes", self.held_bytes, most=bounds.MOST_BYTES),
            bounds.seconds("timeout", self.timeout),
        ]
        if not any(faults):
            if self.max_files > self.queue:
                faults.append(f"max_files {self.max_files} must be at most queue, which is {self.queue}")
            if self.max_bytes > self.held_bytes:
                faults.append(f"max_bytes {self.max_bytes} must be at most held_bytes, which is {self.held_bytes}")
        if any(faults):
            raise ConfigError("; ".join(fault for fault in faults if fault))


@dataclass(frozen=True)
class Token:
    """What a caller has to send as ``Authorization: Bearer TOKEN``. Its text is in no message and no ``repr``."""

    _text: bytes

    def __repr__(self) -> str:
        return "Token(..)"

    def fits(self, header: str | None) -> bool:
        """Whether an ``Authorization`` header carries it, in constant time for texts of one length."""
        scheme, _, found = (header or "").partition(" ")
        sent = found.strip().encode("utf-8", "surrogateescape")
        return hmac.compare_digest(sent, self._text) and scheme.lower() == "bearer"


def read_token(file: Path | None, environment: Mapping[str, str] = os.environ) -> Token | None:
    """Return the token in ``file``, else the one in the variable ``MPIQE_TOKEN``; ``None`` if there is neither.

    Raises ``ConfigError`` for one that is empty, shorter than 16 characters, or that no header can carry.
    """
    if file is not None:
        where = f"the token in {file}"
        try:
            with open_regular(str(file)) as opened:
                text = opened.read(_MOST_TOKEN + 1).decode("ascii").strip()
        except OSError as error:
            raise ConfigError(f"cannot read the token file {file}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{where} is no ASCII text, so no header can carry it") from error
    elif TOKEN_VARIABLE in environment:
        where, text = f"the token in {TOKEN_VARIABLE}", environment[TOKEN_VARIABLE].strip()
    else:
        return None
    if not _LEAST_TOKEN <= len(text) <= _MOST_TOKEN:
        raise ConfigError(
            f"{where} has {len(text)} characters and must have from {_LEAST_TOKEN} to {_MOST_TOKEN}; make one with "
            'python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ConfigError(f"{where} holds spaces or letters that no header can carry")
    return Token(text.encode("ascii"))


def listen(host: str, port: int, *, token: Token | None, without_token: bool) -> socket.socket:
    """Return a socket that listens on ``host`` and ``port``; 0 is any free port.

    Raises ``ConfigError`` for an address that is not this machine's or is taken, and for one that other machines can
    reach while there is no ``token``, unless ``without_token``.
    """
    if fault := bounds.whole_number("port", port, least=0, most=65_535):
        raise ConfigError(fault)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        if not is_loopback(str(address[0])) and token is None and not without_token:
            raise ConfigError(
                f"{host} can be reached from other machines, and there is no token: set {TOKEN_VARIABLE} or "
                "--token-file, or say --without-token if everybody who reaches it may use it"
            )
        return socket.create_server(address[:2], family=family, backlog=1024)
    except (OSError, UnicodeError) as error:
        reason = os.strerror(error.errno) if type(error) is OSError and error.errno else str(error)
        raise ConfigError(f"cannot listen on {host} port {port}: {reason}") from error


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
