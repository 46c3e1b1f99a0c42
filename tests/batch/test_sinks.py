import csv
import dataclasses
import io
import json
import time

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from mpiqe.batch.parquet_sink import ParquetSink, parts_folder
from mpiqe.batch.sinks import COLUMNS, CsvSink, JsonLinesSink, TableSink, decode_name
from mpiqe.intervals import IntervalModel
from mpiqe.runtimes.base import Scale
from mpiqe.scoring.score import Row, Score

GOOD = Row(
    "photos/a, b.jpg",
    Score(
        score=200.12345678,
        spread=3.5,
        scene={"night": 0.25, "day": 0.75},
        distortion={"dull": 1 / 3, "red-eyed": 2 / 3, "none": 0.0},
        size=(4000, 3000),
        quality=0.78479836,
    ),
    None,
)
BAD = Row("photos/broken.jpg", None, "empty file")


class Watched(io.StringIO):
    """Knows what had been flushed when."""

    def __init__(self):
        super().__init__()
        self.flushed = ""

    def flush(self):
        self.flushed = self.getvalue()


def test_json_lines_have_the_agreed_keys_in_order():
    stream = io.StringIO()
    sink = JsonLinesSink(stream)
    sink.write(GOOD)
    sink.write(BAD)
    good, bad = map(json.loads, stream.getvalue().splitlines())
    assert list(good) == list(bad) == ["path", "score", "quality", "spread", "scene", "distortion", "width",
                                       "height", "interval_low", "interval_high", "error"]  # fmt: skip
    assert good == {
        "path": "photos/a, b.jpg",
        "score": 200.123457,
        "quality": 0.784798,
        "spread": 3.5,
        "scene": {"night": 0.25, "day": 0.75},
        "distortion": {"dull": 0.333333, "red-eyed": 0.666667, "none": 0.0},
        "width": 4000,
        "height": 3000,
        "interval_low": None,
        "interval_high": None,
        "error": None,
    }
    assert bad == dict.fromkeys(COLUMNS) | {"path": "photos/broken.jpg", "error": "empty file"}


def test_csv_has_the_same_columns_with_the_most_probable_names():
    stream = io.StringIO()
    sink = CsvSink(stream)
    sink.write(GOOD)
    sink.write(BAD)
    assert stream.getvalue() == (
        "path,score,quality,spread,scene,distortion,width,height,interval_low,interval_high,error\n"
        '"photos/a, b.jpg",200.123457,0.784798,3.5,day,red-eyed,4000,3000,,,\n'
        "photos/broken.jpg,,,,,,,,,,empty file\n"
    )
    assert next(csv.DictReader(io.StringIO(stream.getvalue())))["path"] == "photos/a, b.jpg"


def test_a_model_without_scenes_leaves_them_empty():
    row = Row("a.jpg", Score(score=1.0, spread=0.0, scene={}, distortion={}, size=(1, 1)), None)
    stream = io.StringIO()
    JsonLinesSink(stream).write(row)
    assert json.loads(stream.getvalue())["scene"] == {}
    stream = io.StringIO()
    CsvSink(stream).write(row)
    assert stream.getvalue().splitlines()[1] == "a.jpg,1.0,,0.0,,,1,1,,,"


@pytest.mark.parametrize("kind", [JsonLinesSink, CsvSink])
def test_every_row_is_flushed(kind):
    stream = Watched()
    sink = kind(stream)
    for row in (GOOD, BAD):
        sink.write(row)
        assert stream.flushed == stream.getvalue()
        assert row.path in stream.flushed


def test_any_path_is_one_line_of_ascii_json():
    stream = io.StringIO()
    JsonLinesSink(stream).write(Row("caf\udce9\n\u2028é.jpg", None, "empty file"))
    assert stream.getvalue().isascii()
    assert stream.getvalue().count("\n") == 1
    assert decode_name(json.loads(stream.getvalue())["path"]) == "caf\udce9\n\u2028é.jpg"


def table(brightness, *rows, crops=None, **options):
    stream = Watched()
    sink = TableSink(Console(file=stream, highlight=False, **options), brightness, crops=crops)
    for row in rows:
        sink.write(row)
    assert stream.flushed == stream.getvalue()
    return stream.getvalue().splitlines()


def test_one_crop_has_no_column_of_its_spread(brightness):
    assert "spread" in table(brightness, GOOD, crops=2)[2]
    head, row = table(brightness, GOOD, crops=1)[2:]
    assert "spread" not in head
    assert "±" not in row


def test_the_table_says_what_its_numbers_mean(brightness):
    lines = table(brightness, GOOD)
    assert lines[0] == "grey levels, about 0 to 255, higher is better"
    # 200.1 of 255 fills eight of ten cells
    assert lines[2].split() == ["score", "spread", "scene", "distortion", "size", "photo"]
    assert lines[3].split() == [
        "200.1",
        "━━━━━━━━──",
        "±3.5",
        "day",
        "75%",
        "red-eyed",
        "67%",
        "4000x3000",
        "photos/a,",
        "b.jpg",
    ]


def test_the_columns_of_the_table_line_up(brightness):
    low = Row("low", Score(score=9.0, spread=11.0, scene={"day": 1.0}, distortion={"dull": 1.0}, size=(8, 8)), None)
    lines = table(brightness, GOOD, low)
    assert lines[2].index("photo") == lines[3].index("photos/") == lines[4].index("low")
    assert lines[3].index(".1") == lines[4].index(".0")  # decimal points stand below each other
    assert lines[2].index("scene") == lines[3].index("day") == lines[4].index("day")


def test_a_failed_row_says_why_in_red(brightness):
    assert table(brightness, BAD)[3].split() == ["failed", "photos/broken.jpg:", "empty", "file"]
    line = table(brightness, BAD, force_terminal=True, color_system="standard")[3]
    assert "\x1b[31mphotos/broken.jpg: empty file\x1b[0m" in line


