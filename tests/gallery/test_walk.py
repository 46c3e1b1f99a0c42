"""From photos to moved rejects and back, with the embedded model, in a real browser: what a person does, in one walk.

It takes 300 photos of LIVE Challenge. ``MPIQE_LIVEC`` names the folder ``ChallengeDB_release``, as the release has it.
"""

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import SHARED

try:
    from playwright.sync_api import expect
except ModuleNotFoundError:  # the fixture chromium says what to do about it, or fails
    expect = None

COUNT = 300
UNPACK = SHARED / "tools" / "unpack_livec"


@pytest.fixture(scope="module")
def livec(tmp_path_factory):
    """The photos of LIVE Challenge."""
    if named := os.environ.get("MPIQE_LIVEC"):
        return Path(named) / "Images"
    if not UNPACK.is_file():
        pytest.skip("needs LIVE Challenge: set MPIQE_LIVEC to the folder ChallengeDB_release")
    folder = tmp_path_factory.mktemp("livec")
    subprocess.run([UNPACK, folder], check=True, capture_output=True, timeout=300)
    return next(folder.rglob("Images"))


def files(folder):
    """What is in a folder, by path below it: a digest of each file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def mpiqe(*arguments):
    command = [sys.executable, "-m", "mpiqe", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    print("$ mpiqe", *arguments)  # `pytest -rP` shows what the walk printed
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ratings(exiftool, folder):
    """What exiftool reads in the sidecars of a folder: the rating by the photo's name."""
    command = [exiftool, "-j", "-XMP-xmp:Rating", "-ext", "xmp", folder]
    read = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {Path(each["SourceFile"]).name.removesuffix(".xmp"): each.get("Rating") for each in read}


@pytest.mark.slow
def test_photos_are_looked_through_rejected_moved_put_back_and_rated(livec, chromium, tmp_path):
    exiftool = shutil.which("exiftool")
    if exiftool is None:
        if os.environ.get("MPIQE_REQUIRE_EXIFTOOL") == "1":
            pytest.fail("exiftool is not installed: apt-get install libimage-exiftool-perl")
        pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
    photos, page_folder = tmp_path / "photos", tmp_path / "page"
    photos.mkdir()
    for path in sorted(path for path in livec.iterdir() if path.is_file())[:COUNT]:
        shutil.copy2(path, photos)
    before = files(photos)
    assert len(before) == COUNT

    said = mpiqe("report", photos, "--out", page_folder)  # one command
    assert f"{COUNT} photos in {page_folder / 'index.html'}" in said
    rows = [json.loads(line) for line in (page_folder / "scores.jsonl").read_text().splitlines()]
    by_score = [Path(row["path"]).name for row in sorted(rows, key=lambda row: row["score"])]

    # A page that shows the worst first and why
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: message.type == "error" and faults.append(message.text))
    page.goto((page_folder / "index.html").as_uri())
    shown = page.evaluate(
        """() => [...document.querySelectorAll('[role=option]')].sort((a, b) => a.place - b.place)
                 .map((cell) => cell.title)"""
    )
    assert [Path(path).name for path in shown[:10]] == by_score[:10]
    page.keyboard.press("Enter")
    worst = min(rows, key=lambda row: row["score"])
    side = page.locator("#detail .side")
    expect(side.locator("h2")).to_have_text(by_score[0])
    expect(side).to_contain_text(f"{worst['score']:.1f}")
    ends = f"{worst['interval_low']:.1f} to {worst['interval_high']:.1f}".replace("-", "\N{MINUS SIGN}")
    expect(side).to_contain_text(ends)
    for kind in ("Distortion", "Scene"):  # the words, the likeliest first, with their probabilities
        bars = side.locator(".shares").filter(has_text=kind).locator("li")
        shares = sorted(worst[kind.lower()].items(), key=lambda share: -share[1])
        expect(bars.first).to_contain_text(shares[0][0])
        told = [int(re.search(r"(\d+) %", text)[1]) for text in bars.all_text_contents()]
        assert told == pytest.approx([100 * share for _, share in shares[: len(told)]], abs=0.51)
        assert len(told) == len(shares)
    page.wait_for_function("document.querySelector('#detail .pictures .map')?.naturalWidth > 0")
    places = side.locator(".map-choice")  # where the distortion sits: the map, which M lays exactly over the photo
    expect(places.locator("h3")).to_contain_text("Where ")
    page.keyboard.press("m")
    photo, over = (page.locator(f"#detail .pictures .box img:nth-child({at})") for at in (1, 2))
    expect(over).to_be_visible()
    assert photo.bounding_box() == over.bounding_box()
    print(f"the worst, {by_score[0]}:", re.sub(r"\s+", " ", side.inner_text()))

    # Rejects, a pick and ratings by keys: in the open photo, then in the grid
    for _ in range(2):
        page.keyboard.press("x")
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    page.keyboard.press("x")  # the third
    page.keyboard.press("End")
    page.keyboard.press("p")
    page.keyboard.press("5")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("4")
    with page.expect_download() as download:
        page.locator("[data-export=csv]").click()
    decisions = tmp_path / "decisions.csv"
    download.value.save_as(decisions)
    context.close()
    assert faults == []
    with decisions.open(newline="") as file:
        made = {Path(row["path"]).name: (row["decision"], row["rating"]) for row in csv.DictReader(file)}
    rejected = set(by_score[:3])
    assert made == dict.fromkeys(rejected, ("reject", "")) | {
        by_score[-1]: ("pick", "5"),
        by_score[-2]: ("", "4"),
    }

    # Carried out, and put back
    rejects = tmp_path / "rejects"
    said = mpiqe("apply", decisions, "--move", rejects)
    assert all(name in said for name in rejected)
    assert files(photos) == before  # it has only said what it would do
    assert not rejects.exists()
    mpiqe("apply", decisions, "--move", rejects, "--go")
    assert files(photos) == {name: digest for name, digest in before.items() if name not in rejected}
    (journal,) = rejects.glob("*.jsonl")
    moved = {Path(name).name: digest for name, digest in files(rejects).items() if name != journal.name}
    assert moved == {name: before[name] for name in rejected}
    mpiqe("apply", "--undo", journal)
    assert files(photos) == before

    # Ratings as exiftool reads them: of what was decided, then of all by their scores
    mpiqe("apply", decisions, "--xmp", "--go", "--journal", tmp_path / "ratings.jsonl")
    wanted = dict.fromkeys(rejected, -1) | {by_score[-1]: 5, by_score[-2]: 4}
    assert ratings(exiftool, photos) == wanted
    mpiqe("apply", page_folder / "scores.jsonl", "--xmp", "--go", "--journal", tmp_path / "stars.jsonl")
    stars = ratings(exiftool, photos)
    assert len(stars) == COUNT
    for row in rows:
        name = Path(row["path"]).name
        if name not in wanted:
            assert stars[name] == 1 + sum(row["quality"] >= least for least in (0.2, 0.4, 0.6, 0.8)), name
    assert {name: stars[name] for name in wanted} == wanted  # a person's rating is not replaced by that of a score
    mpiqe("apply", "--undo", tmp_path / "stars.jsonl")
    mpiqe("apply", "--undo", tmp_path / "ratings.jsonl")
    assert files(photos) == before
    assert not re.search(r"\.xmp$", "\n".join(files(photos)), re.MULTILINE)
