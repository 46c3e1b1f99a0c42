"""Real servers, started as the command starts them, and what callers send them."""

import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PROGRAM = [sys.executable, str(Path(__file__).with_name("modest_server.py"))]
MPIQE = [sys.executable, "-m", "mpiqe"]


class Server:
    """A server that runs until it is stopped."""

    def __init__(self, process):
        self.process = process
        line = process.stderr.readline()
        assert " on http://" in line, line + process.stderr.read()
        self.host, port = re.fullmatch(r"mpiqe: .* on http://(.*):(\d+)\n", line).groups()
        self.port = int(port)

    def connect(self, timeout=30):
        return closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout))

    def ask(self, method, path, body=None, headers=None):
        """Status, headers, and the answer, of JSON if it is that."""
        with self.connect() as connection:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            content = answer.read()
            is_json = answer.headers.get("content-type") == "application/json"
            return answer.status, answer.headers, json.loads(content) if is_json else content.decode()

    def post(self, content, kind="application/octet-stream", **headers):
        return self.ask("POST", "/score", content, {"Content-Type": kind, **headers})

    def post_form(self, *files, **headers):
        return self.post(form(*files), "multipart/form-data; boundary=bound", **headers)

    def post_json(self, value, **headers):
        return self.post(json.dumps(value), "application/json", **headers)

    def counter(self, name):
        """A sample of /metrics."""
        text = self.ask("GET", "/metrics")[2]
        return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)[1])

    def stop(self, number=signal.SIGTERM):
        """Exit status, and what it had to say."""
        self.process.send_signal(number)
        return self.process.wait(20), self.process.stderr.read()


@pytest.fixture(scope="module")
def start():
    """Starts a server with options and an environment; all are ended with the module."""
    started = []

    def run(*options, program=PROGRAM, **environment):
        process = subprocess.Popen(
            [*program, "serve", "--port", "0", *options],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**{k: v for k, v in os.environ.items() if k != "MPIQE_TOKEN"}, **environment},
        )
        started.append(process)
        return Server(process)

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture(scope="module")
def server(start):
    """One for all tests of a module that leave it as it is."""
    return start()


def form(*files, boundary="bound"):
    """A form's body with ``(name, content)`` each."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


def grey(level, size=(60, 40)):
    """A photo of one grey: what it scores is known."""
    file = io.BytesIO()
    Image.new("RGB", size, (level, level, level)).save(file, "PNG")
    return file.getvalue()


def tiles(seed):
    """A photo with all kinds of brightness within."""
    file = io.BytesIO()
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(small).resize((70 + 9 * seed, 120 - 5 * seed)).save(file, "PNG")
    return file.getvalue()
