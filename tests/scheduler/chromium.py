"""Headless Chromium, spoken to over the DevTools protocol's pipe: no driver, no port, no library.

Messages are JSON, each ended by a zero byte; commands have numbers, which their answers repeat, and
what happens in between is an event. See: https://chromedevtools.github.io/devtools-protocol/.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.scheduler.serve_lab import kill_9, processes_of

PATIENCE_S = 60.0
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # it would need a user of its own; what it opens is ours alone
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-first-run",
    "--no-proxy-server",
    # Whatever is not this host does not exist, so nothing can be asked for there.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE *.localhost",
    "--remote-debugging-pipe",
)


class Page:
    """One tab. It remembers what it asked for, what it said on the console and what went wrong."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = reads, writes
        self._rest = b""
        self._number = 0
        self._session = ""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        opened = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = opened["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    # ---- the protocol ----

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command and return its answer."""
        self._number += 1
        wanted = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            wanted["sessionId"] = self._session
        os.write(self._writes, json.dumps(wanted).encode() + b"\0")
        until = time.monotonic() + PATIENCE_S
        while True:
            message = self._next(until)
            if message.get("id") == self._number:
                assert "error" not in message, (method, message["error"])
                found: dict[str, Any] = message["result"]
                return found

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._reads], [], [], max(0.0, until - time.monotonic()))
            assert ready, "Chromium does not answer"
            piece = os.read(self._reads, 1 << 16)
            assert piece, "Chromium has ended"
            self._rest += piece
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, found: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(found["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and found["type"] in {"error", "warning"}:
            self.complaints.append(json.dumps(found["args"]))
        elif event == "Log.entryAdded" and found["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(json.dumps(found["entry"]))

    # ---- what a person does ----

    def open(self, address: str) -> None:
        """Go to an address, and wait until it is loaded."""
        self.ask("Page.navigate", url=address)
        self.wait(f"location.href.startsWith({json.dumps(address)}) && {_LOADED}")

    def run(self, expression: str) -> Any:  # noqa: ANN401 - any JSON
        """Return what an expression comes to, in the page."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true; a page that goes away meanwhile has no say."""
        until = time.monotonic() + PATIENCE_S
        while not self._holds(condition):
            assert time.monotonic() < until, (condition, self.text("body"))
            time.sleep(0.02)

    def _holds(self, condition: str) -> bool:
        answer = self.ask("Runtime.evaluate", expression=f"Boolean({condition})")
        return answer["result"].get("value") is True

    def text(self, selector: str) -> str:
        """Return the text that is seen of an element."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def type(self, selector: str, text: str) -> None:
        """Put the cursor into a field, mark what is there, and type."""
        self.run(f"document.querySelector({json.dumps(selector)}).select()")
        self.ask("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click with the mouse on the middle of an element; wait for the page that it leads to."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{element}.scrollIntoView({{block: 'center'}}); window.isOld = true")
        box = self.run(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({_BOX.format(element)})")
        for kind in ("mousePressed", "mouseReleased"):
            at = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
            self.ask("Input.dispatchMouseEvent", type=kind, **at)
        self.wait(f"!window.isOld && {_LOADED}")

    def picture(
        self, file: Path, *, width: int = 1280, height: int = 900, dark: bool = False
    ) -> None:
        """Write what is seen into a PNG."""
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **shape)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        found = self.ask("Page.captureScreenshot")
        file.write_bytes(base64.b64decode(found["data"]))


_LOADED = "document.readyState === 'complete'"
_BOX = "{}.getBoundingClientRect()"


@contextmanager
def chromium() -> Iterator[Page]:
    """Start Chromium in a profile of its own; nothing of it is left afterwards."""
    profile = tempfile.mkdtemp(prefix="chromium-")
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    pid = _spawn([*_OPTIONS, f"--user-data-dir={profile}"], profile, theirs_in, theirs_out)
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Page(ours_in, ours_out)
    finally:
        _end(pid, Path(profile))
        os.close(ours_in)
        os.close(ours_out)
        shutil.rmtree(profile, ignore_errors=True)


def _end(pid: int, profile: Path) -> None:
    """Kill all of it; what it has started becomes ours then: the test run adopts orphans."""
    apart = processes_of(profile, "crashpad")  # in sessions of their own
    os.killpg(pid, signal.SIGKILL)
    for other in apart:
        kill_9(other)
    for whose in (-pid, *apart):
        with suppress(ChildProcessError):
            while True:
                os.waitpid(whose, 0)


def _spawn(options: list[str], home: str, reads: int, writes: int) -> int:
    """Start it; it reads commands from 3 and writes answers to 4, whatever our own numbers are."""
    reads, writes = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (reads, writes))
    silent = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    pipes = [(os.POSIX_SPAWN_DUP2, reads, 3), (os.POSIX_SPAWN_DUP2, writes, 4)]
    try:
        return os.posix_spawnp(
            "chromium",
            ["chromium", *options],
            {**os.environ, "HOME": home},
            file_actions=[*silent, *pipes],
            setsid=True,
        )
    finally:
        os.close(reads)
        os.close(writes)
