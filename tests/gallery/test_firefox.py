"""The page in Firefox, opened from disk."""

import pytest
from tests import firefox

NAMES = """return [...document.querySelectorAll('[role=option]')].sort((a, b) => a.place - b.place)
    .map((cell) => cell.querySelector('.name').textContent)"""
ENTER = "\ue007"
WORST_FIRST = ["IMG_10.jpg", "IMG_2.jpg", "IMG_3.jpg", "IMG_4.jpg", "wide.png", "tall.png"]


@pytest.fixture
def browser(tmp_path):
    (tmp_path / "profile").mkdir()
    yield from firefox.started(tmp_path / "profile")


@pytest.mark.slow
def test_firefox_shows_sorts_filters_opens_and_decides(browser, page_file):
    browser.open(page_file.as_uri())
    browser.wait("document.body.classList.contains('ready')")
    browser.wait("[...document.querySelectorAll('.cell img')].every((image) => image.naturalWidth > 0)")
    assert browser.run(NAMES) == WORST_FIRST
    browser.run("const s = document.getElementById('sort'); s.value = 'name'; s.dispatchEvent(new Event('change'))")
    assert browser.run(NAMES) == ["IMG_2.jpg", "IMG_3.jpg", "IMG_4.jpg", "IMG_10.jpg", "tall.png", "wide.png"]
    browser.run("const s = document.getElementById('search'); s.value = 'img_1'; s.dispatchEvent(new Event('input'))")
    browser.wait("document.getElementById('shown').textContent === '1 of 6 photos'")
    assert browser.run(NAMES) == ["IMG_10.jpg"]
    browser.run("document.getElementById('grid').focus()")
    browser.press("x", ENTER)
    browser.wait("document.getElementById('detail').open")
    browser.press("4", "m")
    browser.wait("document.querySelector('#detail .box.mapped .map').naturalWidth > 0")
    assert browser.run("return document.querySelector('.cell.reject .mark').textContent") == "✕★★★★"
    width = browser.run("return document.documentElement.scrollWidth - innerWidth")
    assert width <= 0
    assert browser.errors() == []


@pytest.mark.slow
def test_firefox_keeps_decisions_of_a_page_that_is_opened_again(browser, page_file):
    browser.open(page_file.as_uri())
    browser.wait("document.body.classList.contains('ready')")
    browser.press("p")
    browser.open("about:blank")
    browser.open(page_file.as_uri())
    browser.wait("document.body.classList.contains('ready')")
    assert browser.run("return document.querySelector('.cell.pick .name').textContent") == "IMG_10.jpg"
