"""``mpiqe data check`` and ``describe`` on small real files: CSIQ in its layout with tiny pictures, and tables."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data import release_folders
from typer.testing import CliRunner

from mpiqe.cli.main import app

WORDS = {"awgn": "white noise", "jpeg": "jpeg compression", "jpeg2000": "jpeg2000 compression", "blur": "gaussian blur"}
ALL_FILE = "IQA_Database/CSIQ/splits2/csiq_all_clip.txt"


def _mpiqe(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)], env={"COLUMNS": "200"})


def _paint(path: Path, *, seed: int, width: int = 8, height: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def whole_csiq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CSIQ/ and IQA_Database/: 866 pictures of 8 x 8, all labelled."""
    root = tmp_path_factory.mktemp("whole")
    rows = release_folders.made_csiq()
    release = release_folders.csiq(root, rows)
    lines = []
    for seed, (name, (_, _, _, dmos)) in enumerate(zip(release_folders.csiq_names(rows), rows, strict=True)):
        _paint(release / name, seed=seed)
        folder = name.split("/")[1]
        scenes = ("human", "still_life") if seed % 2 else ("animal", "invalid")
        lines.append("\t".join([name, f"{1 - dmos:.6f}", WORDS.get(folder, folder), *scenes, "invalid"]))
    release_folders.liqe_files(root, "CSIQ", "csiq", lines)
    return root


