"""Changes to zip archives that leave the records of the format where a reader looks for them."""

import random
import struct
import zlib
from functools import cache
from pathlib import Path

_END, _END64, _LOCATOR64, _ENTRY, _LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2", b"PK\3\4"
_FIELDS = {  # of each record: places and sizes of its numbers
    _LOCAL: ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    _ENTRY: ((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (34, 2), (38, 4), (42, 4)),
    _END: ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
    _END64: ((4, 8), (24, 8), (32, 8), (40, 8), (48, 8)),
    _LOCATOR64: ((4, 4), (8, 8), (16, 4)),
}
_VALUES = (0, 1, 2, 8, 9, 12, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 40, (1 << 64) - 1)
_WIDE_VALUES = (0, 1, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_IN_64 = 0xFFFFFFFF  # a number that stands in the extra field of zip64 instead
_NAMES = (
    b"a.png", b"../../a.png", b"/etc/a.png", b"C:\\a.png", b"a\x1b[2J.png", b"a\0.png", b"a" * 60_000 + b".png",
    b"\xff\xfe.png", b".a.png", b"a.png/b.png", b"a.zip", b"", b"a/", b"x.parquet", b"a\r\nb.png",
)  # fmt: skip


def change(content: bytes, draw: random.Random, canary: Path) -> bytes:
    """Numbers of its records replaced, or another archive, whose members have odd names, methods, sizes and places."""
    return _renumbered(content, draw) if draw.random() < 0.6 else _made(content, draw, canary)


def _renumbered(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _turn in range(draw.choice((1, 1, 2, 4))):
        mark = draw.choice((_LOCAL, _ENTRY, _ENTRY, _END, _END, _END64, _LOCATOR64))
        places = [at for at in range(len(changed)) if changed.startswith(mark, at)]
        if not places:
            continue
        at, (field, size) = draw.choice(places), draw.choice(_FIELDS[mark])
        field += at
        if field + size > len(changed):
            continue
        value = int.from_bytes(changed[field : field + size], "little")
        other = draw.choice(
            (*_VALUES, value + 1, value - 1, value + draw.randint(2, 100), value - draw.randint(2, 100))
        )
        changed[field : field + size] = (other % (1 << 8 * size)).to_bytes(size, "little")
    return bytes(changed)


def _made(content: bytes, draw: random.Random, canary: Path) -> bytes:
    """An archive of a few members, or of thousands that are one and the same place."""
    out = bytearray(draw.choice((b"", b"", b"#!/bin/sh\n" * 10)))
    shift = draw.choice((0, len(out)))  # offsets count from the archive's first byte or from the file's
    entries = bytearray()
    for _member in range(draw.randint(0, 5)):
        entry, times = _member_at(out, draw, canary, content, shift), draw.choice((1, 1, 1, 1, 2000))
        entries += entry * (times if len(entry) < 1000 else 1)
    start = len(out)
    out += entries
    count = entries.count(_ENTRY)
    size, place = len(entries), start - shift
    if draw.random() < 0.3:
        at = len(out)
        out += _END64 + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, place)
        out += _LOCATOR64 + struct.pack("<IQI", 0, at - shift, 1)
        count, size, place = 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF
    comment = draw.choice((b"", b"", b"x" * 65_535, _END + b"\0" * 18, _END))
    counted = min(count, 0xFFFF)
    out += _END + struct.pack("<HHHHIIH", 0, 0, counted, counted, size, place & 0xFFFFFFFF, len(comment)) + comment
    return bytes(out)


def _member_at(out: bytearray, draw: random.Random, canary: Path, content: bytes, shift: int) -> bytes:
    """Append a member to ``out``; what the directory says of it."""
    name = draw.choice((*_NAMES, str(canary).encode()))
    method = draw.choice((0, 8, 8, 8, 9, 12, 14, 93, 99, 0xFFFF))
    zeros = draw.choice((0, 0, 2, 64)) << 20
    plain_size, sum_of_plain, packed = _zeros(zeros) if zeros else _small(draw.choice((b"", content[:2000])))
    if method == 0:
        packed = content[:2000]
    size = draw.choice((plain_size, plain_size, len(packed), 0, 1, 0xFFFFFFFF))
    stated = draw.choice((len(packed), len(packed), 0, 0xFFFFFFFF))
    checksum = draw.choice((sum_of_plain, 0))
    flags = draw.choice((0, 0, 0, 1, 8, 1 << 11, 0xFFFF))
    extra = draw.choice(
        (b"", b"", struct.pack("<HHQQQ", 1, 24, *(draw.choice(_VALUES) for _ in range(3))), b"\1\0\xff")
    )
    offset = draw.choice((len(out) - shift, len(out) - shift, 0, 0xFFFFFFFF))
    if draw.random() < 0.4:
        (size, stated, offset), extra = _in_64((plain_size, len(packed), len(out) - shift), draw)
    out += _LOCAL + struct.pack("<HHHIIIIHH", 20, flags, method, 0, checksum, stated, size, len(name), len(extra))
    out += name + extra + packed
    head = _ENTRY + struct.pack(
        "<HHHHIIIIHHH", 20, 20, flags, method, 0, checksum, stated, size, len(name), len(extra), 0
    )
    return head + struct.pack("<HHII", 0, 0, 0, offset % (1 << 32)) + name + extra


def _in_64(numbers: tuple[int, ...], draw: random.Random) -> tuple[list[int], bytes]:
    """Some of a member's sizes and offset moved to an extra field of zip64 that has these alone, one of them odd."""
    moved = draw.sample(range(len(numbers)), draw.randint(1, len(numbers)))
    odd = draw.choice((*moved, None))
    wide = [draw.choice(_WIDE_VALUES) if at == odd else number for at, number in enumerate(numbers) if at in moved]
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide)
    return [_IN_64 if at in moved else number for at, number in enumerate(numbers)], extra


def _small(plain: bytes) -> tuple[int, int, bytes]:
    """Size, check sum and what a zip archive has of it."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return len(plain), zlib.crc32(plain), packer.compress(plain) + packer.flush()


@cache
def _zeros(size: int) -> tuple[int, int, bytes]:
    return _small(bytes(size))
