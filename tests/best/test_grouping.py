"""Which photos are put together, on files with and without EXIF."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from skimage import data as photos_of_scikit_image
from tests.made_formats import heic

from mpiqe.best import likeness
from mpiqe.best.capture import read_captures
from mpiqe.best.grouping import group_photos
from mpiqe.data.synthetic import distort
from mpiqe.errors import ConfigError


def taken(path: Path, moment: str | None, *, fraction: str = "", model: str = "A", suffix_pixels: int = 8) -> str:
    image = Image.new("RGB", (suffix_pixels, 8))
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = model
    detail = exif.get_ifd(ExifTags.IFD.Exif)
    if moment is not None:
        detail[ExifTags.Base.DateTimeOriginal] = moment
    if fraction:
        detail[ExifTags.Base.SubsecTimeOriginal] = fraction
    image.save(path, exif=exif)
    return str(path)


def test_time_joins_what_one_camera_took_within_seconds(tmp_path):
    paths = [
        taken(tmp_path / "0.jpg", "2026:07:01 10:00:00"),
        taken(tmp_path / "1.jpg", "2026:07:01 10:00:04"),
        taken(tmp_path / "2.jpg", "2026:07:01 10:00:02"),  # a chain: 0 - 2 - 4
        taken(tmp_path / "3.jpg", "2026:07:01 10:00:02", model="B"),
        taken(tmp_path / "4.jpg", "2026:07:01 10:00:06", fraction="5"),  # 2.5 s after the one before
        taken(tmp_path / "5.jpg", None),
        taken(tmp_path / "6.jpg", "0000:00:00 00:00:00"),
        str(tmp_path / "gone.jpg"),
    ]
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    paths.append(str(tmp_path / "broken.jpg"))
    assert group_photos(paths, "time") == [0, 0, 0, 1, 2, 3, 4, 5, 6]
    assert group_photos(paths, "time", within=2.5) == [0, 0, 0, 1, 0, 2, 3, 4, 5]
    assert group_photos(paths, "time", within=1.9) == [0, 1, 2, 3, 4, 5, 6, 7, 8]


def test_a_heic_has_its_time(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2026:07:01 10:00:01"
    exif[ExifTags.Base.Model] = "A"
    (tmp_path / "0.heic").write_bytes(heic(Image.new("RGB", (64, 64)), exif=exif.tobytes()))
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])  # as where none was made before
    paths = [str(tmp_path / "0.heic"), taken(tmp_path / "1.jpg", "2026:07:01 10:00:00")]
    assert group_photos(paths, "time") == [0, 0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    paths = [str(tmp_path / "pipe.jpg"), taken(tmp_path / "1.jpg", "2026:07:01 10:00:00")]
    signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    try:
        assert group_photos(paths, "time") == [0, 1]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def late(number, frame):
    raise RuntimeError("it waits for the pipe")


def test_fractions_of_seconds_count(tmp_path):
    paths = [taken(tmp_path / f"{i}.png", "2026:07:01 10:00:00", fraction=f) for i, f in enumerate(("00", "45", "90"))]
    assert [capture.seconds % 1 for capture in read_captures(paths)][1] == pytest.approx(0.45)
    assert group_photos(paths, "time", within=0.5) == [0, 0, 0]
    assert group_photos(paths, "time", within=0.4) == [0, 1, 2]


def test_similarity_joins_shots_of_one_subject_and_no_others(tmp_path):
    paths = []
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        photo = getattr(photos_of_scikit_image, name)()
        shots = [photo[8:-8, 8:-8], distort(photo[8:-8, 8:-8], "motion blur", 4, seed=0), photo[12:-4, 6:-10]]
        for number, shot in enumerate(shots):
            Image.fromarray(shot).save(tmp_path / f"{name}-{number}.jpg", quality=85)
            paths.append(str(tmp_path / f"{name}-{number}.jpg"))
    (tmp_path / "broken.jpg").touch()
    paths += [str(tmp_path / "broken.jpg"), str(tmp_path / "gone.jpg")]
    assert group_photos(paths, "similarity") == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 5]


def test_folder_joins_what_lies_in_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert group_photos(["a/x.jpg", "b/x.jpg", str(tmp_path / "a" / "y.jpg"), "z.jpg"], "folder") == [0, 1, 0, 2]


def test_pairs_are_those_of_a_direct_comparison_with_and_without_numpy_2(monkeypatch):
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 1 << 8, 1200, dtype=np.uint64) << np.uint64(40)
    expected = [
        (i, j)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= 1
    ]
    assert sorted(likeness.alike(hashes, 1)) == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert sorted(likeness.alike(hashes, 1)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "colour"}, "--group-by must be one of time, similarity, folder"),
        ({"by": "time", "within": float("nan")}, "--within must be"),
        ({"by": "similarity", "most_bits": 64}, "--most-bits must be from 0 to 63"),
        ({"by": "similarity", "within": 5.0}, "--within is of use only with --group-by time, not similarity"),
        ({"by": "time", "most_bits": 12}, "--most-bits is of use only with --group-by similarity, not time"),
    ],
)
def test_limits_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        group_photos([], **options)
