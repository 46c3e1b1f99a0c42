import ast
import base64
import csv
import io
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from mpiqe import metrics
from mpiqe.experiments import report
from mpiqe.experiments.figures import FigureFile
from mpiqe.experiments.protocol import compare, detectable_difference, summarize
from mpiqe.experiments.report import write_report
from mpiqe.experiments.results import Claim, Findings, Outcome
from mpiqe.experiments.study import Study
from mpiqe.experiments.tables import Cell, Table, tables

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
HEADS = ("ours", "dev.", "paper", "diff")
ABOUT = {"Command": "mpiqe reproduce table1 | tee <log> & *more*", "Machine": "Linux x86_64"}
NOTES = ("The backbone's pretraining has seen these images.", "1. is no list, # no heading, _this_ not in italics")


def figures(*srcc, plcc=0.01):
    """Every figure of every repeat, from the repeats' SRCC."""
    apart = {"srcc": 0.0, "plcc": plcc, "plcc_fitted": 0.03, "krcc": -0.2, "rmse": 11.0, "rmse_fitted": 10.5}
    return {name: tuple(None if value is None else value + apart[name] for value in srcc) for name in metrics.NAMES}


def ran(cell, each, *, state="run", reason="", best=None):
    looked = {name: summarize(values) for name, values in (best or {}).items()}
    return Outcome(cell, state, reason, len(each["srcc"]), {n: summarize(v) for n, v in each.items()}, looked, each)


def empty(cell, state, reason=""):
    return Outcome(cell, state, reason, 0, {}, {}, {})


ABOVE = Cell("above | <i>", "livec", "livec", "tune-all", {"srcc": 0.6, "plcc": 0.6})
OUTCOMES = (
    empty(Cell("DBCNN", "livec", "livec", None, {"srcc": 0.851, "plcc": 0.869}), "published"),
    ran(
        Cell("MP-IQE", "livec", "livec", "mp-iqe", {"srcc": 0.9, "plcc": 0.916}),
        figures(0.6, 0.7, 0.62),
        best={"srcc": (0.64, 0.71, 0.63), "plcc": (0.65, 0.73, 0.66)},
    ),
    ran(ABOVE, figures(0.6555, 0.6557), state="partly run", reason="split 3: the loss\nis <nan> | stopped"),
    empty(Cell("w/o scene prompts", "livec", "livec", "no-scene", {"srcc": 0.882, "plcc": 0.913}), "not run", "late"),
    ran(Cell("constant", "livec", "livec", "clip-iqa", {"srcc": 0.5}), figures(None, 0.5, 0.5)),
    empty(Cell("DBCNN", "csiq", "csiq", None, {"srcc": 0.946, "plcc": 0.959}), "published"),
    empty(Cell("MP-IQE", "csiq", "csiq", "mp-iqe", {"srcc": 0.961, "plcc": 0.968}), "not run", "no place of csiq"),
    empty(Cell("MP-IQE", "live", "live", "mp-iqe", {"srcc": 0.978, "plcc": 0.98}), "not run", "no place of live"),
)
TABLE = Table("table1", "Table 1: methods", "A note with a | in it.", tuple(one.cell for one in OUTCOMES))


def study(out, *shown, repeats=3):
    return Study(out=out, tables=shown, places={}, labels=None, datasets=None, repeats=repeats)


def findings(out, *, claims=(), faults=None):
    return Findings(study(out, TABLE), ((TABLE, OUTCOMES),), tuple(claims), faults or {})


def claim(*differences, text="scene prompts help", dataset="livec", paper=0.018, verdict="holds"):
    paired = compare(differences, test_share=0.25)
    least = detectable_difference(paired)
    return Claim("table1", text, dataset, paired, paper, verdict, paired.corrected_p, least)


def write(out, found=None, **given):
    given = {"about": ABOUT, "notes": NOTES, "pictures": {}} | given
    return [path.read_text() for path in write_report(found or findings(out), out, **given)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("report"))


def row(text):
    """Entries as they stand in a grid: two spaces apart, a point where there is nothing, "-" for minus."""
    return [DASH if e == "." else re.sub(r"^-(?=\d)", MINUS, e) for e in re.split(r" {2,}", text)]


