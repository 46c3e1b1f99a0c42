"""From the words on a command line to a dataset."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from mpiqe.data.bid import read_bid
from mpiqe.data.csiq import read_csiq
from mpiqe.data.kadid import read_kadid
from mpiqe.data.koniq import MOS, SIZES, Mos, Size, read_koniq
from mpiqe.data.live import read_live
from mpiqe.data.livec import read_livec
from mpiqe.data.record import Dataset
from mpiqe.data.table import read_csv
from mpiqe.errors import ConfigError

Reader = Callable[[Path, Path | None], Dataset]

_READERS: dict[str, tuple[Reader, str]] = {  # with the folder that its release unpacks to
    "live": (read_live, "databaserelease2"),
    "csiq": (read_csiq, "CSIQ"),
    "kadid": (read_kadid, "kadid10k"),
    "livec": (read_livec, "ChallengeDB_release"),
    "bid": (read_bid, "BID"),
    "koniq": (read_koniq, "koniq-10k"),
}


def read_dataset(
    spec: str, *, root: Path | None = None, labels: Path | None = None, as_published: bool = False
) -> Dataset:
    """Read the dataset that ``spec`` names.

    That is one of ``live``, ``csiq``, ``kadid``, ``livec``, ``bid`` and ``koniq``, which lies at ``root``, with LIQE's
    ``labels`` if given, ``as_published`` or mended (which makes a difference for LIVE alone); ``koniq:512x384``,
    ``koniq:zscore`` or ``koniq:512x384,zscore``; or ``csv:FILE``. Raises ``ConfigError`` for anything else and for an
    option that is missing or has no meaning there, ``DatasetError`` for whatever the reader finds.
    """
    kind, colon, rest = spec.partition(":")
    if kind == "csv" and rest:
        if root is not None or labels is not None or as_published:
            raise ConfigError(
                f"{spec}: --root, --labels and --labels-as-published have no meaning here; image paths are relative to "
                "the CSV's folder, labels are its columns"
            )
        return read_csv(Path(rest))
    if kind not in _READERS or (colon and kind != "koniq"):
        raise ConfigError(
            f"no dataset is called {spec!r}; known are {', '.join(_READERS)}, koniq:512x384, koniq:zscore, csv:FILE"
        )
    reader, folder = _READERS[kind]
    if kind == "koniq":
        reader = _koniq(spec, rest.split(",") if colon else [])
    if kind == "live":
        reader = partial(read_live, as_published=as_published)
    if root is None:
        raise ConfigError(f"{spec} needs --root DIR, the folder that holds {folder}/")
    if as_published and labels is None:
        raise ConfigError(f"{spec}: --labels-as-published has no meaning without --labels")
    return reader(root, labels)


def _koniq(spec: str, words: list[str]) -> Reader:
    """The reader of a variant of KonIQ-10k: at most one size and one kind of MOS."""
    sizes: list[Size] = [size for size in SIZES for word in words if word == size]
    kinds: list[Mos] = [mos for mos in MOS for word in words if word == mos]
    if len(sizes) + len(kinds) != len(words) or len(sizes) > 1 or len(kinds) > 1:
        known = " or ".join(SIZES), " or ".join(MOS)
        raise ConfigError(
            f"no dataset is called {spec!r}; after koniq: comes {known[0]}, or {known[1]}, or one of each"
        )
    return partial(read_koniq, size=(*sizes, *SIZES)[0], mos=(*kinds, *MOS)[0])
