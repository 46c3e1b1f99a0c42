"""The page in a real browser, opened from disk."""

import csv
import io
import json
import re
from functools import partial
from itertools import pairwise

import pytest
from PIL import Image
from tests.gallery.conftest import make_page

from mpiqe.gallery.folder import PageFolder
from mpiqe.gallery.packing import Contents
from mpiqe.gallery.table import TableBuilder
from mpiqe.scoring.score import Score

try:
    from playwright.sync_api import expect
except ModuleNotFoundError:  # the fixture chromium says what to do about it, or fails
    expect = None

SLOW = partial(pytest.param, marks=pytest.mark.slow)
WORST_FIRST = ["IMG_10.jpg", "IMG_2.jpg", "IMG_3.jpg", "IMG_4.jpg", "wide.png", "tall.png"]


def names(page):
    """The names of the photos that are shown, from top left to bottom right."""
    return page.evaluate(
        """() => [...document.querySelectorAll('[role=option]')].sort((a, b) => a.place - b.place)
                  .map((cell) => cell.querySelector('.name').textContent)"""
    )


def active(page):
    cell = page.locator("#" + page.locator("#grid").get_attribute("aria-activedescendant"))
    return cell.locator(".name").text_content()


def exported(page, kind):
    with page.expect_download() as download:
        page.locator(f"[data-export={kind}]").click()
    return download.value.path().read_bytes()


def choose(page, control, value):
    page.locator(f"#{control}").select_option(value)


def test_the_worst_photo_comes_first(open_page, page_file):
    page = open_page(page_file)
    assert names(page) == WORST_FIRST
    assert page.title() == "photos"
    expect(page.locator("#shown")).to_have_text("6 photos")
    assert active(page) == "IMG_10.jpg"


@pytest.mark.slow
def test_thumbnails_are_shown(open_page, page_file):
    page = open_page(page_file)
    page.wait_for_function("[...document.querySelectorAll('.cell img')].every((image) => image.naturalWidth > 0)")


@pytest.mark.parametrize(
    ("key", "order"),
    [
        ("name", ["IMG_2.jpg", "IMG_3.jpg", "IMG_4.jpg", "IMG_10.jpg", "tall.png", "wide.png"]),
        SLOW("size", ["tall.png", "wide.png", "IMG_2.jpg", "IMG_3.jpg", "IMG_4.jpg", "IMG_10.jpg"]),
        SLOW("taken", ["IMG_10.jpg", "IMG_2.jpg", "IMG_3.jpg", "IMG_4.jpg", "tall.png", "wide.png"]),
        SLOW("distortion", ["IMG_10.jpg", "IMG_2.jpg", "IMG_3.jpg", "tall.png", "wide.png", "IMG_4.jpg"]),
        SLOW("scene", ["tall.png", "wide.png", "IMG_4.jpg", "IMG_10.jpg", "IMG_2.jpg", "IMG_3.jpg"]),
    ],
)
def test_photos_are_sorted_by(open_page, page_file, key, order):
    page = open_page(page_file)
    choose(page, "sort", key)
    if key == "size":  # 6400 pixels each, and 6144
        assert names(page)[:2] == order[:2]
    assert names(page) == order


@pytest.mark.slow
def test_the_order_can_be_turned_round_and_what_has_no_value_stays_last(open_page, page_file):
    page = open_page(page_file)
    page.locator("#direction").click()
    assert names(page) == WORST_FIRST[::-1]
    choose(page, "sort", "taken")
    page.locator("#direction").click()
    assert names(page) == ["IMG_4.jpg", "IMG_3.jpg", "IMG_2.jpg", "IMG_10.jpg", "tall.png", "wide.png"]


