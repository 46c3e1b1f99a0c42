import math
import statistics
from pathlib import Path

import pytest
from scipy.stats import ttest_rel, wilcoxon

from mpiqe.errors import DatasetError
from mpiqe.experiments.protocol import compare, measure, read_predictions, summarize


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
    from scipy.stats import t

    assert found.corrected_p == pytest.approx(2 * t.sf(abs(shrunk), 3))


def test_the_correction_is_nothing_where_repeats_share_nothing() -> None:
    ours, theirs = [0.70, 0.72, 0.69, 0.75], [0.68, 0.73, 0.66, 0.70]
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    assert compare(differences, test_share=0.0).corrected_p == pytest.approx(ttest_rel(ours, theirs).pvalue)


def test_too_few_or_equal_repeats_are_not_tested() -> None:
    assert compare([0.1], test_share=0.25).corrected_p is None
    equal = compare([0.0, 0.0, 0.0], test_share=0.25)
    assert (equal.ties, equal.wilcoxon_p, equal.corrected_p) == (3, None, None)


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
