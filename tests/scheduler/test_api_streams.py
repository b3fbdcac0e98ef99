"""Answers that go on, from a real server: none skips, none leaks, none keeps others waiting."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from scheduler.actions import Event
from scheduler.api.events import Watch
from scheduler.app import MAX_BODY_BYTES
from tests.scheduler.api_lab import SPEC, Lab
from tests.scheduler.served import MAX_STREAMS, THREADS, Served, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as found:
        status, _ = found.ask("PUT", "/v1/deployments/web", SPEC)
        assert status == 201
        yield found


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path, keep_events=50)
    yield made
    made.close()


def wait_until(condition: Callable[[], bool], within_s: float = 60, every_s: float = 0.05) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(every_s)


def open_stream(served: Served, path: str) -> HTTPResponse:
    connection = served.connect()
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.connection = connection  # type: ignore[attr-defined]  # it would be closed with it
    return answer


def close_stream(answer: HTTPResponse) -> None:
    answer.connection.close()  # type: ignore[attr-defined]
    answer.close()


def read_events(answer: HTTPResponse, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    until = time.monotonic() + 40
    while len(found) < number:
        line = answer.readline()
        assert time.monotonic() < until, "it goes on, and says nothing"
        assert line, "the stream has ended"
        if line.startswith(b"data: "):
            found.append(json.loads(line[6:]))
    return found


# ---- events -------------------------------------------------------------------------------------


def test_watch_tells_every_event_in_order_while_many_write(served: Served) -> None:
    _, before = served.ask("GET", "/v1/events")
    watch = open_stream(served, f"/v1/events/watch?after={before['last']}")
    assert watch.getheader("Content-Type", "").startswith("text/event-stream")

    def write(worker: int) -> None:
        for i in range(10):
            body = {"labels": {str(worker): str(i)}}
            assert served.ask("PATCH", "/v1/deployments/web", body)[0] == 200

    writers = [threading.Thread(target=write, args=(i,)) for i in range(3)]
    for writer in writers:
        writer.start()
    events = read_events(watch, 30)
    for writer in writers:
        writer.join()
    close_stream(watch)
    first = before["last"] + 1
    assert [event["sequence"] for event in events] == list(range(first, first + 30))


def test_watch_tells_an_event_once_that_is_announced_late(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, events = Watch(lab.control, None, 0), lab.store._events
    announce, told = events.announce, []

    def look_before(first: int, last: int) -> None:
        told.append(watch._next())
        announce(first, last)

    monkeypatch.setattr(events, "announce", look_before)
    lab.store.commit({}, (Event("web", "scaled", "to 3"),))
    told += [watch._next() for _ in range(2)]
    assert [[event.message for event in batch] for batch in told] == [[], ["to 3"], []]


def test_watch_goes_on_where_it_was_cut_off(served: Served) -> None:
    connection = served.connect()
    connection.request("GET", "/v1/events/watch?after=0", headers={"Last-Event-ID": "1"})
    answer = connection.getresponse()
    assert read_events(answer, 1)[0]["sequence"] == 2
    connection.close()
    answer.close()


def test_watch_of_one_deployment_is_not_told_of_others(served: Served) -> None:
    served.ask("PUT", "/v1/deployments/other", SPEC)
    watch = open_stream(served, "/v1/events/watch?after=0&deployment=other")
    assert {event["deployment"] for event in read_events(watch, 2)} == {"other"}
    close_stream(watch)


def test_watch_of_what_is_not_kept_any_more_is_gone(lab: Lab) -> None:
    lab.put()
    for i in range(80):
        lab.expect("PATCH", "deployments/web", {"labels": {"i": str(i)}})
    lab.expect("GET", "events?after=1", status=410)
    lab.expect("GET", "events/watch?after=1", status=410)
    assert lab.get("events?after=80")["last"] == 81


@pytest.mark.parametrize("seen", ["-1", "x", "1.5", "²", "9" * 30])
def test_watch_refuses_a_number_that_is_none(lab: Lab, seen: str) -> None:
    headers = {"Last-Event-ID": seen.encode().decode("latin-1")}
    lab.expect("GET", "events/watch", headers=headers, status=400)


# ---- logs ---------------------------------------------------------------------------------------


def test_logs_are_merged_by_time_and_cut_to_the_last(lab: Lab) -> None:
    lab.put()
    lab.run()
    for i in range(4):
        lab.insides.write(f"web.{i % 2 + 1}", f"line {i}", unix_s=float(i))
    lines = lab.ask("GET", "deployments/web/logs").text.splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    assert texts == ["line 0", "line 1", "line 2", "line 3"]
    last = lab.ask("GET", "deployments/web/logs?tail=1").text
    assert json.loads(last)["text"] == "line 3"
    one = lab.ask("GET", "replicas/web.2/logs").text.splitlines()
    assert [json.loads(line)["text"] for line in one] == ["line 1", "line 3"]
    assert lab.insides.closed == 5, "nothing that was opened is left open"
    lab.expect("GET", "deployments/none/logs", status=404)
    lab.expect("GET", "replicas/web.9/logs?follow=true", status=404)
    lab.expect("GET", "deployments/web/logs?tail=-1", status=400)


def test_followed_logs_go_on_to_the_end_of_the_replica(lab: Lab) -> None:
    lab.put(replicas=1)
    lab.run()
    lab.insides.write("web.1", "first")
    answer = lab.ask("GET", "replicas/web.1/logs?follow=true")
    lines = (line for line in answer.iter_encoded() if line)
    assert json.loads(next(lines))["text"] == "first"
    lab.insides.write("web.1", "second")
    assert json.loads(next(lines))["text"] == "second"
    lab.insides.ended.add("web.1")
    assert list(lines) == []
    answer.close()
    assert lab.insides.closed == 1


def test_followed_logs_of_a_deployment_hear_replicas_that_start_later(lab: Lab) -> None:
    lab.put(replicas=1)
    lab.run()
    lab.insides.write("web.1", "old")
    lab.insides.write("web.1", "first")
    answer = lab.ask("GET", "deployments/web/logs?follow=true&tail=1")
    lines = (json.loads(line) for line in answer.iter_encoded() if line)
    assert next(lines)["text"] == "first"
    lab.expect("POST", "deployments/web/scale", {"replicas": 2})
    lab.run()
    lab.insides.write("web.2", "newcomer")
    lab.insides.write("web.2", "again")
    assert [next(lines)["text"] for _ in range(2)] == ["newcomer", "again"]
    answer.close()
    assert lab.insides.closed == 2


# ---- readers that go away, and those who never come ---------------------------------------------


def test_readers_that_go_away_leave_nothing(served: Served) -> None:
    """Ten thousand in a run by hand: MINIRUN_READERS=10000."""
    rounds = int(os.environ.get("MINIRUN_READERS", "300")) // MAX_STREAMS
    for number in range(5):
        _come_and_go(served, number)
    before = served.holds()
    for number in range(rounds):
        _come_and_go(served, number)
    after = served.holds()
    print(f"{rounds * MAX_STREAMS} readers: {before} to {after}", file=sys.stderr)
    assert after.threads <= THREADS + 6
    assert after.descriptors <= before.descriptors + 3
    assert after.resident_bytes <= before.resident_bytes + (12 << 20)


def _come_and_go(served: Served, number: int) -> None:
    """Let as many watch as may, hang up, and find out by the next event that they have."""
    wait_until(lambda: served.streams() == 0, every_s=0.005)  # whoever was there before
    answers = [open_stream(served, "/v1/events/watch") for _ in range(MAX_STREAMS)]
    assert [answer.status for answer in answers] == [200] * MAX_STREAMS
    for answer in answers:
        close_stream(answer)
    body = {"labels": {"number": str(number % 2)}}
    assert served.ask("PATCH", "/v1/deployments/web", body)[0] == 200
    wait_until(lambda: served.streams() == 0, every_s=0.005)


def test_readers_of_silent_logs_that_go_away_are_found_out(served: Served) -> None:
    answers = [open_stream(served, "/v1/deployments/web/logs?follow=true") for _ in range(3)]
    for answer in answers:
        close_stream(answer)
    wait_until(lambda: served.streams() == 0)


def test_more_readers_than_there_is_room_for_are_told_to_come_back(served: Served) -> None:
    wait_until(lambda: served.streams() == 0)
    answers = [open_stream(served, "/v1/events/watch") for _ in range(MAX_STREAMS + 1)]
    assert [answer.status for answer in answers] == [200] * MAX_STREAMS + [503]
    assert answers[-1].getheader("Retry-After") == "1"
    assert served.ask("GET", "/v1/deployments/web")[0] == 200, "all others are still served"
    for answer in answers:
        close_stream(answer)


def test_clients_that_dribble_a_head_hold_nobody_up(served: Served) -> None:
    slow = [socket.socket(socket.AF_UNIX) for _ in range(THREADS)]
    for client in slow:
        client.connect(str(served.path))
        client.sendall(b"GET /v1/deployments HTTP/1.1\r\nX-Slow: ")
    assert served.ask("GET", "/healthz")[0] == 200
    for client in slow:
        client.close()


HEAD = b"PUT /v1/deployments/web HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BODIES = (b"Content-Length: 100000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n1000\r\n")


@pytest.mark.parametrize("body", BODIES)
def test_clients_that_dribble_a_body_hold_nobody_up(served: Served, body: bytes) -> None:
    slow = [socket.socket(socket.AF_UNIX) for _ in range(THREADS)]
    for client in slow:
        client.connect(str(served.path))
        client.sendall(HEAD + body)
    wait_until(lambda: all(_dribbled(client) for client in slow), every_s=0.1)
    assert served.ask("GET", "/healthz")[0] == 200
    for client in slow:
        client.close()


def _dribbled(client: socket.socket) -> bool:
    """Send one byte more; return whether nobody takes it."""
    try:
        client.sendall(b" ")
    except OSError:
        return True
    return False


def test_an_answer_may_take_longer_than_a_body(served: Served) -> None:
    """What if a request that is being answered were taken for one that is dribbled."""
    began = time.monotonic()
    answer = open_stream(served, "/v1/events/watch")
    while time.monotonic() - began < 4:
        served.ask("PATCH", "/v1/deployments/web", {"labels": {"now": str(time.monotonic())}})
        read_events(answer, 1)
    close_stream(answer)


def test_a_body_in_chunks_that_is_too_large_is_not_read(served: Served) -> None:
    with closing(served.connect()) as connection:
        pieces = (b" " * 65536 for _ in range(2 * MAX_BODY_BYTES // 65536))
        with suppress(BrokenPipeError):  # it need not wait for the end
            headers = {"Content-Type": "application/json"}
            connection.request("PUT", "/v1/deployments/web", pieces, headers)
        with connection.getresponse() as answer:
            assert answer.status == 413


def test_a_body_that_stops_half_way_is_the_client_s_fault(served: Served) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(served.path))
        client.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        client.shutdown(socket.SHUT_WR)
        client.settimeout(20)
        assert client.recv(4096).startswith(b"HTTP/1.1 400 ")
