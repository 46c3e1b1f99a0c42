"""What callers of a scorer give, made into photos one by one. Does not import torch."""

import os
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard, cast

import numpy as np
from PIL import Image

from mpiqe.decoding import content_of, is_open_file, is_tensor
from mpiqe.errors import ImageError
from mpiqe.images import Source, describe
from mpiqe.sources.given import expanded, is_path, one_photo
from mpiqe.sources.photo import Limits, Photo, unreadable


def are_many(source: "Source | Iterable[Source | Photo]") -> "TypeGuard[Iterable[Source | Photo]]":
    """Whether these are several photos, a batch of pixels for one, and not one."""
    if isinstance(source, np.ndarray):
        return source.ndim == 4 or (source.ndim == 1 and source.dtype.kind in "OU")  # a batch; a column of paths
    if is_tensor(source):
        return source.ndim == 4
    one = isinstance(source, (str, bytes, bytearray, memoryview, os.PathLike, Image.Image, Photo))
    return isinstance(source, Iterable) and not one and not is_open_file(source)


@dataclass(frozen=True)
class Resolver:
    """Resolves sources to photos, within bounds on what is fetched and read."""

    limits: Limits
    max_pixels: int

    def one(self, source: Any) -> "Source | Photo":
        """Return a source as what a scorer reads; a path or an address stands for one photo."""
        return one_photo(os.fsdecode(source), limits=self.limits) if is_path(source) else self._held(source)

    def every(self, sources: "Source | Iterable[Source | Photo]") -> Generator["Source | Photo", None, None]:
        """Yield all photos that one or more sources stand for; a path may stand for any number."""
        several: Iterator[Any] = iter(sources) if are_many(sources) else iter([sources])
        for source in expanded(several, limits=self.limits):
            yield self._held(source)

    def _held(self, source: Any) -> "Source | Photo":
        """Read an open file here and now: on a thread it could be closed by then, or be read by two at once."""
        if isinstance(source, (bytearray, memoryview)):
            return bytes(source)
        if isinstance(source, Photo) or not is_open_file(source):
            return cast("Source", source)
        name = describe(source)
        try:
            content = content_of(source, self.max_pixels)
        except ImageError as error:
            return unreadable(name, error.reason)
        return Photo(name, lambda: content)
