"""Claims and cells from run folders that are written by hand: what is said of them can be counted on fingers."""

import csv
import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mpiqe.experiments.protocol import compare
from mpiqe.experiments.results import CLAIMS, gather
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
    _pretend(study, FULL, [1, 2, 1, 2])
    _pretend(study, "no-scene", [20, 22, 21, 20])
    _pretend(study, "no-distortion", [2, 1, 3, 1])
    _pretend(study, "no-visual", [0, 0, 0, 0])
    claims = {claim.text: claim for claim in gather(study, {}).claims}
    scene = claims["scene prompts help"]
    differences = [_srcc(a) - _srcc(b) for a, b in zip([1, 2, 1, 2], [20, 22, 21, 20], strict=True)]
    assert scene.paired.differences == pytest.approx(differences)
    assert scene.paired.corrected_p == pytest.approx(compare(differences, test_share=0.25).corrected_p)
    assert scene.paper == pytest.approx(0.900 - 0.882)
    assert scene.verdict == "holds"
    assert claims["distortion prompts help"].verdict == "same direction, not significant"  # the median is zero
    assert claims["deep visual prompts help"].verdict == "the opposite holds"
    assert "shallow visual prompts are better than none" not in claims


def test_a_verdict_takes_its_direction_from_the_mean_that_its_p_tests(make_study: Make) -> None:
    study = make_study("table4", repeats=4)
    _pretend(study, FULL, [6, 6, 6, 1])
    _pretend(study, "no-scene", [5, 5, 5, 9])  # worse than the whole model in one split only, but by far
    (claim,) = gather(study, {}).claims
    assert (claim.paired.wins, claim.paired.losses) == (1, 3)
    assert sum(claim.paired.differences) > 0
    assert claim.verdict == "same direction, not significant"


def test_a_smaller_training_set_makes_the_test_stricter(make_study: Make) -> None:
    study = make_study("table5", repeats=3)
    _pretend(study, "fraction-20", [20, 22, 23])
    _pretend(study, "fraction-40", [10, 9, 14])
    (claim,) = gather(study, {}).claims
    assert claim.text == "40 % of the training images are better than 20 %"
    strict = compare(claim.paired.differences, test_share=0.25 / 0.2).corrected_p
    assert claim.paired.corrected_p == pytest.approx(strict)


def test_one_repeat_cannot_be_tested(make_study: Make) -> None:
    study = make_study("table4", repeats=1)
    _pretend(study, FULL, [1])
    _pretend(study, "no-scene", [3])
    (claim,) = gather(study, {}).claims
    assert claim.verdict == "cannot be tested"


def test_claims_name_variants_that_exist() -> None:
    assert {variant for _, _, *pair in CLAIMS for variant in pair} <= set(VARIANTS)
