"""What the six published sets are: how many images, on which scale, where to get them. Facts, no reading.

Counts are of rated, distorted images, which is what becomes a record. ``tests/data/test_releases.py`` holds them
against LIQE's files and the published lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Release:
    """One published set as its authors released it."""

    title: str
    """The set's name as papers write it."""
    images: int
    """Rated images: the originals of LIVE and the training images of LIVE Challenge are not counted."""
    references: int | None
    """Pristine contents that the images were made from; ``None`` for photos as they were taken."""
    label: str
    """The scale and direction of the released label, e.g. "DMOS, 0 to 1, lower is better"."""
    parts: Mapping[str, int] = field(repr=False)
    """Images by folder, or by the word after the first ``_`` of their name; they add up to ``images``. Empty where all
    lie in one folder."""
    sizes: str
    """Width x height in pixels."""
    url: str
    """Where the authors offer it."""
    note: str
    """What one has to know before trusting a number made with it."""


RELEASES: Mapping[str, Release] = MappingProxyType(
    {
        "live": Release(
            title="LIVE (release 2)",
            images=779,
            references=29,
            label="DMOS (dmos_realigned.mat), about -3 to 112, lower is better",
            parts=MappingProxyType({"jp2k": 169, "jpeg": 175, "wn": 145, "gblur": 145, "fastfading": 145}),
            sizes="768x512 for most",
            url="https://live.ece.utexas.edu/research/quality/subjective.htm",
            note="982 rows, of which 203 are originals and left out; read as 111.7747 - DMOS, as LIQE does",
        ),
        "csiq": Release(
            title="CSIQ",
            images=866,
            references=30,
            label="DMOS (csiq.DMOS.xlsx), 0 to 1, lower is better",
            parts=MappingProxyType(
                {"awgn": 150, "blur": 150, "contrast": 116, "fnoise": 150, "jpeg": 150, "jpeg2000": 150}
            ),
            sizes="512x512",
            url="https://s2.smu.edu/~eclarson/csiq.html",
            note="read as 1 - DMOS, as LIQE does",
        ),
        "kadid": Release(
            title="KADID-10k",
            images=10_125,
            references=81,
            label="MOS in the column dmos of dmos.csv, 1 to 5, higher is better",
            parts=MappingProxyType({f"{code:02d}": 405 for code in range(1, 26)}),
            sizes="512x384",
            url="https://database.mmsp-kn.de/kadid-10k-database.html",
            note="the column is named dmos, but higher is better; 81 references x 25 distortions x 5 levels",
        ),
        "livec": Release(
            title="LIVE Challenge",
            images=1162,
            references=None,
            label="MOS, 0 to 100, higher is better",
            parts=MappingProxyType({}),
            sizes="500x500 for nearly all",
            url="https://live.ece.utexas.edu/research/ChallengeDB/index.html",
            note="1,169 rows, of which the first seven, t1.bmp to t7.bmp, trained the subjects and are left out",
        ),
        "bid": Release(
            title="BID",
            images=586,
            references=None,
            label="MOS (DatabaseGrades.xls), 0 to 5, higher is better",
            parts=MappingProxyType({}),
            sizes="1280x960 to 2272x1704",
            url="https://www02.smt.ufrj.br/~eduardo/ImageDatabase.htm",
            note="the paper says 585; images are numbered 1 to 590, without 2, 346, 413 and 439",
        ),
        "koniq": Release(
            title="KonIQ-10k",
            images=10_073,
            references=None,
            label="MOS, 1 to 5 (of z-scores: 0 to 100), higher is better",
            parts=MappingProxyType({}),
            sizes="1024x768, and again 512x384",
            url="https://database.mmsp-kn.de/koniq-10k-database.html",
            note="released in two sizes and with two kinds of MOS: the mean of the five-point ratings, which papers "
            "report, and one of z-scores, 0 to 100",
        ),
    }
)
"""By the word that ``mpiqe.data.read_dataset`` takes."""


def release_of(spec: str) -> Release | None:
    """What was published as the dataset that ``read_dataset`` reads for ``spec``; ``None`` for a table."""
    return RELEASES.get(spec.partition(":")[0])
