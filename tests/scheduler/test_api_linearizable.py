"""Concurrent writers on one deployment, with and without a condition, over a real server.

The model is a register with a generation: a write that changes something adds one to it, and a
conditional write succeeds only on the generation that it names.
"""

from __future__ import annotations

import json
import random
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.scheduler.api_lab import SPEC
from tests.scheduler.linearizable import Operation, is_linearizable
from tests.scheduler.served import Served, serving

State = tuple[int, int]  # generation, replicas
PATH = "/v1/deployments/web"
CLIENTS, ROUNDS = 4, 12


def read(seen: State, state: State) -> State | None:
    return state if state == seen else None


def write(replicas: int, expected: int | None, status: int, state: State) -> State | None:
    generation, before = state
    if (status == 412) is not (expected is not None and expected != generation):
        return None
    if status == 412 or before == replicas:
        return state
    return generation + 1, replicas


class Client:
    """Reads and writes, and remembers what it saw."""

    def __init__(self, served: Served, seed: int) -> None:
        self.connection = served.connect()
        self.random = random.Random(seed)
        self.seen: State = (1, 2)
        self.history: list[Operation[State]] = []

    def run(self) -> None:
        for _ in range(ROUNDS):
            self.random.choice((self.look, self.set, self.compare_and_set, self.compare_and_set))()
        self.connection.close()

    def look(self) -> None:
        began = time.monotonic()
        _, found = self.ask("GET", PATH)
        self.saw(found, began)

    def set(self) -> None:
        self.change(None)

    def compare_and_set(self) -> None:
        self.change(self.seen[0])

    def change(self, expected: int | None) -> None:
        replicas, began = self.random.randrange(5), time.monotonic()
        headers = {} if expected is None else {"If-Match": f'"{expected}"'}
        status, found = self.ask("POST", f"{PATH}/scale", {"replicas": replicas}, headers)
        assert status in (200, 412)
        step = partial(write, replicas, expected, status)
        text = f"write {replicas} if {expected}: {status}"
        self.history.append(Operation(text, began, time.monotonic(), step))
        if status == 200:  # what it answers with was read after the write
            self.saw(found, began)

    def saw(self, found: Any, began: float) -> None:  # noqa: ANN401 - JSON
        self.seen = found["generation"], found["spec"]["replicas"]
        step = partial(read, self.seen)
        self.history.append(Operation(f"read {self.seen}", began, time.monotonic(), step))

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        given = {"Content-Type": "application/json", **(headers or {})}
        data = None if body is None else json.dumps(body)
        self.connection.request(method, path, data, given)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_concurrent_writers_are_linearizable(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        assert served.ask("PUT", PATH, SPEC)[0] == 201
        clients = [Client(served, seed) for seed in range(CLIENTS)]
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    histories = [client.history for client in clients]
    story = [op.text for history in histories for op in history]
    assert sum("200" in text for text in story) > 5, "hardly anything was written"
    assert any("412" in text for text in story), "nobody got in anybody's way"
    assert is_linearizable(histories, (1, 2)), story


def test_checker_finds_a_lost_update() -> None:
    """Two conditional writes on the same generation cannot both succeed."""
    first = Operation[State]("write", 0, 2, partial(write, 3, 1, 200))
    second = Operation[State]("write", 1, 3, partial(write, 4, 1, 200))
    refused = Operation[State]("write", 1, 3, partial(write, 4, 1, 412))
    assert not is_linearizable([[first], [second]], (1, 2))
    assert is_linearizable([[first], [refused]], (1, 2))


def test_checker_finds_a_stale_read() -> None:
    written = Operation[State]("write", 0, 1, partial(write, 3, None, 200))
    stale = Operation[State]("read", 2, 3, partial(read, (1, 2)))
    during = Operation[State]("read", 0.5, 3, partial(read, (1, 2)))
    assert not is_linearizable([[written], [stale]], (1, 2))
    assert is_linearizable([[written], [during]], (1, 2))
