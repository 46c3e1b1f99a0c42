"""Firefox, driven over Marionette: the protocol of its own that geckodriver speaks, lines of JSON through a socket."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

_START = 120.0  # seconds that a loaded machine may take


class Firefox:
    """A headless Firefox with an empty profile."""

    def __init__(self, program: str, profile: Path) -> None:
        with closing(socket.socket()) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        (profile / "user.js").write_text(f'user_pref("marionette.port", {port});\n')
        command = [program, "--headless", "--no-remote", "--profile", str(profile), "--marionette"]
        self.process = subprocess.Popen(
            [*command, "--remote-allow-system-access"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._number = 0
        self._socket = self._connected(port)
        self._receive()  # what it says of itself
        self("WebDriver:NewSession", capabilities={"alwaysMatch": {"pageLoadStrategy": "normal"}})

    def _connected(self, port: int) -> socket.socket:
        until = time.monotonic() + _START
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=_START)
            except ConnectionRefusedError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise
                time.sleep(0.2)

    def _receive(self) -> Any:
        length = b""
        while not length.endswith(b":"):
            length += self._more(1)
        return json.loads(self._more(int(length[:-1])))

    def _more(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            piece = self._socket.recv(count - len(received))
            assert piece, "Firefox has gone"
            received += piece
        return received

    def __call__(self, name: str, **values: Any) -> Any:
        """Do a command of WebDriver's; returns what it answers."""
        self._number += 1
        message = json.dumps([0, self._number, name, values]).encode()
        self._socket.sendall(str(len(message)).encode() + b":" + message)
        _, number, error, result = self._receive()
        assert number == self._number
        assert error is None, error
        return result

    def open(self, address: str) -> None:
        """Load a page."""
        self("WebDriver:Navigate", url=address)

    def run(self, script: str, *values: Any) -> Any:
        """What a function's body returns in the page."""
        return self("WebDriver:ExecuteScript", script=script, args=list(values))["value"]

    def wait(self, expression: str, seconds: float = 120) -> None:
        """Wait until an expression is true in the page."""
        until = time.monotonic() + seconds
        while not self.run(f"return Boolean({expression})"):
            assert time.monotonic() < until, f"{expression} is not true; errors: {self.errors()}"
            time.sleep(0.1)

    def choose_files(self, selector: str, *files: Path) -> None:
        """Choose files in an input."""
        found = self("WebDriver:FindElement", using="css selector", value=selector)["value"]
        (element,) = found.values()
        self("WebDriver:ElementSendKeys", id=element, text="\n".join(map(str, files)))

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self("WebDriver:PerformActions", actions=[{"type": "key", "id": "keys", "actions": actions}])

    def errors(self) -> list[str]:
        """What pages have reported to the console as errors, policies that refused something among them."""
        self("Marionette:SetContext", value="chrome")
        found = self.run(
            """return Services.console.getMessageArray().filter((each) => each instanceof Ci.nsIScriptError
                 && !(each.flags & Ci.nsIScriptError.warningFlag) && /^(file|http|blob)/.test(each.sourceName))
               .map((each) => `${each.sourceName}: ${each.errorMessage}`)"""
        )
        self("Marionette:SetContext", value="content")
        return list(found)

    def close(self) -> None:
        """End it."""
        self("Marionette:Quit", flags=["eForceQuit"])
        self._socket.close()
        self.process.wait(60)


def started(profile: Path) -> Iterator[Firefox]:
    """What a fixture yields; the test is skipped where there is no Firefox, and fails with MPIQE_REQUIRE_FIREFOX=1."""
    program = os.environ.get("MPIQE_FIREFOX") or shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        reason = "needs Firefox: apt-get install firefox-esr, or set MPIQE_FIREFOX to its path"
        if os.environ.get("MPIQE_REQUIRE_FIREFOX") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    browser = Firefox(program, profile)
    yield browser
    browser.close()
