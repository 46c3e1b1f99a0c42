"""Read and change a few properties of an XMP packet and leave every other byte as it is.

The packet is read by expat, which tells where each element begins; the text is then changed in place. A document type
declaration is refused, so there are no entities but XML's own. Ours are ``xmp:Rating`` and what is in ``NAMESPACE``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

NAMESPACE = "urn:x-mpiqe:xmp:1.0/"
"""Of our own properties; ``PREFIX`` is what we write them with."""
PREFIX = "mpiqe"
MOST_BYTES = 16 << 20

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMP = "http://ns.adobe.com/xap/1.0/"
_SEPARATOR = " "
_ATTRIBUTE = re.compile(rb"\s+([^\s=/>]+)\s*=\s*(\"[^\"]*\"|'[^']*')")
_TAG = re.compile(rb"(?:[^>\"']|\"[^\"]*\"|'[^']*')*>")
_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_ENCODING = re.compile(rb"""<\?xml[^>]*\sencoding\s*=\s*["']([^"']+)["']""")

_EMPTY = b"""\
<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


class XMPError(ValueError):
    """What keeps a packet from being read or changed."""


@dataclass
class _Property:
    """A property of a top-level description: an attribute, or an element from ``start`` to ``end``."""

    uri: str
    name: str
    value: str
    start: int
    end: int
    attribute: bytes | None = None
    """Its name as it is written."""
    value_start: int = 0
    """Of an element's content; ``value_end`` where it ends, both 0 for one without content (``<xmp:Rating/>``)."""
    value_end: int = 0
    tag: bytes = b""
    """An element's name as it is written."""


@dataclass
class _Description:
    start: int
    end: int = 0
    tag_end: int = 0
    """After its start tag."""
    about: bytes = b'""'
    properties: list[_Property] = field(default_factory=list)

    @property
    def is_ours(self) -> bool:
        """Whether there is nothing in it but what we write."""
        ours = [each for each in self.properties if each.uri == NAMESPACE]
        ratings = [each for each in self.properties if (each.uri, each.name) == (_XMP, "Rating")]
        return bool(ours) and len(self.properties) == len(ours) + len(ratings)


@dataclass
class Packet:
    """A packet that was read."""

    data: bytes
    """In UTF-8."""
    encoding: str
    """``utf-8``, ``utf-16-le`` or ``utf-16-be``: that of the file."""
    mark: bytes
    """The byte order mark of a file in UTF-16."""
    rdf_start: int
    rdf_end: int
    """Where the end tag of ``rdf:RDF`` begins; of an empty element, where that begins."""
    rdf_tag: bytes
    rdf_is_empty: bool
    descriptions: list[_Description]

    @property
    def rating(self) -> int | None:
        """``xmp:Rating``; ``None`` where there is none, or one that is no finite number."""
        for each in self._ratings():
            try:
                return round(float(each.value))
            except (ValueError, OverflowError):  # round() of NaN and of an infinity
                return None
        return None

    @property
    def ours(self) -> dict[str, str]:
        """The properties of our namespace."""
        return {
            each.name: each.value
            for description in self.descriptions
            for each in description.properties
            if each.uri == NAMESPACE
        }

    def _ratings(self) -> list[_Property]:
        return [
            each
            for description in self.descriptions
            for each in description.properties
            if (each.uri, each.name) == (_XMP, "Rating")
        ]


def read_packet(content: bytes) -> Packet:
    """Read a sidecar. Raises ``XMPError`` for what is no XMP, is damaged, too large, or declares a document type."""
    if len(content) > MOST_BYTES:
        raise XMPError(f"over the limit of {MOST_BYTES >> 20} MB for a sidecar")
    encoding, mark = _UTF16.get(content[:2], "utf-8"), content[:2] if content[:2] in _UTF16 else b""
    try:
        data = content[len(mark) :].decode(encoding).encode()
    except UnicodeDecodeError:
        raise XMPError("neither UTF-8 nor UTF-16") from None
    declared = _ENCODING.search(data[:200])
    if declared and not declared[1].lower().startswith((b"utf-8", b"utf-16")):
        raise XMPError(f"its encoding is {declared[1].decode('ascii', 'replace')}, and not UTF-8 or UTF-16")
    return _Reader(data).packet(encoding, mark)


