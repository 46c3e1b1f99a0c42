"""The paper's figures against the CSVs that the project was given with it."""

import csv
from fnmatch import fnmatch
from pathlib import Path

import pytest

import mpiqe
from mpiqe.data.registry import DATASETS
from mpiqe.experiments.tables import tables
from mpiqe.experiments.variants import FULL, VARIANTS
from mpiqe.training.options import read_toml

KEYS = ("table1", "table2", "table3", "table4", "table5", "table6")
NAMES = {"LIVE": "live", "CSIQ": "csiq", "KADID": "kadid", "LIVEC": "livec", "BID": "bid", "KonIQ": "koniq"}
PACKAGE = Path(mpiqe.__file__).parent


def label(row):
    if "fraction" in row:
        return f"{row['method']}, {round(100 * float(row['fraction']))}%"
    if "prompt" in row:
        return f"{row['length']} {row['prompt']}"
    return row.get("method") or row["variant"]


def figures(file):
    """The paper's figures as they are printed, by row and datasets."""
    if not file.exists():
        pytest.skip(f"needs the paper's tables in {file.parent}")
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    found = {
        (label(row), NAMES[row.get("train") or row["dataset"]], NAMES[row.get("test") or row["dataset"]]): {
            figure: row[figure] for figure in ("srcc", "plcc") if row.get(figure)
        }
        for row in rows
    }
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("key", KEYS)
def test_every_figure_of_the_paper_stands_in_its_cell_and_no_other_does(shared, key):
    folder = shared / "data" / "paper"
    given = figures(folder / f"{key}.csv")
    if key == "table5":  # its curves end at Table 1's figure
        whole = figures(folder / "table1.csv")
        given |= {("MP-IQE, 100%", name, name): whole["MP-IQE", name, name] for name in ("live", "livec")}
    cells = tables()[key].cells
    printed = {
        (cell.row, cell.train, cell.test): {figure: f"{value:.3f}" for figure, value in cell.paper.items()}
        for cell in cells
    }
    if key == "table3":  # the paper has no LIQE there, and there are runs of it here
        given |= {("LIQE", train, test): {} for method, train, test in given if method == "MP-IQE"}
    assert printed == given
    assert len(cells) == len(given)


# 10 methods on 6 sets; 3 on 2; 20 less two gaps, and 4 of LIQE; 5 on 2;
# 3 methods at 3 shares and MP-IQE at all on 2; 8 lengths on 2
@pytest.mark.parametrize(("key", "count"), list(zip(KEYS, (60, 6, 22, 10, 20, 16), strict=True)))
def test_a_table_has_as_many_cells_as_it_should(key, count):
    assert len(tables()[key].cells) == count


def test_a_cell_is_ours_to_run_where_the_paper_has_its_own_model_or_a_baseline_that_we_have():
    ours = {key: {cell.row for cell in table.cells if cell.variant is not None} for key, table in tables().items()}
    assert ours["table1"] == ours["table3"] == {"MP-IQE", "LIQE"}
    assert ours["table2"] == {"CLIP-IQA", "CLIP-IQA+", "MP-IQE"}
    assert len(ours["table4"]) == 5
    assert ours["table5"] == {f"MP-IQE, {share}%" for share in (20, 40, 60, 100)}
    assert len(ours["table6"]) == 8
    assert ours["lines"] == {"linear probe", "visual-only", "MP-IQE", "full fine-tuning", "LIQE on frozen towers"}


def test_liqe_stands_in_table_1_beside_its_printed_figures_and_in_table_3_without_any():
    first, third = ([cell for cell in tables()[key].cells if cell.variant == "liqe"] for key in ("table1", "table3"))
    assert {cell.test: cell.paper["srcc"] for cell in first}["livec"] == 0.904
    assert len(first) == 6
    pairs = {("livec", "koniq"), ("koniq", "livec"), ("live", "csiq"), ("csiq", "live")}
    assert {(cell.train, cell.test) for cell in third} == pairs
    assert all(cell.paper == {} for cell in third)


def test_every_cell_names_a_variant_and_datasets_that_exist():
    for table in tables().values():
        for cell in table.cells:
            assert cell.variant is None or cell.variant in VARIANTS
            assert {cell.train, cell.test} <= set(DATASETS)


def test_table_6_runs_the_full_model_at_its_own_lengths_and_another_at_every_other():
    run = {cell.row: cell.variant for cell in tables()["table6"].cells}
    assert run["8 text"] == run["4 visual"] == FULL
    for row, variant in run.items():
        length, kind = row.split()
        if variant != FULL:
            key = {"text": "context_length", "visual": "visual_length"}[kind]
            assert VARIANTS[variant].settings == {key: int(length)}


def test_the_published_tables_are_in_the_built_package():
    patterns = read_toml(Path(__file__).parents[2] / "pyproject.toml")["tool"]["setuptools"]["package-data"]["mpiqe"]
    for key in KEYS:
        file = PACKAGE / "experiments" / "published" / f"{key}.csv"
        assert file.is_file()
        assert any(fnmatch(str(file.relative_to(PACKAGE)), pattern) for pattern in patterns), file
