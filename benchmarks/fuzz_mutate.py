"""Changes to sound files: of their bytes, and of what their format says, which gets further into a parser."""

import base64
import io
import json
import random
import re
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import fuzz_zip

_BYTES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\n", b"\r", b'"', b"'", b",", b"{", b"[", b"<", b"%", b"\x1b[2J", b"\xc3")
_NUMBERS = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 62,
    (1 << 64) - 1,
)
_LARGE = 2 << 20  # bytes; what has more is made and changed so that it takes no seconds
_ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    7,
    10**9,
    1 << 63,
    10**30,
    0.0,
    -0.5,
    1e-320,
    1e308,
    "",
    "x",
    "\x1b[2J\x07",
    "a" * 5000,
    "../../../../etc/passwd",
    "__class__",
    [],
    {},
    [[]],
    [None],
    ["x"],
    {"x": {}},
    [1, 2, 3],
)
_NOT_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", "nan", "0x10", "1_000", "\u0661")
_TEMPLATE = (  # runs a command in fsspec up to 2025.9
    b'{"version": 1, "gen": [{"key": "{{ cycler.__init__.__globals__.os.system(1) }}", "url": "x"}], "refs": {}}'
)
TOKENS = (
    "http://127.0.0.1:1/x.jpg",
    "http://169.254.169.254/latest",
    "http://[::1]:1/",
    "https://x\x00y/",
    "http://",
    "file:///dev/zero",
    "file://{canary}",
    "{canary}",
    "local://{canary}",
    "reference://a::{canary}",
    "simplecache::file://{canary}",
    "reference://a.jpg::data:application/json;base64," + base64.b64encode(_TEMPLATE).decode(),
    "data:;base64,AAAA",
    "memory://x",
    "zip://x::file://{canary}",
    "tar://x::{canary}",
    "python://x",
    "jar://x",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/environ",
    "-",
    "@{canary}",
    "{0..99}",
    "{a,b}{a,b}{a,b}",
    "**/**/**/*",
    "[",
    "*?[a",
    "\ufeff",
    "\x1b[2J",
    "\udcff",
    "a" * 3000,
    "../" * 50,
    "s3://b/k",
    "gs://b/k",
    "ftp://127.0.0.1:1/x",
)


def mutate(name: str, content: bytes, draw: random.Random, *, others: Mapping[str, bytes], canary: Path) -> bytes:
    """``content`` changed: half the time by its format, if that of its name is known, and else byte by byte."""
    by_format = _FORMATS.get(name.rpartition(".")[2])
    if by_format and draw.random() < 0.6:
        changed = by_format(content, draw, canary)
        if draw.random() < 0.8:
            return changed
        content = changed
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        content = draw.choice(_STEPS)(content, draw, others)
    return content


Step = Callable[[bytes, random.Random, Mapping[str, bytes]], bytes]


def _place(content: bytes, draw: random.Random) -> int:
    """Anywhere, but more often near the beginning, where headers are, and near the end."""
    size = len(content)
    near = draw.randrange(min(size, 256) + 1)
    return draw.choice((draw.randrange(size + 1), near, size - near))


def _flip(content: bytes, draw: random.Random, _: Mapping[str, bytes]) -> bytes:
    changed = bytearray(content)
    for _bit in range(draw.randint(1, 8)):
        if changed:
            changed[min(len(changed) - 1, _place(content, draw))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _put(content: bytes, draw: random.Random, _: Mapping[str, bytes]) -> bytes:
    at = _place(content, draw)
    return content[:at] + draw.choice(_BYTES) * draw.choice((1, 1, 2, 100)) + content[at + draw.randint(0, 4) :]


def _number(content: bytes, draw: random.Random, _: Mapping[str, bytes]) -> bytes:
    form = draw.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    at = _place(content, draw)
    value = draw.choice(_NUMBERS) & ((1 << 8 * size) - 1)
    return content[:at] + struct.pack(form, value) + content[at + size :]


def _cut(content: bytes, draw: random.Random, _: Mapping[str, bytes]) -> bytes:
    return content[: _place(content, draw)]


def _drop(content: bytes, draw: random.Random, _: Mapping[str, bytes]) -> bytes:
    at = _place(content, draw)
    return content[:at] + content[at + draw.choice((1, 4, 16, 256, 4096)) :]


def _double(content: bytes, draw: random.Random, _: Mapping[str, bytes]) -> bytes:
    at, size = _place(content, draw), draw.choice((1, 4, 16, 256, 4096))
    return content[:at] + content[at : at + size] * draw.choice((2, 2, 3, 64)) + content[at + size :]


def _splice(content: bytes, draw: random.Random, others: Mapping[str, bytes]) -> bytes:
    other = others[draw.choice(sorted(others))]
    return content[: _place(content, draw)] + other[_place(other, draw) :]


_STEPS: tuple[Step, ...] = (_flip, _flip, _flip, _put, _number, _number, _cut, _drop, _double, _splice)


def _json(content: bytes, draw: random.Random, _: Path) -> bytes:
    try:
        value = json.loads(content)
    except ValueError:
        return content
    for _turn in range(draw.choice((1, 1, 2, 5))):
        value = _changed(value, draw)
    text = json.dumps(value)
    if draw.random() < 0.1:
        text = text.replace("0", draw.choice(_NOT_NUMBERS), 1)
    if draw.random() < 0.05:
        deep = draw.choice((900, 1100, 100_000))
        text = draw.choice(('{"a":' * deep, "[" * deep, "[" * deep + "]" * deep))
    return text.encode("utf-8", "surrogatepass")


def _changed(value: Any, draw: random.Random) -> Any:
    """One node of it replaced, left out, doubled or renamed."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(sorted(value))
        how = draw.random()
        if how < 0.6:
            return {**value, key: _changed(value[key], draw)}
        rest = {name: each for name, each in value.items() if name != key}
        if how < 0.8:
            return rest
        return {**rest, draw.choice(("", "x", "\x1b[2J", key + "_", "__proto__")): value[key]}
    if isinstance(value, list) and value and draw.random() < 0.8:
        at = draw.randrange(len(value))
        how = draw.random()
        if how < 0.6:
            return [*value[:at], _changed(value[at], draw), *value[at + 1 :]]
        return [*value[:at], *value[at + 1 :]] if how < 0.8 else [*value, value[at]]
    if isinstance(value, str) and value.startswith("{") and draw.random() < 0.8:  # JSON within JSON, as in checkpoints
        try:
            return json.dumps(_changed(json.loads(value), draw))
        except ValueError:
            pass
    return draw.choice(_ODD_VALUES)


def _safetensors(content: bytes, draw: random.Random, canary: Path) -> bytes:
    """The header, with its length made to fit, or a value among the tensors."""
    if len(content) < 8:
        return content
    length = int.from_bytes(content[:8], "little")
    header = _json(content[8 : 8 + length], draw, canary)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def _lines(content: bytes, draw: random.Random, canary: Path) -> bytes:
    """Cells and lines put in, left out, doubled and swapped."""
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    for _turn in range(draw.choice((1, 1, 3))):
        at = draw.randrange(len(lines))
        separator = next((mark for mark in "\t,=" if mark in lines[at]), ",")
        cells = lines[at].split(separator)
        which = draw.randrange(len(cells))
        how = draw.randrange(6)
        if how < 3:
            values = [
                *map(str, _ODD_VALUES),
                *_NOT_NUMBERS,
                *(token.replace("{canary}", str(canary)) for token in TOKENS),
            ]
            cells[which] = draw.choice(values)
            lines[at] = separator.join(cells)
        elif how == 3:
            lines[at] = separator.join([*cells[:which], *cells[which + 1 :]])
        elif how == 4:
            lines.insert(at, lines[draw.randrange(len(lines))])
        else:
            del lines[at]
        lines = lines or [""]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _toml(content: bytes, draw: random.Random, canary: Path) -> bytes:
    if draw.random() < 0.1:
        deep = draw.choice((900, 1100, 50_000))
        return b"a = " + draw.choice((b"[" * deep, b"{a=" * deep, b"[" * deep + b"]" * deep))
    return _lines(content, draw, canary)


def _urls(content: bytes, draw: random.Random, canary: Path) -> bytes:
    """A list whose lines are what a list must not be able to do."""
    lines = content.split(b"\n")
    for _turn in range(draw.choice((1, 2, 4))):
        token = draw.choice(TOKENS).replace("{canary}", str(canary))
        lines.insert(draw.randrange(len(lines) + 1), token.encode("utf-8", "surrogateescape"))
    return b"\n".join(lines)


def _parquet(_: bytes, draw: random.Random, canary: Path) -> bytes:
    """A table of cells as they may come from anywhere."""
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(_table(draw, canary), file, compression=draw.choice(("none", "zstd", "gzip")))
    return file.getvalue()


def _arrow(content: bytes, draw: random.Random, canary: Path) -> bytes:
    """Such a table as Arrow's file or stream, or one with other lengths and offsets, which nothing there checks."""
    import pyarrow as pa

    if draw.random() < 0.5:
        return _words(content, draw)
    file = io.BytesIO()
    table = _table(draw, canary)
    compression = draw.choice((None, "lz4", "zstd"))
    options = pa.ipc.IpcWriteOptions(compression="lz4" if table.nbytes > _LARGE else compression)
    make = draw.choice((pa.ipc.new_file, pa.ipc.new_stream))
    with make(file, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=draw.choice((1, 2, 100)))
    return file.getvalue() if draw.random() < 0.5 else _words(file.getvalue(), draw)


def _words(content: bytes, draw: random.Random) -> bytes:
    """Some whole numbers of four or eight bytes, at places that they are aligned to, replaced by others."""
    changed = bytearray(content)
    for _turn in range(draw.choice((1, 1, 2, 4))):
        form, size = draw.choice((("<I", 4), ("<Q", 8)))
        last = len(changed) - size + 1
        anywhere = range(0, last, 4) if last < _LARGE else (*range(0, 4096, 4), *range(last // 4 * 4 - 4096, last, 4))
        places = [at for at in anywhere if any(changed[at : at + size])]
        if not places:
            return bytes(changed)
        at = draw.choice(places)
        (value,) = struct.unpack_from(form, changed, at)
        other = draw.choice((*_NUMBERS, value + 1, value - 1, value + 8, value * 2, value << 16, -value))
        struct.pack_into(form, changed, at, other & ((1 << 8 * size) - 1))
    return bytes(changed)


def _table(draw: random.Random, canary: Path) -> Any:
    import pyarrow as pa

    column = draw.choice(("path", "url", "image", "bytes", "x\x1b[2J", ""))
    cells: list[Any] = [
        draw.choice((None, "a.jpg", "", *(token.replace("{canary}", str(canary)) for token in TOKENS)))
        for _row in range(draw.randint(0, 6))
    ]
    cells = [cell and cell.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for cell in cells]
    kind = draw.choice(("text", "bytes", "struct", "list", "number", "dictionary", "large"))
    if kind == "bytes":
        made = pa.array([None if cell is None else cell.encode() for cell in cells], pa.binary())
    elif kind == "struct":
        made = pa.array(
            [{"bytes": None, "path": cell} for cell in cells], pa.struct({"bytes": pa.binary(), "path": pa.string()})
        )
    elif kind == "list":
        made = pa.array([[cell] for cell in cells], pa.list_(pa.string()))
    elif kind == "number":
        made = pa.array(list(range(len(cells))), pa.int64())
    elif kind == "dictionary":
        made = pa.array(cells, pa.string()).dictionary_encode()
    elif kind == "large":  # small in the file, since they are all the same
        made = _large(draw.choice((1 << 20, 1 << 20, 1 << 20, 100 << 20)), draw.choice((1, 8)))
    else:
        made = pa.array(cells, pa.string())
    return pa.table({column: made})


def _large(size: int, count: int) -> Any:
    """So many cells of so many bytes; more than a few megabytes as one value that all of them refer to."""
    import pyarrow as pa

    if size < _LARGE:
        return pa.array([bytes(size)] * count, pa.binary())
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([bytes(size)], pa.binary()))


def _tar(content: bytes, draw: random.Random, canary: Path) -> bytes:
    """An archive whose members have odd names, kinds and sizes, its check sums right."""
    file = io.BytesIO()
    form = draw.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT))
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for _member in range(draw.randint(1, 5)):
            name = draw.choice(
                (
                    "a.jpg",
                    "../../a.jpg",
                    "/etc/a.jpg",
                    "a\x1b[2J.jpg",
                    "a" * 90 + ".jpg",
                    "b/\udcff.jpg",
                    ".a.jpg",
                    "a.jpg/b.jpg",
                )
            )
            member = tarfile.TarInfo(name)
            member.type = draw.choice(
                (tarfile.REGTYPE,) * 4
                + (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, b"S", b"Z")
            )
            member.linkname = draw.choice((str(canary)[:99], "a.jpg", ""))
            member.size = len(content) if member.type == tarfile.REGTYPE else 0
            if form == tarfile.PAX_FORMAT and draw.random() < 0.5:
                key = draw.choice(("path", "size", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.major", "x"))
                member.pax_headers = {key: draw.choice(("0", "-1", "99999999999", "1,2,3", "x" * 3000, "\x1b[2J"))}
            archive.addfile(member, io.BytesIO(content[: member.size]) if member.size else None)
    return file.getvalue()


def _http(content: bytes, draw: random.Random, canary: Path) -> bytes:
    """Another status line or header."""
    head, mark, body = content.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    odd = (
        b"HTTP/1.1 200 OK",
        b"HTTP/9.9 999 " + b"x" * 5000,
        b"HTTP/1.0 -1",
        b"HTTP/1.1 301 x",
        b"HTTP/1.1 100 Continue",
        b"ICY 200",
        b"Content-Length: -1",
        b"Content-Length: 99999999999999999999",
        b"Content-Length: 1",
        b"Transfer-Encoding: chunked",
        b"Location: file://" + str(canary).encode(),
        b"Location: http://169.254.169.254/",
        b"Location: /x",
        b"Location: ",
        b"Location: http://user:pass@127.0.0.1:1/",
        b"Location: \x1b[2J",
        b"Retry-After: 1e9",
        b"Retry-After: -5",
        b"Retry-After: x",
        b"Content-Encoding: gzip",
        b"X: " + b"y" * 70_000,
        b"X" * 300,
        b": ",
        b"\xff\xfe: \xff",
    )
    for _turn in range(draw.choice((1, 2, 40, 200))):
        at = draw.randrange(len(lines) + 1)
        lines[at : at + draw.randint(0, 1)] = [draw.choice(odd)]
    return b"\r\n".join(lines) + mark + body


_XML_VALUES = (r'="([^"]*)"', r"<dim>([^<]*)</dim>")
_XML_WORDS = (
    *("f32", "f16", "bf16", "f64", "i64", "i32", "u8", "i4", "u1", "nf4", "string", "dynamic", "boolean"),
    *("Parameter", "Const", "Result", "Assign", "ReadValue", "If", "Loop", "TensorIterator", "Reshape", "Gather"),
    *("Convolution", "MatMul", "StringTensorUnpack", "Tile", "TopK", "NonMaxSuppression", "Eye", "Range", "Pad"),
    *("opset1", "opset8", "opset15", "extension", "floor", "ceil", "?", "?,?", "1..", "0", "1,1,1,1,1,1", "true"),
)


def _xml(content: bytes, draw: random.Random, canary: Path) -> bytes:
    """Attributes and numbers replaced, often by others of the file, elements left out and doubled."""
    text = content.decode("utf-8", "replace")
    if draw.random() < 0.05:
        deep = draw.choice((900, 100_000))
        entities = f'<!ENTITY a SYSTEM "file://{canary}"><!ENTITY b "{"&a;" * 9}">'
        head = f'<?xml version="1.0"?><!DOCTYPE net [{entities}]>'
        return draw.choice((head + "<net>&b;</net>", "<layer>" * deep, head + text, "<net>" + text + "</net>")).encode()
    for _turn in range(draw.choice((1, 1, 1, 2, 4))):
        if draw.random() < 0.25:
            text = _lines(text.encode("utf-8", "replace"), draw, canary).decode("utf-8", "replace")
            continue
        values = [found.span(1) for form in _XML_VALUES for found in re.finditer(form, text)]
        if not values:
            return text.encode()
        start, end = draw.choice(values)
        other = slice(*draw.choice(values))
        value = draw.choice(
            (
                text[other],
                draw.choice(_XML_WORDS),
                str(draw.choice((*_NUMBERS, -1, -2, 1 << 31, 1 << 63, 10**30))),
                str(draw.choice((*_ODD_VALUES, *_NOT_NUMBERS))),
                f"{text[start:end]},{text[other]}",
            )
        )
        text = text[:start] + value + text[end:]
    return text.encode("utf-8", "surrogatepass")


_WHOLE = re.compile(rb"(?=[\s\S]{2}\0{6}|\xff{8})(?!\0{8})")
"""Where a whole number of 64 bits stands, from -1 to 65,535 and not 0: floats look otherwise."""


def _graph(content: bytes, draw: random.Random, canary: Path) -> bytes:
    """Shapes, axes and places among a graph's constants, which are whole numbers where weights are floats."""
    changed, places = bytearray(content), [found.start() for found in _WHOLE.finditer(content)]
    for _turn in range(draw.choice((1, 1, 2, 4)) if places else 0):
        at = draw.choice(places)
        (value,) = struct.unpack_from("<q", changed, at)
        other = draw.choice((*_NUMBERS, value + 1, value - 1, value * 2, value << 20, value << 40, -value, -value - 1))
        struct.pack_into("<Q", changed, at, other & ((1 << 64) - 1))
    return bytes(changed)


_FORMATS: dict[str, Callable[[bytes, random.Random, Path], bytes]] = {
    "json": _json,
    "safetensors": _safetensors,
    "csv": _lines,
    "txt": _lines,
    "toml": _toml,
    "xml": _xml,
    "bin": _graph,
    "onnx": _graph,
    "list": _urls,
    "parquet": _parquet,
    "arrow": _arrow,
    "zip": fuzz_zip.change,
    "tar": _tar,
    "http": _http,
}