def changed(packet: Packet | None, *, rating: int | None, ours: Mapping[str, str]) -> bytes:
    """The bytes of a sidecar with ``xmp:Rating`` and our properties set; the first of ``packet``, or a new one.

    ``rating`` of ``None`` leaves the rating as it is. All that is not ours stays byte for byte. The same values again
    give the same bytes.
    """
    packet = packet or read_packet(_EMPTY)
    edits: list[tuple[int, int, bytes]] = []
    kept = packet.rating
    about = packet.descriptions[0].about if packet.descriptions else b'""'
    in_block = False
    for description in packet.descriptions:
        if description.is_ours:
            edits.append((_line_start(packet.data, description.start), description.end, b""))
            in_block |= any(each.uri == _XMP for each in description.properties)
            continue
        for each in description.properties:
            if each.uri == NAMESPACE:
                start = each.start if each.attribute else _line_start(packet.data, each.start)
                edits.append((start, each.end, b""))
            elif (each.uri, each.name) == (_XMP, "Rating") and rating is not None:
                edits.append(_with_value(each, str(rating)))
    stands_elsewhere = len(packet._ratings()) > sum(
        (each.uri, each.name) == (_XMP, "Rating")
        for description in packet.descriptions
        if description.is_ours
        for each in description.properties
    )
    own_rating = None if stands_elsewhere else rating if rating is not None else kept if in_block else None
    newline = b"\r\n" if b"\r\n" in packet.data else b"\n"
    edits.append(_insertion(packet, _block(about, own_rating, ours, newline), newline))
    data = packet.data
    for start, end, text in sorted(edits, reverse=True):
        data = data[:start] + text + data[end:]
    _check(data, rating if rating is not None else kept, ours)
    return packet.mark + data.decode().encode(packet.encoding)


def _check(data: bytes, rating: int | None, ours: Mapping[str, str]) -> None:
    """Parse the result again; raises ``XMPError`` where it is not what was intended."""
    result = read_packet(data)
    if result.rating != rating or result.ours != dict(ours):
        raise XMPError("its structure is one that mpiqe cannot change; it is left as it is")


def _with_value(each: _Property, value: str) -> tuple[int, int, bytes]:
    if each.attribute is not None:
        before = re.match(rb"\s+[^\s=]+\s*=\s*", each.tag)
        return each.end - len(each.tag) + (before.end() if before else 0), each.end, b'"' + value.encode() + b'"'
    if each.value_end:
        return each.value_start, each.value_end, value.encode()
    return each.start, each.end, b"<" + each.tag + b">" + value.encode() + b"</" + each.tag + b">"


def _block(about: bytes, rating: int | None, ours: Mapping[str, str], newline: bytes) -> bytes:
    """A description with our properties, on lines of its own."""
    lines = [b"  <rdf:Description rdf:about=" + about, b'    xmlns:rdf="' + _RDF.encode() + b'"']
    if rating is not None:
        lines.append(b'    xmlns:xmp="' + _XMP.encode() + b'"')
    lines.append(f'    xmlns:{PREFIX}="{NAMESPACE}"'.encode())
    if rating is not None:
        lines.append(f'    xmp:Rating="{rating}"'.encode())
    lines += [f"    {PREFIX}:{name}={quoteattr(value)}".encode() for name, value in ours.items()]
    return newline.join(lines) + b"/>"


def _insertion(packet: Packet, block: bytes, newline: bytes) -> tuple[int, int, bytes]:
    """The block before the end of ``rdf:RDF``, whose end tag keeps its place on its line."""
    if packet.rdf_is_empty:
        tag = packet.data[packet.rdf_start : packet.rdf_end]
        opened = tag.rstrip(b">").rstrip().removesuffix(b"/").rstrip() + b">"
        closed = newline + b"</" + packet.rdf_tag + b">"
        return packet.rdf_start, packet.rdf_end, opened + newline + block + closed
    start = _line_start(packet.data, packet.rdf_end)
    if start == packet.rdf_end:  # something else stands on that line
        return start, start, newline + block + newline
    return start, start, newline + block


def _line_start(data: bytes, place: int) -> int:
    """The line feed before ``place`` if only blanks are between; ``place`` otherwise."""
    start = place
    while start and data[start - 1 : start] in (b" ", b"\t"):
        start -= 1
    if start and data[start - 1 : start] == b"\n":
        return start - 2 if data[start - 2 : start] == b"\r\n" else start - 1
    return place


