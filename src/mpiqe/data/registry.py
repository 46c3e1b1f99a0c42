"""The published datasets: one row each, from which readers, help, defaults, errors, the report and docs derive.

A new dataset takes a reader in ``mpiqe.data.readers`` and a row here. Importing this module loads no reader.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mpiqe.errors import ConfigError

if TYPE_CHECKING:
    from mpiqe.data.record import Dataset

TABLE = "csv:FILE"
"""How ``--data`` names a table of the user's own."""
LABELS_AS_PUBLISHED_HELP = "keep what LIQE's files say of LIVE's fast-fading images"
PAPER_SETTINGS_OF_TABLES: Mapping[str, Any] = MappingProxyType({"batch_size": 32, "score_weight": 0.5})
"""Training settings for a table of the user's own: those of the paper's small datasets."""
_LAST = 100


@dataclass(frozen=True)
class DatasetSpec:
    """One published dataset. Counts are of rated, distorted images, which is what becomes a record."""

    name: str
    """What ``--data`` takes."""
    title: str
    """The dataset's name as papers write it."""
    folder: str
    """The folder that the release unpacks to."""
    reader: str
    """``module:function``. It is called with the root folder and the folder of LIQE's labels (or ``None``), with each
    of ``variants`` as a keyword, and with ``as_published`` where the row says so; it returns a ``Dataset``."""
    images: int
    """Rated images: the originals of LIVE and the training images of LIVE Challenge are not counted."""
    label: str
    """The scale and direction of the released label, e.g. "DMOS, 0 to 1, lower is better"."""
    scale: tuple[float, float]
    """The lowest and highest MOS that the reader can return."""
    sizes: str
    """Width x height in pixels."""
    url: str
    """Where the authors offer it."""
    note: str
    """What one has to know before trusting a number made with it."""
    training: Mapping[str, Any] = field(repr=False)
    """The paper's settings of ``mpiqe train`` that differ from dataset to dataset."""
    references: int | None = None
    """Pristine contents that the images were made from; ``None`` for photos as they were taken."""
    parts: Mapping[str, int] = field(default_factory=dict, repr=False)
    """Images by folder, or by the word after the first ``_`` of their name; they add up to ``images``. Empty where all
    lie in one folder."""
    variants: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    """Keyword of the reader -> the words that ``--data NAME:WORD`` takes for it, the default first."""
    as_published: bool = False
    """Whether the reader takes ``as_published``: LIQE's label files have known errors, which it corrects without."""
    short_title: str | None = None
    """The title in the report's tables, if it is another."""
    column: str | None = None
    """What the paper's tables call it; ``None`` for a dataset that the paper does not have."""
    figure_rank: int = _LAST
    """Figures 3 and 4 show the dataset of the lowest rank among those at hand."""

    def read(self, root: Path, labels: Path | None = None, **options: Any) -> "Dataset":
        """Read the dataset with its reader."""
        module, _, function = self.reader.partition(":")
        dataset: Dataset = getattr(import_module(module), function)(root, labels, **options)
        return dataset


def _row(name: str, title: str, **facts: Any) -> DatasetSpec:
    facts = {key: MappingProxyType(value) if isinstance(value, dict) else value for key, value in facts.items()}
    return DatasetSpec(name, title, **facts)