def test_the_order_of_many_values_is_that_of_python(open_page, page_file):
    page = open_page(page_file)
    values = [-3.5, 0, 1e-30, 7, 7, -0.25, 1e9, None, 12.125, -1e20]
    order = page.evaluate(
        """(values) => [...sorted({count: values.length, byName: Uint32Array.from(values, (_, at) => at)},
                                  {value: (photo) => values[photo] ?? NaN}, false, null)]""",
        values,
    )
    known = sorted((at for at in range(len(values)) if values[at] is not None), key=lambda at: values[at])
    assert order == [*known, 7]


@pytest.mark.slow
def test_ranks_of_times_are_exact_before_1970_too_and_equal_ones_share_one(open_page, page_file):
    page = open_page(page_file)
    times = [1.7e9 + 0.25, None, -1.0, 1.7e9, 1.7e9 + 0.25, -1.5, 0.0]
    ranks = page.evaluate(
        "(times) => [...ranked(Float64Array.from(times, (value) => value ?? NaN))].map((rank) => rank || null)", times
    )
    assert [None if rank is None else rank - min(filter(None, ranks)) for rank in ranks] == [4, None, 1, 3, 4, 0, 2]


@pytest.mark.slow
def test_a_range_is_chosen_by_keys(open_page, page_file):
    page = open_page(page_file)
    page.get_by_label("Score: at most").focus()
    page.keyboard.press("Home")
    assert names(page) == ["IMG_10.jpg"]
    for _ in range(200):
        page.keyboard.press("ArrowRight")
    assert names(page) == ["IMG_10.jpg", "IMG_2.jpg", "IMG_3.jpg"]
    expect(page.locator("#shown")).to_have_text("3 of 6 photos")
    page.locator("#reset").click()
    assert names(page) == WORST_FIRST


@pytest.mark.slow
def test_a_range_is_dragged_on_the_histogram(open_page, page_file):
    page = open_page(page_file)
    plot = page.locator(".range .plot").first.bounding_box()
    middle = plot["y"] + plot["height"] / 2
    page.mouse.move(plot["x"] + plot["width"] * 0.3, middle)
    page.mouse.down()
    page.mouse.move(plot["x"] + plot["width"] * 0.7, middle, steps=4)
    page.mouse.up()
    assert names(page) == ["IMG_3.jpg", "IMG_4.jpg"]


def test_photos_are_filtered_by_words_and_text(open_page, page_file):
    page = open_page(page_file)
    page.locator(".words").filter(has_text="Scene").get_by_text("day").click()
    assert names(page) == ["IMG_4.jpg", "wide.png", "tall.png"]
    page.locator("#search").fill("img b/")
    expect(page.locator("#shown")).to_have_text("1 of 6 photos")
    assert names(page) == ["IMG_4.jpg"]
    page.locator("#search").fill("nothing like that")
    expect(page.locator("#empty")).to_contain_text("No photo passes these filters.")
    page.locator("#empty button").click()
    assert names(page) == WORST_FIRST


def test_photos_that_could_not_be_read_have_their_own_view(open_page, page_file):
    page = open_page(page_file)
    page.get_by_text("Could not be read").click()
    row = page.locator("#failures li")
    expect(row).to_have_count(1)
    assert row.locator(".path").text_content().endswith("b/broken.jpg")
    assert "damaged" in row.locator(".reason").text_content()
    assert page.locator("#grid").is_hidden()


def test_photos_are_grouped_by_folder_and_burst(open_page, page_file):
    page = open_page(page_file)
    headings = page.locator(".heading")
    choose(page, "group", "folder")
    assert headings.all_text_contents() == ["a/ 3", "b/ 3"]  # what all folders share is left out
    choose(page, "group", "shots")
    burst = "Burst at 2024-05-01 10:00:00 3clear best, margin 1.33"  # of 120 and 80 grey levels, in units of 30
    assert headings.all_text_contents() == [burst, "Alone 3"]
    assert names(page) == WORST_FIRST