class _Reader:
    """Finds the top-level descriptions of a packet and their properties, with where they stand."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._path: list[str] = []
        self._descriptions: list[_Description] = []
        self._property: _Property | None = None
        self._text: list[str] = []
        self._rdf: tuple[int, int, bytes, bool] | None = None
        self._parser = expat.ParserCreate("utf-8", _SEPARATOR)
        self._parser.namespace_prefixes = True
        self._parser.buffer_text = True
        self._parser.ordered_attributes = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.EntityDeclHandler = self._refuse

    def packet(self, encoding: str, mark: bytes) -> Packet:
        try:
            self._parser.Parse(self._data, True)
        except expat.ExpatError as error:
            raise XMPError(f"not well-formed XML ({error})") from error
        if self._rdf is None:
            raise XMPError("not XMP: there is no rdf:RDF in it")
        start, end, tag, is_empty = self._rdf
        return Packet(self._data, encoding, mark, start, end, tag, is_empty, self._descriptions)

    def _refuse(self, *_: Any) -> None:
        raise XMPError("it has a document type declaration, which XMP does not allow")

    @property
    def _is_in_rdf(self) -> bool:
        return _is_rdf(self._path)

    def _start(self, name: str, attributes: list[str]) -> None:
        start = self._parser.CurrentByteIndex
        uri_and_name, written = _names(name)
        if self._is_in_rdf and uri_and_name == _rdf("Description"):
            self._descriptions.append(self._description(start, attributes))
            self._path.append(uri_and_name)
            return
        if self._is_in_description():
            uri, _, local = uri_and_name.rpartition(_SEPARATOR)
            tag_end = self._tag_end(start)
            self._property = _Property(uri, local, "", start, tag_end, value_start=tag_end, tag=written.encode())
            self._text = []
        self._path.append(uri_and_name)
        if uri_and_name == _rdf("RDF") and self._is_in_rdf and self._rdf is None:
            self._rdf = start, self._tag_end(start), written.encode(), True

    def _description(self, start: int, attributes: list[str]) -> _Description:
        tag_end = self._tag_end(start)
        found = _Description(start, tag_end=tag_end)
        written = {match[1]: match for match in _ATTRIBUTE.finditer(self._data, start, tag_end)}
        for name, value in zip(attributes[::2], attributes[1::2], strict=True):
            uri_and_name, qualified = _names(name)
            uri, _, local = uri_and_name.rpartition(_SEPARATOR)
            match = written.get(qualified.encode())
            if match is None:
                raise XMPError("its structure is one that mpiqe cannot change; it is left as it is")
            if uri_and_name in (_rdf("about"), "about"):
                found.about = match[2]
            else:
                found.properties.append(
                    _Property(uri, local, value, match.start(), match.end(), attribute=match[1], tag=match[0])
                )
        return found

    def _end(self, name: str) -> None:
        start = self._parser.CurrentByteIndex
        uri_and_name = self._path.pop()
        if self._property is not None and self._is_in_description():
            each = self._property
            if not self._is_empty(each.end):
                each.value_end = start
                each.end = self._tag_end(start)
            each.value = "".join(self._text).strip()
            self._descriptions[-1].properties.append(each)
            self._property = None
        elif uri_and_name == _rdf("Description") and self._is_in_rdf:
            current = self._descriptions[-1]
            current.end = current.tag_end if self._is_empty(current.tag_end) else self._tag_end(start)
        elif self._rdf and uri_and_name == _rdf("RDF") and not self._is_empty(self._rdf[1]):
            self._rdf = self._rdf[0], start, self._rdf[2], False

    def _is_in_description(self) -> bool:
        return bool(self._path) and self._path[-1] == _rdf("Description") and _is_rdf(self._path[:-1])

    def _characters(self, text: str) -> None:
        if self._property is not None:
            self._text.append(text)

    def _is_empty(self, tag_end: int) -> bool:
        """Whether the start tag that ends there is an empty element's, ``<a/>``."""
        return self._data[tag_end - 2 : tag_end] == b"/>"

    def _tag_end(self, start: int) -> int:
        """After the ``>`` of the tag that begins at ``start``; one in an attribute's quotes ends nothing."""
        tag = _TAG.match(self._data, start)
        if tag is None:
            raise XMPError("not well-formed XML")
        return tag.end()


def _is_rdf(path: list[str]) -> bool:
    """Whether these elements, from the root inwards, end with the ``rdf:RDF`` of a packet."""
    return 1 <= len(path) <= 2 and path[-1] == _rdf("RDF")


def _rdf(name: str) -> str:
    return f"{_RDF}{_SEPARATOR}{name}"


def _names(name: str) -> tuple[str, str]:
    """Expat's ``uri local prefix`` as ``uri local``, and the name as it is written."""
    parts = name.split(_SEPARATOR)
    if len(parts) == 3:
        return f"{parts[0]}{_SEPARATOR}{parts[1]}", f"{parts[2]}:{parts[1]}"
    return _SEPARATOR.join(parts), parts[-1]
