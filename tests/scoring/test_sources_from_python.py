"""What a Python caller gives a scorer: open files, paths that stand for several, batches, columns of a table."""

import io
import tarfile
import threading
import zipfile
import zlib
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mpiqe
from mpiqe.errors import ConfigError, ImageError
from mpiqe.images import read
from mpiqe.sources.photo import Photo


@pytest.fixture
def server(tmp_path):
    """A server on this machine with the photos in its folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def scored(rows):
    return {row.path: row.score for row in rows}


def test_an_open_file_and_a_bytesio_are_one_photo(make_scorer, photos):
    scorer = make_scorer()
    expected = scorer(photos[3])
    written = io.BytesIO()
    written.write(Path(photos[3]).read_bytes())  # its position is at the end, as after Image.save
    with open(photos[3], "rb") as file, open(photos[3], "rb", buffering=0) as raw:
        assert scorer(file) == scorer(raw) == scorer(written) == scorer(written) == expected
        assert scorer([file, written]) == [expected, expected]
        assert [(row.path, row.score) for row in scorer.rows(file)] == [(photos[3], expected)]
        assert [row.score for row in scorer.rows([written, file, raw])] == [expected] * 3
    assert scorer(bytearray(written.getvalue())) == scorer(memoryview(written.getvalue())) == expected


def test_a_file_that_is_closed_after_it_was_given_was_read_before(make_scorer, photos):
    def opened():
        for path in photos:
            with open(path, "rb") as file:
                yield file

    scorer = make_scorer(workers=4)
    assert [row.score for row in scorer.rows(opened())] == scorer(photos)


def test_an_open_file_that_cannot_be_read_costs_its_row_and_says_why(make_scorer, photos, tmp_path):
    closed = io.BytesIO()
    closed.close()
    text = open(photos[0])  # noqa: SIM115
    words = io.StringIO("no photo")
    writing = open(tmp_path / "new.jpg", "wb")  # noqa: SIM115
    with text, writing:
        rows = list(make_scorer().rows([closed, text, words, writing, photos[1]]))
    assert "closed" in rows[0].error
    assert (rows[1].path, rows[1].error) == (photos[0], "the file is opened as text; open it as 'rb'")
    assert "gives str and not bytes" in rows[2].error
    assert "cannot be read" in rows[3].error
    assert rows[4].score
    with pytest.raises(ImageError, match="gives str"):
        make_scorer()(io.StringIO("no photo"))


class Failing(io.RawIOBase):
    """An open file whose library raises what it likes: a member of an archive, a packed file, an upload."""

    def __init__(self, error):
        self.error = error

    def readable(self):
        return True

    def readinto(self, _):
        raise self.error


@pytest.mark.parametrize(
    "error", [EOFError("ends early"), zlib.error("bad block"), zipfile.BadZipFile("bad CRC"), tarfile.ReadError("x")]
)
def test_whatever_an_open_file_raises_costs_its_row_alone(make_scorer, photos, error):
    rows = list(make_scorer().rows([Failing(error), photos[1]]))
    assert rows[0].error.startswith("the open file cannot be read: ")
    assert rows[1].score
    with pytest.raises(ImageError, match="the open file cannot be read"):
        make_scorer()(Failing(error))


@pytest.mark.parametrize("several", [False, True])
def test_whatever_fetching_or_naming_a_photo_raises_costs_its_row_alone(make_scorer, photos, several):
    """64 bits are more than can be sought, a lone surrogate has no bytes, and a file name may be anything in memory."""
    picture = Image.new("RGB", (60, 40))
    picture.filename = 3
    scorer = make_scorer()
    failing = Photo("far.jpg", partial(fail, OverflowError("too large to convert")))
    odd = [failing, "\ud800.jpg", "a\0b.jpg", "\ud800/*.jpg", "http://\ud800/x.jpg", Path("\udcff\ud8ff")]
    for source in odd:
        rows = list(scorer.rows([source, picture, photos[1]] if several else [source]))
        assert rows[0].score is None, source
        assert rows[0].error, source
        assert all(row.score for row in rows[1:]), source
        with pytest.raises(ImageError):
            scorer([source, photos[1]] if several else source)
    assert scorer(picture)
    assert "OverflowError: too large to convert" in next(iter(scorer.rows(failing))).error


def fail(error):
    raise error


def test_where_no_process_can_be_started_is_told_from_a_photo_that_cannot_be_read(make_scorer, photos, monkeypatch):
    monkeypatch.setattr("mpiqe.scoring.scorer.Readers.read", lambda *_: fail(ConfigError("no process")))
    with pytest.raises(ConfigError, match="no process"):
        list(make_scorer().rows(photos[:2]))


def test_an_endless_file_is_refused_and_not_read_to_its_end(make_scorer, monkeypatch):
    class Endless(io.RawIOBase):
        def readinto(self, buffer):
            buffer[:] = bytes(len(buffer))
            return len(buffer)

    monkeypatch.setattr("mpiqe.decoding.FILE_BYTES", 1 << 20)
    with pytest.raises(ImageError, match=r"over 1048656 bytes.*raise max_pixels"):
        make_scorer(max_pixels=10)(Endless())


def test_a_str_given_to_rows_is_one_path_and_no_letters(make_scorer, photos):
    scorer = make_scorer()
    assert scored(scorer.rows(photos[2])) == {photos[2]: scorer(photos[2])}
    assert scored(scorer.rows(Path(photos[2]))) == {photos[2]: scorer(photos[2])}


def test_folders_patterns_lists_and_archives_have_a_row_for_each_photo(make_scorer, photos, tmp_path):
    scorer = make_scorer()
    expected = {path: scorer(path) for path in photos}
    assert scored(scorer.rows(str(tmp_path))) == expected
    assert scored(scorer.rows(tmp_path)) == expected
    assert scored(scorer.rows(f"{tmp_path}/photo?.png")) == expected
    assert scored(scorer.rows(f"{tmp_path}/photo{{3,4}}.png")) == {path: expected[path] for path in photos[3:5]}
    (tmp_path / "list").write_text("\n".join(photos[:2]))
    assert scored(scorer.rows([f"@{tmp_path / 'list'}", photos[9]])) == {
        path: expected[path] for path in (*photos[:2], photos[9])
    }
    with tarfile.open(tmp_path / "some.tar", "w") as archive:
        archive.add(photos[5], "five.png")
    name = f"{tmp_path / 'some.tar'}::five.png"
    assert scored(scorer.rows(f"{tmp_path}/some.tar")) == {name: expected[photos[5]]}
    assert [row.error for row in scorer.rows(["nothing-*.png"])] == ["nothing matches this pattern"]


def test_an_address_is_one_photo_in_a_call_and_in_rows(make_scorer, photos, server):
    scorer = make_scorer()
    url = f"{server}/photo4.png"
    expected = scorer(photos[4])
    assert scorer(url) == expected
    assert scorer([photos[4], url]) == [expected, expected]
    assert scored(scorer.rows(url)) == {url: expected}
    with pytest.raises(ImageError, match=r"nothing\.png: .*404"):
        scorer(f"{server}/nothing.png")
    with pytest.raises(ImageError, match="--allow-scheme ftp"):
        scorer("ftp://127.0.0.1/a.png")


@pytest.mark.parametrize("kind", ["folder", "archive", "pattern", "list"])
def test_what_stands_for_several_photos_is_not_one_and_the_error_says_what_takes_it(make_scorer, tmp_path, kind):
    (tmp_path / "a.tar").touch()
    path = {"folder": tmp_path, "archive": tmp_path / "a.tar", "pattern": tmp_path / "*.png", "list": "@list"}[kind]
    with pytest.raises(ImageError, match=r"scorer\.rows\('.*'\)"):
        make_scorer()(str(path))


def test_a_name_with_signs_of_a_pattern_is_a_file_where_there_is_one(make_scorer, photos, tmp_path):
    odd = tmp_path / "photo[1]{a,b}.png"
    odd.write_bytes(Path(photos[0]).read_bytes())
    scorer = make_scorer()
    assert scored(scorer.rows(str(odd))) == {str(odd): scorer(photos[0])}
    assert scorer(str(odd)) == scorer(photos[0])


def test_a_batch_of_pixels_is_as_many_photos(make_scorer, photos):
    scorer = make_scorer()
    pixels = np.stack([read(photos[4])] * 2 + [255 - read(photos[4])])
    expected = scorer(list(pixels))
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    for batch in (planes, planes.numpy(), planes / 255, (planes / 255).double().numpy(), pixels):
        assert scorer(batch) == expected
        assert [row.score for row in scorer.rows(batch)] == expected
    assert scorer(planes[:1]) == expected[:1]
    assert scorer(planes[0]) == scorer(planes[0].numpy()) == expected[0]
    assert scorer(planes[:0]) == []
    for wrong in (torch.zeros(2, 1, 32, 32), np.zeros((2, 4, 32, 32)), np.full((2, 3, 32, 32), 7.0)):
        with pytest.raises(ImageError, match="must"):
            scorer(wrong)


def test_a_column_of_paths_is_as_many_photos(make_scorer, photos):
    scorer = make_scorer()
    expected = scorer(photos[:3])
    assert scorer(np.array(photos[:3])) == scorer(np.array(photos[:3], dtype=object)) == expected
    assert [row.score for row in scorer.rows(np.array(photos[:3]))] == expected


def test_a_score_is_a_number(make_scorer, photos):
    score = make_scorer()(photos[0])
    assert float(score) == score.score
    assert np.array([score], dtype=float).tolist() == [score.score]


def test_an_open_file_and_an_address_are_explained(photos, server):
    scorer = mpiqe.load(runtime="onnx", crops=2)
    expected = mpiqe.explain(scorer, photos[9])
    with open(photos[9], "rb") as file:
        for source in (file, f"{server}/photo9.png"):
            explanation = mpiqe.explain(scorer, source)
            assert explanation.score == expected.score
            assert np.array_equal(explanation.attention_map, expected.attention_map)
