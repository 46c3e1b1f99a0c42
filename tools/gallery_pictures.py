"""Draw the pictures of the page of `mpiqe report` in the documentation, and look at all of its views.

    python -m tools.gallery_pictures
    python -m tools.gallery_pictures --views DIR [--photos FOLDER] [--many 100000]

The first writes docs/gallery.webp, gallery-photo.webp and gallery-bursts.webp: the page of the photos in examples/, one
of them open, and bursts that are made of them (benchmarks/bursts.py); and docs/web.webp, the page of web/, for which it
needs npm. The second writes screenshots to DIR of every
view of pages with no photo, with 1, with 30 (of FOLDER, by default of examples/) and with very many made-up ones, at
widths of 390, 1280 and 2560 pixels, light and dark. Both take Debian's Chromium, or the one that MPIQE_CHROMIUM names.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.bursts import make as make_bursts
from benchmarks.gallery import make_page
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from mpiqe.gallery.report import write_report
from mpiqe.gallery.shots import Grouping

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
SIZE = {"width": 1180, "height": 760}
WIDTHS = {390: 844, 1280: 800, 2560: 1440}
SCHEMES = ("light", "dark")
_ARE_LOADED = "() => [...document.images].every((image) => !image.getAttribute('src') || image.complete)"


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    path = os.environ.get("MPIQE_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def opened(browser: Browser, index: Path, **options: object) -> Page:
    """The page, in a browser that remembers nothing."""
    page = browser.new_context(**options).new_page()  # type: ignore[arg-type]
    page.goto(index.resolve().as_uri())
    return page


def taken(page: Page, file: Path, *, whole: bool = False) -> None:
    """Write what the page shows, or the ``whole`` of it, when its pictures are there."""
    page.wait_for_function(_ARE_LOADED)
    page.wait_for_timeout(200)
    file.parent.mkdir(parents=True, exist_ok=True)
    shot = file.with_suffix(".png")
    page.screenshot(path=shot, full_page=whole)
    if file.suffix == ".webp":
        with Image.open(shot) as image:
            image.convert("RGB").save(file, quality=80, method=6)
        shot.unlink()


def documentation(browser: Browser, folder: Path) -> None:
    """The pictures of docs/gallery.md."""
    index = write_report(EXAMPLES, folder / "page", title="Examples").page
    page = opened(browser, index, viewport=SIZE)
    for key in (
        "x",
        "ArrowRight",
        "x",
        "ArrowRight",
        "p",
        "ArrowRight",
        "4",
        "ArrowRight",
        "Space",
        "ArrowRight",
        "Space",
    ):
        page.keyboard.press(key)  # two rejects, a pick, a rating, and two that are chosen
    page.keyboard.press("Control+ArrowLeft")
    taken(page, ROOT / "docs" / "gallery.webp")
    page.context.close()
    page = opened(browser, index, viewport=SIZE)
    page.keyboard.press("Enter")
    page.keyboard.press("m")
    taken(page, ROOT / "docs" / "gallery-photo.webp")
    page.context.close()
    index = write_report(bursts(folder / "bursts"), folder / "burst-page", title="Bursts", grouping=by_folder()).page
    page = opened(browser, index, viewport=SIZE)
    page.locator("#group").select_option("shots")
    page.locator("#direction").click()
    page.locator("#cell-size").fill("96")
    taken(page, ROOT / "docs" / "gallery-bursts.webp")
    page.context.close()


def web(browser: Browser, folder: Path) -> None:
    """The picture of docs/web.md: four photos, two of them with their map."""
    out = folder / "site"
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("docs/web.webp needs npm: apt-get install npm")
    subprocess.run([npm, "run", "--prefix", ROOT / "web", "build", "--", "--out", out], check=True, timeout=300)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(out))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_selector("body.ready")
        names = ("astronaut", "chelsea-noise", "coffee-blur", "rocket-dark")
        page.set_input_files("#files", [EXAMPLES / f"{name}.jpg" for name in names])
        page.wait_for_function("() => document.querySelectorAll('.toggle:enabled').length === 4", timeout=120_000)
        for number in (1, 2):
            page.locator(".toggle").nth(number).click()
        taken(page, ROOT / "docs" / "web.webp", whole=True)
        page.close()
        server.shutdown()


def by_folder() -> Grouping:
    """Made bursts have no time: each is a folder."""
    return Grouping(by="folder")


def bursts(folder: Path) -> Path:
    """Six shots of each undamaged example, in a folder each."""
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        (folder / name).mkdir(parents=True)
        make_bursts([EXAMPLES / f"{name}.jpg"], folder / name)
    return folder


def views(browser: Browser, folder: Path, photos: Path, many: int, out: Path) -> None:
    """Screenshots of every view."""
    some = [path for path in sorted(photos.iterdir()) if path.is_file()]
    chosen = folder / "chosen"
    chosen.mkdir()
    for path in some[:: max(1, len(some) // 30)][:30]:
        shutil.copy(path, chosen)
    (chosen / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    (folder / "none.jsonl").write_text(
        json.dumps({"path": "gone.jpg", "score": None, "error": "it is no image"}) + "\n"
    )
    pages = {
        "0": write_report(folder / "none.jsonl", folder / "0").page,
        "1": write_report(some[0], folder / "1").page,
        "30": write_report(chosen, folder / "30", worst=6).page,
        "bursts": write_report(bursts(folder / "shots"), folder / "burst-page", grouping=by_folder(), worst=2).page,
        f"{many}": make_page(folder / "many", many),
    }
    for number, index in pages.items():
        for width, height in WIDTHS.items():
            for scheme in SCHEMES:
                page = opened(
                    browser,
                    index,
                    viewport={"width": width, "height": height},
                    color_scheme=scheme,
                    has_touch=width < 400,
                )
                for view in _looked_at(page, number, is_phone=width < 820):
                    taken(page, out / f"{number}-{view}-{width}-{scheme}.png")
                page.context.close()


def _looked_at(page: Page, number: str, *, is_phone: bool) -> Iterator[str]:
    """Bring the page into one view after another; yields their names."""
    yield "start"
    if number == "0":
        return
    if is_phone:
        page.locator("#show-panel").click()
        yield "panel"
        page.locator("#hide-panel").click()
    page.locator("#grid").focus()
    if number in ("1", "30", "bursts"):
        page.keyboard.press("Enter")
        page.locator("#detail").wait_for()
        yield "photo"
        page.keyboard.press("m")
        yield "map"
        page.keyboard.press("Escape")
    if number == "30":
        page.evaluate("document.getElementById('show-help').click()")
        yield "help"
        page.keyboard.press("Escape")
        for key in ("x", "ArrowRight", "p", "ArrowRight", "4"):
            page.keyboard.press(key)
        yield "decided"
        page.evaluate("document.querySelector('#views [value=failures]').click()")
        yield "failures"
        page.evaluate("document.querySelector('#views [value=all]').click()")
        page.locator("#search").fill("no such name")
        page.locator("#empty").wait_for()
        yield "empty"
    if number == "bursts":
        page.evaluate("""() => {
            const group = document.getElementById('group');
            group.value = 'shots';
            group.dispatchEvent(new Event('change'));
        }""")
        yield "grouped"


def main() -> None:
    """Parse, and draw one or the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=Path, metavar="DIR")
    parser.add_argument("--photos", type=Path, default=EXAMPLES)
    parser.add_argument("--many", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        if asked.views:
            views(browser, Path(folder), asked.photos, asked.many, asked.views)
        else:
            documentation(browser, Path(folder))
            web(browser, Path(folder))


if __name__ == "__main__":
    main()
