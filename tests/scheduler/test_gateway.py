"""The real gateway: what every gateway keeps, and what this one does beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.gateway.admin import Admin
from scheduler.gateway.metrics import exposition
from tests.scheduler import gateway_lab
from tests.scheduler.contract import ROUTE, GatewayContract
from tests.scheduler.gateway_lab import Lab


@pytest.fixture(
    params=[
        pytest.param(None, id="wheel"),
        pytest.param(Path("/usr/sbin/haproxy"), id="system", marks=pytest.mark.requires("haproxy")),
    ]
)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with gateway_lab.lab(request.param) as made:
        yield made


class TestHaproxyGateway(GatewayContract):
    """Both versions of HAProxy that are supported are held to the contract."""

    def test_requests_held_at_zero_are_all_answered_within_the_cap(self, lab: Lab) -> None:
        lab.gateway.set_route(ROUTE)
        for _ in range(20):
            lab.begin("/sleep/0.02")
        lab.wait_until(lambda: lab.gateway.traffic()["web"].held == 20)
        assert lab.woken.is_set()
        assert lab.gateway.traffic()["web"].stable_concurrency
        lab.gateway.add(lab.server("web.1", concurrency=2))
        lab.wait_until(lambda: lab.answered() == 20)
        assert lab.lost() == 0
        assert lab.replicas["web.1"].most_busy == 2

    def test_rolling_update_under_load_fails_no_request(self, lab: Lab) -> None:
        lab.gateway.set_route(ROUTE)
        lab.gateway.add(lab.server("web.0", concurrency=2))
        end = lab.flood(4, "/sleep/0.001")
        for number in range(1, 6):
            old = f"web.{number - 1}"
            lab.gateway.add(lab.server(f"web.{number}", concurrency=2))
            served = lab.replicas[f"web.{number}"]
            lab.wait_until(lambda served=served: served.served > 20)  # type: ignore[misc]
            lab.gateway.drain(old, "stable")
            lab.wait_until(lambda old=old: not lab.gateway.servers()[old].in_flight)  # type: ignore[misc]
            lab.gateway.remove(old, "stable")
            lab.replicas.pop(old).stop()
        assert end() > 100
        assert lab.lost() == 0


# ---- waiting ----


@pytest.fixture
def one() -> Iterator[Lab]:
    """Return a lab of the preferred version."""
    with gateway_lab.lab() as made:
        yield made


def test_queue_that_is_full_refuses_with_retry_after(one: Lab) -> None:
    one.gateway.set_route(replace(ROUTE, queue_limit=1))
    one.gateway.add(one.server("web.1", concurrency=1))
    one.begin()
    one.begin()
    one.wait_until(lambda: one.gauge().queued == 1)
    status, headers, body = one.get()
    assert (status, headers["Retry-After"]) == (503, "1")
    assert headers["Content-Type"] == "application/problem+json"
    assert json.loads(body)["detail"] == "the queue is full"
    one.finish()
    one.wait_until(lambda: one.answered() == 2)


def test_queue_limit_of_zero_lets_through_what_need_not_wait(one: Lab) -> None:
    one.gateway.set_route(replace(ROUTE, queue_limit=0))
    one.gateway.add(one.server("web.1", concurrency=1))
    assert one.get()[0] == 200
    one.begin()
    one.wait_until(lambda: one.gateway.servers()["web.1"].in_flight == 1)
    assert one.get()[0] == 503


def test_request_leaves_the_queue_after_queue_s(one: Lab) -> None:
    one.gateway.set_route(replace(ROUTE, queue_s=1.0))
    one.gateway.add(one.server("web.1", concurrency=1))
    one.begin()
    one.wait_until(lambda: one.gateway.servers()["web.1"].in_flight == 1)
    began = time.monotonic()
    assert one.get()[0] == 503
    assert 0.9 < time.monotonic() - began < 5


def test_request_to_a_silent_replica_ends_after_request_s(one: Lab) -> None:
    one.gateway.set_route(replace(ROUTE, request_s=0.3))
    one.gateway.add(one.server("web.1"))
    assert one.get("/wait")[0] == 504


def test_held_request_is_refused_after_activation_s(one: Lab) -> None:
    one.gateway.set_route(replace(ROUTE, activation_s=0.3))
    began = time.monotonic()
    status, headers, _ = one.get()
    assert (status, headers["Retry-After"]) == (503, "1")
    assert 0.25 < time.monotonic() - began < 5


def test_held_requests_are_bounded_by_the_queue_limit(one: Lab) -> None:
    one.gateway.set_route(replace(ROUTE, queue_limit=2))
    one.begin()
    one.begin()
    one.wait_until(lambda: one.gateway.traffic()["web"].held == 2)
    assert one.get()[0] == 503


def test_remove_route_refuses_what_is_held(one: Lab) -> None:
    one.gateway.set_route(ROUTE)
    one.begin()
    one.wait_until(lambda: one.gateway.traffic()["web"].held == 1)
    one.gateway.remove_route("web")
    one.wait_until(lambda: one.fates["503"] == 1)


def test_client_that_goes_away_leaves_the_queue(one: Lab) -> None:
    one.gateway.set_route(ROUTE)
    one.gateway.add(one.server("web.1", concurrency=1))
    one.begin()
    one.wait_until(lambda: one.gateway.servers()["web.1"].in_flight == 1)
    waiting = one.connection("/")
    one.wait_until(lambda: one.gauge().queued == 1)
    waiting.close()
    one.wait_until(lambda: one.gauge().queued == 0)
    one.finish()
    one.wait_until(lambda: one.answered() == 1)
    assert one.replicas["web.1"].served == 1


def test_client_that_goes_away_while_it_is_held_is_forgotten_at_the_latest_then(one: Lab) -> None:
    one.gateway.set_route(ROUTE)
    held = one.connection("/")
    one.wait_until(lambda: one.gateway.traffic()["web"].held == 1)
    held.close()
    one.gateway.add(one.server("web.1", concurrency=1))
    one.wait_until(lambda: one.gateway.traffic()["web"].held == 0)
    assert one.get()[0] == 200


# ---- who answers ----


def test_least_busy_replica_is_given_the_next_request(one: Lab) -> None:
    one.gateway.set_route(ROUTE)
    one.gateway.add(one.server("web.1"))
    one.begin()
    one.wait_until(lambda: one.gateway.servers()["web.1"].in_flight == 1)
    one.gateway.add(one.server("web.2"))
    for _ in range(5):
        assert one.get()[1]["X-Replica"] == "web.2"
        one.wait_until(lambda: one.gateway.servers()["web.2"].in_flight == 0)


def test_new_replica_beside_others_begins_with_a_small_share(one: Lab) -> None:
    one.gateway.close()
    one.gateway = one.new_gateway(slow_start_s=1.0)
    one.gateway.start()
    one.gateway.set_route(ROUTE)
    one.gateway.add(one.server("web.1"))
    one.gateway.close()
    one.gateway = one.new_gateway(slow_start_s=1.0)
    one.gateway.start()
    one.gateway.add(one.server("web.2"))
    assert weights(one)["web.2"] < weights(one)["web.1"] == 100
    one.wait_until(lambda: weights(one)["web.2"] == 100)


def test_replicas_that_come_together_have_the_same_share(one: Lab) -> None:
    """What if a deployment begins with three: the first is no warmer than the others."""
    one.gateway.close()
    one.gateway = one.new_gateway(slow_start_s=60.0)
    one.gateway.start()
    one.gateway.set_route(ROUTE)
    for number in (1, 2, 3):
        one.gateway.add(one.server(f"web.{number}"))
    assert set(weights(one).values()) == {100}


def weights(lab: Lab) -> dict[str, int]:
    rows = Admin(lab.folder / "gateway/proxy.sock").states()
    return {server: int(row["srv_uweight"]) for (_, server), row in rows.items()}


def test_request_whose_server_is_gone_is_sent_to_another(one: Lab) -> None:
    one.gateway.set_route(ROUTE)
    for number in (1, 2, 3):
        one.gateway.add(one.server(f"web.{number}"))
    one.replicas["web.1"].stop()
    one.replicas["web.2"].stop()
    assert [one.get()[1]["X-Replica"] for _ in range(20)] == ["web.3"] * 20


def test_canary_gets_its_share_and_its_header(one: Lab) -> None:
    one.gateway.set_route(replace(ROUTE, canary_weight=25, canary_header="X-Trial"))
    one.gateway.add(one.server("web.1"))
    one.gateway.add(one.server("web.2", "canary"))
    assert {one.get(x_trial="any")[1]["X-Replica"] for _ in range(10)} == {"web.2"}
    for _ in range(200):
        one.get()
    # 200 draws at 25 %: 7 standard deviations to each side.
    assert 8 <= one.replicas["web.2"].served - 10 <= 92
    pools = one.gateway.traffic()["web"].pools
    assert pools["canary"].requests == one.replicas["web.2"].served
    assert pools["stable"].requests == one.replicas["web.1"].served


def test_replica_that_only_fails_is_left_out_but_never_the_last(one: Lab) -> None:
    one.gateway.set_route(ROUTE)
    for number in (1, 2):
        one.gateway.add(one.server(f"web.{number}"))
        one.replicas[f"web.{number}"].delay_s = 0.02
    one.replicas["web.1"].status = 500
    end = one.flood(4)
    one.wait_until(lambda: one.gateway.ejected() == {"web.1"})
    one.replicas["web.2"].status = 500
    failed = one.fates["500"]
    one.wait_until(lambda: one.fates["500"] > failed + 50)
    end()
    assert one.gateway.ejected() == {"web.1"}
    assert not one.gateway.servers()["web.1"].draining
    one.gateway.drain("web.2", "stable")
    assert one.gateway.ejected() == set()
    one.replicas["web.1"].status = 200
    assert one.get()[1]["X-Replica"] == "web.1"


def test_add_with_another_concurrency_changes_the_cap(one: Lab) -> None:
    one.gateway.set_route(ROUTE)
    server = one.server("web.1", concurrency=1)
    one.gateway.add(server)
    one.gateway.add(replace(server, concurrency=3))
    for _ in range(3):
        one.begin()
    one.wait_until(lambda: one.gateway.servers()["web.1"].in_flight == 3)


def test_new_queue_class_moves_replicas_without_loss(one: Lab) -> None:
    one.gateway.set_route(ROUTE)
    server = one.server("web.1", concurrency=1)
    one.gateway.add(server)
    one.begin()
    one.wait_until(lambda: one.gateway.servers()["web.1"].in_flight == 1)
    one.gateway.set_route(replace(ROUTE, queue_s=120.0))
    assert one.gateway.servers()["web.1"].draining
    one.gateway.add(server)
    assert one.gateway.servers()["web.1"].draining  # it is busy: another would be one too many
    one.finish()
    one.wait_until(lambda: one.gateway.servers()["web.1"].in_flight == 0)
    one.gateway.add(server)
    assert not one.gateway.servers()["web.1"].draining
    assert one.get()[0] == 200
    assert one.lost() == 0


# ---- what passes through ----


def test_events_pass_through_as_they_come(one: Lab) -> None:
    one.gateway.set_route(ROUTE)
    one.gateway.add(one.server("web.1"))
    with one.connection("/events") as stream, stream.makefile("rb") as lines:
        for number in range(3):
            while not (line := lines.readline()).startswith(b"data:"):
                assert line
            assert line == f"data: {number}\n".encode()
            one.replicas["web.1"].steps.release()


def test_websocket_passes_through_both_ways(one: Lab) -> None:
    one.gateway.set_route(ROUTE)
    one.gateway.add(one.server("web.1"))
    key = "A" * 22 + "=="
    upgrade = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {key}\r\n"
    with one.connection("/upgrade", upgrade) as stream, stream.makefile("rb") as lines:
        assert b"101" in lines.readline()
        while lines.readline().strip():
            pass
        for word in (b"ping", b"pong"):
            stream.sendall(word)
            assert lines.read(4) == word


def test_large_body_arrives_whole(one: Lab) -> None:
    one.gateway.set_route(ROUTE)
    one.gateway.add(one.server("web.1"))
    body = bytes(range(256)) * 8192
    assert one.get("/", body=body)[2] == body


def test_replica_is_told_who_asks(one: Lab) -> None:
    one.gateway.set_route(ROUTE)
    one.gateway.add(one.server("web.1"))
    one.get()
    heard = one.replicas["web.1"].heard
    assert (heard["x-forwarded-for"], heard["x-forwarded-proto"]) == ("127.0.0.1", "http")


# ---- numbers ----


def test_traffic_counts_answers_errors_and_concurrency(one: Lab) -> None:
    one.gateway.set_route(ROUTE)
    one.gateway.add(one.server("web.1"))
    one.gateway.traffic()
    for path in ("/", "/", "/status/500", "/status/404"):
        one.get(path)
    one.begin()
    one.wait_until(lambda: one.gateway.servers()["web.1"].in_flight == 1)
    traffic = one.gateway.traffic()["web"]
    assert (traffic.pools["stable"].requests, traffic.pools["stable"].errors) == (4, 1)
    assert traffic.panic_rps
    assert traffic.panic_concurrency
    assert traffic.cpu_percent is None
    assert 'minisched_gateway_queued{deployment="web"} 0' in exposition(one.gateway)


def test_traffic_counts_what_requests_took(one: Lab) -> None:
    """What if a few slow ones come after many that were not: an average over all hides them."""
    one.gateway.set_route(ROUTE)
    one.gateway.add(one.server("web.1"))
    took = [0.0]
    for path, count in (("/", 100), ("/sleep/0.2", 3), ("/", 100)):
        for _ in range(count):
            one.get(path)
        took.append(one.gateway.traffic()["web"].pools["stable"].latency_s_sum)
    _, fast, slow, again = took
    half_ms_each = 0.1  # averages are whole milliseconds
    assert 0.6 - half_ms_each <= slow - fast < 0.6 + 0.3
    assert again - slow < 0.3


def test_traffic_of_a_deployment_without_requests_is_zero_not_missing(one: Lab) -> None:
    one.gateway.set_route(ROUTE)
    traffic = one.gateway.traffic()["web"]
    assert traffic.stable_concurrency == 0
    one.gateway.remove_route("web")
    assert not one.gateway.traffic()
