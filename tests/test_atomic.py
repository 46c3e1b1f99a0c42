import errno
import os

import pytest

from mpiqe.atomic import why_not_writable, write_atomic


def test_a_file_is_written_over_as_a_whole_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "a.png"
    for content in (b"first", b"the second"):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_atomic(path, b"first")

    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomic(path, b"the second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_said_with_the_file_that_did_not_fit(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.png'"):
        write_atomic(tmp_path / "a.png", b"first")


def test_a_place_that_cannot_be_written_is_told_beforehand(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("a file")
    assert why_not_writable(tmp_path / "new" / "folder") is None
    assert why_not_writable(tmp_path / "a.txt") is None
    assert why_not_writable(tmp_path / "a.txt" / "b") == f"{tmp_path / 'a.txt'} is no folder"
    monkeypatch.setattr("os.access", lambda *_: False)  # whoever runs this may be root
    assert why_not_writable(tmp_path / "new") == f"{tmp_path} may not be written"
