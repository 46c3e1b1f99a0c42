"""Starting, ending, who may call, and what the service says of itself: real processes and their signals."""

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jsonschema
import pytest
from tests.processes import most_memory, readers_of
from tests.serve import modest_server
from tests.serve.conftest import MPIQE, PROGRAM, grey
from tests.serve.test_score import wait_for

from benchmarks import malformed
from mpiqe.cli.main import main
from mpiqe.scoring import loading

ROOT = Path(__file__).parents[2]
EVERYWHERE = "0.0.0.0"  # noqa: S104
TOKEN = "a-token-of-24-characters"  # noqa: S105


@pytest.mark.slow
@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_lets_what_was_taken_be_finished_and_takes_nothing_more(start, number):
    server = start("--batch-size", "1", PREDICT_SECONDS="0.3")
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(server.post_form(("a.png", grey(9)), ("b.png", grey(8)))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: server.counter("mpiqe_queue_photos") == 8)
    status, log = server.stop(number)
    for thread in threads:
        thread.join()
    assert [answer[0] for answer in answers] == [200] * 4
    assert all([row["score"] for row in value["results"]] == [9, 8] for _, _, value in answers)
    assert (status, log) == (0, "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


@pytest.mark.slow
def test_a_body_that_is_on_its_way_is_taken(start):
    server = start()
    with server.connect() as connection:
        connection.putrequest("POST", "/score")
        body = grey(77)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:50])
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        connection.send(body[50:])
        assert json.loads(connection.getresponse().read())["results"][0]["score"] == 77
    assert server.process.wait(10) == 0


@pytest.mark.slow
def test_a_second_interrupt_gives_up_what_is_left(start):
    server = start("--batch-size", "1", PREDICT_SECONDS="1")
    errors = []

    def ask():
        try:
            server.post_form(*[("a.png", grey(9))] * 30)
        except (http.client.HTTPException, ConnectionError) as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(lambda: server.counter("mpiqe_queue_photos") == 30)
    server.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert server.process.poll() is None
    began = time.monotonic()
    status, log = server.stop(signal.SIGINT)
    thread.join()
    assert status == 130
    assert time.monotonic() - began < 8
    assert len(errors) == 1
    assert "Traceback" not in log


@pytest.mark.slow
def test_no_reader_outlives_the_server(start):
    server = start()
    server.post_form(*[(f"{i}", grey(i)) for i in range(8)])
    readers = readers_of(server.process.pid)
    assert readers
    server.stop()
    wait_for(lambda: not any(Path(f"/proc/{reader}/cmdline").exists() for reader in readers))


def test_a_token_is_asked_for_everywhere_but_for_the_health(start, tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    for server in (start(MPIQE_TOKEN=TOKEN), start("--token-file", str(file), MPIQE_TOKEN=TOKEN[::-1])):
        for path in ("/model", "/metrics", "/openapi.json", "/nothing"):
            status, headers, value = server.ask("GET", path)
            assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="mpiqe"')
            assert TOKEN not in str(value)
        assert server.ask("GET", "/health")[0] == 200
        for wrong in ("Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer \xff"):
            assert server.post(grey(1), Authorization=wrong)[0] == 401
        assert server.post(b"x" * 10_000_000)[0] == 401
        for right in (f"Bearer {TOKEN}", f"bearer  {TOKEN}"):
            assert server.post(grey(1), Authorization=right)[0] == 200
        document = server.ask("GET", "/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"})[2]
        assert document["security"] == [{"token": []}]
        assert TOKEN not in json.dumps(document)
        assert TOKEN not in server.stop()[1]


