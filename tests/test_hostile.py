import csv
import io
import subprocess
import sys
from contextlib import closing
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.processes import most_memory, readers_of
from tests.scoring.conftest import Brightness

from benchmarks import malformed
from mpiqe.errors import ImageError
from mpiqe.isolation.pool import Readers
from mpiqe.isolation.process import Cutting
from mpiqe.scoring.scorer import Scorer

WHOLE = dict(malformed.photos())
CUTTING = Cutting(size=32, count=2, mode="seeded", seed=0, max_pixels=200_000_000)
PROGRAM = [sys.executable, str(Path(__file__).parent / "cli" / "conftest.py")]
REFUSED = {  # what must not be scored, and a part of the reason
    "empty.webp": "empty file",
    "text.jpg": "not an image in a format that mpiqe reads",
    "postscript.jpg": "not an image in a format that mpiqe reads",
    "0x5.png": "cannot be decoded",
    "0x0.gif": "cannot be decoded",
    "claims-65000.png": "65000 x 65000 pixels are over the limit",
    "claims-65000.jpg": "65000 x 65000 pixels are over the limit",
    "claims-16000.webp": "16000 x 16000 pixels are over the limit",
    "lossless-16000.webp": "16000 x 16000 pixels are over the limit",
    "zTXt.png": "cannot be decoded",
    "self.tif": "",
    "strips-endless.tif": "cannot be decoded",
    "tile-huge.tif": "cannot be decoded",
}
SCORED = {"1x1.png", "300x1.jpg", "png-in.jpg", "jpeg-in.png", "gif-in.webp", *WHOLE}


@pytest.fixture(scope="module")
def readers():
    with closing(Readers(cutting=CUTTING, timeout=10)) as readers:
        yield readers


def score(folder, files):
    """The rows of files that each lie between two good photos, by name; the good ones must be as they are alone."""
    good = folder / "good.png"
    Image.linear_gradient("L").resize((60, 50)).save(good)
    scorer = Scorer(predictor=Brightness(), crops=2, workers=2, read_timeout=20)
    alone = scorer(good)

    def paths():
        for i, (name, content) in enumerate(files):
            path = folder / f"{i}-{name}"
            path.write_bytes(content)
            yield from (good, path)
        yield good

    rows = []
    for row in scorer.rows(paths()):
        rows.append(row)
        if sys.platform == "linux":
            most = max(map(most_memory, readers_of()), default=0)
            assert most < 1000, f"a reader has taken {most} MiB by {row.path}"
    assert all(row.score == alone for row in rows[::2])
    return {Path(row.path).name.partition("-")[2]: row for row in rows[1::2]}


def check(rows):
    for name, row in rows.items():
        assert (row.score is None) == (row.error is not None), name
        if row.error is not None:
            assert len(row.error) > 5, name
            assert row.error.isprintable(), name
            assert "took longer" not in row.error, name
            assert "Traceback" not in row.error, name


def test_odd_files_are_scored_or_refused_for_a_reason_and_harm_no_other(tmp_path):
    files = chain(WHOLE.items(), malformed.renamed(WHOLE), malformed.odd_shapes(), malformed.bombs())
    rows = score(tmp_path, chain(files, malformed.broken_tiffs()))
    check(rows)
    for name, part in REFUSED.items():
        assert rows[name].error is not None, name
        assert part in rows[name].error, name
    assert {name: rows[name].error for name in SCORED if rows[name].error} == {}


def test_files_that_are_cut_short_at_any_of_their_parts_harm_no_other(tmp_path):
    rows = score(tmp_path, malformed.truncated(WHOLE))
    check(rows)
    scored = {name for name, row in rows.items() if row.score}
    # What follows the picture may be missing: a second frame, an end mark.
    assert len(scored) < len(rows) / 4
    assert not {name for name in scored if name.partition("-cut-")[2].partition(".")[0] in {"0", "1"}}


def test_files_with_one_byte_turned_harm_no_other(tmp_path):
    check(score(tmp_path, list(malformed.damaged(WHOLE))[::4]))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(WHOLE)), flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 7)), min_size=1))
def test_flipped_bits_are_scored_or_refused(readers, name, flips):
    data = bytearray(WHOLE[name])
    for place, bit in flips:
        data[min(len(data) - 1, int(place * len(data)))] ^= 1 << bit
    reason = ""
    try:
        crops, (width, height), _ = readers.read(bytes(data))
        assert crops.shape == (2, 32, 32, 3)
        assert width > 0 < height
    except ImageError as error:
        reason = str(error)
    assert reason.isprintable()
    assert "the process that read it" not in reason
    assert "took longer" not in reason


def test_the_command_line_tells_one_line_for_each(tmp_path):
    names = [*WHOLE][::5]
    files = {**{n: WHOLE[n] for n in names}, **dict(malformed.renamed(WHOLE)), **dict(malformed.broken_tiffs())}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(
        [*PROGRAM, "score", str(tmp_path), "--format", "csv"], capture_output=True, check=False, timeout=60
    )
    rows = {Path(row["path"]).name: row for row in csv.DictReader(io.StringIO(done.stdout.decode()))}
    assert rows.keys() == files.keys()
    assert all(bool(row["score"]) != bool(row["error"]) for row in rows.values())
    assert all(rows[name]["score"] for name in names)
    assert done.returncode == 1
    assert done.stderr.decode().count("\n") == 1
    assert b"Traceback" not in done.stderr + done.stdout
