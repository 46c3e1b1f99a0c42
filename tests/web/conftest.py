"""The page of ``web/``, built from the npm package and served as a static host serves it, and Chromium to open it."""

import os
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

WEB = Path(__file__).resolve().parents[2] / "web"


class Host:
    """A static host of one folder; ``asked`` has the method and path of every request."""

    def __init__(self, folder):
        self.asked = asked = []

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def parse_request(self):
                right = super().parse_request()
                asked.append((self.command, self.path))
                return right

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The folder that ``npm run build`` makes."""
    if shutil.which("npm") is None:
        reason = "needs npm to build the page: apt-get install npm"
        if os.environ.get("MPIQE_REQUIRE_CHROMIUM") == "1":
            pytest.fail(f"{reason} (MPIQE_REQUIRE_CHROMIUM is set)")
        pytest.skip(reason)
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(WEB, source / "web", ignore=shutil.ignore_patterns("node_modules", "dist"))
    for name in ("LICENSE", "NOTICE", "src/mpiqe/weights"):  # what build.mjs takes from beside web/
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).symlink_to(WEB.parent / name)
    out = source / "page"
    command = ["npm", "run", "--prefix", str(source / "web"), "build", "--", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture
def host(built):
    started = Host(built)
    yield started
    started.close()


@pytest.fixture
def open_page(chromium, host):
    """Opens the page; ``page.received`` gives what its worker has sent, and errors fail the test."""
    contexts, faults = [], []

    def open_(**options):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda message: message.type == "error" and faults.append(f"console: {message.text}"))
        page.add_init_script(
            """
            const received = (window.received = []);
            window.Worker = class extends Worker {
              constructor(...given) {
                super(...given);
                this.addEventListener("message", ({ data }) => received.push(data));
              }
            };
            """
        )
        page.faults = faults
        page.goto(host.address)
        page.wait_for_selector("body.ready")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert faults == []
