"""Downloads from a real server on this machine, which behaves badly in many ways."""

import base64
import gzip
import socket
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mpiqe.errors import ImageError
from mpiqe.sources import http, reach, timeouts
from mpiqe.sources.photo import Limits
from mpiqe.sources.reach import Reach

QUICK = Limits(max_bytes=100_000, timeout=5, connect_timeout=2, read_timeout=0.5, attempts=3, pause=0.01)
PHOTO = bytes(range(256)) * 40
ZIPPED = gzip.compress(bytes(10_000_000))  # here: the client waits half a second for the server


class Server(BaseHTTPRequestHandler):
    asked: dict[str, int] = {}  # noqa: RUF012
    seen: list[tuple[str, str | None]] = []  # noqa: RUF012

    def log_message(self, *_):
        pass

    def say(self, status, content=b"", **headers):
        self.send_response(status)
        for name, value in {"Content_Length": len(content), **headers}.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.seen.append((self.path, self.headers.get("Authorization")))
        self.asked[path] = self.asked.get(path, 0) + 1
        getattr(self, "do_" + path.strip("/").partition("/")[0].replace(".jpg", "").replace("-", "_"))(self.asked[path])

    def do_photo(self, _):
        self.say(200, PHOTO)

    def do_without_length(self, _):
        self.say(200, PHOTO, Content_Length=None)

    def do_gone(self, _):
        self.say(404, b"<html>")

    def do_forbidden(self, _):
        self.say(403)

    def do_broken(self, _):
        self.say(500)

    def do_busy(self, time_):
        self.say(429, Retry_After=0) if time_ < 3 else self.say(200, PHOTO)

    def do_wait_long(self, _):
        self.say(503, Retry_After=3600)

    def do_cut(self, _):
        self.say(200, PHOTO[:1000], Content_Length=len(PHOTO))

    def do_cut_once(self, time_):
        self.say(200, PHOTO if time_ > 1 else PHOTO[:10], Content_Length=len(PHOTO))

    def do_hang(self, _):
        time.sleep(1.2)

    def do_silent(self, _):
        time.sleep(5)

    def do_wait_a_while(self, _):
        self.say(503, Retry_After=20)

    def do_hang_within(self, _):
        self.say(200, PHOTO[:1000], Content_Length=len(PHOTO))
        time.sleep(1.2)

    def do_dribble(self, _):
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(200):
                self.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:  # the other side has had enough
            pass

    def do_dribble_headers(self, _):
        try:
            for letter in "HTTP/1.0 200 OK\r\n" + "X-A: b\r\n" * 100:
                self.wfile.write(letter.encode())
                time.sleep(0.05)
        except OSError:
            pass

    def do_large(self, _):
        self.say(200, b"", Content_Length=10**12)

    def do_endless(self, _):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(10_000))
        except OSError:
            pass

    def do_moved(self, _):
        self.say(302, Location="/photo.jpg")

    def do_elsewhere(self, _):
        host, port = self.server.server_address
        self.say(302, Location=f"http://localhost:{port}/photo.jpg" if host else "")

    def do_moved_with_much_to_say(self, _):
        self.send_response(302)
        self.send_header("Location", "/photo.jpg")
        self.end_headers()
        try:
            for _ in range(2000):
                self.wfile.write(bytes(1 << 16))
            self.asked["/all-of-it"] = 1
        except OSError:
            pass

    def do_zipped(self, _):
        self.say(200, ZIPPED, Content_Encoding="gzip")

    def do_soon(self, _):
        try:
            while True:
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        except OSError:
            pass

    def do_endless_chunk(self, _):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 12 + b"\r\n")
        try:
            while True:
                self.wfile.write(bytes(10_000))
        except OSError:
            pass

    def do_round(self, _):
        self.say(302, Location=f"/round/{sum(self.asked.values())}")

    def do_to_file(self, _):
        self.say(302, Location="file:///etc/passwd")

    def do_to_ftp(self, _):
        self.say(301, Location="ftp://user:pass@example.com/x.jpg")

    def do_to(self, _):
        self.say(302, Location=f"http://{self.path.removeprefix('/to/')}/photo.jpg")

    def do_rubbish(self, _):
        self.wfile.write(b"no HTTP at all\r\n\r\n")

    def do_a(self, _):
        self.say(200, self.path.encode())


