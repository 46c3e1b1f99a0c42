"""The paper's claims as a section: how a verdict is made, the verdicts in words, and every test in one grid."""

from collections.abc import Sequence

from mpiqe.experiments.report_blocks import NOTHING, Block, Column, Drawing, Entry, Facts, Grid, Part, Text, Tone
from mpiqe.experiments.report_tables import signed
from mpiqe.experiments.results import SIGNIFICANT, Claim
from mpiqe.experiments.tables import DATASETS, Table

_TONES: dict[str, Tone] = {"holds": "plus", "the opposite holds": "minus"}


def claims_blocks(claims: Sequence[Claim], tables: Sequence[Table], svg: bytes | None) -> list[Block]:
    """The section without its heading; ``svg`` is the plot of the differences."""
    if not claims:
        return [Text("Nothing can be said of the paper's claims: no two models that one compares were both run.")]
    fewest = min(len(claim.paired.differences) for claim in claims)
    tested = Text(
        "Each claim compares the SRCC of two models, repeat by repeat: within a repeat both are tested on the same "
        "images. The verdict is \N{LEFT DOUBLE QUOTATION MARK}holds\N{RIGHT DOUBLE QUOTATION MARK} where the mean "
        f"difference is above zero and the corrected p is below {SIGNIFICANT:g}. The repeats are splits of one dataset "
        "and share images, so that their differences are not independent and Wilcoxon's p is too small; the corrected "
        "p (a t-test of the mean; Nadeau and Bengio, 2003) allows for that, and the verdict uses it alone. Both are "
        f"two-sided, and neither allows for the number of claims. With {fewest} repeats Wilcoxon's p cannot be below "
        f"{probability(2.0 ** (1 - fewest)).text}."
    )
    papers = [claim for claim in claims if claim.paper is not None]
    blocks: list[Block] = [tested]
    if papers:
        blocks.append(Facts(tuple(_such(verdict, papers) for verdict in dict.fromkeys(c.verdict for c in papers))))
    if len(papers) < len(claims):
        blocks.append(
            Text(
                "Comparisons that the paper does not make, or not on that dataset, stand in the grid with a dash for "
                "its difference and are not counted above. Where its own figures are equal, nothing is claimed."
            )
        )
    titles = {table.key: table.title.partition(":")[0] for table in tables}
    columns = (
        Column("claim", numbers=False),
        Column("in", numbers=False),
        Column("paper's difference"),
        Column("our mean difference"),
        Column("wins / ties / losses"),
        Column("Wilcoxon p"),
        Column("corrected p"),
        Column("verdict", numbers=False),
    )
    parts = (
        Part(DATASETS.get(name, name), tuple(_row(claim, titles.get(claim.table, claim.table)) for claim in of))
        for name, of in by_dataset(claims).items()
    )
    blocks.append(Grid("claims", "", columns, tuple(parts)))
    if svg is not None:
        caption = "A dot for each repeat, a bar at the mean, a diamond for the paper's; right of zero is as claimed."
        blocks.append(Drawing(svg, caption))
    return blocks


def by_dataset(claims: Sequence[Claim]) -> dict[str, list[Claim]]:
    """Claims by the name of the dataset, in the order in which they come."""
    found: dict[str, list[Claim]] = {}
    for claim in claims:
        found.setdefault(claim.dataset, []).append(claim)
    return found


def probability(p: float | None) -> Entry:
    """A p-value to four decimals."""
    if p is None:
        return NOTHING
    return Entry("< 0.0001" if p < 0.0001 else f"{p:.4f}")


def _row(claim: Claim, table: str) -> tuple[Entry, ...]:
    paired = claim.paired
    return (
        Entry(claim.text),
        Entry(table),
        Entry(signed(claim.paper).text),
        Entry(signed(paired.mean).text, beside=str(len(paired.differences))),
        Entry(f"{paired.wins} / {paired.ties} / {paired.losses}"),
        probability(paired.wilcoxon_p),
        probability(paired.corrected_p),
        Entry(claim.verdict, tone=_TONES.get(claim.verdict, "")),
    )


def _such(verdict: str, claims: Sequence[Claim]) -> tuple[str, str]:
    """A verdict and what it is passed on, with the datasets if there are several."""
    such: dict[str, list[str]] = {}
    for claim in claims:
        if claim.verdict == verdict:
            such.setdefault(claim.text, []).append(DATASETS.get(claim.dataset, claim.dataset))
    one = len(by_dataset(claims)) == 1
    told = [text if one else f"{text} ({', '.join(names)})" for text, names in such.items()]
    return f"{verdict}, {sum(map(len, such.values()))} of {len(claims)}", "; ".join(told)
