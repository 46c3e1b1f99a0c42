"""What ``mpiqe report`` writes, without a browser."""

import base64
import io
import json
import os
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageCms
from tests.gallery.conftest import Brightness, load

from mpiqe.batch.job import score_to
from mpiqe.gallery import folder as page_folder
from mpiqe.gallery.report import write_report
from mpiqe.isolation.pool import Readers, read_here
from mpiqe.isolation.process import Cutting
from mpiqe.scoring import loading


def data(folder):
    """The object that the page's data.js sets."""
    text = (folder / "data.js").read_text(encoding="ascii")
    return json.loads(re.fullmatch(r"globalThis\.mpiqeGallery = (.*);\n", text)[1])


def names(folder, table=0):
    return data(folder)["tables"][table]["names"].split("/")


def test_a_folder_is_scored_and_its_page_written(mpiqe, photos, tmp_path):
    status, out, err = mpiqe("report", photos, "--out", tmp_path / "page")
    assert status == 1
    assert out == f"6 photos in {tmp_path / 'page' / 'index.html'}\n"
    assert err == "mpiqe: 1 photos could not be read; the page says why\n"
    assert names(tmp_path / "page") == ["IMG_10.jpg", "IMG_2.jpg", "IMG_3.jpg", "IMG_4.jpg", "tall.png", "wide.png"]
    thumbnails = sorted((tmp_path / "page" / "thumbs" / "000").iterdir())
    assert [path.name for path in thumbnails] == [f"{number:06}.webp" for number in range(6)]
    rows = [json.loads(line) for line in (tmp_path / "page" / "scores.jsonl").read_text().splitlines()]
    assert [os.path.basename(row["path"]) for row in rows][:2] == ["IMG_10.jpg", "IMG_2.jpg"]
    assert len(rows) == 7
    assert len(data(tmp_path / "page")["maps"]) == 6


def test_photos_are_left_out_by_name(mpiqe, photos, tmp_path):
    options = ("--include", "IMG_*", "--exclude", "IMG_1*", "--exclude", "IMG_4.jpg")
    status, out, err = mpiqe("report", photos, "--out", tmp_path / "page", *options)
    assert (status, err) == (0, "")
    assert out.startswith("2 photos in ")
    assert names(tmp_path / "page") == ["IMG_2.jpg", "IMG_3.jpg"]


def test_a_name_that_leads_nowhere_is_an_error_and_no_page(mpiqe, tmp_path):
    status, _, err = mpiqe("report", tmp_path / "scores.parquet", "--out", tmp_path / "page")
    assert status == 2
    assert "scores.parquet: there is no such file or folder" in err
    assert not (tmp_path / "page").exists()


def test_nothing_to_show_is_an_error(mpiqe, tmp_path):
    (tmp_path / "empty").mkdir()
    status, _, err = mpiqe("report", tmp_path / "empty", "--out", tmp_path / "page")
    assert status == 2
    assert "there is no image in" in err
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize(
    ("option", "value", "words"), [("--thumbnail", 4, "from 16 to 512"), ("--worst", -1, "at least 0")]
)
def test_invalid_options_are_named(mpiqe, photos, tmp_path, option, value, words):
    status, _, err = mpiqe("report", photos, "--out", tmp_path / "page", option, value)
    assert status == 2
    assert words in err


