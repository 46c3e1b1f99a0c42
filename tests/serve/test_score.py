"""POST /score: what is taken, what is answered, and what is refused with which reason."""

import base64
import io
import socket
import threading
import time
from contextlib import closing

import pytest
from PIL import Image
from tests.serve.conftest import form, grey, tiles
from tests.serve.modest_server import Brightness

from mpiqe.scoring.scorer import Scorer


def scored(answer):
    """The rows of an answer that has some, by name."""
    status, _, value = answer
    assert status == 200, value
    assert value["model"] == "brightness 1"
    return {row["name"]: row for row in value["results"]}


def refused(answer, status):
    assert answer[0] == status, answer
    return answer[2]["error"]


def encoded(content):
    return base64.b64encode(content).decode()


def test_a_photo_gets_the_score_of_the_scorer(server):
    photo = tiles(3)
    expected = Scorer(predictor=Brightness())(photo)
    (row,) = scored(server.post(photo, "image/png")).values()
    assert row["score"] == round(expected.score, 6)
    assert row["spread"] == round(expected.spread, 6)
    assert row["quality"] == round(expected.quality, 6)
    assert row["scene"] == {name: round(value, 6) for name, value in expected.scene.items()}
    assert (row["width"], row["height"]) == expected.size
    assert (row["name"], row["interval"], row["error"]) == (None, None, None)


def test_a_form_json_and_the_bytes_themselves_say_the_same(server):
    photo = tiles(1)
    answers = [
        server.post(photo),
        server.post(photo, "image/jpeg"),  # the bytes say what it is
        server.post_form(("a.png", photo)),
        server.post_json({"images": [{"base64": encoded(photo)}]}),
        server.post_json({"images": [{"base64": f"data:image/png;base64,{encoded(photo)}", "name": "a.png"}]}),
        server.post_json({"images": [{"base64": base64.encodebytes(photo).decode()}]}),
    ]
    assert len({row["score"] for answer in answers for row in scored(answer).values()}) == 1


def test_several_photos_come_back_in_order_and_one_that_cannot_be_read_says_why(server):
    status, _, value = server.post_form(("b.png", grey(50)), ("nö.jpg", b"no photo"), ("a.png", grey(200)))
    assert status == 200
    assert [row["name"] for row in value["results"]] == ["b.png", "nö.jpg", "a.png"]
    assert [row["score"] for row in value["results"]] == [50, None, 200]
    assert [row["error"] and row["error"][:12] for row in value["results"]] == [None, "not an image", None]


def test_names_of_any_letters_come_back_as_they_were(server):
    names = ["\x1b[31m", "a\ud800b", "日本", "x" * 2000]
    answer = server.post_json({"images": [{"base64": encoded(grey(9)), "name": name} for name in names]})
    assert list(scored(answer)) == [*names[:3], "x" * 1000]


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"no photo", "image/jpeg", "not an image in a format that mpiqe reads"),
        (b"", "image/jpeg", "empty file"),
        (grey(1)[:60], "image/png", "cannot be decoded"),
        (b"{", "application/json", "the body is not valid JSON"),
        (b"[" * 100_000, "application/json", "nested more than 64 levels deep"),
        (b"[]", "application/json", 'expected {"images"'),
        (b'{"images": []}', "application/json", "there is no photo"),
        (b'{"images": ["http://127.0.0.1/a.jpg"]}', "application/json", "no URLs are fetched"),
        (b'{"images": [{"url": "http://127.0.0.1/a.jpg"}]}', "application/json", "no URLs are fetched"),
        (b'{"images": [{"base64": "http://127.0.0.1/a.jpg"}]}', "application/json", "images[0] is not base64"),
        (b'{"images": [{"base64": 5}]}', "application/json", "must be texts"),
        (form(), "multipart/form-data; boundary=bound", "there is no photo"),
        (form(("a", b"x"))[:-20], "multipart/form-data; boundary=bound", "cut short"),
        (form(("a", b"x")), "multipart/form-data; boundary=other", "cannot be read"),
        (form(("a", b"x")), "multipart/form-data", "cannot be read"),
        (
            form(("a", b"x")).replace(b"; filename", b"; other"),
            "multipart/form-data; boundary=bound",
            "'file' of the form is no file; photos are sent, not addresses",
        ),
    ],
)
def test_what_cannot_be_read_is_422_with_the_reason(server, body, kind, reason):
    assert reason in refused(server.post(body, kind), 422)


def test_all_photos_unreadable_is_422_with_a_reason_for_each(server):
    answer = server.post_form(("a.jpg", b"x"), ("b.jpg", b""))
    assert refused(answer, 422).count("; ") == 1
    assert [row["error"] is None for row in answer[2]["results"]] == [False, False]


def test_a_photo_of_too_many_pixels_is_refused_before_it_is_decoded(start):
    server = start("--max-pixels", "1000")
    assert "60 x 40 pixels are over the limit of 1000" in refused(server.post(grey(5)), 422)


def test_other_types_paths_and_methods_are_refused(server):
    assert "curl -F" in refused(server.post(b"a=b", "application/x-www-form-urlencoded"), 415)
    assert server.ask("GET", "/score")[0] == 405
    for path in ("/score/", "/", "/../etc/passwd"):
        assert server.ask("POST", path, b"")[0] == 404


@pytest.fixture(scope="module")
def small(start):
    """A server that takes little."""
    return start("--max-bytes", "100000", "--max-files", "2", "--timeout", "2", HEAD_SECONDS="1")


