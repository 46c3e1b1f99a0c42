import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as photos_of_scikit_image
from typer.testing import CliRunner

from mpiqe import images
from mpiqe.cli.main import app
from mpiqe.data import read_csv
from mpiqe.data.synthesize import Made, plan, stand_in, synthesize
from mpiqe.data.synthetic import ALL_KINDS, FURTHER_KINDS, KINDS
from mpiqe.errors import ConfigError, DatasetError


@pytest.fixture
def clean(tmp_path: Path) -> list[Path]:
    """Three small photos on disk."""
    found = []
    for name in ("astronaut", "chelsea", "coffee"):
        path = tmp_path / f"{name}.png"
        Image.fromarray(getattr(photos_of_scikit_image, name)()[:64, :80]).save(path)
        found.append(path)
    return found


def _quiet(photo: Path, fault: str | None) -> None:
    assert fault is None


def test_the_whole_plan_of_a_photo_is_kadids_125_versions_and_the_clean_one() -> None:
    (row,) = plan(1, each=125, seed=0)
    assert row[0] == Made("I01.png", "I01.png", None, 0)
    names = [f"I01_{code:02d}_{level:02d}.png" for code in range(1, 26) for level in range(1, 6)]
    assert [item.name for item in row[1:]] == names
    assert plan(100, each=1, seed=0)[99][0].name == "I100.png"


def test_a_drawn_part_of_the_versions_depends_on_seed_and_photo_alone() -> None:
    first, second = plan(2, each=5, seed=1)
    assert len(first) == len(second) == 6
    assert plan(7, each=5, seed=1)[1] == second
    assert plan(2, each=5, seed=2) != [first, second]
    with pytest.raises(ConfigError, match="1 to 125"):
        plan(1, each=126, seed=0)


def test_the_stand_in_for_quality_falls_from_five_to_one() -> None:
    assert [stand_in(level) for level in range(6)] == pytest.approx([5, 4.2, 3.4, 2.6, 1.8, 1.0])


def test_the_set_reads_as_a_dataset_with_classes_and_references(tmp_path: Path, clean: list[Path]) -> None:
    assert synthesize(clean, tmp_path / "out", each=12, seed=3, progress=_quiet) == 39
    records = read_csv(tmp_path / "out" / "labels.csv").records
    assert len(records) == 39
    by_code = {kind.code: kind.distortion for kind in KINDS.values()}
    for record in records:
        parts = Path(record.name).stem.split("_")
        if len(parts) == 1:
            assert (record.mos, record.distortion) == (5.0, None)
        else:
            assert record.distortion == by_code[int(parts[1])]
            assert record.mos == pytest.approx(5 - 0.8 * int(parts[2]))
        assert record.reference == f"{parts[0]}.png"
    assert np.array_equal(images.read(tmp_path / "out" / "images" / "I02.png"), images.read(clean[1]))
    with (tmp_path / "out" / "dmos.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 36
    assert list(rows[0]) == ["dist_img", "ref_img", "dmos", "var"]


def test_a_stopped_run_goes_on_to_the_same_files(tmp_path: Path, clean: list[Path]) -> None:
    synthesize(clean, tmp_path / "straight", each=6, seed=0, progress=_quiet)
    synthesize(clean, tmp_path / "again", each=6, seed=0, progress=_quiet)
    lost = sorted((tmp_path / "again" / "images").iterdir())[4:9]
    for path in lost:
        path.unlink()
    (tmp_path / "again" / "labels.csv").unlink()
    synthesize(clean, tmp_path / "again", each=6, seed=0, progress=_quiet)
    for path in (tmp_path / "straight").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "straight")).read_bytes()


def test_a_folder_with_another_set_is_left_alone(tmp_path: Path, clean: list[Path]) -> None:
    synthesize(clean, tmp_path / "out", each=2, seed=0, progress=_quiet)
    with pytest.raises(ConfigError, match="another seed"):
        synthesize(clean, tmp_path / "out", each=2, seed=1, progress=_quiet)
    with pytest.raises(ConfigError, match="other photos"):
        synthesize(clean[:2], tmp_path / "out", each=2, seed=0, progress=_quiet)


def test_a_photo_that_cannot_be_read_is_told_and_left_out(tmp_path: Path, clean: list[Path]) -> None:
    clean[1].write_bytes(clean[1].read_bytes()[:300])
    faults: dict[str, str | None] = {}
    number = synthesize(
        clean, tmp_path / "out", each=2, seed=0, progress=lambda photo, fault: faults.update({photo.name: fault})
    )
    assert number == 6
    assert [name for name, fault in faults.items() if fault] == [clean[1].name]
    assert clean[1].name in str(faults[clean[1].name])
    with pytest.raises(DatasetError, match="none of the 1 photos"):
        synthesize(clean[1:2], tmp_path / "none", each=2, seed=0, progress=lambda *_: None)


def test_further_kinds_have_names_of_their_own_and_stay_out_of_kadids_table(tmp_path: Path) -> None:
    rows = plan(2, each=len(ALL_KINDS) * 5, seed=0, kinds=ALL_KINDS)
    names = [item.name for row in rows for item in row]
    assert len(names) == len(set(names)) == 2 * (1 + 5 * len(ALL_KINDS))
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(photo)
    synthesize([photo], tmp_path / "set", each=30, seed=0, kinds=FURTHER_KINDS, progress=lambda path, fault: None)
    labels = (tmp_path / "set" / "labels.csv").read_text().splitlines()
    assert len(labels) == 1 + 1 + 30
    assert sum(",JPEG compression," in line for line in labels) == 10  # twice and with full chroma, five levels each
    assert (tmp_path / "set" / "dmos.csv").read_text().splitlines() == ["dist_img,ref_img,dmos,var"]


def test_only_the_kinds_that_are_named_are_made_and_an_unknown_one_is_refused(
    tmp_path: Path, clean: list[Path]
) -> None:
    command = ["data", "synthesize", str(clean[0].parent), str(tmp_path / "set")]  # all 10 versions
    found = CliRunner().invoke(app, [*command, "--kind", "JPEG, twice", "--kind", "WebP"])
    assert found.exit_code == 0, found.output
    codes = {ALL_KINDS[kind].code for kind in ("JPEG, twice", "WebP")}
    made = [path.stem.split("_") for path in (tmp_path / "set" / "images").iterdir()]
    assert {int(parts[1]) for parts in made if len(parts) > 1} == codes
    assert len(made) == 3 + 3 * 10
    both = CliRunner().invoke(app, [*command, "--kind", "WebP", "--further"])
    assert (both.exit_code, "not both" in both.output) == (2, True)
    refused = CliRunner().invoke(app, [*command, "--kind", "JPG"])
    assert refused.exit_code == 2
    assert "no distortion 'JPG'; kinds are gaussian blur; " in refused.output
