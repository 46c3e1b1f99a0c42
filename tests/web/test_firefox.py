"""The page that scores, in Firefox."""

import pytest
from PIL import Image
from skimage import data as photos_of_scikit_image
from tests import firefox

import mpiqe


@pytest.mark.slow
def test_firefox_scores_a_png_as_python_does_and_draws_its_map(host, tmp_path):
    photo = tmp_path / "coffee.png"
    Image.fromarray(photos_of_scikit_image.coffee()).save(photo)
    (tmp_path / "profile").mkdir()
    started = firefox.started(tmp_path / "profile")
    browser = next(started)
    try:
        browser.open(host.address)
        browser.wait("document.body.classList.contains('ready')")
        browser.choose_files("#files", photo)
        browser.wait("document.querySelector('#photos .number b')?.textContent")
        score = mpiqe.load(runtime="onnx")(photo)
        low, high = score.interval
        assert float(browser.run("return document.querySelector('#photos .number b').textContent")) == pytest.approx(
            score.score,
            abs=0.06,  # the page shows one decimal
        )
        assert browser.run("return document.querySelector('#photos .interval').textContent") == (
            f"90 % interval {low:.1f} to {high:.1f}"
        )
        browser.wait("!document.querySelector('#photos .toggle').disabled")
        assert browser.errors() == []
        assert {method for method, _ in host.asked} == {"GET"}
    finally:
        next(started, None)