@pytest.fixture
def base(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    Server.asked, Server.seen = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # broken pipes are what is asked for
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def refused(url, limits=QUICK):
    with pytest.raises(ImageError) as error:
        http.photo(url, limits).read()
    return str(error.value)


@pytest.mark.parametrize("path", ["photo.jpg", "without-length", "moved", "elsewhere", "busy", "cut-once"])
def test_a_photo_comes_whole(base, path):
    assert http.photo(f"{base}/{path}", QUICK).read() == PHOTO


@pytest.mark.parametrize(
    ("path", "reason", "times"),
    [
        ("gone", "the server answers 404 Not Found", 1),
        ("forbidden", "the server answers 403 Forbidden", 1),
        ("broken", "the server answers 500 Internal Server Error (tried 3 times)", 3),
        ("wait-long", "the server answers 503 Service Unavailable (tried once)", 1),
        ("cut", "cut short: 1000 of 10240 bytes came (tried 3 times)", 3),
        ("hang", "no answer in time (tried 3 times)", 3),
        ("hang-within", "no answer in time (tried 3 times)", 3),
        ("large", "over the limit of 100000 bytes (1000000000000 bytes); raise --max-bytes if you trust it", 1),
        ("endless", "over the limit of 100000 bytes (more than that); raise --max-bytes if you trust it", 1),
        ("endless-chunk", "over the limit of 100000 bytes (more than that); raise --max-bytes if you trust it", 1),
        ("to-file", "redirects to file:, which is not followed", 1),
        ("to-ftp", "redirects to ftp:, which is not followed", 1),
        ("rubbish", "the answer is no proper HTTP (BadStatusLine) (tried 3 times)", 3),
    ],
)
def test_what_goes_wrong_is_said_and_tried_again_where_that_can_help(base, path, reason, times):
    assert refused(f"{base}/{path}") == f"{base}/{path}: {reason}"
    assert Server.asked[f"/{path}"] == times


def test_redirects_come_to_an_end(base):
    assert refused(f"{base}/round") == f"{base}/round: redirects too often"
    assert sum(Server.asked.values()) == QUICK.redirects + 1


@pytest.mark.slow
@pytest.mark.parametrize("path", ["dribble", "dribble-headers", "hang", "soon"])
def test_no_server_takes_longer_than_the_limit_on_the_whole(base, path):
    started = time.monotonic()
    assert "no answer in time" in refused(f"{base}/{path}", replace(QUICK, timeout=1, attempts=100))
    assert time.monotonic() - started < 2.5


def test_a_redirect_is_followed_without_reading_what_it_says(base):
    assert http.photo(f"{base}/moved-with-much-to-say", QUICK).read() == PHOTO
    assert "/all-of-it" not in Server.asked


def test_a_body_is_never_unpacked(base):
    assert http.photo(f"{base}/zipped", QUICK).read() == ZIPPED


def test_a_name_server_that_hangs_takes_no_longer_either(monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: gate.wait(20))
    monkeypatch.setattr(http, "GRACE", 0.1)
    monkeypatch.setenv("no_proxy", "*")
    started = time.monotonic()
    assert "no answer within 0.4 s" in refused("http://example.invalid/x.jpg", replace(QUICK, timeout=0.3))
    assert time.monotonic() - started < 2
    gate.set()


@pytest.mark.parametrize("path", ["silent", "dribble", "wait-a-while"])
def test_a_download_that_is_given_up_ends_its_thread_too(base, path):
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    helpers = []

    def read():
        helpers.append(timeouts.call(threading.current_thread, store="", timeout=10))
        with timeouts.stopped_by(stop), pytest.raises(ImageError, match="reading was stopped"):
            http.photo(f"{base}/{path}", replace(QUICK, timeout=60, read_timeout=60)).read()

    thread = threading.Thread(target=read)
    thread.start()
    thread.join(20)  # a busy machine takes its time, but the download would take 60 s
    assert not thread.is_alive()
    helpers[0].join(20)
    assert not helpers[0].is_alive()


def test_a_server_that_is_not_there_is_said():
    url = "http://127.0.0.1:9/x.jpg"
    assert refused(url) == f"{url}: no connection, or one that broke (Connection refused) (tried 3 times)"


@pytest.mark.parametrize("url", ["http://[::1/x", "http://host:port/x", "http:///x", "http://\x00/x"])
def test_an_address_that_is_none_is_a_refusal(url):
    assert ": " in refused(url)


def test_a_password_goes_to_its_own_server_alone_and_is_never_shown(base):
    url = f"{base.replace('//', '//me:secret@')}/elsewhere?id=7&X-Amz-Signature=hidden&token=hidden"
    download = http.photo(url, QUICK)
    assert download.read() == PHOTO
    first, second = Server.seen
    assert base64.b64decode(first[1].removeprefix("Basic ")) == b"me:secret"
    assert first[0].endswith("token=hidden")
    assert second[1] is None
    assert download.name == f"{base}/elsewhere?id=7&X-Amz-Signature=***&token=***"
    assert "hidden" not in repr(download)
    assert "secret" not in repr(download)
    assert "secret" not in refused(url.replace("elsewhere", "gone"))


def test_spaces_and_letters_of_any_alphabet_are_quoted(base):
    assert http.photo(f"{base}/a/é b.jpg?x=ü%20", QUICK).read() == b"/a/%C3%A9%20b.jpg?x=%C3%BC%20"


def cell_refused(url, limits=QUICK):
    """Why what stands in a table's cell was not fetched."""
    with pytest.raises(ImageError) as error:
        http.photo(url, limits, own=False).read()
    return str(error.value)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "127.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "LOCALHOST",
    ],
)
def test_a_cell_leads_to_no_address_of_this_machine_however_it_is_written(base, host):
    port = base.rpartition(":")[2]
    try:
        assert "is not a public one; --allow-host " in cell_refused(f"http://{host}:{port}/photo.jpg")
    finally:
        assert Server.seen == []


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "192.168.0.1", "[fe80::1]", "[fd00::1]", "100.64.0.1"])
def test_a_cell_leads_into_no_private_network(host, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket.socket, "connect", None)  # would be called
    assert "is not a public one" in cell_refused(f"http://{host}/latest/meta-data")