@pytest.fixture
def csiq(whole_csiq: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole_csiq, tmp_path / "copy"))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three pictures of 300 x 240 and one that is smaller than a crop."""
    for seed in range(3):
        _paint(tmp_path / f"{seed}.png", seed=seed, width=300, height=240)
    _paint(tmp_path / "small.png", seed=3, width=300, height=223)
    file = tmp_path / "mine.csv"
    file.write_text(
        "image,mos,scene,distortion,reference\n"
        "0.png,1,human,blur,x\n1.png,2,human|animal,blur,y\n2.png,4,,,z\nsmall.png,9,,noise,\n"
    )
    return file


def _faults(done) -> list[str]:
    """The lines of the list, which must be the last thing printed and as long as it says."""
    _, count, listed = re.split(r"(?:^|\n)([\d,]+) faults?\n", done.stdout)
    faults = listed.splitlines()
    assert int(count.replace(",", "")) == len(faults)
    return [fault.removeprefix("  ") for fault in faults]


def test_a_whole_release_has_no_faults_and_its_figures_stand_beside_the_published_ones(whole_csiq: Path) -> None:
    done = _mpiqe("check", "csiq", "--root", whole_csiq, "--labels", whole_csiq)
    assert done.exit_code == 0, done.output
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    for line in (
        "images       866 of 866 in the release",
        "references   30 of 30 in the release",
        "scenes       866 of 866 images labelled",
        "distortions  866 of 866 images labelled",
        "sizes        866 of 8 x 8 (the release: 512x512)",
        "small        866 with a side under 224 pixels, enlarged before a crop is cut",
    ):
        assert line in lines
    assert (lines[0], lines[-1]) == ("CSIQ", "no faults")
    assert "awgn 150/150, blur 150/150, contrast 116/116" in done.stdout
    assert done.stderr == ""


def test_every_fault_of_labels_and_pictures_is_in_one_list(csiq: Path) -> None:
    blur, noise = csiq / "CSIQ/dst_imgs/blur", csiq / "CSIQ/dst_imgs/awgn"
    gone, cut, text, twin = (blur / f"1600.BLUR.{level}.png" for level in range(1, 5))
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-100])
    text.write_text("no picture")
    shutil.copy(noise / "1600.AWGN.1.png", twin)
    lines = (csiq / ALL_FILE).read_text().splitlines()
    lines[0] = lines[0].replace("white noise", "fog")
    lines[1] = lines[1].replace("\t0.", "\t7.")
    (csiq / ALL_FILE).write_text("\n".join(lines))
    done = _mpiqe("check", "csiq", "--root", csiq, "--labels", csiq)
    assert done.exit_code == 1, done.output
    faults = _faults(done)
    for start, words in (
        (f"{csiq / ALL_FILE}:1: ", "'fog' is no distortion"),
        (f"{gone}: ", "No such file"),
        (f"{cut}: ", ""),
        (f"{text}: ", "not an image"),
        (f"{twin}: ", f"the same bytes as {noise / '1600.AWGN.1.png'}"),
    ):
        assert len([fault for fault in faults if fault.startswith(start) and words in fault]) == 1, start
    assert "images       865 of 866 in the release, 1 rated but missing" in done.stdout
    assert "blur 149/150" in done.stdout
    assert "LIQE's labels and splits were left out of what follows" in done.stdout
    assert "sizes        863 of 8 x 8" in done.stdout


def test_a_release_with_another_count_is_listed_and_its_pictures_are_said_to_be_unseen(tmp_path: Path) -> None:
    release_folders.csiq(tmp_path, release_folders.made_csiq()[:-2])
    done = _mpiqe("check", "csiq", "--root", tmp_path)
    assert done.exit_code == 1
    (fault,) = _faults(done)
    assert "864 images, the release has 866" in fault
    assert "the images were not checked" in done.stdout
    assert "sizes" not in done.stdout


def test_a_table_of_ones_own_is_checked_too(table: Path) -> None:
    done = _mpiqe("check", f"csv:{table}")
    assert done.exit_code == 0, done.output
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0] == f"csv:{table}"
    assert "images       4" in lines
    assert "references   3" in lines
    assert "distortions  3 of 4 images labelled" in lines
    assert "sizes        3 of 300 x 240, 1 of 300 x 223" in lines
    assert "small        1 with a side under 224 pixels, enlarged before a crop is cut" in lines
    assert lines[-1] == "no faults"


def test_all_faults_of_a_table_and_its_pictures_come_in_one_run(table: Path) -> None:
    folder = table.parent
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:-900])
    shutil.copy(folder / "0.png", folder / "2.png")
    done = _mpiqe("check", f"csv:{table}")
    assert done.exit_code == 1
    cut, same = _faults(done)
    assert cut.startswith(f"{folder / '1.png'}: ")
    assert same == f"{folder / '2.png'}: the same bytes as {folder / '0.png'}"
    table.write_text(table.read_text() + "gone.png,1,,,\n0.png,high,castle,,\n")
    done = _mpiqe("check", f"csv:{table}")
    assert done.exit_code == 1
    faults = _faults(done)
    assert {cut, same} < set(faults)
    assert len(faults) == 6
    assert "only faults of its rows and images are listed" in done.stdout


@pytest.mark.parametrize("command", ["check", "describe"])
@pytest.mark.parametrize("arguments", [("imagenet",), ("livec",), ("csv:mine.csv", "--labels", "."), ("--nonsense",)])
def test_what_cannot_be_meant_has_exit_status_two(command: str, arguments: tuple[str, ...]) -> None:
    done = _mpiqe(command, *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""


def test_a_description_as_json_is_one_object_with_all_figures(table: Path) -> None:
    done = _mpiqe("describe", f"csv:{table}", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {
        "name": "mine",
        "title": "mine",
        "scale": None,
        "rated": 4,
        "images": {"found": 4, "released": None},
        "parts": {},
        "references": {"found": 3, "released": None},
        "mos": {"low": 1, "high": 9, "mean": 4, "median": 3, "deviation": pytest.approx(np.std([1, 2, 4, 9]))},
        "scenes": {
            "classes": {"human": {"images": 2, "mean_mos": 1.5}, "animal": {"images": 1, "mean_mos": 2}},
            "labelled": 2,
            "unlabelled": 2,
        },
        "distortions": {
            "classes": {"blur": {"images": 2, "mean_mos": 1.5}, "noise": {"images": 1, "mean_mos": 9}},
            "labelled": 3,
            "unlabelled": 1,
        },
        "splits": {"whose": "mpiqe", "train": [2, 2], "val": [1, 1], "test": [1, 1]},
    }


def test_a_description_needs_no_readable_picture_and_says_whose_splits_there_are(csiq: Path) -> None:
    (csiq / "CSIQ/dst_imgs/blur/1600.BLUR.1.png").write_bytes(b"no picture")
    done = _mpiqe("describe", "csiq", "--root", csiq, "--labels", csiq)
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for line in (
        "images 866 of 866 in the release",
        "released as DMOS (csiq.DMOS.xlsx), 0 to 1, lower is better",
        "scenes (an image may have several)",
        "noise 300 34.6% 0.535",  # two of the six types, 150 each; 1 - mean DMOS
        "no label 0 0.0%",
    ):
        assert line in lines
    assert [line for line in lines if line.startswith("splits LIQE's ten: 519 to 520 train, 173 to 174 val, 173")]
    unlabelled = _mpiqe("describe", "csiq", "--root", csiq)
    assert "splits       mpiqe's ten:" in unlabelled.stdout
    assert "scenes (" not in unlabelled.stdout


def test_the_picture_is_drawn_and_not_blank(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs mpiqe[plots]")
    done = _mpiqe("describe", f"csv:{table}", "--out", tmp_path / "mine.png")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == str(tmp_path / "mine.png")
    with Image.open(tmp_path / "mine.png") as picture:
        colours = picture.convert("RGB").getcolors(1 << 24)
    assert len(colours) > 50
    assert max(count for count, _ in colours) < 0.9 * 1600 * picture.size[1]
    done = _mpiqe("describe", f"csv:{table}", "--json", "--out", tmp_path / "mine.png")
    assert json.loads(done.stdout)["rated"] == 4
    assert done.stderr == f"{tmp_path / 'mine.png'}\n"


@pytest.mark.parametrize(("name", "words"), [("mine.gif", "must end in .png"), ("no/mine.png", "there is no folder")])
def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_read(
    name: str, words: str, tmp_path: Path
) -> None:
    done = _mpiqe("describe", f"csv:{tmp_path / 'none.csv'}", "--out", tmp_path / name)
    assert done.exit_code == 2
    assert words in done.stderr


def test_without_matplotlib_figures_are_printed_and_a_picture_is_refused(
    table: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert _mpiqe("describe", f"csv:{table}").exit_code == 0
    done = _mpiqe("describe", f"csv:{table}", "--out", tmp_path / "mine.png")
    assert done.exit_code == 2
    assert "pip install 'mpiqe[plots]'" in done.stderr


def test_a_set_of_no_photo_is_refused(tmp_path: Path) -> None:
    done = _mpiqe("synthesize", tmp_path, tmp_path / "made", "--count", "-1")
    assert (done.exit_code, done.stderr) == (2, "mpiqe: --count -1: must be 1 or more\n")
    assert not (tmp_path / "made").exists()