def test_the_best_shot_of_a_burst_is_marked_and_tells_how_far_it_is_ahead(open_page, page_file):
    page = open_page(page_file)
    marks = page.locator(".cell .best:not([hidden])")
    assert marks.all_text_contents() == ["best of 3"]
    assert page.locator(".cell", has=page.locator(".best:not([hidden])")).locator(".name").text_content() == "IMG_3.jpg"
    label = page.locator(".cell", has_text="IMG_10.jpg").get_attribute("aria-label")
    assert "one of 3, 2.67 behind the best" in label
    page.locator("#views [value=best]").check()
    assert names(page) == ["IMG_3.jpg"]


@pytest.mark.slow
def test_an_open_photo_shows_the_shots_of_its_burst_to_go_to(open_page, page_file):
    page = open_page(page_file)
    page.locator(".cell", has_text="IMG_2.jpg").click()
    shots = page.locator(".shots-row button")
    expect(page.locator(".shots h3")).to_have_text("3 shots: clear best, margin 1.33")
    assert shots.all_text_contents() == ["120.0best", "80.0\N{MINUS SIGN}1.33", "40.0\N{MINUS SIGN}2.67"]
    shots.first.click()
    expect(page.locator(".side h2")).to_have_text("IMG_3.jpg")
    assert active(page) == "IMG_3.jpg"
    assert page.evaluate("document.activeElement.getAttribute('aria-current')") == "true"
    page.keyboard.press("Escape")
    page.locator("#search").fill("IMG_2")
    expect(page.locator("#shown")).to_have_text("1 of 6 photos")
    page.locator(".cell").click()
    shots.first.click()  # which the search leaves out
    expect(page.locator(".side h2")).to_have_text("IMG_3.jpg")
    expect(page.locator(".detail-head .faint")).to_have_text("not among those shown")


@pytest.mark.slow
def test_best_shots_are_picked_and_those_behind_rejected_unless_one_has_decided(open_page, page_file):
    page = open_page(page_file)
    page.keyboard.press("p")  # IMG_10, the worst of the burst
    page.locator("#decide-best").click()
    rows = {
        row["path"].split("/")[-1]: row["decision"]
        for row in csv.DictReader(exported(page, "csv").decode().splitlines())
    }
    assert rows == {"IMG_10.jpg": "pick", "IMG_2.jpg": "reject", "IMG_3.jpg": "pick"}
    page.keyboard.press("u")
    assert len(exported(page, "csv").decode().splitlines()) == 2  # the heading, and what was picked by hand


@pytest.mark.slow
def test_where_the_best_cannot_be_told_nothing_is_rejected(mpiqe, open_page, photos, tmp_path):
    assert mpiqe("report", photos / "a", "--out", tmp_path / "unsure", "--clear-from", "2")[0] == 0
    page = open_page(tmp_path / "unsure" / "index.html")
    mark = page.locator(".cell .best:not([hidden])")
    expect(mark).to_have_text("best of 3?")
    assert mark.get_attribute("title") == "highest score of 3, cannot tell the best, margin 1.33"
    page.locator("#decide-best").click()
    rows = exported(page, "csv").decode()
    assert re.findall(r"(IMG_\d+)\.jpg,(\w+)", rows) == [("IMG_10", "reject"), ("IMG_3", "pick")]  # 2.67 behind


@pytest.mark.slow
def test_photos_without_groups_have_no_mark_and_no_such_view(mpiqe, open_page, photos, tmp_path):
    assert mpiqe("report", photos / "b" / "wide.png", "--out", tmp_path / "alone")[0] == 0
    page = open_page(tmp_path / "alone" / "index.html")
    assert page.locator("#views [value=best]").count() == 0
    assert page.locator(".best:not([hidden])").count() == 0
    expect(page.locator("#decide-best")).to_be_hidden()
    assert "shots" not in page.locator("#group option").evaluate_all("all => all.map((each) => each.value)")


