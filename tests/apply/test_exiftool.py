"""Sidecars as exiftool reads and rewrites them. MPIQE_REQUIRE_EXIFTOOL=1 (CI) makes its absence a failure."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mpiqe.apply.xmp import changed, read_packet

OURS = {
    "Score": "42.5",
    "Quality": "0.4",
    "Distortion": 'a "blur" & <more>',
    "Model": "mpiqe-embedded 4",
    "Rating": "3",
}


@pytest.fixture(scope="module")
def exiftool():
    program = shutil.which("exiftool")
    if program is None:
        reason = "exiftool is not installed: apt-get install libimage-exiftool-perl"
        if os.environ.get("MPIQE_REQUIRE_EXIFTOOL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)

    def run(*arguments):
        return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=True).stdout

    return run


def tags(exiftool, path: Path) -> dict[str, object]:
    (found,) = json.loads(exiftool("-j", "-G1", "-a", path))
    assert not any("Warning" in name or "Error" in name for name in found), found
    return found


@pytest.mark.parametrize("rating", [-1, 0, 1, 5])
def test_a_new_sidecar_has_the_rating_and_our_properties(exiftool, tmp_path, rating):
    path = tmp_path / "photo.jpg.xmp"
    path.write_bytes(changed(None, rating=rating, ours=OURS))
    found = tags(exiftool, path)
    assert found["XMP-xmp:Rating"] == rating
    assert {name: str(found[f"XMP-mpiqe:{name}"]) for name in OURS} == OURS


def test_tags_of_others_stay_and_ours_are_found_after_another_program_has_rewritten_the_sidecar(exiftool, tmp_path):
    path = tmp_path / "photo.xmp"
    exiftool("-XMP-dc:Subject=holiday", "-XMP-dc:Subject=Köln", "-XMP-xmp:Rating=2", "-XMP-dc:Title=a <b>", path)
    before = tags(exiftool, path)
    path.write_bytes(changed(read_packet(path.read_bytes()), rating=5, ours=OURS))
    after = tags(exiftool, path)
    for name, value in before.items():
        if name.startswith("XMP-dc"):
            assert after[name] == value, name
    assert after["XMP-xmp:Rating"] == 5
    assert after["XMP-mpiqe:Score"] == 42.5
    exiftool("-overwrite_original", "-XMP-dc:Title=another", path)  # it writes all anew, ours as elements
    packet = read_packet(path.read_bytes())
    assert (packet.rating, packet.ours) == (5, OURS)
    path.write_bytes(changed(packet, rating=-1, ours={"Score": "1.5"}))
    last = tags(exiftool, path)
    assert {name: value for name, value in last.items() if "mpiqe" in name} == {"XMP-mpiqe:Score": 1.5}
    assert (last["XMP-xmp:Rating"], last["XMP-dc:Title"]) == (-1, "another")
    assert last["XMP-dc:Subject"] == ["holiday", "Köln"]


def test_ratings_reach_the_photo_when_exiftool_copies_the_sidecar(exiftool, tmp_path):
    from PIL import Image

    photo = tmp_path / "photo.jpg"
    Image.new("RGB", (16, 16)).save(photo)
    (tmp_path / "photo.jpg.xmp").write_bytes(changed(None, rating=4, ours=OURS))
    exiftool("-overwrite_original", "-tagsFromFile", tmp_path / "photo.jpg.xmp", "-XMP-xmp:all", photo)
    assert tags(exiftool, photo)["XMP-xmp:Rating"] == 4
