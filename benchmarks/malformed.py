"""Files that no camera makes: what a hostile or broken source may hand to a decoder. Made here, byte by byte."""

import struct


def slow_jpeg(*, scans: int, side: int = 4096) -> bytes:
    """A grey progressive JPEG which takes about a millisecond a scan to decode and 40 bytes a scan to store.

    Each scan says in a few codes that all blocks are empty, and the decoder visits them all.
    """
    blocks = (side // 8) ** 2
    codes = -(-blocks // 16384)  # each of 15 bits: "the next 16384 blocks have ended"
    return (
        b"\xff\xd8"
        + jpeg_segment(0xDB, b"\0" + b"\1" * 64)
        + jpeg_segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
        + jpeg_segment(0xC4, b"\0\1" + b"\0" * 15 + b"\0")  # DC: one code, no difference
        + jpeg_segment(0xC4, b"\x10\1" + b"\0" * 15 + b"\xe0")  # AC: one code, a run of ended blocks
        + jpeg_segment(0xDA, b"\1\1\0\0\0\0")
        + b"\0" * (blocks // 8)
        + (jpeg_segment(0xDA, b"\1\1\0\1\x3f\0") + b"\0" * -(-codes * 15 // 8)) * scans
        + b"\xff\xd9"
    )


def jpeg_segment(marker: int, data: bytes) -> bytes:
    """A marker and what belongs to it."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data