_ROWS = (
    _row(
        "live",
        "LIVE (release 2)",
        folder="databaserelease2",
        reader="mpiqe.data.readers.live:read_live",
        images=779,
        references=29,
        label="DMOS (dmos_realigned.mat), about -3 to 112, lower is better",
        scale=(0, 115),
        parts={"jp2k": 169, "jpeg": 175, "wn": 145, "gblur": 145, "fastfading": 145},
        sizes="768x512 for most",
        url="https://live.ece.utexas.edu/research/quality/subjective.htm",
        note="982 rows, of which 203 are originals and left out; read as 111.7747 - DMOS, as LIQE does",
        training={"batch_size": 32, "score_weight": 0.1},
        as_published=True,
        short_title="LIVE",
        column="LIVE",
        figure_rank=6,
    ),
    _row(
        "csiq",
        "CSIQ",
        folder="CSIQ",
        reader="mpiqe.data.readers.csiq:read_csiq",
        images=866,
        references=30,
        label="DMOS (csiq.DMOS.xlsx), 0 to 1, lower is better",
        scale=(0, 1),
        parts={"awgn": 150, "blur": 150, "contrast": 116, "fnoise": 150, "jpeg": 150, "jpeg2000": 150},
        sizes="512x512",
        url="https://s2.smu.edu/~eclarson/csiq.html",
        note="read as 1 - DMOS, as LIQE does",
        training={"batch_size": 32, "score_weight": 0.1},
        column="CSIQ",
        figure_rank=5,
    ),
    _row(
        "kadid",
        "KADID-10k",
        folder="kadid10k",
        reader="mpiqe.data.readers.kadid:read_kadid",
        images=10_125,
        references=81,
        label="MOS in the column dmos of dmos.csv, 1 to 5, higher is better",
        scale=(1, 5),
        parts={f"{code:02d}": 405 for code in range(1, 26)},
        sizes="512x384",
        url="https://database.mmsp-kn.de/kadid-10k-database.html",
        note="the column is named dmos, but higher is better; 81 references x 25 distortions x 5 levels",
        training={"batch_size": 64, "score_weight": 0.5},
        column="KADID",
        figure_rank=4,
    ),
    _row(
        "livec",
        "LIVE Challenge",
        folder="ChallengeDB_release",
        reader="mpiqe.data.readers.livec:read_livec",
        images=1162,
        label="MOS, 0 to 100, higher is better",
        scale=(0, 100),
        sizes="500x500 for nearly all",
        url="https://live.ece.utexas.edu/research/ChallengeDB/index.html",
        note="1,169 rows, of which the first seven, t1.bmp to t7.bmp, trained the subjects and are left out",
        training={"batch_size": 64, "score_weight": 0.5},
        column="LIVEC",
        figure_rank=1,
    ),
    _row(
        "bid",
        "BID",
        folder="BID",
        reader="mpiqe.data.readers.bid:read_bid",
        images=586,
        label="MOS (DatabaseGrades.xls), 0 to 5, higher is better",
        scale=(0, 5),
        sizes="1280x960 to 2272x1704",
        url="https://www02.smt.ufrj.br/~eduardo/ImageDatabase.htm",
        note="the paper says 585; images are numbered 1 to 590, without 2, 346, 413 and 439",
        training={"batch_size": 32, "score_weight": 0.5},
        column="BID",
        figure_rank=3,
    ),
    _row(
        "koniq",
        "KonIQ-10k",
        folder="koniq-10k",
        reader="mpiqe.data.readers.koniq:read_koniq",
        images=10_073,
        label="MOS, 1 to 5 (of z-scores: 0 to 100), higher is better",
        scale=(1, 5),
        sizes="1024x768, and again 512x384",
        url="https://database.mmsp-kn.de/koniq-10k-database.html",
        note="released in two sizes and with two kinds of MOS: the mean of the five-point ratings, which papers "
        "report, and one of z-scores, 0 to 100",
        training={"batch_size": 64, "score_weight": 0.5},
        variants={"size": ("1024x768", "512x384"), "mos": ("mos", "zscore")},
        column="KonIQ",
        figure_rank=2,
    ),
)

DATASETS: Mapping[str, DatasetSpec] = MappingProxyType({spec.name: spec for spec in _ROWS})
"""By the word that ``--data`` takes."""


def spec_of(data: str) -> DatasetSpec | None:
    """The row of the dataset that ``data`` names, with or without variants; ``None`` for a table."""
    return DATASETS.get(data.partition(":")[0])


def title_of(name: str) -> str:
    """The dataset's name in the report's tables; the name of a table of the user's own stays as it is."""
    return DATASETS[name].short_title or DATASETS[name].title if name in DATASETS else name


