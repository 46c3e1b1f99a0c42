"""How quick is the page of mpiqe report with very many photos? Measured in Chromium, with a page of made-up scores.

    python benchmarks/gallery.py --photos 100000 [--repeats 5] [--chromium /usr/bin/chromium] [--keep DIR]

Each repeat starts a browser of its own, so that nothing is cached, and loads the page from disk. Times are until the
frame after the change is drawn; "CPU" is what of that the page's main thread computed, which does not depend on what
else the machine does. Memory is the page's own process (resident, as ps shows it) and that of all of
Chromium's processes (each page of memory counted once), after scrolling through the photos. ``--check`` ends with
status 1 where a bound of the project's is missed: 1.5 s to load, 0.3 s to sort, 0.1 s to filter, 400 MB.
"""

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from mpiqe.best.capture import Capture
from mpiqe.gallery.folder import PageFolder
from mpiqe.gallery.packing import Contents
from mpiqe.gallery.shots import Grouping, find_groups
from mpiqe.gallery.table import TableBuilder
from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.runtimes.base import Scale
from mpiqe.scoring.score import Score

BOUNDS = {"load": 1.5, "sort": 0.3, "filter": 0.1, "page MB": 400}
_KINDS = 200  # of thumbnails; further files are links to these
_SHOWN = """() => new Promise((done) => {
  const look = () => requestAnimationFrame(
    document.querySelector('[role=option]') ? () => setTimeout(() => done(performance.now())) : look);
  look();
})"""
_TIMED = """async (code) => {
  const begin = performance.now();
  (new Function(code))();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return (performance.now() - begin) / 1000;
}"""


def make_page(folder: Path, photos: int) -> Path:
    """A page of ``photos`` photos in 500 folders, with scores, probabilities, intervals and thumbnails."""
    draw = np.random.default_rng(0)
    page = PageFolder(folder, single_file=False)
    page.make()
    builder = TableBuilder()
    contents = [_thumbnail(draw) for _ in range(_KINDS)]
    pictures = page.pictures(0)
    for number in range(photos):
        score = float(draw.normal(55, 15))
        builder.add(
            f"/data/photos/holiday {number % 500:03}/IMG_{number:07}.jpg",
            Score(
                score=score,
                spread=float(draw.uniform(1, 8)),
                scene=dict(zip(SCENES, draw.dirichlet(np.full(len(SCENES), 0.3)).tolist(), strict=True)),
                distortion=dict(zip(DISTORTIONS, draw.dirichlet(np.full(len(DISTORTIONS), 0.3)).tolist(), strict=True)),
                size=(4000 + number % 100, 3000),
                interval=(score - float(draw.uniform(8, 20)), score + 12),
            ),
        )
        if number < _KINDS:
            pictures.add(contents[number])
        else:
            file = folder / f"thumbs/{number // 1000:03}/{number:06}.webp"
            file.parent.mkdir(exist_ok=True)
            file.hardlink_to(folder / f"thumbs/000/{number % _KINDS:06}.webp")
    taken = [1.7e9 + 10 * (number // 4) + number % 4 for number in range(photos)]  # bursts of four
    scale = Scale(low=4.3, high=91.1, unit="MOS of livec")
    table = builder.table(name="made up", scale=scale)
    captures = [Capture(moment, "") for moment in taken]
    page.write(
        Contents(
            title=f"{photos} made-up photos",
            tables=[table],
            taken=taken,
            groups=find_groups(table, Grouping(), captures, [None] * photos, workers=1, timeout=60),
            pictures=[pictures.to_json()],
        )
    )
    return page.page


def _thumbnail(draw: np.random.Generator) -> bytes:
    """A picture of 256 x 192 pixels, of about 5 kB."""
    small = draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((256, 192), Image.Resampling.BICUBIC)
    noisy = np.asarray(image).astype(np.int16) + draw.integers(-12, 13, (192, 256, 1))
    content = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(content, "WEBP", quality=62)
    return content.getvalue()


class Clock:
    """What the page's main thread has computed."""

    def __init__(self, page: Page) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})
        self._last = 0.0

    def lap(self) -> float:
        """Seconds since the last lap."""
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        now = next(each["value"] for each in metrics if each["name"] == "TaskDuration")
        since, self._last = now - self._last, now
        return float(since)


