"""A control plane whose store is real and whose host is in memory, under a client of its API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from minirun import ScheduleError
from scheduler.app import create_app
from scheduler.control import Control, Executed, ImageInfo, LogLine, Usage
from scheduler.controller import Controller
from scheduler.observed import Observed
from scheduler.store import Scope, Store
from tests.scheduler.fakes import Clock, FakeGateway, FakeRuntime

KNOWN = ("good", "slow", "crash", "errors", "task", "never")
SPEC: dict[str, object] = {
    "image": "good",
    "port": 8000,
    "replicas": 2,
    "update": {"min_ready_s": 0.0, "progress_deadline_s": 30.0},
    "resources": {"requests": {"cpu_millis": 100, "memory_bytes": 1 << 20}},
}


@dataclass
class FakeInsides:
    """Replicas that say what a test lets them say, and echo what they are told to run."""

    runtime: FakeRuntime
    lines: dict[str, list[LogLine]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    closed: int = 0

    def write(self, replica_id: str, text: str, unix_s: float = 1.0) -> None:
        self.lines.setdefault(replica_id, []).append(LogLine(unix_s, "stdout", text))

    def logs(self, replica_id: str, *, tail: int | None) -> Iterator[LogLine | None]:
        if replica_id not in self.runtime.boxes:
            raise ScheduleError(f"no replica {replica_id}", status=404)
        return self._lines(replica_id, tail)

    def _lines(self, replica_id: str, tail: int | None) -> Iterator[LogLine | None]:
        lines = self.lines.setdefault(replica_id, [])
        at = 0 if tail is None else max(0, len(lines) - tail)
        try:
            while True:
                if at < len(lines):
                    at += 1
                    yield lines[at - 1]
                elif replica_id in self.ended:
                    return
                else:
                    yield None
        finally:
            self.closed += 1

    def execute(self, replica_id: str, command: tuple[str, ...], timeout_s: float) -> Executed:
        if command[0] == "sleep":
            return Executed(None, timed_out=True)
        return Executed(3, " ".join(command).encode(), b"\xff")

    def remembered(self, deployment: str) -> tuple[str, ...]:
        return ()

    def usage(self) -> Mapping[str, Usage]:
        return {name: Usage(1.5, 1 << 20, 1 << 24, 1000) for name in self.runtime.boxes}


class FakeImages:
    """Images by the names that the fake runtime knows."""

    def images(self) -> tuple[ImageInfo, ...]:
        return tuple(ImageInfo(name, f"sha256:{name}", 1 << 20, 0.0) for name in KNOWN)

    def has_image(self, reference: str) -> bool:
        return reference.partition(":")[0] in KNOWN


class Lab:
    """A scheduler without processes: its store is real, its clock is turned by hand."""

    def __init__(
        self,
        folder: Path,
        *,
        max_streams: int = 4,
        keep_events: int = 1000,
    ) -> None:
        self.clock = Clock()
        self.store = Store.open(folder, keep_events=keep_events)
        self.runtime = FakeRuntime(self.clock)
        self.gateway = FakeGateway(self.clock, self.runtime)
        self.insides = FakeInsides(self.runtime)
        self.unix_s = 1_750_000_000.0
        self.controller = Controller(
            self.store, self.runtime, self.gateway, self.clock, lambda: self.unix_s
        )
        self.observed = self._look()
        self.problems: dict[str, str] = {}
        self.control = Control(
            store=self.store,
            replicas=self.insides,
            images=FakeImages(),
            observed=lambda: self.observed,
            clock=self.clock,
            health=lambda: self.problems,
        )
        self.app = create_app(self.control, max_streams=max_streams)
        self.token = self.store.create_token(f"test-{token_hex(2)}", Scope.ADMIN)
        self.client: FlaskClient = self.app.test_client()

    def close(self) -> None:
        self.app.extensions["minisched"].close()
        self.store.close()

    def _look(self) -> Observed:
        seen = self.controller.observe()
        return replace(seen, host=replace(seen.host, cordoned=self.store.cordoned()))

    def run(self, seconds: float = 4.0) -> None:
        """Let the world and the control loop go on."""
        for _ in range(round(seconds / 0.5)):
            self.clock.now += 0.5
            self.unix_s += 0.5
            self.runtime.the_host = replace(self.runtime.the_host, cordoned=self.store.cordoned())
            self.runtime.advance()
            self.gateway.advance()
            self.controller.tick()
        self.observed = self._look()

    # ---- requests ----

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
    ) -> TestResponse:
        """Send a request with a token, and a body as JSON where there is one."""
        given = {"Authorization": f"Bearer {token or self.token}", **(headers or {})}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            given.setdefault("Content-Type", "application/json")
        path = path if path.startswith("/") else f"/v1/{path}"
        return self.client.open(path, method=method, data=data, headers=given)

    def get(self, path: str, status: int = 200) -> dict[str, object]:
        """Return what is there."""
        return self.expect("GET", path, status=status)

    def expect(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, object]:
        """Send a request that is to be answered with a status; return the answer."""
        answer = self.ask(method, path, body, headers=headers)
        assert answer.status_code == status, (answer.status_code, answer.get_data(as_text=True))
        if status >= 400:
            assert answer.mimetype == "application/problem+json"
            assert answer.json is not None
            assert answer.json["status"] == status
        found: dict[str, object] = json.loads(answer.data or "{}")
        return found

    def put(self, name: str = "web", status: int = 201, **changes: object) -> dict[str, object]:
        """Ask for a deployment."""
        return self.expect("PUT", f"deployments/{name}", {**SPEC, **changes}, status=status)


def pointers(problem: Mapping[str, object]) -> list[str]:
    """Return the fields that a problem names."""
    errors = problem["errors"]
    assert isinstance(errors, list)
    return [error["pointer"] for error in errors]