def test_a_photo_opens_large_with_score_probabilities_and_map(open_page, page_file):
    page = open_page(page_file)
    page.keyboard.press("Enter")
    detail = page.locator("#detail")
    expect(detail.locator("h2")).to_have_text("IMG_10.jpg")
    assert 38 < float(detail.locator(".number").text_content()) < 42
    assert detail.locator(".shares li").all_text_contents() == ["dull84 %", "none16 %", "night84 %", "day16 %"]
    page.wait_for_function("document.querySelector('.pictures img').src.endsWith('/photos/a/IMG_10.jpg')")
    assert page.locator(".pictures .map").is_hidden()
    page.keyboard.press("m")
    assert page.locator(".pictures .map").is_visible()
    assert page.evaluate("document.querySelector('.pictures .map').naturalWidth") > 0
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(detail.locator("h2")).to_have_text("IMG_3.jpg")
    assert page.locator(".pictures .map").count() == 0  # of the two worst alone
    page.keyboard.press("Escape")
    assert detail.is_hidden()
    assert active(page) == "IMG_3.jpg"
    assert page.evaluate("document.activeElement.id") == "grid"


@pytest.mark.slow
def test_the_map_lies_exactly_on_the_photo(open_page, page_file):
    page = open_page(page_file)
    page.keyboard.press("Enter")
    page.keyboard.press("m")
    photo, over = (page.locator(f".pictures .box img:nth-child({at})").bounding_box() for at in (1, 2))
    assert photo == over
    assert photo["width"] / photo["height"] == pytest.approx(96 / 64, rel=0.01)


@pytest.mark.slow
def test_a_path_is_copied(open_page, page_file):
    page = open_page(page_file, permissions=["clipboard-read", "clipboard-write"])
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Copy path").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == str(page_file.parents[1] / "photos" / "a" / "IMG_10.jpg")


@pytest.mark.slow
def test_a_photo_that_is_gone_is_shown_by_its_thumbnail(open_page, tmp_path):
    file = make_page(tmp_path)
    (tmp_path / "photos" / "a" / "IMG_10.jpg").unlink()
    page = open_page(file)
    page.keyboard.press("Enter")
    expect(page.locator("#detail figcaption")).to_contain_text("cannot be shown")
    page.wait_for_function("document.querySelector('.pictures img').naturalWidth === 96")
    assert [fault for fault in page.faults if "ERR_FILE_NOT_FOUND" not in fault] == []
    page.faults.clear()


def test_keys_decide_and_undo(open_page, page_file):
    page = open_page(page_file)
    for key in ("x", "ArrowRight", "4", "p", "ArrowRight", "0", "ArrowRight", "x", "u"):
        page.keyboard.press(key)
    rows = list(csv.DictReader(io.StringIO(exported(page, "csv").decode())))
    folder = str(page_file.parents[1] / "photos" / "a")
    assert rows == [
        {"path": f"{folder}/IMG_10.jpg", "decision": "reject", "rating": ""},
        {"path": f"{folder}/IMG_2.jpg", "decision": "pick", "rating": "4"},
        {"path": f"{folder}/IMG_3.jpg", "decision": "", "rating": "0"},
    ]
    assert json.loads(exported(page, "json")) == [
        {**row, "rating": int(row["rating"]) if row["rating"] else None} for row in rows
    ]
    assert exported(page, "picked").decode() == f"{folder}/IMG_2.jpg\n"
    assert exported(page, "rejected").decode() == f"{folder}/IMG_10.jpg\n"
    page.keyboard.press("Control+z")
    page.keyboard.press("u")
    assert "IMG_2.jpg,,4" in exported(page, "csv").decode()


@pytest.mark.slow
def test_a_decision_is_about_all_chosen_photos_at_once(open_page, page_file):
    page = open_page(page_file)
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator("#chosen")).to_have_text("3 chosen")
    page.keyboard.press("x")
    assert page.locator(".cell.reject").count() == 3
    page.keyboard.press("u")
    assert page.locator(".cell.reject").count() == 0
    page.keyboard.press("Control+a")
    page.keyboard.press("5")
    assert len(exported(page, "csv").splitlines()) == 7
    page.keyboard.press("Escape")
    page.locator("[role=option]").nth(1).click(modifiers=["Control"])
    expect(page.locator("#chosen")).to_have_text("1 chosen")