def grids(markdown):
    """Every Markdown table as rows of stripped entries, by its first head."""
    found = {}
    for block in markdown.split("\n\n"):
        if block.startswith("|"):
            rows = [[e.strip() for e in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.split("\n")]
            found.setdefault(rows[0][0], []).append([rows[0], *rows[2:]])
    return found


class _Page(HTMLParser):
    """Rows of a page's tables as their entries' text, every URL in it, and its text."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.links, self.text, self.tags, self.classes, self.inside = [], [], [], set(), [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        given = dict(attributes)
        self.links += [given[name] for name in ("src", "href") if name in given]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.classes.append(given.get("class", ""))
            self.inside = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data):
        self.text.append(data)
        if self.inside:
            self.rows[-1][-1] += data


def test_three_files_are_written_and_named(tmp_path):
    paths = write_report(findings(tmp_path), tmp_path / "new", about={}, notes=(), pictures={})
    assert paths == [tmp_path / "new" / name for name in ("report.md", "report.html", "cells.csv", "claims.csv")]
    assert sorted(paths) == sorted((tmp_path / "new").iterdir())  # nothing half-written is left


def test_ours_the_papers_and_the_difference_stand_side_by_side(written):
    compared, _ = grids(written[0])["LIVE Challenge"]
    assert compared == [
        row("LIVE Challenge  here  " + "  ".join(f"{f} {h}" for f in ("SRCC", "PLCC") for h in HEADS)),
        row("DBCNN  published  .  .  0.851  .  .  .  0.869  ."),
        # 0.6 0.62 0.7: median 0.62; deviation sqrt((0.04^2 + 0.02^2 + 0.06^2) / 2) = 0.0529
        row("MP-IQE  run  0.620 (3)  0.053  0.900  -0.280  0.630 (3)  0.053  0.916  -0.286"),
        row(r"above \| \<i\>  partly run [1]  0.656 (2 of 3)  0.000  0.600  +0.056")
        + row("0.666 (2 of 3)  0.000  0.600  +0.066"),
        row("w/o scene prompts  not run [2]  .  .  0.882  .  .  .  0.913  ."),
        row("constant  run  not defined (3)  .  0.500  .  not defined (3)  .  .  ."),
    ]


def test_datasets_without_a_run_cell_stand_together_with_the_papers_figures_alone(written):
    (quoted,) = grids(written[0])["model"]
    assert quoted == [
        ["model", "here", "CSIQ SRCC", "CSIQ PLCC", "LIVE SRCC", "LIVE PLCC"],
        ["DBCNN", "published", "0.946", "0.959", DASH, DASH],
        ["MP-IQE", "not run [3] [4]", "0.961", "0.968", "0.978", "0.980"],
    ]


def test_the_reasons_stand_under_the_table_in_the_order_of_their_numbers(written):
    reasons = ["split 3: the loss is \\<nan\\> \\| stopped", "late", "no place of csiq", "no place of live"]
    assert "\n".join(f"- [{number}] {reason}" for number, reason in enumerate(reasons, start=1)) in written[0]


def test_all_other_figures_are_given_for_cells_that_were_run_and_for_no_other(written):
    _, details = grids(written[0])["LIVE Challenge"]
    assert details[0] == row(
        "LIVE Challenge  repeats  SRCC  PLCC raw  PLCC fitted  KRCC  RMSE raw  RMSE fitted  best epoch on test"
    )
    assert [entries[:2] for entries in details[1:]] == [
        ["MP-IQE", "3"],
        ["above \\| \\<i\\>", "2 of 3"],
        ["constant", "3"],
    ]
    assert details[1][2:] == [  # mean of 0.6 0.7 0.62 is 0.64
        "0.620 (0.640 ± 0.053)",
        "0.630 (0.650 ± 0.053)",
        "0.650 (0.670 ± 0.053)",
        "0.420 (0.440 ± 0.053)",
        "11.620 (11.640 ± 0.053)",
        "11.120 (11.140 ± 0.053)",
        "SRCC 0.640 (PLCC 0.660)",
    ]
    assert details[2][-1] == DASH
    assert details[3][2:] == ["not defined"] * 6 + [DASH]


def test_the_best_epoch_on_test_has_no_column_where_nobody_looked(tmp_path):
    run = ran(ABOVE, figures(0.6, 0.7, 0.8))
    markdown, page, *_ = write(tmp_path, Findings(study(tmp_path, TABLE), ((TABLE, (run,)),), (), {}))
    assert "best epoch" not in markdown
    assert "best epoch" not in page


def test_the_page_has_the_rows_of_the_markdown(written):
    rows = _Page(written[1]).rows
    for expected in (
        "MP-IQE  run  0.620 (3)  0.053  0.900  -0.280  0.630 (3)  0.053  0.916  -0.286",
        "above | <i>  partly run1  0.656 (2 of 3)  0.000  0.600  +0.056  0.666 (2 of 3)  0.000  0.600  +0.066",
        "w/o scene prompts  not run2  .  .  0.882  .  .  .  0.913  .",
        "MP-IQE  not run3, 4  0.961  0.968  0.978  0.980",
        "model  here  SRCC  PLCC",
        "ours  dev.  paper  diff  ours  dev.  paper  diff",
    ):
        assert row(expected) in rows


def test_a_difference_is_coloured_by_its_sign(written):
    coloured = re.findall(r'<td class="number (plus|minus)">([^<]*)</td>', written[1])
    assert coloured == [("minus", f"{MINUS}0.280"), ("minus", f"{MINUS}0.286"), ("plus", "+0.056"), ("plus", "+0.066")]


def test_a_difference_that_rounds_to_nothing_has_no_sign(tmp_path):
    run = ran(Cell("MP-IQE", "livec", "livec", "mp-iqe", {"srcc": 0.6}), figures(0.5996))
    markdown, page, *_ = write(tmp_path, Findings(study(tmp_path, TABLE), ((TABLE, (run,)),), (), {}))
    assert grids(markdown)["LIVE Challenge"][0][1][2:6] == row("0.600 (1 of 3)  .  0.600  0.000")
    assert "minus" not in "".join(_Page(page).classes)


def test_nothing_from_outside_is_taken_for_markup(written, tmp_path):
    faults = {"livec mp-iqe split 3": "<script>alert(1)</script> & | more"}
    markdown, page, *_ = write(tmp_path, findings(tmp_path, faults=faults))
    seen = _Page(page)
    assert not {"script", "i", "log", "nan"} & seen.tags
    text = " ".join(seen.text)
    assert "<script>alert(1)</script> & | more" in text
    assert "mpiqe reproduce table1 | tee <log> & *more*" in text
    assert "- **livec mp-iqe split 3**: \\<script\\>alert(1)\\</script\\> & \\| more" in markdown
    assert "- **Command**: mpiqe reproduce table1 \\| tee \\<log\\> & \\*more\\*" in markdown


def test_notes_stand_before_everything_else_and_as_they_are(written):
    markdown, page, *_ = written
    assert markdown.index(NOTES[0]) < markdown.index("## ")
    assert "> - 1\\. is no list, # no heading, \\_this\\_ not in italics\n" in markdown
    assert page.index("pretraining has seen") < page.index("<h2")


def test_how_far_prompts_went_stands_with_the_details(tmp_path):
    went = replace(OUTCOMES[1], moved={"contexts": 1.256, "decoder": 0.07})
    markdown, page, cells, _ = write(tmp_path, Findings(study(tmp_path, TABLE), ((TABLE, (went,)),), (), {}))
    _, details = grids(markdown)["LIVE Challenge"]
    assert details[0][-3:] == ["moved contexts", "moved decoder", "best epoch on test"]
    assert details[1][-3:-1] == ["1.26", "0.07"]
    (cell,) = csv.DictReader(io.StringIO(cells))
    assert [cell[f"moved_{part}"] for part in ("contexts", "visual_tokens", "decoder")] == ["1.256", "", "0.07"]
    assert ["contexts", "decoder"] in [entries[-2:] for entries in _Page(page).rows]


def test_how_many_cells_were_run_is_said_first(written):
    assert written[0].startswith(
        "# MP-IQE: the paper's tables and ours\n\n6 cells of these tables are of models that can be run here: 2 were "
        "run with all 3 repeats that were asked for, 1 with some of them, 3 not at all. 2 cells are other methods' "
        "figures, quoted from the paper.\n"
    )


def test_the_page_needs_no_other_file_and_no_script(tmp_path):
    Image.new("RGB", (4, 3), "red").save(tmp_path / "figure3.png")
    picture = FigureFile(tmp_path / "figure3.png", "Where <it> hurts.")
    markdown, page, *_ = write(tmp_path, pictures={"figure3": picture})
    links = _Page(page).links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"https?:|url\(|@import|<script|<link", page.partition("<body>")[0])
    (shown,) = [link for link in links if link.startswith("data:image/png;base64,")]
    content = base64.b64decode(shown.partition(",")[2])
    assert content == (tmp_path / "figure3.png").read_bytes()
    assert "## Figure 3\n\n![Figure 3](figure3.png)\n\n*Where \\<it\\> hurts.*" in markdown
    assert "<b>Figure 3.</b> Where &lt;it&gt; hurts." in page


def test_every_link_within_the_page_leads_somewhere(written):
    page = _Page(written[1])
    anchors = re.findall(r' id="([^"]*)"', written[1])
    assert [link[1:] for link in page.links if link.startswith("#")] == anchors == [*dict.fromkeys(anchors)]
    assert "table1" in anchors


def test_a_claim_is_told_with_both_differences_its_tests_and_its_verdict(tmp_path):
    lost = claim(-0.03, -0.01, 0.0, text="text | helps", paper=None, verdict="not found")
    found = findings(tmp_path, claims=[claim(0.02, 0.03, 0.01), lost])
    markdown, page, _, claims = write(tmp_path, found)
    (grid,) = [grid for grid in grids(markdown)["LIVE Challenge"] if "verdict" in grid[0]]
    assert grid[0][1:] == row(
        "in  paper's difference  our mean difference  wins / ties / losses  Wilcoxon p  corrected p  Holm's p"
        "  detectable  verdict"
    )
    # t = 0.02 / sqrt((1/3 + 1/4) 0.0001) = 2.6186, two-sided with 2 degrees of freedom: 0.1201; Wilcoxon's is 2 / 2^3
    assert grid[1] == [
        "scene prompts help",
        "Table 1",
        "+0.018",
        "+0.020 (3)",
        "3 / 0 / 0",
        "0.2500",
        "0.1201",
        "0.1201",
        "0.043",  # 5.65 standard errors of 0.0076 with 2 degrees of freedom
        "holds",
    ]
    assert grid[2][:5] == ["text \\| helps", "Table 1", DASH, f"{MINUS}0.013 (3)", "0 / 1 / 2"]
    assert grid[2][-1] == "not found (the other way)"
    rows = list(csv.DictReader(io.StringIO(claims)))
    assert [(each["claim"], each["verdict"], each["sought"]) for each in rows] == [
        ("scene prompts help", "holds", "0.018"),
        ("text | helps", "not found", "0.01"),
    ]
    assert float(rows[0]["mean_difference"]) == pytest.approx(0.02)
    assert float(rows[0]["deviation"]) == pytest.approx(0.01)
    assert float(rows[0]["detectable_difference"]) == pytest.approx(0.043, abs=5e-4)
    assert "- **holds, 1 of 1**: scene prompts help\n\nComparisons that the paper does not make, or not" in markdown
    assert "With 3 repeats Wilcoxon's p cannot be below 0.2500." in markdown
    assert "below 0.05" in markdown
    assert row("scene prompts help  Table 1  +0.018  +0.020 (3)") in [entries[:4] for entries in _Page(page).rows]


def test_claims_on_several_datasets_are_told_apart(tmp_path):
    claims = [claim(0.02, 0.03), claim(0.02, 0.04, dataset="csiq"), claim(0.1, 0.2, text="text helps", dataset="csiq")]
    markdown, *_ = write(tmp_path, findings(tmp_path, claims=claims))
    assert "- **holds, 3 of 3**: scene prompts help (LIVE Challenge, CSIQ); text helps (CSIQ)" in markdown


def test_a_comparison_that_the_paper_does_not_make_is_shown_and_not_counted(tmp_path):
    beside = Table("lines", "Beside the paper", "", (Cell("visual-only", "livec", "livec", "visual-only", {}),))
    made = claim(0.02, 0.03, text="text helps", paper=None)
    made = Claim("lines", made.text, made.dataset, made.paired, None, made.verdict)
    shown = ((TABLE, OUTCOMES), (beside, (empty(beside.cells[0], "not run", "late"),)))
    found = Findings(study(tmp_path, TABLE, beside), shown, (claim(0.02, 0.03), made), {})
    markdown, *_ = write(tmp_path, found)
    assert "- **holds, 1 of 1**: scene prompts help\n\nComparisons that the paper does not make, or not" in markdown
    (grid,) = [grid for grid in grids(markdown)["LIVE Challenge"] if "verdict" in grid[0]]
    assert grid[2][:4] == row("text helps  Beside the paper  .  +0.025 (2)")


def test_a_claim_of_one_repeat_has_no_corrected_p(tmp_path):
    markdown, *_ = write(tmp_path, findings(tmp_path, claims=[claim(0.02, verdict="cannot be tested")]))
    (grid,) = [grid for grid in grids(markdown)["LIVE Challenge"] if "verdict" in grid[0]]
    assert grid[1][3:] == row("+0.020 (1)  1 / 0 / 0  1.0000  .  .  .  cannot be tested")


def test_without_a_pair_of_models_nothing_is_said_of_the_claims(written):
    assert "Nothing can be said of the paper's claims: no two models that one compares were both run." in written[0]
    assert "verdict" not in written[0]


def test_the_cells_come_in_full_precision_one_a_row(written):
    rows = list(csv.DictReader(io.StringIO(written[2])))
    assert len(rows) == len(OUTCOMES)
    for row, outcome in zip(rows, OUTCOMES, strict=True):
        cell = outcome.cell
        assert [row[key] for key in ("table", "row", "train", "test")] == ["table1", cell.row, cell.train, cell.test]
        assert (row["state"], row["reason"], row["repeats"]) == (outcome.state, outcome.reason, str(outcome.repeats))
        for name in metrics.NAMES:
            of = outcome.figures.get(name)
            for key in ("median", "mean", "deviation"):
                value = None if of is None else getattr(of, key)
                assert row[f"{name}_{key}"] == ("" if value is None else repr(value))
        for name in ("srcc", "plcc"):
            paper = cell.paper.get(name)
            assert row[f"paper_{name}"] == ("" if paper is None else repr(paper))
    assert float(rows[1]["difference_srcc"]) == 0.62 - 0.9
    assert [rows[1][f"{name}_best_epoch_on_test"] for name in ("srcc", "plcc")] == ["0.64", "0.66"]
    for row in (rows[0], rows[3], *rows[5:]):  # published or not run
        assert not any(row[key] for key in row if key.startswith(("difference", *metrics.NAMES)))


def test_every_figure_of_the_paper_is_in_the_report_as_it_is_printed(tmp_path):
    """Table 1's LIVE Challenge is run, so that both forms of a table are used."""
    every = tables()
    shown = []
    for table in every.values():
        outcomes = [empty(cell, "not run" if cell.variant else "published", "later") for cell in table.cells]
        shown.append((table, tuple(outcomes)))
    table, outcomes = shown[0]
    each = figures(0.6, 0.7, 0.8)
    run = [ran(one.cell, each) if one.cell.test == "livec" and one.cell.variant else one for one in outcomes]
    shown[0] = (table, tuple(run))
    markdown, page, *_ = write(tmp_path, Findings(study(tmp_path, *every.values()), tuple(shown), (), {}))
    rows = _Page(page).rows
    for table, of in shown:
        section = markdown.partition(f"## {table.title}\n")[2].partition("\n## ")[0]
        for outcome in of:
            lines = [line for line in section.split("\n") if line.startswith(f"| {outcome.cell.row} ")]
            for value in outcome.cell.paper.values():
                assert any(f" {value:.3f} " in line for line in lines), (table.key, outcome.cell)
                assert any(row[:1] == [outcome.cell.row] and f"{value:.3f}" in row for row in rows)


def test_table_3_names_both_datasets_and_warns_of_its_rmse(tmp_path):
    table = tables()["table3"]
    outcomes = tuple(
        ran(cell, figures(0.5, 0.6, 0.7)) if cell.variant and cell.train == "livec" else empty(cell, "published")
        for cell in table.cells
    )
    markdown, *_ = write(tmp_path, Findings(study(tmp_path, table), ((table, outcomes),), (), {}))
    compared, details = grids(markdown)["LIVE Challenge \N{RIGHTWARDS ARROW} KonIQ-10k"]
    assert compared[0][1:] == ["here", "SRCC ours", "SRCC dev.", "SRCC paper", "SRCC diff", "PLCC ours", "PLCC dev."]
    assert compared[-1][:6] == ["MP-IQE", "run", "0.600 (3)", "0.100", "0.781", f"{MINUS}0.181"]
    assert compared[-2][:6] == ["LIQE", "run", "0.600 (3)", "0.100", "\N{EN DASH}", "\N{EN DASH}"]
    assert [row[0] for row in details[1:]] == ["LIQE", "MP-IQE"]
    assert "RMSE raw is not defined where the two datasets' MOS are on different scales" in markdown


def svgs(page):
    parts = [link.partition(",")[2] for link in _Page(page).links if link.startswith("data:image/svg+xml")]
    return [base64.b64decode(part).decode() for part in parts]


def test_every_table_with_run_cells_has_a_plot_of_each_repeat_and_each_figure_of_the_paper(tmp_path):
    pytest.importorskip("matplotlib", reason="needs mpiqe[plots]")
    shown, each = [], figures(0.61, None, 0.7)
    for key in ("table2", "table4", "table5", "table6"):
        table = tables()[key]
        of = [cell for cell in table.cells if cell.test in ("livec", "csiq")]
        shown.append((table, tuple(ran(c, each) if c.variant else empty(c, "published") for c in of)))
    claims = (claim(0.02, 0.03, 0.01), claim(0.02, 0.04, 0.0, dataset="csiq", paper=None))
    found = Findings(study(tmp_path, *(table for table, _ in shown)), tuple(shown), claims, {})
    drawn = svgs(write(tmp_path, found)[1])
    for svg in drawn:
        named = r'(xmlns(:\w+)?="[^"]*"|<!DOCTYPE.*?>|<metadata>.*?</metadata>)'
        assert "http" not in re.sub(named, "", svg, flags=re.DOTALL)
    repeats = [len(re.findall("<use [^>]*fill: #3b6fb6", svg)) for svg in drawn]
    paper = [len(re.findall("<path [^>]*fill: none; stroke: #c8641c; stroke-width: 1.2", svg)) for svg in drawn]
    # Three differences for each of two claims, of which the paper has one; SRCC and PLCC of Table 2's 3 cells, two of
    # three repeats; of Table 4's 10; of Table 5's 4, whose lines of other methods are grey; SRCC of Table 6's 8.
    assert [count - 2 for count in repeats] == [6, 3 * 2 * 2, 10 * 2 * 2, 4 * 2 * 2, 8 * 2]  # but the legend's
    assert paper == [1, 3 * 2, 10 * 2, 4 * 2, 8]


def test_a_table_of_which_nothing_was_run_has_no_plot(tmp_path):
    pytest.importorskip("matplotlib", reason="needs mpiqe[plots]")
    quoted = tuple(empty(one.cell, "published") for one in OUTCOMES)
    assert svgs(write(tmp_path, Findings(study(tmp_path, TABLE), ((TABLE, quoted),), (), {}))[1]) == []


def test_the_same_findings_give_the_same_bytes(tmp_path):
    found = findings(tmp_path, claims=[claim(0.02, 0.03)])
    assert write(tmp_path, found) == write(tmp_path, found)


def test_without_matplotlib_the_report_is_written_and_says_what_the_plots_need(tmp_path, monkeypatch):
    whole = write(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    markdown, page, cells, _ = write(tmp_path)
    assert (markdown, cells) == (whole[0], whole[2])
    assert '<p class="aside">The plots need matplotlib: pip install mpiqe[plots]</p>' in page
    assert svgs(page) == []


def test_the_report_leaves_matplotlib_alone_until_it_draws():
    for file in Path(report.__file__).parent.glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            named = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in getattr(node, "names", ())]
            assert not any(name.startswith("matplotlib") for name in named), file


def test_figures_alone_make_a_report_without_tables(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "figure4.png")
    picture = FigureFile(tmp_path / "figure4.png", "t-SNE.")
    markdown, _, cells, _ = write(tmp_path, Findings(study(tmp_path), (), (), {}), pictures={"figure4": picture})
    assert re.findall(r"^## .*", markdown, re.M) == ["## Figure 4", "## How this was made"]
    assert len(cells.splitlines()) == 1
