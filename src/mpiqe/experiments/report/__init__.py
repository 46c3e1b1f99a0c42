"""The report of a study: ``report.md``, ``report.html`` with plots, ``cells.csv`` and ``claims.csv``.

Equal findings give equal bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mpiqe.atomic import write_atomic
from mpiqe.experiments.figures import FigureFile
from mpiqe.experiments.report.contents import TITLE, contents
from mpiqe.experiments.report.html import to_html
from mpiqe.experiments.report.markdown import to_markdown
from mpiqe.experiments.report.plots import can_plot, draw_plots
from mpiqe.experiments.report.tables import claims_to_csv, to_csv
from mpiqe.experiments.results import Findings

__all__ = ["write_report"]


def write_report(
    findings: Findings,
    out: Path,
    *,
    about: Mapping[str, str],
    notes: Sequence[str],
    pictures: Mapping[str, FigureFile],
) -> list[Path]:
    """Write the four files into the folder ``out``, each whole or not at all, and return their paths.

    ``about`` says how this was made, a name and what it was for each line; ``notes`` are what a reader must know before
    trusting a figure; ``pictures`` are shown under their keys, ``figure3`` as "Figure 3". All are plain text. The plots
    in the HTML need matplotlib; without it the page says so and is otherwise the same.
    """
    plots = draw_plots(findings) if can_plot() else None
    blocks = contents(findings, about=about, notes=notes, pictures=pictures, plots=plots)
    files = {
        "report.md": to_markdown(TITLE, blocks, beside=out),
        "report.html": to_html(TITLE, blocks),
        "cells.csv": to_csv(findings.tables),
        "claims.csv": claims_to_csv(findings.claims),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_atomic(out / name, text.encode(errors="backslashreplace"))
    return [out / name for name in files]