def test_a_body_or_a_number_of_photos_over_the_limit_is_413(small):
    assert "more than 100000 bytes" in refused(small.post(b"x" * 5_000_000), 413)
    with small.connect() as connection:  # its length is not stated
        connection.request(
            "POST", "/score", iter([b"x" * 60_000] * 3), {"Content-Type": "image/jpeg"}, encode_chunked=True
        )
        assert connection.getresponse().status == 413
    three = [(f"{i}.png", grey(i)) for i in range(3)]
    assert "more than 2 photos" in refused(small.post_form(*three), 413)
    assert "more than 2 photos" in refused(
        small.post_json({"images": [{"base64": encoded(photo)} for _, photo in three]}), 413
    )
    assert scored(small.post_form(*three[:2]))


def test_a_body_over_the_limit_is_refused_before_it_is_sent(small):
    with closing(socket.create_connection(("127.0.0.1", small.port), timeout=10)) as connection:
        connection.sendall(
            b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.slow
def test_a_body_that_comes_too_slowly_is_408(small):
    with closing(socket.create_connection(("127.0.0.1", small.port), timeout=20)) as connection:
        connection.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\nabc")
        answer = connection.recv(1000)
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "sent", [b"", b"POST /score HTTP/1.1\r\nHost:", b"\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n\r\n"]
)
def test_a_connection_without_a_request_is_closed(small, sent):
    with closing(socket.create_connection(("127.0.0.1", small.port), timeout=8)) as connection:
        connection.sendall(sent)
        while connection.recv(1000):
            pass


@pytest.mark.slow
def test_the_answer_does_not_depend_on_company(start):
    server = start("--workers", "2", PREDICT_SECONDS="0.05")
    photos = [tiles(seed) for seed in range(8)]
    alone = [next(iter(scored(server.post(photo)).values())) for photo in photos]
    together = [None] * 32

    def ask(index):
        together[index] = next(iter(scored(server.post(photos[index % 8])).values()))

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone * 4
    calls = server.counter("mpiqe_batch_photos_count")
    assert calls < 1 + 8 + 32  # one at the start, one for each that was alone
    assert server.counter("mpiqe_batch_photos_sum") == 1 + 8 + 32


@pytest.mark.slow
def test_a_full_queue_is_503_with_retry_after_and_takes_again_later(start):
    server = start("--queue", "2", "--max-files", "2", "--batch-size", "1", PREDICT_SECONDS="1")
    first = threading.Thread(target=lambda: server.post_form(("a.png", grey(1)), ("b.png", grey(2))))
    first.start()
    wait_for(lambda: server.counter("mpiqe_queue_photos") == 2)
    status, headers, value = server.post(grey(3))
    assert status == 503
    assert 1 <= int(headers["Retry-After"]) <= 30
    assert value["error"] == "too much work: 2 photos are waiting, of 2"
    assert server.counter('mpiqe_refused_total{bound="queue"}') == 1
    first.join()
    assert scored(server.post(grey(3)))
    assert server.counter("mpiqe_queue_photos") == 0


@pytest.mark.slow
def test_too_many_bytes_at_a_time_are_503(start):
    server = start("--max-bytes", "80000000", "--timeout", "20")  # of which 320 MB are held

    def stall():
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        connection.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 80000000\r\n\r\n" + b"x" * 79_000_000)
        return connection

    stalled = [stall() for _ in range(4)]
    wait_for(lambda: server.counter("mpiqe_held_bytes") == 4 * 79_000_000)
    status, headers, value = server.post(b"x" * 5_000_000)
    assert status == 503
    assert headers["Retry-After"]
    assert value["error"].endswith("bytes of photos are waiting, of 320000000")
    for connection in stalled:
        connection.close()
    wait_for(lambda: server.counter("mpiqe_held_bytes") == 0)
    assert refused(server.post(b"x" * 5_000_000), 422)


@pytest.mark.slow
def test_a_photo_that_waits_too_long_is_503(start):
    server = start("--workers", "1", "--batch-size", "1", "--timeout", "1.5", PREDICT_SECONDS="1")
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(server.post_form(*[("a.png", grey(1))] * 6))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    waited = [value["error"] for status, _, value in answers if status == 503]
    assert waited
    assert all(reason == "too much work: waited 1.5 s to be read" for reason in waited)
    assert server.counter('mpiqe_refused_total{bound="waited"}') == len(waited)
    assert server.counter("mpiqe_queue_photos") == 0


@pytest.mark.slow
def test_who_goes_away_leaves_no_work_behind(start):
    server = start("--workers", "1", "--batch-size", "1", PREDICT_SECONDS="0.5")
    body = form(*[("a.png", grey(1))] * 20)
    head = "POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=bound\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with closing(socket.create_connection(("127.0.0.1", server.port))) as connection:
        connection.sendall(head.encode() + body)
        wait_for(lambda: server.counter("mpiqe_queue_photos") == 20)
    wait_for(lambda: server.counter('mpiqe_photos_total{outcome="abandoned"}') == 20)
    assert server.counter("mpiqe_queue_photos") == 0
    assert server.counter("mpiqe_batch_photos_sum") < 10


def test_a_model_that_fails_is_500_for_that_photo_and_the_next_is_scored(start):
    server = start("--batch-size", "1", FAIL_ABOVE="190")
    assert "a fault of the service (RuntimeError)" in refused(server.post(grey(200)), 500)
    assert scored(server.post(grey(100)))
    assert server.ask("GET", "/health")[0] == 200
    status, log = server.stop()
    assert status == 0
    assert "RuntimeError: the model fails" in log


@pytest.mark.slow
def test_a_large_photo_of_many_kinds_goes_through(server):
    file = io.BytesIO()
    Image.radial_gradient("L").resize((3000, 2000)).save(file, "JPEG", quality=95)
    (row,) = scored(server.post_form(("large.jpg", file.getvalue()))).values()
    assert (row["width"], row["height"]) == (3000, 2000)


def wait_for(condition, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