def turned(path):
    """A photo that its camera held on its side: its left half is red, upright it is the upper one."""
    pixels = np.zeros((300, 600, 3), dtype=np.uint8)
    pixels[:, :300, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    return path


@pytest.mark.parametrize("apart", [False, True])
def test_thumbnails_are_upright_and_of_the_size_that_was_asked_for(tmp_path, apart):
    path = turned(tmp_path / "turned.jpg")
    cutting = Cutting(size=32, count=2, mode="grid", seed=0, max_pixels=10**7, thumbnail=200)
    if apart:
        readers = Readers(cutting=cutting, timeout=60)
        reading = readers.read(str(path))
        readers.close()
    else:
        reading = read_here(str(path), cutting)
    with Image.open(io.BytesIO(reading.preview.thumbnail)) as thumbnail:
        assert thumbnail.size == (100, 200)
        shown = np.asarray(thumbnail.convert("RGB"))
    assert shown[:90, :, 0].min() > 200
    assert shown[110:, :, 0].max() < 60
    assert len(reading.preview.thumbnail) < 5000


def test_a_photo_of_another_colour_space_has_its_colours_in_the_thumbnail(tmp_path):
    """The score is of the numbers as they are; what people look at is converted."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    lab = profile.tobytes()
    path = tmp_path / "wide.png"
    wide = b"".join(adobe_rgb())
    Image.new("RGB", (64, 64), (60, 200, 60)).save(path, icc_profile=wide)
    cutting = Cutting(size=32, count=1, mode="grid", seed=0, max_pixels=10**7, thumbnail=64)
    colour = thumbnail_colour(read_here(str(path), cutting))
    assert colour[0] < 30  # sRGB cannot be as green: its red goes down
    Image.new("RGB", (64, 64), (60, 200, 60)).save(path, icc_profile=lab)  # of another kind: ignored
    assert abs(thumbnail_colour(read_here(str(path), cutting)) - [60, 200, 60]).max() < 6


def thumbnail_colour(reading):
    with Image.open(io.BytesIO(reading.preview.thumbnail)) as thumbnail:
        return np.asarray(thumbnail.convert("RGB")).astype(int)[32, 32]


def adobe_rgb():
    """A matrix profile with Adobe RGB's primaries (D50) and a gamma of 2.2."""

    def fixed(value):
        return round(value * 65536).to_bytes(4, "big", signed=True)

    def xyz(*values):
        return b"XYZ \0\0\0\0" + b"".join(map(fixed, values))

    curve = b"curv\0\0\0\0" + (1).to_bytes(4, "big") + round(2.2 * 256).to_bytes(2, "big") + b"\0\0"
    text = b"desc\0\0\0\0" + (6).to_bytes(4, "big") + b"wide \0" + b"\0" * 78
    tags = [
        (b"desc", text + b"\0" * (-len(text) % 4)),
        (b"wtpt", xyz(0.9642, 1.0, 0.8249)),
        (b"rXYZ", xyz(0.60974, 0.31111, 0.01947)),
        (b"gXYZ", xyz(0.20528, 0.62567, 0.06087)),
        (b"bXYZ", xyz(0.14919, 0.06322, 0.74457)),
        (b"rTRC", curve),
        (b"gTRC", curve),
        (b"bTRC", curve),
    ]
    table, body, at = len(tags).to_bytes(4, "big"), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags:
        table += name + at.to_bytes(4, "big") + len(content).to_bytes(4, "big")
        body += content
        at += len(content)
    header = at.to_bytes(4, "big") + b"lcms\x02\x10\0\0mntrRGB XYZ " + b"\0" * 12 + b"acsp" + b"\0" * 28
    header += fixed(0.9642) + fixed(1.0) + fixed(0.8249) + b"\0" * 48
    yield header + table + body


def test_the_time_taken_is_read_and_damaged_times_are_none(tmp_path):
    cutting = Cutting(size=32, count=1, mode="grid", seed=0, max_pixels=10**7, thumbnail=64)
    for text, fraction, taken in (
        ("1970:01:02 00:00:01", "25", 86401.25),
        ("0000:00:00 00:00:00", "", None),
        ("nonsense", "", None),
    ):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = text
        exif.get_ifd(0x8769)[0x9291] = fraction
        Image.new("RGB", (40, 40)).save(tmp_path / "photo.jpg", exif=exif)
        assert read_here(str(tmp_path / "photo.jpg"), cutting).preview.taken == taken


def test_a_page_takes_the_place_of_an_earlier_one_and_never_of_anything_else(mpiqe, photos, tmp_path):
    out = photos / "page"
    mpiqe("report", photos, "--out", out)
    (photos / "a" / "IMG_10.jpg").unlink()
    status, printed, _ = mpiqe("report", photos, "--out", out)
    assert (status, printed) == (1, f"5 photos in {out / 'index.html'}\n")  # thumbnails in there are no photos
    assert len(list((out / "thumbs" / "000").iterdir())) == 5
    other = tmp_path / "site"
    other.mkdir()
    (other / "index.html").write_text("<title>mine</title>")
    status, _, err = mpiqe("report", photos, "--out", other)
    assert status == 2
    assert "is no page of mpiqe report" in err
    assert (other / "index.html").read_text() == "<title>mine</title>"
    taken = tmp_path / "pictures"
    (taken / "thumbs").mkdir(parents=True)
    (taken / "thumbs" / "mine.webp").touch()
    status, _, err = mpiqe("report", photos, "--out", taken)
    assert status == 2
    assert (taken / "thumbs" / "mine.webp").exists()


def test_photos_in_the_page_s_own_folder_are_refused(mpiqe, photos):
    status, _, err = mpiqe("report", photos, "--out", photos)
    assert status == 2
    assert "name another folder" in err


def test_a_single_file_is_for_so_many_photos(mpiqe, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(page_folder, "MOST_IN_ONE_FILE", 5)
    status, _, err = mpiqe("report", photos, "--out", tmp_path / "page", "--single-file")
    assert status == 2
    assert "5 photos at most; leave out --single-file" in err
    assert not (tmp_path / "page").exists()


def test_a_single_file_refers_to_no_other(mpiqe, photos, tmp_path):
    mpiqe("report", photos, "--out", tmp_path / "page", "--single-file")
    text = (tmp_path / "page" / "index.html").read_text()
    assert re.findall(r"<(?:script|link|img)[^>]* (?:src|href)=", text) == []
    assert "thumbs" not in os.listdir(tmp_path / "page")


@pytest.mark.parametrize("form", ["jsonl", "ndjson", "csv", "parquet"])
def test_a_table_of_scores_becomes_the_same_page(mpiqe, photos, tmp_path, form, monkeypatch):
    mpiqe("report", photos, "--out", tmp_path / "scored", "--worst", 0)
    mpiqe("score", photos, "--output", tmp_path / f"scores.{form}", "--crops", 4)
    status, _, err = mpiqe("report", tmp_path / f"scores.{form}", "--out", tmp_path / "stored")
    assert (status, err) == (1, "mpiqe: 1 photos could not be read; the page says why\n")
    scored, stored = data(tmp_path / "scored"), data(tmp_path / "stored")
    assert scored["id"] == stored["id"]  # decisions made on one page are there on the other
    for name in ("names", "folder", "folders", "addresses", "score", "spread", "width", "failures"):
        assert scored["tables"][0][name] == stored["tables"][0][name], name
    assert scored["taken"] == stored["taken"]
    assert scored["tables"][0]["scene"]["likeliest"] == stored["tables"][0]["scene"]["likeliest"] or form == "csv"
    assert (stored["tables"][0]["scene"]["shares"] is None) == (form == "csv")
    if form == "parquet":
        assert stored["tables"][0]["unit"] == "grey levels"
    thumbnails = [(tmp_path / page / "thumbs" / "000" / "000003.webp") for page in ("scored", "stored")]
    assert thumbnails[0].read_bytes() == thumbnails[1].read_bytes()


def test_photos_of_a_table_that_are_gone_are_shown_without_a_picture(mpiqe, photos, tmp_path):
    mpiqe("score", photos, "--output", tmp_path / "scores.jsonl")
    (photos / "a" / "IMG_2.jpg").unlink()
    _, _, err = mpiqe("report", tmp_path / "scores.jsonl", "--out", tmp_path / "page")
    assert "1 photos are shown without a picture" in err
    assert data(tmp_path / "page")["tables"][0]["pictures"]["absent"] == [1]


def test_a_table_s_worst_photos_are_explained_on_request(mpiqe, photos, tmp_path):
    mpiqe("score", photos, "--output", tmp_path / "scores.jsonl")
    mpiqe("report", tmp_path / "scores.jsonl", "--out", tmp_path / "page", "--worst", 2)
    assert [(number, name) for number, (name, _) in data(tmp_path / "page")["maps"].items()] == [
        ("0", "dull"),
        ("1", "dull"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "x.jsonl",
            '{"path": "a.jpg", "score": 1}\n{"path": 3, "score": 1}\n',
            "row 2 is none that mpiqe score writes",
        ),
        ("x.jsonl", '{"path": "a.jpg", "score": NaN}\n', "no finite number"),
        ("x.jsonl", "[]\n", "row 1 is none"),
        ("x.jsonl", "", "has no row"),
        ("x.csv", "name,value\na,1\n", "no column path and score"),
        ("x.csv", "path,score\na.jpg,good\n", "row 1 is none"),
    ],
)
def test_a_damaged_table_is_named_with_its_row(mpiqe, tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    status, _, err = mpiqe("report", tmp_path / name, "--out", tmp_path / "page")
    assert status == 2
    assert words in err
    assert str(tmp_path / name) in err


@pytest.mark.parametrize("name", ["s.json", "s.csv.gz", "S.JSONL.GZ", "s.json.gz"])
def test_outputs_that_a_report_does_not_read_are_no_photos(mpiqe, tmp_path, name):
    (tmp_path / name).write_bytes(b"[]")
    status, _, err = mpiqe("report", tmp_path / name, "--out", tmp_path / "page")
    assert status == 2
    assert "of the tables that mpiqe score writes a report reads .jsonl, .ndjson, .csv and .parquet" in " ".join(
        err.split()
    )
    assert not (tmp_path / "page").exists()


def test_photos_and_tables_are_not_mixed(mpiqe, photos, tmp_path):
    (tmp_path / "x.jsonl").write_text('{"path": "a.jpg", "score": 1}\n')
    status, _, err = mpiqe("report", photos, tmp_path / "x.jsonl", "--out", tmp_path / "page")
    assert status == 2
    assert "or two to compare" in err


def test_two_versions_of_the_photos_are_compared_side_by_side(mpiqe, photos, tmp_path):
    brighter = tmp_path / "edited"
    for path in sorted(photos.rglob("*.*g")):
        target = brighter / path.relative_to(photos).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.name not in ("broken.jpg", "tall.png"):
            with Image.open(path) as photo:
                photo.point(lambda value: min(255, value + 40)).save(target)
    for name, source in (("before", photos), ("after", brighter)):
        mpiqe("score", source, "--output", tmp_path / f"{name}.parquet")
    status, _, err = mpiqe(
        "report", tmp_path / "before.parquet", tmp_path / "after.parquet", "--out", tmp_path / "page"
    )
    assert "1 photos have a score in one of the tables only" in err
    assert status == 1
    assert names(tmp_path / "page", 0)[0] == "IMG_10.jpg"
    assert names(tmp_path / "page", 1)[0] == "IMG_10.png"
    assert len(names(tmp_path / "page")) == 5
    assert len(list((tmp_path / "page" / "thumbs-2" / "000").iterdir())) == 5


def test_tables_without_a_common_photo_are_not_compared(mpiqe, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text(f'{{"path": "{name}/{name}.jpg", "score": 1}}\n')
    status, _, err = mpiqe("report", tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--out", tmp_path / "page")
    assert status == 2
    assert "have no photo in common" in err


def test_a_model_without_attention_maps_cannot_explain_all(photos, tmp_path, monkeypatch):
    class Plain:
        pass

    for name in ("crop_size", "crops_at_once", "scenes", "distortions", "scale", "computes", "predict"):
        setattr(Plain, name, getattr(Brightness, name))
    monkeypatch.setattr(loading, "load", lambda **_: load(isolate=False))
    monkeypatch.setattr("tests.gallery.conftest.Brightness", Plain)
    with pytest.raises(Exception, match="leave out --explain"):
        write_report(photos, tmp_path / "page", explain_all=True)
    assert write_report(photos, tmp_path / "page").photos == 6
    assert data(tmp_path / "page")["maps"] == {}


def test_the_library_says_what_it_wrote(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "load", lambda **options: load(**options, isolate=False))
    seen = []
    result = write_report(photos, tmp_path / "page", on_progress=lambda progress: seen.append(progress.done))
    assert (result.photos, result.failed, result.page) == (6, 1, tmp_path / "page" / "index.html")
    assert seen == list(range(8))
    score_to(photos, tmp_path / "scores.csv")
    assert write_report(tmp_path / "scores.csv", tmp_path / "other").photos == 6


def groups_of(page):
    """By name of the best: the names of its group, its margin."""
    packed = data(page)["groups"]
    if packed is None:
        return {}
    of, best, margin = (
        np.frombuffer(base64.b64decode(packed[name]), dtype=kind)
        for name, kind in (("of", "<u4"), ("best", "<u4"), ("margin", "<f4"))
    )
    photos = names(page)
    return {
        photos[row]: (sorted(photos[each] for each in np.flatnonzero(of == number)), margin[number])
        for number, row in enumerate(best)
    }


BURST = ["IMG_10.jpg", "IMG_2.jpg", "IMG_3.jpg"]


@pytest.mark.parametrize(
    ("options", "groups"),
    [
        ((), {"IMG_3.jpg": (BURST, 40 / 30)}),
        (("--within", "0.5"), {}),
        (
            ("--group-by", "folder"),
            {"IMG_3.jpg": (BURST, 40 / 30), "tall.png": (["IMG_4.jpg", "tall.png", "wide.png"], 40 / 30)},
        ),
    ],
    ids=["time", "within", "folder"],
)
def test_a_page_has_the_groups_and_margins_of_best(mpiqe, photos, tmp_path, options, groups):
    mpiqe("report", photos, "--out", tmp_path / "page", *options)
    found = groups_of(tmp_path / "page")
    assert found == {name: (members, pytest.approx(margin, abs=0.01)) for name, (members, margin) in groups.items()}
    _, out, _ = mpiqe("best", photos, "--json", *options)
    told = {Path(each["best_shot"]).name: pytest.approx(each["margin"], rel=1e-5) for each in json.loads(out)}
    assert {name: margin for name, (_, margin) in found.items()} == told


def test_photos_are_grouped_by_likeness_where_they_are_files(mpiqe, tmp_path):
    pytest.importorskip("imagehash")
    first, second = (Image.fromarray(getattr(skimage.data, name)()) for name in ("astronaut", "coffee"))
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, photo in {"a": first, "b": first.point(lambda value: value * 0.9), "c": second}.items():
        photo.save(folder / f"{name}.jpg")
    with tarfile.open(tmp_path / "more.tar", "w") as tar:
        tar.add(folder / "a.jpg", "d.jpg")
    mpiqe("report", folder, tmp_path / "more.tar", "--out", tmp_path / "page", "--group-by", "similarity")
    assert {name: members for name, (members, _) in groups_of(tmp_path / "page").items()} == {
        "a.jpg": ["a.jpg", "b.jpg"]
    }


def test_a_table_s_photos_are_grouped_too_in_the_unit_that_its_scale_has(mpiqe, photos, tmp_path):
    mpiqe("score", photos, "--output", tmp_path / "scores.parquet")
    mpiqe("report", tmp_path / "scores.parquet", "--out", tmp_path / "page")
    assert groups_of(tmp_path / "page") == {"IMG_3.jpg": (BURST, pytest.approx(40 / 30, abs=0.01))}


@pytest.mark.parametrize(
    ("option", "value"),
    [("--include", "a*"), ("--exclude", "a*"), ("--column", "image"), ("--allow-host", "here")],
)
def test_options_of_photos_are_refused_for_a_table(mpiqe, photos, tmp_path, option, value):
    mpiqe("score", photos, "--output", tmp_path / "scores.csv")
    status, _, err = mpiqe("report", tmp_path / "scores.csv", "--out", tmp_path / "page", option, value)
    assert (status, f"leave {option} away" in err) == (2, True)
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--clear-from", "0"), "--clear-from must be above 0"),
        (("--within", "-1"), "--within must be a number of seconds"),
        (("--margin-by", "difference"), "no bursts have calibrated scores 2"),
    ],
)
def test_limits_of_groups_are_refused_before_anything_is_scored(mpiqe, photos, tmp_path, monkeypatch, options, words):
    monkeypatch.setattr(Brightness, "scale", replace(Brightness.scale, model="scores 2", shot_difference=None))
    status, _, err = mpiqe("report", photos, "--out", tmp_path / "page", *options)
    assert status == 2
    assert words in err
    assert not (tmp_path / "page").exists()
