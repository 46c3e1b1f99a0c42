"""The page scores as Python does, and sends nothing."""

import base64
import json
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image
from skimage import data as photos_of_scikit_image

import mpiqe
from mpiqe.data.synthetic import distort
from mpiqe.orientation import REDUCING_GAP
from mpiqe.scoring.explanation import explain

pytestmark = pytest.mark.slow

OLD_PILLOW = int(PIL.__version__.split(".")[0]) < 13
"""Before version 13 Pillow began with the rows of tall photos too; the page does as the newer ones do."""

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def scorer():
    return mpiqe.load(runtime="onnx")


@pytest.fixture(scope="module")
def png_photos(tmp_path_factory):
    """Photos of many shapes: brought down with and without averaging, as they are, enlarged, long, and damaged."""
    folder = tmp_path_factory.mktemp("png")
    names = ("astronaut", "chelsea", "coffee", "rocket")
    photos = {name: getattr(photos_of_scikit_image, name)() for name in names}
    made = {f"{name}.png": Image.fromarray(photo) for name, photo in photos.items()}
    made["blurred.png"] = Image.fromarray(distort(photos["coffee"], "gaussian blur", 3, seed=0))
    made["noisy.png"] = Image.fromarray(distort(photos["rocket"], "white noise", 3, seed=0))
    made["large.png"] = made["coffee.png"].resize((3001, 2003), Image.Resampling.BICUBIC)
    if not OLD_PILLOW:
        made["tall.png"] = made["rocket.png"].crop((200, 0, 347, 427)).resize((301, 1400))
    made["panorama.png"] = made["rocket.png"].crop((0, 200, 640, 330))
    made["small.png"] = made["chelsea.png"].resize((120, 83), Image.Resampling.LANCZOS)
    made["as-it-is.png"] = made["astronaut.png"].crop((0, 0, 330, 300))
    made["grey.png"] = made["coffee.png"].convert("L")
    made["palette.png"] = made["coffee.png"].quantize(64)
    for name, photo in made.items():
        photo.save(folder / name)
    turned = Image.Exif()
    turned[0x0112] = 6
    made["rocket.png"].save(folder / "turned.png", exif=turned)
    see_through = made["coffee.png"].convert("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize(see_through.size))
    see_through.save(folder / "see-through.png")
    return sorted(folder.iterdir())


def drop(page, files, *, maps=False):
    """Give the page files and wait until all are done; returns what the worker sent, by file name."""
    page.set_input_files("#files", files)
    page.wait_for_function(
        "([number, key]) => received.filter((message) => message[key] || message.error).length >= number",
        arg=[len(files), "map" if maps else "result"],
        timeout=120_000,
    )
    sent = page.evaluate(
        """() => received.filter((message) => "id" in message).map(({ id, size, result, map, error }) =>
             ({ id, size, result, error, map: map && { ...map, values: [...map.values] } }))"""
    )
    return {
        Path(file).name: {
            key: value for message in sent if message["id"] == i for key, value in message.items() if value
        }
        for i, file in enumerate(files)
    }


def test_a_png_has_pythons_score_interval_and_words(open_page, png_photos, scorer):
    found = drop(open_page(), png_photos)
    span = scorer.scale.high - scorer.scale.low
    for path in png_photos:
        expected, result = scorer(path), found[path.name]["result"]
        assert found[path.name]["size"] == list(expected.size), path.name
        assert result["score"] == pytest.approx(expected.score, abs=1e-3 * span), path.name
        assert result["spread"] == pytest.approx(expected.spread, abs=1e-3 * span), path.name
        assert result["interval"] == pytest.approx(expected.interval, abs=2e-3 * span), path.name
        # Python turns a photo after it has brought it down, a browser before: single pixels are a level off
        words = 0.02 if path.name == "turned.png" else 2e-3
        assert result["scene"] == pytest.approx(expected.scene, abs=words), path.name
        assert result["distortion"] == pytest.approx(expected.distortion, abs=words), path.name


def test_a_png_has_pythons_map(open_page, png_photos, scorer):
    photos = [path for path in png_photos if path.name in {"large.png", "blurred.png", "panorama.png", "small.png"}]
    found = drop(open_page(), photos, maps=True)
    for path in photos:
        expected = explain(scorer, path, longest=384).distortion_map
        got = found[path.name]["map"]
        values = np.reshape(got["values"], (got["height"], got["width"]))
        assert values.shape == expected.shape, path.name
        assert np.abs(values - expected).max() < 0.02, path.name


@pytest.mark.parametrize(
    ("size", "new"),
    [
        ((3001, 2003), (391, 261)),
        ((600, 400), (391, 261)),
        ((602, 903), (261, 391)),
        pytest.param((301, 1400), (160, 744), marks=pytest.mark.skipif(OLD_PILLOW, reason="needs Pillow 13")),
        pytest.param((1333, 6001), (160, 720), marks=pytest.mark.skipif(OLD_PILLOW, reason="needs Pillow 13")),
        ((1000, 170), (941, 160)),
        ((4000, 330), (1939, 160)),
    ],
)
def test_photos_are_brought_down_to_pillows_pixels(open_page, size, new):
    photo = noise(size)
    expected = photo.resize(new, Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)
    assert np.array_equal(resized(open_page(), photo, new, "lanczos"), np.asarray(expected))


@pytest.mark.parametrize(
    ("size", "new"), [((120, 83), (231, 160)), ((7, 400), (160, 9143)), ((400, 7), (9143, 160)), ((1, 1), (160, 160))]
)
def test_photos_are_enlarged_to_pillows_pixels(open_page, size, new):
    photo = noise(size)
    expected = photo.resize(new, Image.Resampling.BICUBIC)
    assert np.array_equal(resized(open_page(), photo, new, "bicubic"), np.asarray(expected))


def noise(size):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def resized(page, photo, new, how):
    """What resize.js makes of a photo."""
    text = page.evaluate(
        """async ([text, width, height, newWidth, newHeight, how]) => {
             const { resize } = await import("./resize.js");
             const data = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
             const result = resize({ width, height, data }, newWidth, newHeight, how).data;
             let letters = "";
             for (let at = 0; at < result.length; at += 8192) {
               letters += String.fromCharCode(...result.subarray(at, at + 8192));
             }
             return btoa(letters);
           }""",
        [base64.b64encode(photo.tobytes()).decode(), *photo.size, *new, how],
    )
    return np.frombuffer(base64.b64decode(text), dtype=np.uint8).reshape(new[1], new[0], 3)


def test_a_small_jpeg_has_pythons_score_in_chromium(open_page, scorer):
    photos = sorted(EXAMPLES.glob("*.jpg"))
    found = drop(open_page(), photos)
    away = [abs(found[path.name]["result"]["score"] - scorer(path).score) for path in photos]
    assert max(away) < 1e-3 * (scorer.scale.high - scorer.scale.low)  # Chromium and Pillow both have libjpeg-turbo


def test_nothing_is_downloaded_before_a_photo_and_nothing_ever_uploaded(open_page, host, png_photos):
    page = open_page()
    page.wait_for_timeout(300)
    assert not any("/model-" in path or "/runtime-" in path for _, path in host.asked)
    everything = []
    page.context.on("request", lambda request: everything.append((request.method, request.url, request.post_data)))
    drop(page, png_photos[:1], maps=True)
    assert everything
    assert all(method == "GET" and data is None for method, _, data in everything)
    assert all(url.startswith((host.address, f"blob:{host.address}")) for _, url, _ in everything)
    assert {method for method, _ in host.asked} == {"GET"}


def test_neither_the_page_nor_its_worker_can_reach_another_host(open_page, built, png_photos):
    from tests.web.conftest import Host

    page, other = open_page(), Host(built)
    try:
        drop(page, png_photos[:1])
        attempt = f"fetch({json.dumps(other.address)}, {{ mode: 'no-cors' }}).then(() => 'sent', () => 'refused')"
        assert page.evaluate(attempt) == "refused"
        assert page.workers[0].evaluate(attempt) == "refused"
        assert other.asked == []
    finally:
        other.close()
    assert page.faults
    assert all("Content Security Policy" in fault for fault in page.faults)
    page.faults.clear()


def test_the_page_says_what_is_downloaded_and_how_long_a_photo_takes(open_page, built, png_photos):
    page = open_page()
    listed = json.loads((built / "files.json").read_text())
    total = 0
    for part in ("model", "runtime"):
        folder = built / listed[part]["folder"]
        assert all((folder / file["name"]).stat().st_size == file["bytes"] for file in listed[part]["files"])
        size = sum(file["bytes"] for file in listed[part]["files"])
        assert f"({size / 1e6:.0f} MB" in page.text_content("#cost")
        total += size
    assert f"downloads {total / 1e6:.0f} MB" in page.text_content("#cost")
    drop(page, png_photos[:2])
    page.wait_for_function("document.querySelector('#status').textContent.startsWith('2 photos')")
    assert page.text_content("#status").endswith(" s each")
    assert "scored in" in page.text_content(".card .size")


def test_a_file_that_is_no_photo_has_a_reason_and_harmless_name(open_page, tmp_path, png_photos):
    bad = tmp_path / "<img src=x onerror=alert(1)>.png"
    bad.write_bytes(b"\x89PNG no photo")
    page = open_page()
    found = drop(page, [bad, png_photos[0]])
    assert found[bad.name]["error"] == "this browser cannot read the file as a photo"
    assert page.text_content(".card h2") == bad.name
    assert page.is_visible(".card .error")
    assert page.locator(".card.done").count() == 1


def test_photos_are_ordered_mapped_and_cleared(open_page, png_photos):
    page = open_page()
    photos = [path for path in png_photos if path.name in {"astronaut.png", "blurred.png", "noisy.png"}]
    found = drop(page, photos, maps=True)
    by_score = sorted(found, key=lambda name: found[name]["result"]["score"])
    page.select_option("#order", "worst")
    assert page.locator(".card h2").all_text_contents() == by_score
    page.select_option("#order", "best")
    assert page.locator(".card h2").all_text_contents() == by_score[::-1]
    assert page.locator(".card canvas:visible").count() == 0
    page.locator(".card .toggle").first.click()
    assert page.locator(".card canvas:visible").count() == 1
    canvas, photo = (page.locator(f".card {name}").first.bounding_box() for name in ("canvas", "img"))
    assert canvas == pytest.approx(photo, abs=1.5)
    page.check("#maps")
    assert page.locator(".card canvas:visible").count() == 3
    page.click("#clear")
    assert page.locator(".card").count() == 0


def test_a_model_file_that_is_missing_or_cut_short_is_said(open_page, built, png_photos):
    page = open_page()
    page.route("**/mpiqe.safetensors", lambda route: route.fulfill(body=b"short"))
    page.set_input_files("#files", png_photos[:1])
    page.wait_for_selector("#notice:visible")
    assert "ended after 5 of" in page.text_content("#notice")
    assert page.text_content(".card .error") == "not scored"