@pytest.mark.parametrize(("higher_is_better", "colour"), [(True, 32), (False, 31)])
def test_good_scores_are_green_and_bad_ones_red(brightness, higher_is_better, colour):
    brightness.scale = Scale(low=0, high=255, unit="levels", higher_is_better=higher_is_better)
    line = table(brightness, GOOD, force_terminal=True, color_system="standard")[3]
    assert f"\x1b[1;{colour}m" in line


def test_a_path_cannot_reach_the_terminal(brightness):
    lines = table(brightness, Row("\x1b[2J\n[red]é\udce9.jpg", None, "empty file"))
    assert lines[3].split(maxsplit=1)[1] == "\\x1b[2J\\n[red]é\\udce9.jpg: empty file"


def test_a_long_path_is_not_cut(brightness):
    path = "folder/" * 60 + "photo.jpg"
    assert table(brightness, Row(path, GOOD.score, None), width=80)[3].endswith(path)


def test_parquet_has_typed_columns_and_says_what_they_mean(brightness, tmp_path):
    sink = ParquetSink(tmp_path / "rows.parquet", brightness, settings={"seed": 7})
    for row in (GOOD, BAD, Row("caf\udce9.jpg", None, "empty \udce9")):
        sink.write(row)
    sink.finish()
    table = pq.read_table(tmp_path / "rows.parquet")
    classes = ["scene_night", "scene_day", "distortion_dull", "distortion_red-eyed", "distortion_none"]
    assert table.column_names == [*COLUMNS, *classes]
    assert [str(table.schema.field(name).type) for name in ("path", "score", "scene", "width", *classes[:1])] == [
        "string", "double", "string", "int32", "float"]  # fmt: skip
    good, bad, odd = table.to_pylist()
    assert [good[name] for name in COLUMNS] == [
        "photos/a, b.jpg", 200.123457, 0.784798, 3.5, "day", "red-eyed", 4000, 3000, None, None, None]  # fmt: skip
    assert [good[name] for name in classes] == pytest.approx([0.25, 0.75, 1 / 3, 2 / 3, 0])
    assert {name: value for name, value in bad.items() if value is not None} == {
        "path": "photos/broken.jpg", "error": "empty file"}  # fmt: skip
    assert (odd["path"], odd["error"]) == ("caf\\udce9.jpg", "empty \\udce9")
    assert json.loads(table.schema.metadata[b"mpiqe"]) == {
        "scale": {"low": 0, "high": 255, "unit": "grey levels", "higher_is_better": True, "model": ""}, "seed": 7,
        "computes": "numpy fp64 cpu"}  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


def test_parts_are_saved_by_rows_or_time(brightness, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    sink = ParquetSink(tmp_path / "rows.parquet", brightness, settings={}, rows=3, seconds=2)
    saved = []
    for clock in (0, 0, 0, 0, 0.9, 1.1, 1.2, 1000, 1000.1, 1001.9, 1002):  # three rows; one second; two seconds at most
        now[0] = clock
        sink.write(GOOD)
        saved.append(len(list(parts_folder(sink.output).iterdir())))
    assert saved == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4]
    sink.finish()
    assert pq.read_metadata(tmp_path / "rows.parquet").num_rows == 11


def test_a_csv_that_is_continued_has_one_header():
    stream = io.StringIO()
    CsvSink(stream, header=False).write(BAD)
    assert stream.getvalue() == "photos/broken.jpg,,,,,,,,,,empty file\n"


SURE = Row("sure.jpg", dataclasses.replace(GOOD.score, interval=(-12.3456789, 212.5)), None)
CALIBRATED = IntervalModel(level=0.9, quantile=20.0)


def test_rows_have_the_ends_of_the_interval(brightness, tmp_path):
    lines, table = io.StringIO(), io.StringIO()
    JsonLinesSink(lines).write(SURE)
    CsvSink(table).write(SURE)
    sink = ParquetSink(tmp_path / "rows.parquet", brightness, settings={})
    sink.write(SURE)
    sink.finish()
    written = [json.loads(lines.getvalue()), pq.read_table(tmp_path / "rows.parquet").to_pylist()[0]]
    (row,) = csv.DictReader(io.StringIO(table.getvalue()))
    written.append({name: float(row[name]) for name in ("interval_low", "interval_high")})
    for values in written:
        assert (values["interval_low"], values["interval_high"]) == (-12.345679, 212.5)


def test_the_table_has_a_column_for_the_intervals_of_a_calibrated_model(brightness):
    plain = table(brightness, GOOD)
    brightness.interval_model = CALIBRATED
    lines = table(brightness, SURE, GOOD, BAD)
    assert lines[2].split() == ["score", "spread", "90%", "interval", "scene", "distortion", "size", "photo"]
    assert lines[3].split()[2:6] == ["±3.5", "-12.3", "to", "212.5"]
    assert lines[2].index("interval") + len("interval") == lines[3].index("212.5") + len("212.5")
    assert lines[3].index("day") == lines[4].index("day") == lines[2].index("scene")
    assert lines[4].split() == plain[3].split()  # a row without an interval leaves the cell empty
    assert lines[5].split() == ["failed", "photos/broken.jpg:", "empty", "file"]
    assert "interval" not in plain[2]


@pytest.mark.parametrize("name", ["a\rb.jpg", "a\r", "\r\n"])
def test_a_carriage_return_is_quoted_in_csv(name):
    stream = io.StringIO(newline="")
    CsvSink(stream, header=False).write(Row(name, None, f"{name} is empty"))
    assert stream.getvalue() == f'"{name}",,,,,,,,,,"{name} is empty"\n'