@pytest.mark.slow
def test_pressing_the_same_key_again_takes_it_back(open_page, page_file):
    page = open_page(page_file)
    page.keyboard.press("p")
    assert page.locator(".cell.pick").count() == 1
    page.keyboard.press("p")
    assert page.locator(".cell.pick").count() == 0


@pytest.mark.slow
def test_keys_mean_nothing_while_text_is_typed(open_page, page_file):
    page = open_page(page_file)
    page.locator("#search").focus()
    page.keyboard.type("x5p")
    assert page.locator("#search").input_value() == "x5p"
    page.locator("#search").fill("")
    expect(page.locator("#decided")).to_contain_text("Nothing is decided yet")


@pytest.mark.slow
def test_decisions_are_made_in_the_open_photo_too(open_page, page_file):
    page = open_page(page_file)
    page.keyboard.press("Enter")
    page.keyboard.press("x")
    expect(page.locator("#detail .reject")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("3")
    expect(page.locator("#detail .stars button[aria-pressed=true]")).to_have_text("★")
    page.keyboard.press("Escape")
    assert [line.split(",")[1:] for line in exported(page, "csv").decode().splitlines()[1:]] == [
        ["reject", ""],
        ["", "3"],
    ]


def test_decisions_stay_in_the_browser_and_come_back_from_a_file(open_page, page_file, tmp_path):
    page = open_page(page_file)
    page.keyboard.press("x")
    page.reload()
    assert page.locator(".cell.reject").count() == 1
    content = exported(page, "csv").decode()
    file = tmp_path / "decisions.csv"
    file.write_text(content + 'elsewhere.jpg,pick,5\n"a, ""b"".jpg",,1\n')
    other = open_page(page_file)
    assert other.locator(".cell.reject").count() == 0
    other.locator("#import-file").set_input_files(file)
    expect(other.locator(".notice")).to_contain_text("1 decisions of decisions.csv were taken over; 2 are of photos")
    assert exported(other, "csv").decode() == content
    other.locator("#import-file").set_input_files({"name": "x.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n"})
    expect(other.locator(".notice").last).to_contain_text("x.csv holds no decisions")


@pytest.mark.slow
def test_only_the_view_of_what_is_undecided_loses_what_is_decided(open_page, page_file):
    page = open_page(page_file)
    page.keyboard.press("x")
    page.get_by_text("Undecided").click()
    assert names(page) == WORST_FIRST[1:]
    page.locator("#views").get_by_text("Rejected").click()
    assert names(page) == WORST_FIRST[:1]


def test_a_screen_reader_hears_names_places_and_decisions(open_page, page_file):
    page = open_page(page_file)
    grid = page.get_by_role("listbox", name="Photos")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    cell = page.locator("#" + grid.get_attribute("aria-activedescendant"))
    assert cell.get_attribute("aria-posinset") == "2"
    assert cell.get_attribute("aria-setsize") == "6"
    assert re.fullmatch(
        r"IMG_2.jpg, score \d+\.\d, dull \d+ %, one of 3, 1.33 behind the best, rejected",
        cell.get_attribute("aria-label"),
    )
    assert page.locator("#said[role=status]").text_content() == cell.get_attribute("aria-label")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select')].filter((each) => each.offsetParent
             && !each.textContent.trim() && !each.ariaLabel && !each.labels?.length).map((each) => each.outerHTML)"""
    )
    assert unnamed == []


def many_photos(folder, count, name="photo {}.jpg"):
    """A page of photos without pictures."""
    builder = TableBuilder()
    for number in range(count):
        builder.add(name.format(number), Score(float(number % 97), 1.0, {}, {}, (40, 30)))
    page = PageFolder(folder, single_file=False)
    page.make()
    page.write(Contents(title=name, tables=[builder.table(name="made", scale=None)]))
    return page.page


def test_of_many_photos_only_those_on_the_screen_are_in_the_document(open_page, tmp_path):
    page = open_page(many_photos(tmp_path, 20_000))
    assert page.locator("[role=option]").count() < 150
    page.keyboard.press("End")
    assert active(page) == "photo 19981.jpg"  # the last of those with 96
    expect(page.locator(".cell.active")).to_be_in_viewport()
    assert page.locator("[role=option]").count() < 150
    for _ in range(3):
        page.keyboard.press("PageUp")
    expect(page.locator(".cell.active")).to_be_in_viewport()


@pytest.mark.slow
def test_photos_lie_beside_each_other_without_overlap(open_page, tmp_path):
    page = open_page(many_photos(tmp_path, 500))
    choose(page, "group", "folder")
    page.locator(".cell").nth(20).wait_for(state="attached")  # those ahead, too
    boxes = page.evaluate(
        """() => [...document.querySelectorAll('.cell, .heading')].map((cell) => cell.getBoundingClientRect())
             .map(({left, top, right, bottom}) => [left, top, right, bottom])"""
    )
    assert len(boxes) > 20
    for number, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[:number]:
            assert right <= other[0] or left >= other[2] or bottom <= other[1] or top >= other[3]


@pytest.mark.parametrize("single_file", [False, SLOW(True)])
def test_names_are_never_taken_for_markup(mpiqe, open_page, tmp_path, single_file):
    folder = tmp_path / "photos"
    folder.mkdir()
    hostile = [
        "<img src=x onerror=alert(1)>.png",
        "</script><script>window.hit=1<\\script>.png",
        "&lt;b&gt;'\"`${1}.png",
    ]
    for name in [*hostile, "</title><h1>x.png"]:
        Image.new("RGB", (64, 64)).save(folder / name.replace("/", "\u2215"))
    (folder / "<script>window.hit=1<\\script>.jpg").touch()
    title = "</title><script>window.hit = 1</script><img src=x onerror='window.hit=1'>"
    arguments = ["--single-file"] if single_file else []
    mpiqe("report", folder, "--out", tmp_path / "page", "--title", title, *arguments)
    page = open_page(tmp_path / "page" / "index.html")
    assert page.title() == title
    assert page.locator("#title").text_content() == title
    assert sorted(names(page)) == sorted(name.replace("/", "\u2215") for name in [*hostile, "</title><h1>x.png"])
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.get_by_text("Could not be read").click()
    assert page.evaluate("window.hit") is None
    assert page.locator("h1").count() == 1


@pytest.mark.parametrize("single_file", [False, SLOW(True)])
def test_the_policy_lets_no_other_script_run_and_nothing_be_fetched(mpiqe, open_page, photos, tmp_path, single_file):
    arguments = ["--single-file"] if single_file else []
    mpiqe("report", photos, "--out", tmp_path / "page", *arguments)
    page = open_page(tmp_path / "page" / "index.html")
    page.evaluate(
        """() => {
             const script = document.createElement('script');
             script.textContent = 'window.hit = 1';
             document.body.append(script);
             document.body.insertAdjacentHTML('beforeend', '<img src="data:," onerror="window.hit = 1">');
             return fetch('https://example.com/').catch(() => new Promise((done) => setTimeout(done, 100)));
        }"""
    )
    assert page.evaluate("window.hit") is None
    assert all("Content Security Policy" in fault for fault in page.faults), page.faults
    assert len(page.faults) >= 3
    page.faults.clear()


def test_a_single_file_has_everything_in_it(mpiqe, open_page, photos, tmp_path):
    mpiqe("report", photos, "--out", tmp_path / "page", "--single-file")
    assert [path.name for path in (tmp_path / "page").iterdir()] == ["index.html"]
    (tmp_path / "page").rename(tmp_path / "moved")
    page = open_page(tmp_path / "moved" / "index.html")
    assert names(page) == WORST_FIRST
    page.wait_for_function("[...document.querySelectorAll('.cell img')].every((image) => image.naturalWidth > 0)")
    page.keyboard.press("Enter")
    page.keyboard.press("m")
    page.wait_for_function("document.querySelector('.pictures .map').naturalWidth > 0")


@pytest.mark.slow
def test_two_tables_are_sorted_by_how_far_they_disagree(mpiqe, open_page, tmp_path):
    for number, scores in enumerate(((10, 50, 90), (20, 10, 90))):
        rows = [
            {"path": f"{name}.jpg", "score": score, "spread": 1, "scene": {"day": 1}, "distortion": {"blur": 1}}
            | {"width": 10, "height": 10, "interval_low": None, "interval_high": None, "error": None}
            for name, score in zip("abc", scores, strict=True)
        ]
        (tmp_path / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mpiqe("report", tmp_path / "0.jsonl", tmp_path / "1.jsonl", "--out", tmp_path / "page")
    page = open_page(tmp_path / "page" / "index.html")
    assert names(page) == ["b.jpg", "a.jpg", "c.jpg"]
    assert page.locator(".cell .score").first.text_content() == "50.0 → 10.0"
    choose(page, "sort", "change")
    page.locator("#direction").click()
    assert names(page)[0] == "a.jpg"
    page.locator("#grid").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#detail .number")).to_have_text(["10.0", "20.0"])
    expect(page.locator("#detail .change")).to_have_text("Change: +10.0")


def test_numbers_below_zero_have_a_minus_sign(open_page, tmp_path):
    builder = TableBuilder()
    builder.add("a.jpg", Score(-3.25, 1.0, {}, {}, (40, 30)))
    builder.add("b.jpg", Score(5.0, 1.0, {}, {}, (40, 30)))
    folder = PageFolder(tmp_path / "page", single_file=False)
    folder.make()
    folder.write(Contents(title="below zero", tables=[builder.table(name="made", scale=None)]))
    page = open_page(folder.page)
    expect(page.locator(".cell .score").first).to_have_text("\N{MINUS SIGN}3.25")


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_nothing_is_wider_than_the_screen_and_nothing_jumps(open_page, page_file, width):
    page = open_page(page_file, viewport={"width": width, "height": 800})
    page.evaluate(
        """() => {
             window.moved = 0;
             const add = (entry) => { window.moved += entry.hadRecentInput ? 0 : entry.value; };
             const observer = new PerformanceObserver((list) => list.getEntries().forEach(add));
             observer.observe({type: 'layout-shift', buffered: true});
        }"""
    )
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.keyboard.press("Enter")
    page.wait_for_timeout(200)
    assert page.evaluate(
        "[...document.querySelectorAll('#detail *')].every((e) => e.getBoundingClientRect().right <= innerWidth + 1)"
    )
    page.keyboard.press("Escape")
    assert page.evaluate("window.moved") < 0.02


@pytest.mark.slow
def test_folders_are_named_below_the_deepest_one_that_all_share(open_page, page_file):
    page = open_page(page_file)
    short = page.evaluate(
        """(cases) => cases.map((folders) =>
             Object.getOwnPropertyDescriptor(Table.prototype, "shortFolders").get.call({folders}))""",
        [["/p/a/", "/p/b/"], ["/p/", "/p/b/"], ["/p/a/"], ["a/", "b/"], [""], ["C:\\p\\a\\", "C:\\p\\b\\"], []],
    )
    assert short == [["a/", "b/"], ["", "b/"], ["a/"], ["a/", "b/"], [""], ["a\\", "b\\"], []]


@pytest.mark.slow
def test_help_opens_at_its_top_and_has_room_on_a_phone(open_page, page_file):
    page = open_page(page_file, viewport={"width": 390, "height": 600})
    page.locator("#show-help").click()
    assert page.locator("#help").evaluate("(dialog) => dialog.scrollTop") == 0
    expect(page.locator("#help h2")).to_be_in_viewport()
    assert page.locator("#help dd").evaluate_all("(all) => all.every((each) => each.clientWidth > 250)")


@pytest.mark.slow
def test_a_phone_has_filters_behind_a_button(open_page, page_file):
    page = open_page(page_file, viewport={"width": 390, "height": 800}, has_touch=True)
    assert page.locator("#panel").is_hidden()
    page.get_by_role("button", name="Filter").tap()
    page.locator("#views").get_by_text("Undecided").tap()
    page.get_by_role("button", name="Done").tap()
    assert page.locator("#panel").is_hidden()
    page.get_by_role("button", name="Select several").tap()
    page.locator("[role=option]").nth(0).tap()
    page.locator("[role=option]").nth(1).tap()
    page.locator("[data-decide=reject]").tap()
    assert names(page) == WORST_FIRST  # a decided photo stays until the view is chosen anew
    assert page.locator(".cell.reject").count() == 2


def contrast(page, selector):
    """The contrast of an element's text with what is behind it (WCAG 2)."""
    colours = page.evaluate(
        r"""(selector) => {
             const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
             const values = (colour) => {
               canvas.clearRect(0, 0, 1, 1);
               canvas.fillStyle = colour;
               canvas.fillRect(0, 0, 1, 1);
               return [...canvas.getImageData(0, 0, 1, 1).data];
             };
             const element = document.querySelector(selector);
             let behind = element, background = [0, 0, 0, 0];
             for (; behind && background[3] < 255; behind = behind.parentElement)
               background = values(getComputedStyle(behind).backgroundColor);
             return [values(getComputedStyle(element).color), background];
        }""",
        selector,
    )
    lights = []
    for colour in colours:
        linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(open_page, page_file, scheme):
    page = open_page(page_file, color_scheme=scheme)
    page.keyboard.press("p")
    for selector in (
        ".score",
        ".cell .name",
        ".word",
        "#shown",
        "h1",
        ".pick[role=option] .mark",
        "[aria-pressed=true]",
        "#decided",
    ):
        assert contrast(page, selector) >= 4.5, selector
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    page.locator("#theme").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert (page.evaluate("getComputedStyle(document.body).backgroundColor") == dark) == (scheme == "dark")


