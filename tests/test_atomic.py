import pytest

from mpiqe.atomic import write_atomic


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