def measure(page_file: Path, chromium: str) -> dict[str, float]:
    """One load of the page, and what is done with it, in seconds and MB."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            clock = Clock(page)
            page.goto(page_file.resolve().as_uri(), wait_until="commit")
            found = {"load": page.evaluate(_SHOWN) / 1000}
            found["load CPU"] = clock.lap()
            found |= _sorting(page, clock) | _filtering(page, clock)
            found["scroll"] = _scrolled(page)
            time.sleep(1)
            return found | _memory(browser, page)
        finally:
            browser.close()


def _timed(page: Page, code: str) -> float:
    return float(page.evaluate(_TIMED, code))


def _sorting(page: Page, clock: Clock) -> dict[str, float]:
    times, computed = {}, []
    clock.lap()
    for key in ("distortion", "interval", "name", "taken", "size", "score"):
        times[f"sort by {key}"] = _timed(
            page, f"const s = document.getElementById('sort'); s.value = '{key}'; s.dispatchEvent(new Event('change'))"
        )
        computed.append(clock.lap())
    times["group by folder"] = _timed(
        page, "const s = document.getElementById('group'); s.value = 'folder'; s.dispatchEvent(new Event('change'))"
    )
    times["group by burst"] = _timed(
        page, "const s = document.getElementById('group'); s.value = 'shots'; s.dispatchEvent(new Event('change'))"
    )
    _timed(page, "const s = document.getElementById('group'); s.value = 'none'; s.dispatchEvent(new Event('change'))")
    times["sort"] = max(value for name, value in times.items() if name.startswith("sort by"))
    return times | {"sort CPU": max(computed)}


def _filtering(page: Page, clock: Clock) -> dict[str, float]:
    steps = {
        "range": "const s = document.querySelector('.range input'); s.value = 200; s.dispatchEvent(new Event('input'))",
        "word": "document.querySelector('#words input').click()",
        "first text": "filters.text = '17'; show()",  # not counted: 80 ms, in which more may be typed
        "text": "filters.text = '47'; show()",
    }
    times, computed = {}, []
    for name, code in steps.items():
        _timed(page, "document.getElementById('reset').click()")
        if name == "first text":
            times["focus the search"] = _timed(page, "document.getElementById('search').focus()")
        clock.lap()
        times[f"filter by {name}"] = _timed(page, code)
        computed.append(clock.lap())
    _timed(page, "document.getElementById('reset').click()")
    slowest = max(value for name, value in times.items() if name.startswith("filter by"))
    return times | {"filter": slowest, "filter CPU": max(computed)}


def _scrolled(page: Page) -> float:
    """The longest pause between frames, in seconds, while the photos are scrolled through."""
    return float(
        page.evaluate(
            """async () => {
              const host = document.getElementById('grid');
              let longest = 0, last = performance.now();
              for (let step = 0; step < 120; step++) {
                host.scrollTop = host.scrollHeight * step / 120;
                await new Promise(requestAnimationFrame);
                const now = performance.now();
                longest = Math.max(longest, now - last);
                last = now;
              }
              host.scrollTop = 0;
              return longest / 1000;
            }"""
        )
    )


def _memory(browser: Browser, page: Page) -> dict[str, float]:
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    renderers = [_kilobytes(each["id"], "Rss") for each in processes if each["type"] == "renderer"]
    return {
        "page MB": max(renderers) / 1024,
        "heap MB": page.evaluate("performance.memory.usedJSHeapSize") / 2**20,
        "browser MB": sum(_kilobytes(each["id"], "Pss") for each in processes) / 1024,
    }


def _kilobytes(process: int, kind: str) -> int:
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1])
    raise ValueError(f"no {kind} of process {process}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--keep", type=Path, help="write the page here and leave it; else a temporary folder")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        page_file = make_page(given.keep or Path(temporary) / "page", given.photos)
        size = (page_file.parent / "data.js").stat().st_size / 1e6
        runs = [measure(page_file, given.chromium) for _ in range(given.repeats)]
    middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    load = os.getloadavg()[0]
    print(f"{given.photos} photos, data.js {size:.1f} MB, {os.cpu_count()} CPUs of which {load:.1f} are busy")
    print(f"median of {given.repeats} (range); seconds, and MB")
    for name, value in middle.items():
        spread = f"{min(run[name] for run in runs):.3g} to {max(run[name] for run in runs):.3g}"
        bound = f"   bound {BOUNDS[name]:g}" if name in BOUNDS else ""
        print(f"{name:>22}  {value:8.3g}  ({spread}){bound}")
    print(json.dumps({name: round(value, 4) for name, value in middle.items()}))
    if given.check and any(middle[name] > bound for name, bound in BOUNDS.items()):
        sys.exit(1)


if __name__ == "__main__":
    main()
