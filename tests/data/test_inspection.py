import math
import shutil
from dataclasses import replace

import pytest
from PIL import ExifTags, Image

from mpiqe.data import Dataset, Record, check
from mpiqe.data.inspection import inspect
from mpiqe.errors import DatasetError


def _refusal(*records, **fields) -> str:
    with pytest.raises(DatasetError) as caught:
        check(Dataset("mine", records, **fields))
    return str(caught.value)


def test_a_whole_dataset_passes(tmp_path, paint):
    records = tuple(
        Record(paint(tmp_path / f"{seed}.png", seed=seed), f"{seed}.png", 1.0, ("human",), "blur") for seed in range(3)
    )
    check(Dataset("mine", records))


def test_all_faults_come_in_one_message(tmp_path, paint):
    a, b = paint(tmp_path / "a.png", seed=1), paint(tmp_path / "b.png", seed=2)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    copy = shutil.copy(a, tmp_path / "copy.png")
    message = _refusal(
        Record(a, "a.png", math.nan, ("castle",), "fog"),
        Record(b, "b.png", math.inf),
        Record(b, "b.png", 1.0),
        Record(copy, "copy.png", 1.0),
        Record(tmp_path / "gone.png", "gone.png", 1.0),
        Record(text, "text.png", 1.0),
    )
    for fault in (
        "mine cannot be used until this is corrected: 8 faults",
        f"{a}: 'castle' is not one of the scenes",
        f"{a}: 'fog' is not one of the distortions",
        f"{a}: MOS nan is not finite",
        f"{b}: MOS inf is not finite",
        f"{b}: the name b.png is there twice",
        f"{copy}: the same bytes as {a}",
        f"{tmp_path / 'gone.png'}: No such file",
        f"{text}: not an image",
    ):
        assert fault in message


def test_a_truncated_image_is_found(tmp_path, paint):
    file = paint(tmp_path / "a.jpg", width=300, height=200)
    file.write_bytes(file.read_bytes()[:-4000])
    assert f"{file}: cannot be decoded" in _refusal(Record(file, "a.jpg", 1.0))


def test_pictures_that_differ_only_at_their_ends_are_not_duplicates(tmp_path, paint):
    # 90 kB each: the 64 KiB in the middle, which are compared first, are the same.
    a = paint(tmp_path / "a.bmp", width=200, height=150)
    content = bytearray(a.read_bytes())
    content[-1] ^= 255
    b = tmp_path / "b.bmp"
    b.write_bytes(content)
    check(Dataset("mine", (Record(a, "a.bmp", 1.0), Record(b, "b.bmp", 1.0))))


def test_only_the_releases_own_twins_may_be_the_same(tmp_path, paint):
    a = paint(tmp_path / "a.png")
    records = [Record(a, "a.png", 1.0)]
    for name in ("b.png", "c.png"):
        records.append(Record(shutil.copy(a, tmp_path / name), name, 1.0))
    message = _refusal(*records, twins=(("a.png", "b.png"),))
    assert "1 fault\n" in message
    assert f"{tmp_path / 'c.png'}: the same bytes as {a}" in message
    check(Dataset("mine", tuple(records[:2]), twins=(("a.png", "b.png"),)))


def test_an_inspection_tells_sizes_and_counts_every_picture_readable_or_not(tmp_path, paint):
    shapes = [(40, 30), (20, 50), (40, 30)]
    records = [
        Record(paint(tmp_path / f"{n}.png", width=width, height=height, seed=n), f"{n}.png", 1.0)
        for n, (width, height) in enumerate(shapes)
    ]
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (60, 10)).save(turned, exif=exif)
    records += [Record(turned, "turned.jpg", 1.0), Record(tmp_path / "gone.png", "gone.png", 1.0)]
    told = []
    seen = inspect(Dataset("mine", tuple(records)), progress=lambda: told.append(1))
    assert seen.sizes == {(40, 30): 2, (20, 50): 1, (10, 60): 1}
    assert next(iter(seen.sizes)) == (40, 30)
    assert [fault.split(":")[0] for fault in seen.faults] == [str(tmp_path / "gone.png")]
    assert len(told) == 5


def test_alike_versions_of_one_reference_are_told_and_keep_nobody_from_training(tmp_path, paint):
    first = paint(tmp_path / "a.png", seed=1)
    twin = paint(tmp_path / "b.png", seed=1)
    other = paint(tmp_path / "c.png", seed=2)
    records = tuple(
        Record(path, path.name, float(mos), reference=reference)
        for mos, (path, reference) in enumerate([(first, "r"), (twin, "r"), (other, "s")])
    )
    check(Dataset("made", records))
    assert inspect(Dataset("made", records)).alike == (f"{twin}: the same bytes as {first}",)
    parted = (records[0], replace(records[1], reference="q"), records[2])
    with pytest.raises(DatasetError, match="the same bytes"):
        check(Dataset("made", parted))
