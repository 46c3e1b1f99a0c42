import os

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
        f"{file}:5: no image 'gone.png' under {photos}; paths are relative to the table's folder, or to --root",
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
        ("image", "no column 'mos' but 'image'"),
        ("image,mos,mos", "column 'mos' more than once"),
        ("image,mos,MOS", "'mos' and 'MOS' could each be the column 'mos'; choose with --mos-column NAME"),
        (
            "filename,path,mos",
            "'filename' and 'path' could each be the column 'image'; choose with --image-column NAME",
        ),
        ("image,dmos", "DMOS is not taken for MOS, since lower is better in most"),
        ("", "no column 'image' but an empty line"),
        ("a.png,3.5", "no column 'image' but 'a.png', '3.5'"),
    ],
)
def test_a_header_that_is_not_ours_is_refused_with_the_columns_that_are(tmp_path, header, fault):
    file = tmp_path / "mine.csv"
    file.write_text(f"{header}\n")
    message = _refusal(file)
    assert fault in message
    assert "the first line names the columns: image,mos,scene,distortion,reference" in message
    assert "--image-column NAME, --mos-column NAME" in message


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


@pytest.mark.parametrize(
    "text",
    [
        "filename,MOS\na.png,1.5\nb.png,2\n",
        "file_name,mos\na.png,1.5\nb.png,2\n",  # Hugging Face's metadata.csv
        ",image_name,MOS,std\n0,a.png,1.5,0.1\n1,b.png,2,0.2\n",  # pandas with its index
        "Image name;MOS\na.png;1,5\nb.png;2\n",  # a spreadsheet where the decimal point is a comma
        "path\tScore\tvotes\na.png\t1.5\t9\nb.png\t2\t8\n",
        "img_name|rating\na.png|1.5\nb.png|2\n",
    ],
)
def test_tables_as_other_tools_write_them_are_understood(photos, text):
    file = photos / "ratings.csv"
    file.write_text(text)
    assert [(record.name, record.mos) for record in read_csv(file).records] == [("a.png", 1.5), ("b.png", 2)]


def test_named_columns_are_taken_before_the_usual_names(photos):
    file = photos / "ratings.csv"
    file.write_text("image,where,mos,dmos\nx,a.png,1,9\ny,b.png,2,8\n")
    dataset = read_csv(file, image_column="where", mos_column="dmos")
    assert [(record.name, record.mos) for record in dataset.records] == [("a.png", 9), ("b.png", 8)]
    with pytest.raises(DatasetError, match=r"no column 'wher' but 'image', 'where', 'mos', 'dmos'"):
        read_csv(file, image_column="wher")
    with pytest.raises(DatasetError, match="column 'mos' cannot be both image and mos"):
        read_csv(file, image_column="mos")


def test_what_a_table_has_besides_is_passed_over_and_said(photos):
    file = photos / "ratings.csv"
    file.write_text(",filename,mos,camera\n0,a.png,1,x\n1,b.png,2,y\n")
    assert read_csv(file).notes == ("columns: image is 'filename'", "columns that are not used: (no name), camera")
    file.write_text("image,mos,reference\na.png,1,x\nb.png,2,y\n")
    assert read_csv(file).notes == ()


def test_a_decimal_comma_is_no_number_where_commas_separate(photos):
    file = photos / "ratings.csv"
    file.write_text('image,mos\na.png,"1,5"\n')
    assert "mos '1,5' is not a number" in _refusal(file)


def test_images_may_lie_in_another_folder(photos, tmp_path):
    file = tmp_path / "elsewhere" / "ratings.csv"
    file.parent.mkdir()
    file.write_text("image,mos\na.png,1\nsub/c.png,2\n")
    assert [record.image for record in read_csv(file, root=photos).records] == [photos / "a.png", photos / "sub/c.png"]
    with pytest.raises(DatasetError, match=r"no image 'a.png' under .*sub; that is --root"):
        read_csv(file, root=photos / "sub")


def test_a_name_that_no_file_system_takes_is_a_fault_of_its_line(photos):
    (photos / "odd.csv").write_text(f"image,mos\n{'a' * 5000},3\n")
    with pytest.raises(DatasetError, match=r"odd\.csv:2: no image 'aaa"):
        read_csv(photos / "odd.csv")


def test_a_file_of_one_endless_line_is_one_sentence(photos):
    (photos / "made.json").write_text("[" + "1" * 200_000 + "]")
    with pytest.raises(DatasetError, match=r"made\.json:1: field larger than field limit .*; is it a CSV file"):
        read_csv(photos / "made.json")


def test_an_underscore_is_no_part_of_a_number(photos):
    file = photos / "ratings.csv"
    file.write_text("image,mos\na.png,3_5\nb.png,2\n")
    assert "ratings.csv:2: mos '3_5' is not a number" in _refusal(file)


@pytest.mark.skipif(os.sep != "/", reason="\\ separates folders here")
def test_paths_as_windows_writes_them_are_told_to_be_written_otherwise(photos):
    file = photos / "ratings.csv"
    file.write_text("image,mos\na.png,3\nsub\\c.png,2\n")
    assert "write / between folders, not \\" in _refusal(file)
