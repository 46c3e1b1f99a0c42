"""Where an ONNX graph says that its weights lie: in files of its own folder, and nowhere else.

A graph may name a file, and a place in it, for each of its tensors. ONNX Runtime 1.23 opens any path that it is given,
OpenVINO 2025.0 whatever a link leads to, and OpenVINO 2026.4 takes ``*/_ORT_MEM_ADDR_/*`` for an address in memory,
which ends the process. So the names are read here first, from protobuf's wire format: the light install has no onnx.
"""

import mmap
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from mpiqe.errors import WeightsError
from mpiqe.printable import printable

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # wire types; groups, 3 and 4, are in no graph
_LONGEST_VARINT = 10
_MOST_LEVELS = 100  # of messages in each other, as protobuf itself has it
_PARTS = {  # of onnx.proto: by message the fields that lead to tensors, and to which message
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external data"},
}
_KEY, _VALUE = 1, 2  # of external data
_LOCATION = b"location"


def check_external_data(graph: Path) -> None:
    """Raise ``WeightsError`` where an ONNX graph names a file for weights that is not one of its folder."""
    try:
        with graph.open("rb") as file:
            # most of it may be weights, which are passed over
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        names = set(_locations(memoryview(content))) if content.find(_LOCATION) >= 0 else set()
    except OSError as error:
        raise WeightsError(f"cannot read {graph}: {error.strerror}") from error
    except ValueError as error:
        raise WeightsError(f"{graph} cannot be loaded, damaged or incomplete: {error}") from error
    for name in sorted(names):
        if fault := _fault(graph, name):
            raise WeightsError(
                f"{graph} cannot be loaded: it has weights in {printable(name)[:200]!r}, {fault}; export the model anew"
            )


def _fault(graph: Path, name: str) -> str | None:
    """Why a file with weights is not opened."""
    parts = PurePosixPath(name).parts
    if not name or "\0" in name or name.startswith("/") or ".." in parts or PureWindowsPath(name).drive or "\\" in name:
        return "which is no file of its folder"
    try:
        file = (graph.parent / name).resolve(strict=True)
        is_file = stat.S_ISREG(file.stat().st_mode)
    except (OSError, RuntimeError, ValueError) as error:  # not there, a link to itself, letters that no file system has
        return f"which cannot be read ({getattr(error, 'strerror', None) or type(error).__name__})"
    # the cache of a hub has links to files in another folder
    folders = {graph.parent.resolve(), graph.resolve().parent}
    if not any(file.is_relative_to(folder) for folder in folders):
        return "a link to outside of its folder"
    return None if is_file else "which is no regular file"


def _locations(content: memoryview) -> Iterator[str]:
    """The names of files in a ``ModelProto``; raises ``ValueError`` for what is none."""
    waiting = [("model", content, 0)]
    while waiting:
        message, part, level = waiting.pop()
        if level > _MOST_LEVELS:
            raise ValueError(f"more than {_MOST_LEVELS} messages in each other")
        if message == "external data":
            strings = {number: bytes(value) for number, value in _fields(part) if number in (_KEY, _VALUE)}
            if strings.get(_KEY) == _LOCATION:
                yield strings.get(_VALUE, b"").decode()
            continue
        kinds = _PARTS[message]
        waiting += [(kinds[number], value, level + 1) for number, value in _fields(part) if number in kinds]


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message that hold bytes: strings and other messages."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, kind = (tag & 0xFFFFFFFF) >> 3, tag & 7  # protobuf takes 32 bits of it
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind == _BYTES:
            size, at = _varint(message, at)
            if size > end - at:
                raise ValueError("a part of it is larger than the whole")
            yield number, message[at : at + size]
            at += size
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"it has a field of kind {kind}, which no graph has")
    if at > end:
        raise ValueError("it ends within a number")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number and where what follows it begins."""
    if at < len(message) and message[at] < 0x80:  # as most are
        return message[at], at + 1
    value = 0
    for index in range(_LONGEST_VARINT):
        if at + index >= len(message):
            raise ValueError("it ends within a number")
        byte = message[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value & ((1 << 64) - 1), at + index + 1
    raise ValueError("it has a number of more than ten bytes")