def names(*, variants: bool = False) -> list[str]:
    """Valid values of ``--data`` for published datasets, with ``variants`` those other than the defaults too."""
    found = list(DATASETS)
    if variants:
        for spec in DATASETS.values():
            found += [f"{spec.name}:{word}" for words in spec.variants.values() for word in words[1:]]
    return found


def data_help() -> str:
    """Help text of ``--data``."""
    return f"{', '.join(names(variants=True))} or {TABLE}"


def paper_settings(name: str) -> Mapping[str, Any]:
    """The paper's training settings for the dataset that ``--data`` calls ``name``; ``csv`` is a table."""
    if name == "csv":
        return PAPER_SETTINGS_OF_TABLES
    return DATASETS[name].training if name in DATASETS else {}


def read_dataset(
    data: str,
    *,
    root: Path | None = None,
    labels: Path | None = None,
    as_published: bool = False,
    image_column: str | None = None,
    mos_column: str | None = None,
) -> "Dataset":
    """Read the dataset that ``data`` names.

    That is one of ``DATASETS``, which lies at ``root``, with LIQE's ``labels`` if given, ``as_published`` or corrected
    (which makes a difference for LIVE alone); one of its variants, e.g. ``koniq:512x384,zscore``; or ``csv:FILE``,
    whose image paths are relative to ``root`` or else to the file's folder, and whose columns may be named.
    Raises ``ConfigError`` for anything else and for an option that is missing or has no meaning there,
    ``DatasetError`` for whatever the reader finds.
    """
    kind, colon, rest = data.partition(":")
    if kind == "csv" and rest:
        if labels is not None or as_published:
            raise ConfigError(
                f"{data}: --labels and --labels-as-published have no meaning here; the table's columns are its labels"
            )
        from mpiqe.data.readers.table import read_csv

        return read_csv(Path(rest), root=root, image_column=image_column, mos_column=mos_column)
    spec = spec_of(data)
    if spec is None or (colon and not spec.variants):
        hint = f"; is it the table csv:{data}?" if Path(data).suffix.lower() in (".csv", ".tsv", ".txt") else ""
        raise ConfigError(f"no dataset is called {data!r}; known are {', '.join([*names(variants=True), TABLE])}{hint}")
    if image_column is not None or mos_column is not None:
        raise ConfigError(f"{data}: --image-column and --mos-column are for a table, {TABLE}")
    options: dict[str, Any] = _variants(spec, data)
    if root is None:
        raise ConfigError(f"{data} needs --root DIR, the folder that holds {spec.folder}/")
    if as_published and labels is None:
        raise ConfigError(f"{data}: --labels-as-published has no meaning without --labels")
    if spec.as_published:
        options["as_published"] = as_published
    return spec.read(root, labels, **options)


def _variants(spec: DatasetSpec, data: str) -> dict[str, str]:
    """The reader's keywords for the variants that ``data`` names: at most one word for each keyword."""
    _, colon, rest = data.partition(":")
    words = rest.split(",") if colon else []
    chosen = {key: [word for word in words if word in values] for key, values in spec.variants.items()}
    if sum(map(len, chosen.values())) != len(words) or any(len(given) > 1 for given in chosen.values()):
        known = ", or ".join(" or ".join(values) for values in spec.variants.values())
        raise ConfigError(
            f"no dataset is called {data!r}; after {spec.name}: comes {known}"
            + (", or one of each" if len(spec.variants) > 1 else "")
        )
    return {key: (*given, *spec.variants[key])[0] for key, given in chosen.items()}


def markdown_table() -> str:
    """The datasets as the Markdown table in docs/datasets.md."""
    lines = ["| `--data` | dataset | images | references | released label | size |", "|---|---|---:|---:|---|---|"]
    for spec in DATASETS.values():
        words = [f"`{spec.name}`", *(f"`{word}`" for word in names(variants=True) if word.startswith(f"{spec.name}:"))]
        lines.append(
            f"| {', '.join(words)} | [{spec.title}]({spec.url}) | {spec.images:,} | {spec.references or ''} "
            f"| {spec.label} | {spec.sizes} |"
        )
    return "\n".join(lines) + "\n"
