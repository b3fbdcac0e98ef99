"""Concurrent writers on one deployment, with and without a condition, over a real server.

The model is a register with a generation that is made, changed and let go. A write that changes
something adds one to the generation, also over the end of one and the beginning of the next; a
conditional write succeeds only on the generation that it names; and each write is answered with
what it left behind, not with what somebody else made of it. A deployment that is let go is there
until its last replica has gone, which is a step that no client takes: it has been taken where
somebody sees that it was.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.scheduler.api_lab import SPEC, Lab
from tests.scheduler.linearizable import Operation, is_linearizable
from tests.scheduler.served import Served, serving

PATH = "/v1/deployments/web"
CLIENTS, ROUNDS = 4, 16


@dataclass(frozen=True)
class State:
    """What there is of the deployment, and how often people have changed it."""

    generation: int = 0
    replicas: int = 0
    life: str = "gone"  # live, leaving

    @property
    def tag(self) -> int:
        """Return the generation that a condition is compared with."""
        return 0 if self.life == "gone" else self.generation


@dataclass(frozen=True)
class Answer:
    """What a client was told."""

    status: int
    seen: State | None = None


# ---- the model ----------------------------------------------------------------------------------


def read(answer: Answer, state: State) -> State | None:
    if answer.status == 404:
        return _gone(state)
    return state if state == answer.seen else None


def _gone(state: State) -> State | None:
    """Return the state when the last replica has gone; None where it cannot have."""
    return None if state.life == "live" else replace(state, life="gone")


Effect = Callable[[State], tuple[int, State]]


def write(effect: Effect, expected: int | None, answer: Answer, state: State) -> State | None:
    """Return the state after a write, as it is now or with the last replica gone meanwhile."""
    for now in (state, _gone(state)):
        if now is None:
            continue
        if expected is not None and expected != now.tag:
            status, after = 412, now
        else:
            status, after = effect(now)
        if answer.status == status and answer.seen in (None, after):
            return after
    return None


def scale(replicas: int, state: State) -> tuple[int, State]:
    if state.life != "live":
        return (409 if state.life == "leaving" else 404), state
    if state.replicas == replicas:
        return 200, state
    return 200, replace(state, generation=state.generation + 1, replicas=replicas)


def put(replicas: int, state: State) -> tuple[int, State]:
    if state.life == "gone":
        return 201, State(state.generation + 1, replicas, "live")
    return scale(replicas, state)


def delete(state: State) -> tuple[int, State]:
    if state.life != "live":
        return (202 if state.life == "leaving" else 404), state
    return 202, replace(state, generation=state.generation + 1, life="leaving")


# ---- the clients --------------------------------------------------------------------------------


class Client:
    """Reads and writes, and remembers what it saw."""

    def __init__(self, served: Served, seed: int) -> None:
        self.connection = served.connect()
        self.random = random.Random(seed)
        self.known = 0
        self.history: list[Operation[State]] = []

    def run(self) -> None:
        for _ in range(ROUNDS):
            self.random.choice(
                (self.look, self.scale, self.scale, self.put, self.put, self.delete)
            )()
        self.connection.close()

    def look(self) -> Answer:
        began = time.monotonic()
        answer = self.ask("GET", PATH)
        self.note(f"read: {answer}", began, partial(read, answer))
        return answer

    def scale(self) -> None:
        replicas = self.random.randrange(4)
        body = {"replicas": replicas}
        self.change(f"scale {replicas}", partial(scale, replicas), "POST", f"{PATH}/scale", body)

    def put(self) -> None:
        replicas = self.random.randrange(4)
        body = {**SPEC, "replicas": replicas}
        self.change(f"put {replicas}", partial(put, replicas), "PUT", PATH, body)

    def delete(self) -> None:
        self.change("delete", delete, "DELETE", PATH)

    def change(
        self, text: str, effect: Effect, method: str, path: str, body: object = None
    ) -> None:
        expected = self.random.choice((None, self.known, self.known)) if self.known else None
        headers = {} if expected is None else {"If-Match": f'"{expected}"'}
        began = time.monotonic()
        answer = self.ask(method, path, body, headers)
        step = partial(write, effect, expected, answer)
        self.note(f"{text} if {expected}: {answer}", began, step)
        if answer.status == 412:  # as its hint says: read it again
            self.look()
        if answer.status == 409:  # as its hint says: try again when it is gone
            while (seen := self.look().seen) and seen.life == "leaving":
                time.sleep(0.01)

    def note(self, text: str, began: float, step: Callable[[State], State | None]) -> None:
        self.history.append(Operation(text, began, time.monotonic(), step))

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Answer:
        given = {"Content-Type": "application/json", **(headers or {})}
        data = None if body is None else json.dumps(body)
        self.connection.request(method, path, data, given)
        with self.connection.getresponse() as response:
            found: Any = json.loads(response.read())
        if response.status >= 400:
            assert response.status in (404, 409, 412), found
            self.known = 0 if response.status == 404 else self.known
            return Answer(response.status)
        life = "leaving" if found["status"]["deleting"] else "live"
        seen = State(found["generation"], found["spec"]["replicas"], life)
        assert response.getheader("ETag") == f'"{seen.generation}"'
        self.known = seen.generation
        return Answer(response.status, seen)


def test_concurrent_writers_are_linearizable(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        clients = [Client(served, seed) for seed in range(CLIENTS)]
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    histories = [client.history for client in clients]
    story = [op.text for history in histories for op in history]
    for status in (200, 201, 202, 404, 409, 412):
        assert any(f"status={status}" in text for text in story), f"nobody was told {status}"
    assert sum("status=201" in text for text in story) > 1, "it never came back"
    assert is_linearizable(histories, State()), story


def test_write_is_answered_with_what_it_left_behind(tmp_path: Path) -> None:
    """What if somebody else writes before the answer is: it is not their write that we made."""
    lab = Lab(tmp_path)
    others = iter(({**SPEC, "replicas": 4}, None))

    def interfere() -> None:
        if (body := next(others, None)) is not None:
            lab.expect("PUT", "deployments/web", body)

    try:
        lab.store.on_change(interfere)
        answer = lab.ask("PUT", "deployments/web", {**SPEC, "replicas": 3})
        assert answer.headers["ETag"] == '"1"'
        assert answer.json is not None
        assert answer.json["spec"]["replicas"] == 3
        assert lab.get("deployments/web")["generation"] == 2
    finally:
        lab.close()


# ---- the checker --------------------------------------------------------------------------------

BEFORE = State(1, 2, "live")


def _operation(
    began: float, ended: float, effect: Effect, expected: int | None, answer: Answer
) -> Operation[State]:
    return Operation("write", began, ended, partial(write, effect, expected, answer))


def test_checker_finds_a_lost_update() -> None:
    """Two conditional writes on the same generation cannot both succeed."""
    first = _operation(0, 2, partial(scale, 3), 1, Answer(200))
    second = _operation(1, 3, partial(scale, 4), 1, Answer(200))
    refused = _operation(1, 3, partial(scale, 4), 1, Answer(412))
    assert not is_linearizable([[first], [second]], BEFORE)
    assert is_linearizable([[first], [refused]], BEFORE)


def test_checker_finds_a_stale_read() -> None:
    written = _operation(0, 1, partial(scale, 3), None, Answer(200))
    stale = Operation[State]("read", 2, 3, partial(read, Answer(200, BEFORE)))
    during = Operation[State]("read", 0.5, 3, partial(read, Answer(200, BEFORE)))
    assert not is_linearizable([[written], [stale]], BEFORE)
    assert is_linearizable([[written], [during]], BEFORE)


def test_checker_finds_the_answer_of_another_write() -> None:
    """Who is answered with another's generation overwrites, next, what they have not seen."""
    first = _operation(0, 2, partial(scale, 3), None, Answer(200, State(3, 4, "live")))
    second = _operation(1, 3, partial(scale, 4), None, Answer(200, State(3, 4, "live")))
    assert not is_linearizable([[first], [second]], BEFORE)


def test_checker_finds_a_deployment_that_comes_back_by_itself() -> None:
    deleted = _operation(0, 1, delete, None, Answer(202, State(2, 2, "leaving")))
    gone = Operation[State]("read", 2, 3, partial(read, Answer(404)))
    leaving = Operation[State]("read", 4, 5, partial(read, Answer(200, State(2, 2, "leaving"))))
    assert is_linearizable([[deleted, gone]], BEFORE)
    assert not is_linearizable([[deleted, gone, leaving]], BEFORE)


def test_checker_finds_a_generation_that_begins_again() -> None:
    """Else what was read of the first deployment would be a condition for the second."""
    deleted = _operation(0, 1, delete, None, Answer(202))
    again = _operation(2, 3, partial(put, 5), None, Answer(201, State(1, 5, "live")))
    next_one = _operation(2, 3, partial(put, 5), None, Answer(201, State(3, 5, "live")))
    assert not is_linearizable([[deleted, again]], BEFORE)
    assert is_linearizable([[deleted, next_one]], BEFORE)
