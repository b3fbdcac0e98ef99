"""What if the proxy dies, hangs, or is somebody else's; what if the controller does."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from scheduler.actions import AddServer
from scheduler.gateway import haproxy
from scheduler.gateway.haproxy import HaproxyGateway, Listen
from scheduler.observed import Route
from tests.scheduler import gateway_lab
from tests.scheduler.contract import ROUTE
from tests.scheduler.gateway_lab import Lab, free_port


@pytest.fixture
def lab() -> Iterator[Lab]:
    with gateway_lab.lab() as made:
        yield made


def pid_of(gateway: HaproxyGateway) -> int:
    pid = gateway.status().pid
    assert pid
    return pid


def take_over(lab: Lab) -> None:
    """Let another controller come after this one, which left the proxy alone."""
    lab.gateway.close()
    lab.gateway = lab.new_gateway()
    lab.gateway.start()


def test_killed_proxy_is_back_with_everything_it_had(lab: Lab) -> None:
    published = free_port()
    lab.gateway.set_route(Route("web", hosts=("web.test",), published=published, queue_limit=9))
    lab.gateway.add(lab.server("web.1", concurrency=2))
    lab.gateway.add(lab.server("web.2"))
    lab.gateway.drain("web.2", "stable")
    lab.begin()
    lab.wait_until(lambda: lab.gateway.servers()["web.1"].in_flight == 1)
    lab.woken.clear()
    killed = time.monotonic()
    os.kill(pid_of(lab.gateway), signal.SIGKILL)
    lab.wait_until(lab.woken.is_set)
    restored_s = time.monotonic() - killed
    assert lab.get()[1]["X-Replica"] == "web.1"
    assert lab.get(port=published)[0] == 200
    servers = lab.gateway.servers()
    assert (servers["web.1"].draining, servers["web.2"].draining) == (False, True)
    assert lab.gateway.status().restarts == 1
    lab.wait_until(lambda: lab.lost() == 1)  # what was in flight, and nothing else
    assert restored_s < 2  # some 0.1 s on a machine with nothing else to do


def test_request_that_was_not_sent_yet_survives_the_removal_of_its_server(lab: Lab) -> None:
    """What if a host answers no more: whoever is still connecting to it has lost nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, ExitStack() as stack:
        host, port = deaf.getsockname()
        for _ in range(4):  # its queue is full: it takes no more, and does not say so
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        lab.gateway.set_route(ROUTE)
        lab.gateway.add(AddServer("web.1", "web", "stable", f"{host}:{port}"))
        lab.begin("/")
        lab.wait_until(lambda: lab.gateway.servers()["web.1"].in_flight == 1)
        lab.gateway.add(lab.server("web.2"))
        lab.gateway.remove("web.1", "stable")
        lab.wait_until(lambda: lab.fates.total() == 1)
    assert lab.answered() == 1, lab.fates


def test_killed_door_is_back(lab: Lab) -> None:
    published = free_port()
    lab.gateway.set_route(Route("web", published=published, queue_limit=9))
    lab.gateway.add(lab.server("web.1"))
    os.kill(int((lab.folder / f"gateway/door-{published}.pid").read_text()), signal.SIGKILL)
    lab.wait_until(lambda: answers(lab, published))


def test_closed_door_leaves_no_file(lab: Lab) -> None:
    published = free_port()
    lab.gateway.set_route(Route("web", published=published, queue_limit=9))
    lab.gateway.add(lab.server("web.1"))
    lab.wait_until(lambda: answers(lab, published))
    files = lab.folder / "gateway"
    assert list(files.glob(f"door-{published}*"))
    lab.gateway.set_route(Route("web", queue_limit=9))
    lab.wait_until(lambda: not answers(lab, published))
    assert not list(files.glob(f"door-{published}*"))


def answers(lab: Lab, port: int) -> bool:
    try:
        return lab.get(port=port)[0] == 200
    except OSError:
        return False


def test_next_controller_adopts_the_proxy_and_cuts_nothing(lab: Lab) -> None:
    published = free_port()
    route = Route("web", hosts=("web.test",), published=published, queue_limit=9)
    lab.gateway.set_route(route)
    lab.gateway.add(lab.server("web.1"))
    lab.begin()
    lab.wait_until(lambda: lab.gateway.servers()["web.1"].in_flight == 1)
    pid = pid_of(lab.gateway)
    take_over(lab)
    assert pid_of(lab.gateway) == pid
    assert lab.gateway.routes() == {"web": route}
    assert lab.gateway.servers()["web.1"].in_flight == 1
    assert lab.get(port=published)[0] == 200
    lab.finish()
    lab.wait_until(lambda: lab.answered() == 1)
    assert lab.lost() == 0


def test_requests_are_served_while_there_is_no_controller(lab: Lab) -> None:
    lab.gateway.set_route(ROUTE)
    lab.gateway.add(lab.server("web.1"))
    lab.gateway.close()
    assert lab.get()[0] == 200
    lab.gateway = lab.new_gateway()
    lab.gateway.start()


