"""Claims and cells from run folders that are written by hand: what is said of them can be counted on fingers."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from mpiqe.experiments.protocol import compare, detectable_difference
from mpiqe.experiments.results import CLAIMS, gather, judge
from mpiqe.experiments.study import Run, Study
from mpiqe.experiments.variants import FULL, VARIANTS

Make = Callable[..., Study]


def _pretend(study: Study, variant: str, swaps: Sequence[int]) -> None:
    """Finished runs whose scores are the right order of 50 images but for so many swapped neighbours."""
    for split, count in enumerate(swaps, start=1):
        run = Run(split, "livec", variant)
        folder = run.folder(study.out)
        folder.path.mkdir(parents=True)
        scores = np.arange(50.0)
        for place in range(count):
            scores[[2 * place, 2 * place + 1]] = scores[[2 * place + 1, 2 * place]]
        with (folder.path / "predictions.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [["image", "mos", "score", "spread"], *([f"{i}.bmp", i, scores[i], 0] for i in range(50))]
            )
        folder.write_json("config.json", {"settings": json.loads(json.dumps(study.options(run).to_mapping()))})
        folder.write_json("test.json", {})


def _srcc(swaps: int) -> float:
    return 1 - 6 * 2 * swaps / (50 * (50**2 - 1))  # Spearman's formula: every swapped neighbour adds 1 + 1


def test_a_cell_is_the_median_over_its_repeats_and_says_how_many_they_are(make_study: Make) -> None:
    study = make_study("table4", repeats=4)
    _pretend(study, FULL, [5, 1, 9])
    outcomes = {(o.cell.variant, o.cell.test): o for o in gather(study, {}).tables[0][1]}
    full = outcomes[FULL, "livec"]
    assert (full.state, full.repeats, full.reason) == ("partly run", 3, "not done yet")
    assert full.figures["srcc"].median == pytest.approx(_srcc(5))
    assert full.each["srcc"] == pytest.approx([_srcc(5), _srcc(1), _srcc(9)])
    assert full.figures["srcc"].mean == pytest.approx(_srcc(5))
    assert outcomes["no-scene", "livec"].state == "not run"
    assert outcomes[FULL, "csiq"].figures == {}


def test_a_claim_is_the_paired_difference_and_its_verdict_follows_the_corrected_test(make_study: Make) -> None:
    study = make_study("table4", repeats=4)
    _pretend(study, FULL, [4, 5, 4, 5])
    _pretend(study, "no-scene", [20, 22, 21, 20])
    _pretend(study, "no-distortion", [5, 4, 6, 4])
    _pretend(study, "no-visual", [0, 0, 0, 0])
    claims = {claim.text: claim for claim in gather(study, {}).claims}
    scene = claims["scene prompts help"]
    differences = [_srcc(a) - _srcc(b) for a, b in zip([4, 5, 4, 5], [20, 22, 21, 20], strict=True)]
    assert scene.paired.differences == pytest.approx(differences)
    assert scene.paired.corrected_p == pytest.approx(compare(differences, test_share=0.25).corrected_p)
    assert scene.paper == pytest.approx(0.900 - 0.882)
    assert scene.verdict == "holds"
    # the median is zero, and one of the four splits has one swapped pair more: anything of the paper's size was found
    assert claims["distortion prompts help"].verdict == "not found"
    assert claims["deep visual prompts help"].verdict == "the opposite holds"
    assert "shallow visual prompts are better than none" not in claims


def test_a_claim_goes_the_way_of_the_papers_figures(make_study: Make) -> None:
    study = make_study("table1", repeats=4)
    _pretend(study, FULL, [20, 22, 21, 20])
    _pretend(study, "liqe", [4, 5, 4, 5])
    (claim,) = gather(study, {}).claims
    assert (claim.text, claim.verdict) == ("LIQE is better than MP-IQE", "holds")
    assert claim.paper == pytest.approx(0.904 - 0.900)  # on LIVE Challenge the paper has LIQE ahead


def test_without_a_figure_in_the_paper_a_claim_is_tested_one_way(make_study: Make) -> None:
    study = make_study("table1", repeats=4)
    (table,) = study.tables
    cells = tuple(replace(cell, paper={}) if cell.test == "livec" else cell for cell in table.cells)
    study = replace(study, tables=(replace(table, cells=cells),))
    _pretend(study, FULL, [20, 22, 21, 20])
    _pretend(study, "liqe", [4, 5, 4, 5])
    (claim,) = gather(study, {}).claims
    assert (claim.text, claim.verdict) == ("MP-IQE is better than LIQE", "the opposite holds")


def test_a_verdict_takes_its_direction_from_the_mean_that_its_p_tests(make_study: Make) -> None:
    study = make_study("table4", repeats=4)
    _pretend(study, FULL, [6, 6, 6, 1])
    _pretend(study, "no-scene", [5, 5, 5, 9])  # worse than the whole model in one split only, but by far
    (claim,) = gather(study, {}).claims
    assert (claim.paired.wins, claim.paired.losses) == (1, 3)
    assert sum(claim.paired.differences) > 0
    assert claim.verdict == "not found"


def test_a_smaller_training_set_makes_the_test_stricter(make_study: Make) -> None:
    study = make_study("table5", repeats=3)
    _pretend(study, "fraction-20", [20, 22, 23])
    _pretend(study, "fraction-40", [10, 9, 14])
    (claim,) = gather(study, {}).claims
    assert claim.text == "40 % of the training images are better than 20 %"
    strict = compare(claim.paired.differences, test_share=0.25 / 0.2).corrected_p
    assert claim.paired.corrected_p == pytest.approx(strict)


def test_what_the_runs_could_have_missed_is_not_called_not_found() -> None:
    paired = compare([0.02, -0.03, 0.01, 0.015, -0.01], test_share=0.25)
    (weak,) = judge("table4", "livec", [("scene prompts help", paired, 0.018)])
    (strong,) = judge("table4", "livec", [("scene prompts help", paired, 0.2)])
    assert weak.detectable == strong.detectable == detectable_difference(paired)
    assert 0.018 < weak.detectable < 0.2
    assert (weak.verdict, strong.verdict) == ("too weak to tell", "not found")


def test_without_a_difference_in_the_paper_one_of_a_hundredth_is_looked_for() -> None:
    near, far = ([place * step for place in (-2, 1, 0, 2, -1)] for step in (0.001, 0.01))
    found = judge("lines", "livec", [(str(each), compare(each, test_share=0.25), None) for each in (near, far)])
    assert [claim.sought for claim in found] == [0.01, 0.01]
    assert [claim.verdict for claim in found] == ["not found", "too weak to tell"]


def test_the_claims_of_a_table_are_corrected_together() -> None:
    clear = compare([0.010, 0.012, 0.011, 0.009], test_share=0.25)
    middling = compare([0.010, 0.020, 0.012, 0.011], test_share=0.25)
    assert clear.corrected_p < middling.corrected_p < 0.05
    alone = judge("table4", "livec", [("b", middling, 0.01)])
    found = judge("table4", "livec", [("a", clear, 0.01), *((str(n), middling, 0.01) for n in range(5))])
    assert alone[0].family_p == pytest.approx(middling.corrected_p)
    assert found[0].family_p == pytest.approx(6 * clear.corrected_p)
    assert found[1].family_p == pytest.approx(5 * middling.corrected_p)
    assert alone[0].verdict == "holds"
    assert found[1].verdict != "holds"
    assert found[0].detectable == pytest.approx(detectable_difference(clear, level=0.05 / 6))


def test_a_cell_says_how_far_its_runs_went(make_study: Make) -> None:
    study = make_study("table4", repeats=2)
    _pretend(study, FULL, [5, 1])
    for split, moved in ((1, 0.5), (2, 1.5)):
        rows = [{"epoch": 1, "moved_contexts": 9.0}, {"epoch": 2, "moved_contexts": moved, "moved_decoder": 0.1}]
        folder = Run(split, "livec", FULL).folder(study.out).path
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcomes = {(o.cell.variant, o.cell.test): o for o in gather(study, {}).tables[0][1]}
    assert outcomes[FULL, "livec"].moved == {"contexts": 1.0, "decoder": pytest.approx(0.1)}


def test_one_repeat_cannot_be_tested(make_study: Make) -> None:
    study = make_study("table4", repeats=1)
    _pretend(study, FULL, [1])
    _pretend(study, "no-scene", [3])
    (claim,) = gather(study, {}).claims
    assert claim.verdict == "cannot be tested"


def test_claims_name_variants_that_exist() -> None:
    assert {variant for _, _, *pair in CLAIMS for variant in pair} <= set(VARIANTS)