@pytest.mark.slow
def test_a_name_that_is_not_utf_8_keeps_its_bytes_in_lists_of_paths(open_page, page_file):
    page = open_page(page_file)
    assert page.evaluate(r"""[...bytesOfName('a\\udcff\u00e9')]""") == [0x61, 0xFF, 0xC3, 0xA9]
    assert page.evaluate(r"""encodeName('\u00e9 #?\\udcff.jpg')""") == "%C3%A9%20%23%3F%FF.jpg"


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1])
def test_a_page_of_no_photo_or_one_works(mpiqe, open_page, tmp_path, count):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "broken.jpg").touch()
    if count:
        Image.new("RGB", (64, 64)).save(folder / "one.png")
    mpiqe("report", folder, "--out", tmp_path / "page")
    page = open_page(tmp_path / "page" / "index.html")
    if count:
        assert names(page) == ["one.png"]
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#detail h2")).to_have_text("one.png")
    else:
        expect(page.locator("#failures li")).to_have_count(1)


def test_headings_and_scripts_need_no_order_of_their_own():
    """The scripts share one scope: no two of them declare the same name."""
    from importlib.resources import files

    from mpiqe.gallery.folder import SCRIPTS

    declared = []
    for name in SCRIPTS:
        text = (files("mpiqe.gallery") / "page" / name).read_text(encoding="utf-8")
        assert text.startswith('"use strict";')
        declared += re.findall(r"^(?:async )?(?:function|class|const|let) (\w+)", text, re.MULTILINE)
    assert all(a != b for a, b in pairwise(sorted(declared)))