def test_request_held_between_two_controllers_wakes_the_second(lab: Lab) -> None:
    lab.gateway.set_route(ROUTE)
    lab.gateway.close()
    lab.begin()
    lab.gateway = lab.new_gateway()
    lab.woken.clear()
    lab.gateway.start()
    lab.wait_until(lab.woken.is_set)
    lab.gateway.add(lab.server("web.1"))
    lab.finish()
    lab.wait_until(lambda: lab.answered() == 1)


@pytest.mark.parametrize("pid", ["1", "", "x", "2147483647"])
def test_pid_file_that_names_another_process_harms_nobody(lab: Lab, pid: str) -> None:
    lab.gateway.set_route(ROUTE)
    lab.gateway.add(lab.server("web.1"))
    lab.gateway.shutdown()
    (lab.folder / "gateway/proxy.pid").write_text(pid)
    lab.gateway = lab.new_gateway()
    lab.gateway.start()
    assert lab.get()[0] == 200


def test_proxy_with_another_configuration_hands_over_and_finishes(lab: Lab) -> None:
    lab.gateway.set_route(ROUTE)
    lab.gateway.add(lab.server("web.1"))
    lab.begin()
    lab.wait_until(lambda: lab.gateway.servers()["web.1"].in_flight == 1)
    old = pid_of(lab.gateway)
    end = lab.flood(2)
    lab.gateway.close()
    second = free_port()
    lab.gateway = HaproxyGateway(
        lab.folder / "gateway",
        Listen(f"127.0.0.1:{lab.port}", publish_on="127.0.0.2", socket=False),
    )
    lab.gateway.start()
    assert pid_of(lab.gateway) != old
    lab.gateway.set_route(Route("web", hosts=("web.test",), published=second, queue_limit=100))
    assert end() > 0
    lab.finish()
    lab.wait_until(lambda: lab.fates.total() == lab.answered())
    lab.wait_until(lambda: not is_running(old))


def is_running(pid: int) -> bool:
    return os.access(f"/proc/{pid}/cwd/.", os.F_OK)


def test_hung_proxy_is_replaced_when_it_is_adopted(lab: Lab) -> None:
    lab.gateway.set_route(ROUTE)
    lab.gateway.add(lab.server("web.1"))
    old = pid_of(lab.gateway)
    os.kill(old, signal.SIGSTOP)
    take_over(lab)
    assert pid_of(lab.gateway) != old
    assert lab.get()[0] == 200


def test_hung_proxy_is_replaced_however_often_others_ask_it_too(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What if the controller waits for it in turns with the thread that counts its silence?"""
    monkeypatch.setattr(haproxy, "SILENCE_S", 3.0)
    lab.gateway.set_route(ROUTE)
    lab.gateway.add(lab.server("web.1"))
    old = pid_of(lab.gateway)
    os.kill(old, signal.SIGSTOP)
    asked = 0
    while lab.gateway.status().pid == old:
        lab.gateway.servers()
        lab.gateway.traffic()
        asked += 2
        assert asked <= 6, "each waits for two seconds"
    lab.wait_until(lab.gateway.is_ready)
    assert lab.get()[0] == 200


def test_proxy_is_made_to_follow_what_was_written_down(lab: Lab) -> None:
    """What if the controller died after it wrote, and before it told the proxy."""
    lab.gateway.set_route(ROUTE)
    for number in (1, 2, 3):
        lab.gateway.add(lab.server(f"web.{number}"))
    lab.gateway.close()
    file = lab.folder / "gateway/state.json"
    written = json.loads(file.read_text())
    del written["members"]["web.1"]
    written["members"]["web.2"]["draining"] = True
    written["members"]["web.4"] = written["members"]["web.3"]
    written["routes"]["web"]["hosts"] = ["new.test"]
    file.write_text(json.dumps(written))
    lab.gateway = lab.new_gateway()
    lab.gateway.start()
    assert {lab.get(host="new.test")[1]["X-Replica"] for _ in range(6)} == {"web.3"}
    assert lab.get()[0] == 404
    assert set(lab.gateway.servers()) == {"web.2", "web.3", "web.4"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"routes": 1}', '{"routes": {"a": {}}}'])
def test_state_that_cannot_be_read_is_an_empty_one(lab: Lab, text: str) -> None:
    lab.gateway.set_route(ROUTE)
    lab.gateway.close()
    (lab.folder / "gateway/state.json").write_text(text)
    lab.gateway = lab.new_gateway()
    lab.gateway.start()
    assert not lab.gateway.routes()


def test_numbers_are_left_out_while_the_proxy_is_silent(lab: Lab) -> None:
    lab.gateway.set_route(ROUTE)
    assert "web" in lab.gateway.traffic()
    later = time.monotonic() + 60
    assert lab.gateway.gauges()["web"].traffic(None, later) is None


def test_proxy_has_no_rights_but_the_two_it_needs(lab: Lab) -> None:
    if os.geteuid():
        pytest.skip("missing feature: root, which is what is given up")
    status = Path(f"/proc/{pid_of(lab.gateway)}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in fields["Uid"].split()
    assert int(fields["CapBnd"], 16) == int(fields["CapEff"], 16) == 1 << 1 | 1 << 10
    assert fields["NoNewPrivs"] == "1"
