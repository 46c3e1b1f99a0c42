"""The report from top to bottom, as blocks: warnings, the paper's claims, tables, figures, how it was made."""

from collections import Counter
from collections.abc import Mapping, Sequence

from mpiqe.data.registry import title_of
from mpiqe.experiments.figures import FigureFile
from mpiqe.experiments.protocol import POWER, SIGNIFICANT
from mpiqe.experiments.report.blocks import (
    NOTHING,
    Block,
    Column,
    Drawing,
    Entry,
    Facts,
    Grid,
    Heading,
    Image,
    OnlyHTML,
    Section,
    Text,
    Tone,
    Warnings,
)
from mpiqe.experiments.report.tables import BEST, signed, table_blocks
from mpiqe.experiments.results import OF_INTEREST, Claim, Findings
from mpiqe.experiments.tables import Table

TITLE = "MP-IQE: the paper's tables and ours"
CLAIMS = "claims"
"""The claims' key among the plots; a table's is the table's own."""

_READING = (
    (
        "ours",
        "the median over the repeats; in brackets how many repeats it rests on; dev. is their deviation (of the "
        "sample, n \N{MINUS SIGN} 1). A repeat is one split of a dataset into images to train on and images to test on",
    ),
    ("paper", "the figure as the paper prints it; a dash where it gives none"),
    ("diff", "ours minus the paper's, taken before rounding"),
    (
        "PLCC",
        "raw, of the scores as the model gives them. The paper does not say whether its PLCC is raw or follows the "
        "usual four-parameter logistic fit; ours after the fit stands in the details. The fit is made on the very "
        "images that are measured, so it can only raise the figure",
    ),
    ("published", "quoted from the paper; no such model is run here"),
    ("run, partly run", "with all repeats that were asked for, or with some; the footnote says what is missing"),
    ("not run", "a model that can be run here and was not; the footnote says why"),
)
_BEST = (
    BEST,
    "medians, with each repeat's epoch picked by its SRCC on the test images themselves. That flatters and is no "
    "result; it stands here only for comparison with papers that pick so",
)


def contents(
    findings: Findings,
    *,
    about: Mapping[str, str],
    notes: Sequence[str],
    pictures: Mapping[str, FigureFile],
    plots: Mapping[str, bytes] | None,
) -> list[Block]:
    """All blocks below the title; ``plots`` are SVG by table's key, ``None`` where nothing can draw them."""
    blocks: list[Block] = [Text(_extent(findings))] if findings.tables else []
    if notes:
        blocks.append(Warnings(tuple(notes)))
    if findings.faults:
        blocks += [Heading("What failed", "failed"), Facts(tuple(findings.faults.items()))]
    if plots is None:
        blocks.append(OnlyHTML("The plots need matplotlib: pip install mpiqe[plots]"))
    drawn = plots or {}
    if findings.tables:
        blocks.append(Heading("Do the paper's claims hold here?", CLAIMS))
        blocks += claims_blocks(findings.claims, [table for table, _ in findings.tables], drawn.get(CLAIMS))
        blocks += [Heading("How to read the tables", "reading"), Facts(_reading(findings))]
    for table, outcomes in findings.tables:
        blocks += [Heading(table.title, table.key), Text(table.note)]
        blocks += table_blocks(outcomes, findings.study.repeats, drawn.get(table.key))
    for key, picture in pictures.items():
        title = key.replace("figure", "Figure ").strip()
        blocks += [Heading(title, key), Image(picture.path, title, picture.caption)]
    if about:
        blocks += [Heading("How this was made", "about"), Facts(tuple(about.items()))]
    return blocks


def _reading(findings: Findings) -> tuple[tuple[str, str], ...]:
    looked = any(outcome.best_on_test for _, of in findings.tables for outcome in of)
    return (*_READING, _BEST) if looked else _READING


def _extent(findings: Findings) -> str:
    """How much of it was run."""
    outcomes = [outcome for _, of in findings.tables for outcome in of]
    count = Counter(outcome.state for outcome in outcomes)
    ours = len(outcomes) - count["published"]
    return (
        f"{ours} cells of these tables are of models that can be run here: {count['run']} were run with all "
        f"{findings.study.repeats} repeats that were asked for, {count['partly run']} with some of them, "
        f"{count['not run']} not at all. {count['published']} cells are other methods' figures, quoted from the paper."
    )


_VERDICTS = (
    ("holds", f"the mean difference is above zero and Holm's p below {SIGNIFICANT:g}"),
    ("the opposite holds", "the same below zero"),
    (
        "not found",
        "no significant difference, though these runs would have found one as large as the paper's (or, where it gives "
        f"none, {OF_INTEREST:g}) with a chance of {POWER:.0%} or more",
    ),
    (
        "too weak to tell",
        "no significant difference, and these runs could well have missed one of that size: they say nothing about it",
    ),
    (
        "detectable",
        f"the smallest true difference that these runs would have found with a chance of {POWER:.0%}, from the "
        "deviation of the differences over the repeats, by the same test at the level that Holm's correction leaves at "
        f"least: {SIGNIFICANT:g} divided by the number of the table's claims on the dataset",
    ),
)
_TONES: dict[str, Tone] = {"holds": "plus", "the opposite holds": "minus"}


def claims_blocks(claims: Sequence[Claim], tables: Sequence[Table], svg: bytes | None) -> list[Block]:
    """The section without its heading; ``svg`` is the plot of the differences."""
    if not claims:
        return [Text("Nothing can be said of the paper's claims: no two models that one compares were both run.")]
    fewest = min(len(claim.paired.differences) for claim in claims)
    tested = Text(
        "Each claim compares the SRCC of two models, repeat by repeat: within a repeat both are tested on the same "
        "images. The repeats are splits of one dataset and share images, so that their differences are not independent "
        "and Wilcoxon's p is too small; the corrected p (a t-test of the mean; Nadeau and Bengio, 2003) allows for "
        "that. Holm's p allows for the number of claims of a table on one dataset as well, and the verdict uses it "
        f"alone. All are two-sided. With {fewest} repeats Wilcoxon's p cannot be below "
        f"{probability(2.0 ** (1 - fewest)).text}."
    )
    verdicts = Facts(_VERDICTS)
    papers = [claim for claim in claims if claim.paper is not None]
    blocks: list[Block] = [tested, verdicts]
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
        Column("Holm's p"),
        Column("detectable"),
        Column("verdict", numbers=False),
    )
    parts = (
        Section(title_of(name), tuple(_row(claim, titles.get(claim.table, claim.table)) for claim in of))
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
        probability(claim.family_p),
        NOTHING if claim.detectable is None else Entry(f"{claim.detectable:.3f}"),
        Entry(claim.verdict, beside=_direction(claim), tone=_TONES.get(claim.verdict, "")),
    )


def _direction(claim: Claim) -> str:
    """Which way the mean points, where the verdict does not say it."""
    if claim.verdict not in ("not found", "too weak to tell"):
        return ""
    return "as claimed" if claim.paired.mean > 0 else "the other way" if claim.paired.mean < 0 else "no difference"


def _such(verdict: str, claims: Sequence[Claim]) -> tuple[str, str]:
    """A verdict and what it is passed on, with the datasets if there are several."""
    such: dict[str, list[str]] = {}
    for claim in claims:
        if claim.verdict == verdict:
            such.setdefault(claim.text, []).append(title_of(claim.dataset))
    one = len(by_dataset(claims)) == 1
    told = [text if one else f"{text} ({', '.join(names)})" for text, names in such.items()]
    return f"{verdict}, {sum(map(len, such.values()))} of {len(claims)}", "; ".join(told)
