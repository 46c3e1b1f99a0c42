import pytest

from mpiqe.data import Record, read_csv
from mpiqe.errors import DatasetError


@pytest.fixture
def photos(tmp_path, paint):
    for seed, name in enumerate(("a.png", "b.png", "sub/c.png")):
        paint(tmp_path / name, seed=seed)
    return tmp_path


def _refusal(file) -> str:
    with pytest.raises(DatasetError) as caught:
        read_csv(file)
    return str(caught.value)


def test_every_column_is_read(photos):
    file = photos / "mine.csv"
    file.write_text(
        "image,mos,scene,distortion,reference\n"
        "a.png,1.5,human|landscape,JPEG compression,church\n"
        "sub/c.png,-2,still_life,realistic noise,\n"
    )
    dataset = read_csv(file)
    assert dataset.name == "mine"
    assert dataset.records == (
        Record(photos / "a.png", "a.png", 1.5, ("human", "landscape"), "JPEG compression", "church"),
        Record(photos / "sub/c.png", "sub/c.png", -2.0, ("still-life",), "noise", None),
    )


def test_image_and_mos_are_enough(photos):
    file = photos / "mine.csv"
    file.write_text("mos,image\n1,a.png\n2,b.png\n")
    assert read_csv(file).records == (
        Record(photos / "a.png", "a.png", 1.0),
        Record(photos / "b.png", "b.png", 2.0),
    )


def test_empty_cells_are_not_labelled(photos):
    file = photos / "mine.csv"
    file.write_text("image,mos,scene,distortion,reference\na.png,1,,,\n")
    assert read_csv(file).records == (Record(photos / "a.png", "a.png", 1.0),)


def test_a_file_from_a_spreadsheet_on_windows_is_fine(photos):
    file = photos / "mine.csv"
    file.write_bytes('\ufeffimage,mos,scene\r\na.png, 1 ,"human | animal"\r\n\r\nb.png,2,\r\n'.encode())
    first, second = read_csv(file).records
    assert (first.mos, first.scenes) == (1.0, ("human", "animal"))
    assert second.name == "b.png"


def test_absolute_paths_and_detours_are_one_name(photos):
    file = photos / "mine.csv"
    file.write_text(f"image,mos\n{photos / 'a.png'},1\nsub/../b.png,2\n")
    assert [record.name for record in read_csv(file).records] == ["a.png", "b.png"]


def test_images_beside_the_folder_keep_a_name_without_the_machines_own_path(photos):
    file = photos / "tables" / "mine.csv"
    file.parent.mkdir()
    file.write_text("image,mos\n../a.png,1\n")
    (record,) = read_csv(file).records
    assert record.name == "../a.png"
    assert record.image.is_file()


def test_an_absolute_path_elsewhere_is_its_own_name(photos):
    file = photos / "tables" / "mine.csv"
    file.parent.mkdir()
    file.write_text(f"image,mos\n{photos / 'a.png'},1\n")
    (record,) = read_csv(file).records
    assert record.name == (photos / "a.png").as_posix()
    assert record.image == photos / "a.png"


def test_all_faults_come_in_one_message_with_their_lines(photos):
    (photos / "broken.png").write_bytes(b"no picture")
    file = photos / "mine.csv"
    file.write_text(
        "image,mos,scene,distortion\n"
        "a.png,high,human,blur\n"
        "b.png,inf,castle|human,fog\n"
        "\n"
        "gone.png,3,,\n"
        "./a.png,4,,\n"
        "a.png,5\n"
        ",6,,\n"
        ",7,,\n"
        "sub/c.png,7,human|human,\n"
        "broken.png,8,,\n"
    )
    message = _refusal(file)
    for fault in (
        "11 faults",
        f"{file}:2: mos 'high' is not a number",
        f"{file}:3: mos 'inf' is not finite",
        f"{file}:3: 'castle' is no scene",
        f"{file}:3: 'fog' is no distortion",
        f"{file}:5: no image 'gone.png' under {photos}",
        f"{file}:6: a.png again, after line 2",
        f"{file}:7: 2 cells where the header has 4",
        f"{file}:8: no image path",
        f"{file}:9: no image path",
        f"{file}:10: scene 'human|human' names a scene twice",
        f"{photos / 'broken.png'}: not an image",
    ):
        assert fault in message


def test_a_row_that_spans_lines_does_not_shift_the_numbers(photos):
    file = photos / "mine.csv"
    file.write_text('image,mos,reference\na.png,1,"two\nlines"\nb.png,x,\n')
    assert f"{file}:4: mos 'x'" in _refusal(file)


def test_a_thousand_faults_are_shown_and_the_rest_counted(photos):
    file = photos / "mine.csv"
    file.write_text("image,mos\n" + "".join(f"{number}.png,1\n" for number in range(1010)))
    message = _refusal(file)
    assert "1010 faults" in message
    assert message.endswith("... and 10 more")
    assert len(message.splitlines()) == 1002


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("image,mos,quality", "unknown column 'quality'"),
        ("image;mos", "unknown column 'image;mos'"),
        ("image", "no column 'mos'"),
        ("image,mos,mos", "column 'mos' more than once"),
        ("", "no column 'image'"),
    ],
)
def test_a_header_that_is_not_ours_is_refused_with_the_columns_that_are(tmp_path, header, fault):
    file = tmp_path / "mine.csv"
    file.write_text(f"{header}\n")
    message = _refusal(file)
    assert fault in message
    assert "columns are image,mos,scene,distortion,reference" in message


def test_a_table_without_rows_is_refused(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("image,mos\n")
    assert "a header but no rows" in _refusal(file)


def test_a_missing_table_is_named(tmp_path):
    assert str(tmp_path / "none.csv") in _refusal(tmp_path / "none.csv")


def test_another_encoding_is_named(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_bytes("image,mos\nf\u00fcnf.png,5\n".encode("latin-1"))
    assert "save it as UTF-8" in _refusal(file)


def test_an_unclosed_quote_is_named_with_its_line(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text('image,mos\n"a.png,5\n')
    assert f"{file}:2: unexpected end of data" in _refusal(file)
