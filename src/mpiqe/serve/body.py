"""Read and parse the body of a request."""

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from mpiqe.parse import parse_json
from mpiqe.serve.options import ServeOptions
from mpiqe.serve.service import Share

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_LONGEST_NAME = 1000  # characters
_DISCARD_SECONDS = 5.0
_DISCARD_BYTES = 256 << 20
RAW_TYPES = ("application/octet-stream", "")  # and image/..; what curl, for one, says of a file it does not know


class RefusedError(Exception):
    """A request that is answered with ``status`` and a sentence that says why."""

    def __init__(self, status: int, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class DisconnectedError(Exception):
    """The caller has gone away."""


class SentPhoto(NamedTuple):
    """One photo of a request."""

    name: str | None
    """What the caller calls it."""
    content: bytes


async def read_body(receive: Receive, stated: str | None, share: Share, options: ServeOptions) -> bytes:
    """Return a request's body, of which ``Content-Length`` has ``stated`` the length.

    Raises ``RefusedError`` for one over ``max_bytes``, or that takes longer than ``timeout``, ``BusyError`` where too
    many bytes are held, ``DisconnectedError`` for a caller who went away.
    """
    if stated is not None and stated.isdigit() and int(stated) > options.max_bytes:
        raise _too_large(options)
    body = bytearray()
    with _within(options.timeout) as left:
        while True:
            try:
                message = await asyncio.wait_for(receive(), left())
            except asyncio.TimeoutError:
                raise RefusedError(
                    408, f"the body took longer than {options.timeout:g} s to arrive", connection="close"
                ) from None
            if message["type"] == "http.disconnect":
                raise DisconnectedError
            part = message.get("body", b"")
            if len(body) + len(part) > options.max_bytes:
                raise _too_large(options)
            share.hold(len(part))
            body += part
            if not message.get("more_body"):
                return bytes(body)


async def discard_body(receive: Receive) -> None:
    """Drain a body for a while, so that a caller who is still sending can read why it was refused."""
    size = 0
    with contextlib.suppress(asyncio.TimeoutError), _within(_DISCARD_SECONDS) as left:
        while size < _DISCARD_BYTES:
            message = await asyncio.wait_for(receive(), left())
            size += len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                return


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[Callable[[], float]]:
    """Yield a function that returns how many of these seconds are left."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    yield lambda: max(0.0, end - loop.time())


def _too_large(options: ServeOptions) -> RefusedError:
    return RefusedError(413, f"the body has more than {options.max_bytes} bytes", connection="close")


def parse_photos(kind: str, body: bytes, *, max_files: int) -> list[SentPhoto]:
    """Return the photos of a body of the content type ``kind``: one file, a form with files, or JSON with base64.

    Raises ``RefusedError`` for another type, for what cannot be read, and for no photo or more than ``max_files``.
    """
    name, parameters = parse_options_header(kind)
    media = name.decode("latin-1").lower()
    if media == "multipart/form-data":
        photos = _of_form(body, parameters.get(b"boundary", b""), max_files)
    elif media == "application/json":
        photos = _of_json(body, max_files)
    elif media in RAW_TYPES or media.startswith("image/"):
        photos = [SentPhoto(None, body)]
    else:
        raise RefusedError(
            415,
            f"a body of the type {media!r} is not read; send a form with files (curl -F file=@photo.jpg), JSON with "
            'base64 ({"images": [{"base64": ".."}]}), or a photo itself as image/jpeg or application/octet-stream',
        )
    if not photos:
        raise RefusedError(422, "there is no photo in the body")
    return photos


def _too_many(max_files: int) -> RefusedError:
    return RefusedError(413, f"more than {max_files} photos in one request")


def _of_form(body: bytes, boundary: bytes, max_files: int) -> list[SentPhoto]:
    form = _Form(max_files)
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type] # a mapping of the same methods
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError, KeyError) as error:
        raise RefusedError(422, f"the form cannot be read: {error}") from error
    if not form.is_whole:
        raise RefusedError(422, "the form is cut short or has no parts")
    return form.photos


class _Form:
    """Collects the files of a multipart form."""

    def __init__(self, max_files: int) -> None:
        self.photos: list[SentPhoto] = []
        self.is_whole = False
        self._max_files = max_files
        self._header = b"", b""
        self._disposition = b""
        self._parts: list[bytes] = []

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._add_header(data[start:end], b""),
            "on_header_value": lambda data, start, end: self._add_header(b"", data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._parts.append(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._end_form,
        }

    def _begin(self) -> None:
        self._disposition, self._parts = b"", []

    def _add_header(self, name: bytes, value: bytes) -> None:
        self._header = self._header[0] + name, self._header[1] + value

    def _end_header(self) -> None:
        name, value = self._header
        self._header = b"", b""
        if name.lower() == b"content-disposition":
            self._disposition = value

    def _end(self) -> None:
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            raise RefusedError(422, f"the field {field[:100]!r} of the form is no file; photos are sent, not addresses")
        if len(self.photos) == self._max_files:
            raise _too_many(self._max_files)
        name = options[b"filename"].decode("utf-8", "replace")
        self.photos.append(SentPhoto(name[:_LONGEST_NAME], b"".join(self._parts)))
        self._parts = []

    def _end_form(self) -> None:
        self.is_whole = True


def _of_json(body: bytes, max_files: int) -> list[SentPhoto]:
    try:
        value = parse_json(body)
    except ValueError as error:
        raise RefusedError(422, f"the body is not valid JSON: {error}") from error
    images = value.get("images") if isinstance(value, dict) and set(value) == {"images"} else None
    if not isinstance(images, list):
        raise RefusedError(
            422, 'expected {"images": [{"name": "a.jpg", "base64": ".."}, ..]}; the name may be left out'
        )
    if len(images) > max_files:
        raise _too_many(max_files)
    return [_of_entry(entry, index) for index, entry in enumerate(images)]


def _of_entry(entry: object, index: int) -> SentPhoto:
    where = f"images[{index}]"
    if not isinstance(entry, dict) or not {"base64"} <= set(entry) <= {"base64", "name"}:
        raise RefusedError(422, f'{where} must be {{"base64": ".."}}, with a "name" if you like; no URLs are fetched')
    name, text = entry.get("name"), entry["base64"]
    if not isinstance(text, str) or not (name is None or isinstance(name, str)):
        raise RefusedError(422, f"{where}: base64 and name must be texts")
    if text.startswith("data:"):  # as a browser's FileReader writes a file
        text = text.partition(",")[2]
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(422, f"{where} is not base64: {error}") from error
    return SentPhoto(None if name is None else name[:_LONGEST_NAME], content)
