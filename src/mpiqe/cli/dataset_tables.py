"""How ``mpiqe data`` prints the figures of a dataset."""

from collections.abc import Mapping

from rich.table import Table

from mpiqe.data.describe import Count, Coverage, Description, Splits
from mpiqe.data.record import Dataset
from mpiqe.data.registry import DatasetSpec

CROP = 224
"""The side of a crop in the paper; smaller pictures are enlarged."""
_SIZES = 5


def overview(description: Description, spec: DatasetSpec | None) -> Table:
    """Counts beside the release's, the MOS, label coverage and splits."""
    table = _pairs()
    for name, figures in _overview(description, spec):
        table.add_row(name, figures)
    return table


def classes(title: str, coverage: Coverage, description: Description) -> Table:
    """One kind of label: images, share and mean MOS of each class."""
    images, decimals = description.rated, description.mos.decimals
    heading = f"{title} (an image may have several)" if coverage.several else title
    table = Table(title=heading, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2))
    table.add_column("")
    for column in ("images", "share", "mean MOS"):
        table.add_column(column, justify="right", header_style="dim")
    for name, group in coverage.classes.items():
        table.add_row(
            f"  {name}", f"{group.images:,}", f"{group.images / images:.1%}", f"{group.mean_mos:.{decimals}f}"
        )
    table.add_row("  [dim]no label[/dim]", f"{coverage.unlabelled:,}", f"{coverage.unlabelled / images:.1%}", "")
    return table


def looks(dataset: Dataset, sizes: Mapping[tuple[int, int], int], spec: DatasetSpec | None) -> Table:
    """The sizes of the pictures that can be read, and what is worth knowing though it is no fault."""
    table = _pairs()
    shown = [f"{count:,} of {width} x {height}" for (width, height), count in list(sizes.items())[:_SIZES]]
    if len(sizes) > _SIZES:
        shown.append(f"{sum(list(sizes.values())[_SIZES:]):,} of {len(sizes) - _SIZES} other sizes")
    said = f" (the release: {spec.sizes})" if spec else ""
    table.add_row("sizes", f"{', '.join(shown) or 'none'}{said}")
    if small := sum(count for size, count in sizes.items() if min(size) < CROP):
        table.add_row("small", f"{small:,} with a side under {CROP} pixels, enlarged before a crop is cut")
    for first, second in dataset.twins:
        table.add_row("twins", f"{first} and {second} are one picture in the release, rated twice")
    if spec:
        table.add_row("note", spec.note)
    return table


def _pairs() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=11, no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _overview(description: Description, spec: DatasetSpec | None) -> list[tuple[str, str]]:
    mos, images = description.mos, description.images
    low, high, mean, median, deviation = (
        f"{value:.{mos.decimals}f}" for value in (mos.low, mos.high, mos.mean, mos.median, mos.deviation)
    )
    missing = f", {description.rated - images.found:,} rated but missing" if images.found < description.rated else ""
    rows = [("images", f"{_beside(images)}{missing}")]
    if len(description.parts) > 1:
        parts = (f"{part} {count.found:,}/{count.released:,}" for part, count in description.parts.items())
        rows.append(("", ", ".join(parts)))
    rows.append(("references", _beside(description.references)))
    if spec:
        rows.append(("released as", spec.label))
    rows += [
        ("MOS as read", f"{low} to {high}, mean {mean}, median {median}, deviation {deviation}; higher is better"),
        ("scenes", f"{description.scenes.labelled:,} of {description.rated:,} images labelled"),
        ("distortions", f"{description.distortions.labelled:,} of {description.rated:,} images labelled"),
        ("splits", _ten(description.splits)),
    ]
    return rows


def _beside(count: Count) -> str:
    if count.released is None:
        return f"{count.found:,}" if count.found else "none"
    return f"{count.found:,} of {count.released:,} in the release"


def _ten(splits: Splits | None) -> str:
    if splits is None:
        return "none: fewer than three different contents"
    sides = (("train", splits.train), ("val", splits.val), ("test", splits.test))
    sizes = (f"{least:,}" if least == most else f"{least:,} to {most:,}" for _, (least, most) in sides)
    named = ", ".join(f"{size} {side}" for size, (side, _) in zip(sizes, sides, strict=True))
    return f"{splits.whose}'s ten: {named}"
