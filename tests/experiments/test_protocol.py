import math
import statistics
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import nct, t, ttest_1samp, ttest_rel, wilcoxon

from mpiqe.errors import DatasetError
from mpiqe.experiments.protocol import compare, detectable_difference, holm, measure, read_predictions, summarize


def test_the_median_the_mean_and_the_samples_deviation_are_reported() -> None:
    found = summarize([0.5, 0.9, 0.6])
    assert (found.median, found.mean) == (0.6, pytest.approx(2.0 / 3))
    assert found.deviation == pytest.approx(statistics.stdev([0.5, 0.9, 0.6]))
    assert summarize([0.5]).deviation is None


def test_a_repeat_without_the_figure_leaves_none_at_all() -> None:
    assert summarize([0.5, None]).median is None
    assert summarize([]).median is None


def test_a_pair_is_tested_by_wilcoxon_and_by_the_corrected_t_test() -> None:
    ours, theirs = [0.70, 0.72, 0.69, 0.75], [0.68, 0.73, 0.66, 0.70]
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    found = compare(differences, test_share=0.25)
    assert (found.wins, found.ties, found.losses) == (3, 0, 1)
    assert found.mean == pytest.approx(statistics.fmean(differences))
    assert found.wilcoxon_p == pytest.approx(wilcoxon(differences).pvalue)
    plain = ttest_rel(ours, theirs)
    # Nadeau and Bengio: the variance is multiplied by 1/n + n_test/n_train where a plain test has 1/n
    shrunk = plain.statistic * math.sqrt((1 / 4) / (1 / 4 + 1 / 4))
    assert found.corrected_p is not None
    assert found.corrected_p > plain.pvalue
    assert found.corrected_p == pytest.approx(2 * t.sf(abs(shrunk), 3))


def test_the_correction_is_nothing_where_repeats_share_nothing() -> None:
    ours, theirs = [0.70, 0.72, 0.69, 0.75], [0.68, 0.73, 0.66, 0.70]
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    assert compare(differences, test_share=0.0).corrected_p == pytest.approx(ttest_rel(ours, theirs).pvalue)


def test_too_few_or_equal_repeats_are_not_tested() -> None:
    assert compare([0.1], test_share=0.25).corrected_p is None
    equal = compare([0.0, 0.0, 0.0], test_share=0.25)
    assert (equal.ties, equal.wilcoxon_p, equal.corrected_p) == (3, None, None)


def test_holms_correction_is_what_it_is_by_hand() -> None:
    # the smallest of four times 4, then 3, 2, 1; 0.03 x 2 = 0.06 stands above 0.04 x 1 and raises it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.7, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_what_is_not_tested_does_not_count_in_holms_correction() -> None:
    assert holm([None, 0.02, None, 0.03]) == [None, pytest.approx(0.04), None, pytest.approx(0.04)]


def test_the_detectable_difference_is_found_with_the_power_that_it_states() -> None:
    spread = [-0.02, 0.01, 0.0, 0.015, -0.005, 0.02, -0.01, 0.005, 0.0, -0.015]
    found = compare(spread, test_share=0.0)
    least = detectable_difference(found)
    assert least is not None
    # without the correction the test is the plain one, and samples of that deviation can be drawn
    draws = np.random.default_rng(0).normal(least, statistics.stdev(spread), (20_000, 10))
    assert (ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.01)


def test_the_detectable_difference_is_that_of_the_noncentral_t() -> None:
    found = compare([0.01, -0.02, 0.005, 0.03, 0.0], test_share=0.25)
    assert found.standard_error == pytest.approx(math.sqrt((1 / 5 + 0.25) * statistics.variance(found.differences)))
    for level, power in ((0.05, 0.8), (0.01, 0.8), (0.05, 0.9)):
        least = detectable_difference(found, level=level, power=power)
        assert least is not None
        shift = least / found.standard_error
        critical = t.isf(level / 2, 4)
        assert nct.sf(critical, 4, shift) + nct.cdf(-critical, 4, shift) == pytest.approx(power, abs=1e-3)


def test_a_stricter_level_or_shared_training_images_ask_for_larger_differences() -> None:
    differences = [0.01, -0.02, 0.005, 0.03, 0.0]
    plain, shared = (detectable_difference(compare(differences, test_share=share)) for share in (0.0, 0.25))
    strict = detectable_difference(compare(differences, test_share=0.0), level=0.01)
    assert plain < shared
    assert plain < strict


def test_of_one_repeat_nothing_can_be_detected_and_of_equal_differences_anything() -> None:
    assert detectable_difference(compare([0.1], test_share=0.25)) is None
    assert detectable_difference(compare([0.1, 0.1, 0.1], test_share=0.25)) == 0.0


def test_figures_come_from_predictions_alone(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("image,mos,score,spread\na,1,10,0\nb,2,30,0\nc,3,20,0\nd,4,40,0\n")
    rated = read_predictions(tmp_path / "p.csv")
    assert rated["c"] == (3.0, 20.0)
    figures = measure(rated)
    assert figures["srcc"] == pytest.approx(0.8)
    assert figures["krcc"] == pytest.approx(4 / 6)
    assert figures["plcc"] == pytest.approx(0.8)


def test_equal_scores_have_no_correlation() -> None:
    assert measure({"a": (1, 5), "b": (2, 5), "c": (3, 5)})["srcc"] is None


@pytest.mark.parametrize("text", ["image,mos\na,1\n", "image,mos,score\na,1,\n"])
def test_torn_predictions_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DatasetError, match="delete the run's folder"):
        read_predictions(tmp_path / "p.csv")
