"""Crashes and crowds: what kill -9 leaves behind, and twenty starts at once."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from minirun import network
from minirun.network import NetworkConfig, parse_publish, repair
from tests.integration.network_lab import HOST, Lab, ask, in_child, sh
from tests.integration.test_network import Starter, host_state, lab, start, state

__all__ = ["lab", "start", "state"]  # fixtures

pytestmark = pytest.mark.requires("root", "net_admin", "nftables")

# Where attach dies: (module, function), before or after the call.
MOMENTS = [
    ("connect", "_connect", "before"),
    ("links", "set_hairpin", "before"),
    ("connect", "_connect", "after"),
    ("connect", "_publish", "after"),
    ("firewall", "forget_before", "before"),
]
BRIDGE_MOMENTS = [
    ("links", "new_bridge", "after"),
    ("bridge", "silence_ipv6", "before"),
    ("bridge", "silence_ipv6", "after"),
    ("bridge", "_load_rules", "before"),
    ("bridge", "_load_rules", "after"),
    ("bridge", "_ensure_forwarding", "after"),
]


def die_at(module: str, function: str, when: str) -> None:
    """Arrange for SIGKILL around a function of minirun.network, in a forked child."""
    owner = importlib.import_module(f"minirun.network.{module}")
    original: Callable[..., object] = getattr(owner, function)

    def deadly(*args: object, **kwargs: object) -> object:
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, function, deadly)


def attach_and_die(start: Starter, name: str, moment: tuple[str, str, str]) -> None:
    """Run an attach in a child that is killed at the moment given."""

    def work() -> str:
        die_at(*moment)
        start(name, "8080:80", "8081:80/udp")
        return "survived"

    assert in_child(work)() is None, "it was to die"


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda m: f"{m[2]}-{m[1].strip('_')}")
def test_reconcile_leaves_nothing_of_a_crashed_attach(
    start: Starter, state: Path, moment: tuple[str, str, str]
) -> None:
    start("living", "9090:90")
    before = host_state(), sh("nft list ruleset")
    attach_and_die(start, "crashed", moment)
    assert repair.reconcile({"living"}, str(state)) == ("crashed",)
    assert repair.reconcile({"living"}, str(state)) == ()
    assert (host_state(), sh("nft list ruleset")) == before
    start("next", "8080:80", "8081:80/udp")


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda m: f"{m[2]}-{m[1].strip('_')}")
def test_attach_collects_the_dead_by_itself(
    start: Starter, state: Path, moment: tuple[str, str, str]
) -> None:
    """What if nobody reconciles: a lease whose folder is gone does not outlive the next start."""
    attach_and_die(start, "crashed", moment)
    shutil.rmtree(state / "crashed")
    start("next", "8080:80", "8081:80/udp")
    assert sh("ip -o link").count("mr-") == 1


@pytest.mark.parametrize("moment", BRIDGE_MOMENTS, ids=lambda m: f"{m[2]}-{m[1].strip('_')}")
def test_bridge_that_was_half_made_is_finished(
    start: Starter, moment: tuple[str, str, str]
) -> None:
    before = host_state()
    attach_and_die(start, "crashed", moment)
    inside, _ = start("web", "8080:80")
    inside.serve("web", 80)
    assert ask("127.0.0.1", 8080)
    assert start.lab.left.ask(HOST, 8080)
    repair.reconcile((), str(start.state))
    repair.remove_bridge()
    assert host_state() == before


def test_reconcile_removes_cables_that_nobody_leased(start: Starter, state: Path) -> None:
    start("web")
    sh("ip link add mr-0ad5ffff type veth peer name x; ip link set mr-0ad5ffff master mrtest0")
    repair.reconcile({"web"}, str(state))
    assert sh("ip -o link").count("mr-") == 1


@pytest.mark.parametrize("remedy", ["reconcile", "attach"])
def test_flushed_firewall_is_restored(start: Starter, state: Path, remedy: str) -> None:
    """What if the host's firewall is reloaded, which flushes every table."""
    inside, _ = start("web", "8080:80")
    inside.serve("web", 80)
    before = sh("nft list ruleset")
    sh("nft flush ruleset")  # of the laboratory's own namespace
    assert not ask("127.0.0.1", 8080)
    if remedy == "reconcile":
        repair.reconcile({"web"}, str(state))
    else:
        start("other")
    assert sh("nft list ruleset") == before
    assert ask("127.0.0.1", 8080)


def test_deleted_bridge_is_made_again(start: Starter) -> None:
    start("old")
    sh("ip link delete mrtest0")
    inside, _ = start("web", "8080:80")
    inside.serve("web", 80)
    assert ask("127.0.0.1", 8080)


def test_twenty_starts_at_once_share_nothing(lab: Lab, state: Path) -> None:
    """What if twenty processes start containers, the first of which has to make the bridge."""

    def attach(name: str, fd: int) -> Callable[[], list[object]]:
        def work() -> list[object]:
            config = NetworkConfig(ports=parse_publish("80") + parse_publish("7000-7099:81"))
            found = network.attach(config, name, fd, str(state))
            return [found.ip, found.veth, *(port.host_port for port in found.ports)]

        return work

    results = []
    for number in range(20):
        name, inside = f"c{number}", lab.namespace()
        (state / name).mkdir()
        results.append(in_child(attach(name, inside.fd)))
    found = [result() for result in results]
    assert [len(set(column)) for column in zip(*found, strict=True)] == [20, 20, 20, 20]
    repair.reconcile((), str(state))
    repair.remove_bridge()
    assert "mrtest0" not in sh("ip link")