@pytest.mark.parametrize(
    ("options", "environment", "reason"),
    [
        (["--host", EVERYWHERE], {}, "can be reached from other machines, and there is no token"),
        (["--host", "::"], {}, "can be reached from other machines, and there is no token"),
        (["--host", "no.such.host.invalid"], {}, "cannot listen on no.such.host.invalid"),
        (["--host", "8.8.8.8", "--without-token"], {}, "cannot listen on 8.8.8.8"),
        (["--port", "70000"], {}, "port must be at most 65535"),
        ([], {"MPIQE_TOKEN": ""}, "the token in MPIQE_TOKEN has 0 characters"),
        ([], {"MPIQE_TOKEN": "short"}, "has 5 characters and must have from 16"),
        ([], {"MPIQE_TOKEN": "with a space in between"}, "holds spaces"),
        (["--without-token"], {"MPIQE_TOKEN": "x" * 20}, "asks for none: give one"),
        (["--token-file", "/nothing/here"], {}, "cannot read the token file /nothing/here"),
        (["--token-file", "/dev/zero"], {}, "not a regular file"),
        (["--queue", "0", "--timeout", "-1"], {}, "queue must be at least 1, not 0; timeout must be a number"),
        (["--queue", "4"], {}, "max_files 32 must be at most queue, which is 4"),
    ],
)
def test_wrong_usage_says_what_is_wrong(options, environment, reason, monkeypatch, capsys):
    monkeypatch.delenv("MPIQE_TOKEN", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("asyncio.run", lambda *_: pytest.fail("it serves"))
    monkeypatch.setattr(loading, "load", modest_server.load)
    monkeypatch.setattr(sys, "argv", ["mpiqe", "serve", "--port", "0", *options])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.startswith("mpiqe: ")
    assert said.count("\n") == 1


@pytest.mark.slow
def test_it_listens_elsewhere_with_a_token_or_when_told_that_none_is_needed(start):
    assert start("--host", EVERYWHERE, MPIQE_TOKEN=TOKEN).ask("GET", "/health")[0] == 200
    assert start("--host", EVERYWHERE, "--without-token").post(grey(1))[0] == 200


def test_a_port_that_is_taken_is_said_in_one_line(server):
    done = subprocess.run([*PROGRAM, "serve", "--port", str(server.port)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"mpiqe: cannot listen on 127.0.0.1 port {server.port}: Address already in use\n"


def test_a_web_page_of_another_machine_may_not_use_a_service_without_token(server, start):
    for origin in ("https://example.com", "null", "http://127.0.0.1.example.com", "http://[", "http://10.0.0.1"):
        assert server.post(grey(1), Origin=origin)[0] == 403, origin
    for origin in ("http://localhost:3000", "http://127.0.0.1:8000", "http://[::1]"):
        assert server.post(grey(1), Origin=origin)[0] == 200, origin
    guarded = start(MPIQE_TOKEN=TOKEN)
    assert guarded.post(grey(1), Origin="https://example.com", Authorization=f"Bearer {TOKEN}")[0] == 200


@pytest.mark.parametrize(("every", "count"), [(70, 10), pytest.param(7, 100, marks=pytest.mark.slow)])
def test_hostile_files_cost_their_own_answers_only(start, every, count):
    server = start("--timeout", "20")
    whole = dict(malformed.photos())
    hostile = [*malformed.odd_shapes(), *malformed.bombs(), *malformed.broken_tiffs(), *malformed.damaged(whole)][
        ::every
    ]
    assert len(hostile) > count
    failed = []

    def ask(files):
        for name, content in files:
            status, _, value = server.post_form(("good.png", grey(120)), (name, content))
            good, other = value["results"]
            if (status, good["score"]) != (200, 120) or (other["score"] is None) == (other["error"] is None):
                failed.append((name, value))

    threads = [threading.Thread(target=ask, args=(hostile[part::6],)) for part in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert max(map(most_memory, readers_of(server.process.pid)), default=0) < 1000
    assert server.counter('mpiqe_photos_total{outcome="scored"}') >= len(hostile)
    assert server.stop() == (0, "")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /" + b"a" * 200_000,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_what_is_no_http_costs_nothing(start, server, sent):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(sent)
        connection.settimeout(2)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            assert connection.recv(100)[:9] in (b"HTTP/1.1 ", b"")
    assert server.ask("GET", "/health")[0] == 200


def test_the_answers_are_what_openapi_says(server):
    document = server.ask("GET", "/openapi.json")[2]
    jsonschema.Draft202012Validator.check_schema(document["components"]["schemas"])

    def check(method, path, answer):
        said = document["paths"][path][method]["responses"][str(answer[0])]
        schema = said["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(answer[2])

    check("get", "/model", server.ask("GET", "/model"))
    check("get", "/health", server.ask("GET", "/health"))
    check("get", "/openapi.json", server.ask("GET", "/openapi.json"))
    check("post", "/score", server.post_form(("a.png", grey(1)), ("b", b"")))
    check("post", "/score", server.post(b"x"))
    check("post", "/score", server.post(b"{", "application/json"))
    check("post", "/score", server.post(b"x", "text/plain"))
    check("post", "/score", server.post(b"x" * (65 << 20)))


def test_every_route_is_in_openapi_and_no_other(server):
    document = server.ask("GET", "/openapi.json")[2]
    for path, methods in document["paths"].items():
        (method,) = methods
        assert server.ask(method.upper(), path)[0] in (200, 422), path
    assert set(document["paths"]) == {"/score", "/model", "/health", "/metrics", "/openapi.json"}


def test_metrics_are_lines_that_prometheus_reads(server):
    server.post(grey(5))
    _, headers, text = server.ask("GET", "/metrics")
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    sample = re.compile(r'[a-z_]+(\{[a-z]+="[^"\n]*"(,[a-z]+="[^"\n]*")*\})? [-+0-9.e]+')
    kinds = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            assert sample.fullmatch(line), line
            assert any(line.startswith(name) for name in kinds)
    assert text.endswith("\n")
    assert kinds["mpiqe_photos_total"] == "counter"
    assert kinds["mpiqe_request_seconds"] == "histogram"


def test_the_client_in_ten_lines_gets_a_score(server, tmp_path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(grey(42))
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "client.py", f"127.0.0.1:{server.port}", str(photo), str(photo)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"42.0 {photo}\n42.0 {photo}\n"


@pytest.mark.slow
def test_the_embedded_model_answers_over_http_as_the_scorer_does(start):
    import mpiqe

    server = start(program=MPIQE)
    photo = (ROOT / "examples" / "chelsea.jpg").read_bytes()
    others = [(ROOT / "examples" / f"{name}.jpg").read_bytes() for name in ("astronaut", "coffee", "rocket")]
    scorer = mpiqe.load()
    expected = scorer(photo)
    _, _, value = server.post_form(("a", photo), *(("b", other) for other in others))
    tolerance = 1e-4 * (scorer.scale.high - scorer.scale.low)
    assert value["results"][0]["score"] == pytest.approx(expected.score, abs=tolerance)
    assert value["results"][0]["interval"] == pytest.approx(list(expected.interval), abs=tolerance)
    assert value["model"] == scorer.scale.model
    model = server.ask("GET", "/model")[2]
    assert (model["low"], model["high"], model["interval_level"]) == (scorer.scale.low, scorer.scale.high, 0.9)


def test_the_command_without_the_extra_says_what_to_install(tmp_path):
    code = "import sys; sys.modules['starlette'] = None; from mpiqe.cli.start import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "serve"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "pip install 'mpiqe[serve]'" in done.stderr


def test_the_command_line_does_not_load_the_server():
    code = "import sys, mpiqe.cli.main; print({'starlette', 'uvicorn', 'anyio'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
