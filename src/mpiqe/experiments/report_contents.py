"""The report from top to bottom, as blocks: what to beware of, claims, tables, pictures, how it was made."""

from collections import Counter
from collections.abc import Mapping, Sequence

from mpiqe.experiments.drawing import Picture
from mpiqe.experiments.report_blocks import Block, Facts, Heading, Image, OnlyHTML, Text, Warnings
from mpiqe.experiments.report_claims import claims_blocks
from mpiqe.experiments.report_tables import BEST, table_blocks
from mpiqe.experiments.results import Findings

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
    pictures: Mapping[str, Picture],
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