def test_a_cell_leads_to_hosts_that_the_user_has_named_or_allowed(base):
    port = base.rpartition(":")[2]
    for there in (Reach(named=("127.0.0.1",)), Reach(hosts=("127.0.0.1",)), Reach(hosts=("127.0.0.0/8",))):
        assert http.photo(f"{base}/moved", replace(QUICK, reach=there), own=False).read() == PHOTO
    limits = replace(QUICK, reach=Reach(named=("localhost",)))
    assert http.photo(f"http://localhost:{port}/moved", limits, own=False).read() == PHOTO
    assert "not a public one" in cell_refused(f"{base}/photo.jpg", limits)


@pytest.fixture
def public(monkeypatch):
    """The server at 127.0.0.2 has a public address, and so have names that are looked up there."""
    for module in (http, reach):
        monkeypatch.setattr(module, "is_public", lambda address: address == "127.0.0.2")
    names = {
        "public.example": ["127.0.0.2"],
        "private.example": ["127.0.0.1"],
        "both.example": ["127.0.0.1", "127.0.0.2"],
    }
    look_up = socket.getaddrinfo
    asked = []

    def found(host, port, *arguments):
        asked.append(host)
        addresses = names.get(host, [host])
        if callable(addresses):
            addresses = addresses()
        if host.endswith(".invalid"):
            raise socket.gaierror(-2, "Name or service not known")
        return [one for address in addresses for one in look_up(address, port, *arguments)]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    return names, asked


@pytest.fixture
def everywhere(monkeypatch):
    """A server at all addresses of this machine, and its port."""
    monkeypatch.setenv("no_proxy", "*")
    Server.asked, Server.seen = {}, []
    server = ThreadingHTTPServer(("", 0), Server)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


linux = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is an address of this machine on Linux alone")


@linux
@pytest.mark.parametrize("own", [True, False])
def test_a_redirect_from_a_public_server_leads_into_no_private_network(public, everywhere, own):
    def moved(host):
        return http.photo(f"http://public.example:{everywhere}/to/{host}:{everywhere}", QUICK, own=own).read()

    assert moved("127.0.0.2") == moved("public.example") == PHOTO
    for host in ("127.0.0.1", "private.example", "[::1]", "2130706433"):
        with pytest.raises(ImageError, match=r"redirects to .*, whose address, .*, is not a public one; --allow-host "):
            moved(host)
    assert {path for path, _ in Server.seen if "photo" in path} == {"/photo.jpg"}
    assert sum(path == "/photo.jpg" for path, _ in Server.seen) == 2


@linux
def test_a_name_that_changes_its_address_gets_nothing_into_a_private_network(public, everywhere):
    names, asked = public
    answers = iter([["127.0.0.2"], ["127.0.0.1"]])
    names["rebind.example"] = lambda: next(answers)
    url = f"http://rebind.example:{everywhere}"
    assert http.photo(f"{url}/photo.jpg", QUICK, own=False).read() == PHOTO
    assert asked.count("rebind.example") == 1  # what was checked is what was connected to
    assert "is not a public one" in cell_refused(f"{url}/photo.jpg")
    answers = iter([["127.0.0.2"], ["127.0.0.1"]])
    with pytest.raises(ImageError, match=r"redirects to rebind\.example, whose address, 127\.0\.0\.1, is not"):
        http.photo(f"{url}/moved", QUICK).read()  # even where the user has named it


@linux
def test_of_a_names_addresses_only_the_public_ones_are_connected_to(public, everywhere):
    peers = []
    connect = socket.socket.connect

    class Watched(socket.socket):
        def connect(self, address):
            peers.append(address[0])
            return connect(self, address)

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(socket, "socket", Watched)
        assert http.photo(f"http://both.example:{everywhere}/photo.jpg", QUICK, own=False).read() == PHOTO
    assert peers == ["127.0.0.2"]


@linux
def test_a_private_server_that_the_user_named_may_redirect_to_itself_and_not_to_its_neighbours(public, everywhere):
    def moved(host):
        return http.photo(f"http://127.0.0.1:{everywhere}/to/{host}:{everywhere}", QUICK).read()

    assert moved("127.0.0.1") == moved("private.example") == moved("public.example") == PHOTO
    with pytest.raises(ImageError, match=r"redirects to 127\.0\.0\.3, whose address"):
        moved("127.0.0.3")


@linux
def test_a_proxy_is_asked_for_nothing_that_is_known_to_be_private(public, everywhere, monkeypatch):
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{everywhere}")
    for host in ("10.0.0.1", "private.example", "intranet", "2130706433"):
        assert "is not a public one" in cell_refused(f"http://{host}/photo.jpg")
    assert Server.seen == []
    monkeypatch.setattr(Server, "do_GET", lambda self: (self.seen.append((self.path, None)), self.say(200, PHOTO)))
    for host in ("public.example", "only-the-proxy-knows.invalid"):
        assert http.photo(f"http://{host}/photo.jpg", QUICK, own=False).read() == PHOTO
    assert http.photo("http://intranet/photo.jpg", QUICK).read() == PHOTO
    assert [path for path, _ in Server.seen] == [
        "http://public.example/photo.jpg", "http://only-the-proxy-knows.invalid/photo.jpg", "http://intranet/photo.jpg"
    ]  # fmt: skip
