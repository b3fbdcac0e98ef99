"""Containers on a real bridge: who reaches whom, and what is left afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun import kernel, network
from minirun.errors import NetworkError
from minirun.flags import Clone
from minirun.network import Attachment, NetworkConfig, firewall, parse_publish, repair
from minirun.network.leases import Lease
from minirun.network.netlink import NETLINK_NETFILTER, NetlinkSocket, Reply, Request
from minirun.record import replace
from tests.integration.network_lab import HOST, IMPATIENCE_S, LEFT, RIGHT, Lab, Namespace, ask, sh

pytestmark = pytest.mark.requires("root", "net_admin", "nftables")

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Move into a host of our own; everything in it goes with it."""
    monkeypatch.setenv("MINIRUN_BRIDGE", "mrtest0")
    monkeypatch.setenv("MINIRUN_NETWORK_ROOT", str(tmp_path / "net"))
    monkeypatch.delenv("MINIRUN_SUBNET", raising=False)
    here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    kernel.unshare(Clone.CLONE_NEWNET)
    made = Lab()
    try:
        yield made
    finally:
        made.close()
        kernel.setns(here, Clone.CLONE_NEWNET)
        os.close(here)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    root = tmp_path / "state"
    root.mkdir()
    return root


class Starter:
    """Starts containers that consist of a network namespace."""

    def __init__(self, lab: Lab, state: Path) -> None:
        self.lab = lab
        self.state = state

    def __call__(self, name: str, *publish: str) -> tuple[Namespace, Attachment]:
        (self.state / name).mkdir(exist_ok=True)
        inside = self.lab.namespace()
        ports = tuple(port for text in publish for port in parse_publish(text))
        config = NetworkConfig(ports=ports, hostname=name)
        return inside, network.attach(config, name, inside.fd, str(self.state))

    def stop(self, name: str) -> None:
        network.detach(name, str(self.state))


@pytest.fixture
def start(lab: Lab, state: Path) -> Starter:
    return Starter(lab, state)


def host_state() -> dict[str, object]:
    """Return what ip(8), nft(8) and /proc say about the host."""
    return {
        "links": sorted(link["ifname"] for link in json.loads(sh("ip -j link"))),
        "tables": sh("nft list tables"),
        "rules": sh("iptables -S") if "table ip filter" in sh("nft list tables") else "",
        "forwarding": FORWARDING.read_text(),
    }


# ── who reaches whom ──────────────────────────────────────────────────────────────────────────


def test_attach_gives_address_route_and_loopback(start: Starter) -> None:
    inside, found = start("web")
    (eth0,) = json.loads(inside.sh("ip -j addr show eth0"))
    assert eth0["address"] == found.mac
    assert [(a["local"], a["prefixlen"]) for a in eth0["addr_info"]] == [(found.ip, found.prefix)]
    (route,) = json.loads(inside.sh("ip -j route show default"))
    assert route["gateway"] == found.gateway
    assert "127.0.0.1" in inside.sh("ip addr show lo up")
    assert "inet6" not in sh("ip addr show mrtest0")


def test_containers_reach_each_other(start: Starter) -> None:
    one, address = start("one")
    two, other = start("two")
    two.serve("two", 80)
    assert one.ask(other.ip, 80) == f"two {address.ip}"


def test_container_reaches_the_host_and_the_world(start: Starter) -> None:
    inside, found = start("web")
    start.lab.left.serve("left", 80)
    assert inside.ask(LEFT, 80) == f"left {HOST}", "the world sees the host's address"
    with socket.create_server((found.gateway, 8000)) as server:
        pid = os.fork()
        if pid == 0:
            server.accept()[0].sendall(b"host")
            os._exit(0)
        assert inside.ask(found.gateway, 8000) == "host"
        os.waitpid(pid, 0)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_publish_is_reachable_from_everywhere(start: Starter, protocol: str) -> None:
    inside, found = start("web", f"8080:80/{protocol}")
    neighbour, _ = start("neighbour")
    inside.serve("web", 80, protocol)
    assert str(ask("127.0.0.1", 8080, protocol)).startswith("web"), "loopback"
    assert str(ask(HOST, 8080, protocol)).startswith("web"), "the host's own address"
    assert start.lab.left.ask(HOST, 8080, protocol) == f"web {LEFT}", "another machine, as itself"
    for ip in (HOST, found.gateway):
        assert str(neighbour.ask(ip, 8080, protocol)).startswith("web"), f"neighbour to {ip}"
        assert str(inside.ask(ip, 8080, protocol)).startswith("web"), f"itself by {ip}"


def test_publish_on_loopback_stays_on_the_host(start: Starter) -> None:
    inside, _ = start("web", "127.0.0.1:8080:80")
    inside.serve("web", 80)
    assert ask("127.0.0.1", 8080)
    assert start.lab.left.ask(HOST, 8080, timeout_s=IMPATIENCE_S) is None


def test_unpublished_port_is_not_reachable_from_outside(start: Starter) -> None:
    """What if a machine next to the host routes the container's subnet to the host."""
    inside, found = start("web")
    inside.serve("web", 80)
    assert ask(found.ip, 80), "the host itself reaches it"
    assert start.lab.left.ask(found.ip, 80, timeout_s=IMPATIENCE_S) is None


def test_container_does_not_reach_the_hosts_loopback(start: Starter) -> None:
    """What if a container routes 127.0.0.0/8 to the bridge, where route_localnet is on."""
    inside, found = start("web")
    inside.sh("ip addr del 127.0.0.1/8 dev lo; sysctl -qw net.ipv4.conf.all.route_localnet=1")
    inside.sh(f"ip route add 127.0.0.1 via {found.gateway} dev eth0 src {found.ip}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 5353))
        server.settimeout(IMPATIENCE_S)
        inside.ask("127.0.0.1", 5353, "udp", timeout_s=0.05)
        with pytest.raises(TimeoutError):
            server.recv(100)


def test_container_cannot_use_a_foreign_source_address(start: Starter) -> None:
    inside, found = start("web")
    inside.sh("ip addr add 192.0.2.77/32 dev eth0")
    inside.sh(f"ip route add {LEFT} via {found.gateway} src 192.0.2.77")
    sh("ip route add 192.0.2.77 dev mrtest0")  # an answer would find its way back
    start.lab.left.serve("left", 80)
    assert inside.ask(LEFT, 80, timeout_s=IMPATIENCE_S) is None


def test_host_does_not_become_a_router(start: Starter) -> None:
    """What if switching forwarding on opened a way between the host's own networks."""
    start.lab.right.serve("right", 80)
    FORWARDING.write_text("1")
    assert start.lab.left.ask(RIGHT, 80), "the laboratory's routes are right"
    FORWARDING.write_text("0")
    inside, _ = start("web")
    assert start.lab.left.ask(RIGHT, 80, timeout_s=IMPATIENCE_S) is None
    assert inside.ask(RIGHT, 80)


@pytest.mark.parametrize("chain", ["FORWARD", "DOCKER-USER"])
def test_forward_policy_drop_lets_our_containers_pass(start: Starter, chain: str) -> None:
    if chain == "DOCKER-USER":
        sh("iptables -N DOCKER-USER; iptables -I FORWARD -j DOCKER-USER")
    sh("iptables -P FORWARD DROP")
    before = host_state()
    inside, _ = start("web", "8080:80")
    start("again")
    inside.serve("web", 80)
    start.lab.left.serve("left", 80)
    assert inside.ask(LEFT, 80)
    assert start.lab.left.ask(HOST, 8080)
    assert sh(f"iptables -S {chain}").count("minirun:mrtest0") == 4
    for name in ("web", "again"):
        start.stop(name)
    repair.remove_bridge()
    assert host_state() == before


# ── ports ─────────────────────────────────────────────────────────────────────────────────────


def test_publish_refuses_a_port_of_another_program(start: Starter) -> None:
    before = json.loads(sh("ip -j link"))
    with socket.create_server(("127.0.0.1", 8080)):
        with pytest.raises(NetworkError, match=r"0.0.0.0:8080/tcp.* already") as error:
            start("web", "8080:80")
        assert "ss -lntp" in error.value.hint
    assert "mr-" not in str(before) + sh("ip link")
    start("web", "8080:80")


def test_publish_refuses_a_port_of_another_container(start: Starter) -> None:
    start("web", "127.0.0.1:8080:80")
    with pytest.raises(NetworkError, match="port is already allocated") as error:
        start("two", "8080:80")
    assert "container web" in error.value.hint
    start("udp", "8080:80/udp")
    start.stop("web")
    start("two", "8080:80")


def test_publish_refuses_a_foreign_address(start: Starter) -> None:
    with pytest.raises(NetworkError, match="not an address of this host"):
        start("web", "192.0.2.9:8080:80")


def test_publish_picks_free_ports(start: Starter) -> None:
    inside, found = start("web", "80", "0:81", "127.0.0.1::82/udp")
    assert len({port.host_port for port in found.ports}) == 3
    inside.serve("web", 80)
    assert str(ask("127.0.0.1", found.ports[0].host_port)).startswith("web")


def test_publish_takes_the_next_of_a_range(start: Starter) -> None:
    with socket.create_server(("127.0.0.1", 8000)):
        _, first = start("one", "8000-8002:80")
        _, second = start("two", "8000-8002:80")
    assert [first.ports[0].host_port, second.ports[0].host_port] == [8001, 8002]


def test_publish_of_many_ports_is_quick_to_undo(start: Starter) -> None:
    """What if the elements do not fit into one message."""
    start("web", "20000-20999:20000-20999")
    assert sh("nft list map ip minirun_mrtest0 published").count("tcp .") == 1000
    start.stop("web")
    assert sh("nft list map ip minirun_mrtest0 published").count("tcp .") == 0


def test_hold_keeps_other_programs_away(start: Starter) -> None:
    _, found = start("web", "8080:80")
    fds = network.hold(found.ports)
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("", 8080))
    for fd in fds:
        os.close(fd)


def test_udp_client_that_was_early_reaches_the_container(start: Starter) -> None:
    """What if packets were sent to the port before it was published: the flow is remembered."""
    start("first")
    with start.lab.left.entered():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client:
        client.bind(("", 5000))
        client.sendto(b"?", (HOST, 8080))
        inside, _ = start("web", "8080:80/udp")
        inside.serve("web", 80, "udp")
        client.settimeout(3)
        client.sendto(b"?", (HOST, 8080))
        assert client.recv(100) == f"web {LEFT}".encode()


def test_udp_client_does_not_reach_the_next_owner_of_an_address(start: Starter) -> None:
    """What if a flow outlived its container and led to another one."""
    inside, found = start("web", "8080:80/udp")
    inside.serve("web", 80, "udp")
    assert start.lab.left.ask(HOST, 8080, "udp")
    flows = Path("/proc/net/nf_conntrack")
    if flows.exists():
        assert found.ip in flows.read_text()
    start.stop("web")
    if flows.exists():
        assert found.ip not in flows.read_text()


def test_publish_refuses_a_port_of_another_instance(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("web", "8080:80")
    monkeypatch.setenv("MINIRUN_BRIDGE", "mrtest1")
    with pytest.raises(NetworkError, match="port is already allocated") as error:
        start("other", "8080:80")
    assert "container web" in error.value.hint


def test_rebuild_writes_more_than_fits_the_default_buffers(start: Starter) -> None:
    start("web")
    ports = parse_publish("20000:80/udp")
    leases = [
        Lease(f"/c{n}", f"10.213.9.{n % 250}", (replace(ports[0], host_port=20000 + n),))
        for n in range(2000)
    ]
    with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
        firewall.rebuild(netfilter, "minirun_mrtest0", leases)
        assert sh("nft list map ip minirun_mrtest0 published").count("udp .") == 2000
        firewall.rebuild(netfilter, "minirun_mrtest0", [])
    assert sh("nft list map ip minirun_mrtest0 published").count("udp .") == 0


# ── what is left ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("forwarding", ["0", "1"])
def test_everything_is_gone_in_the_end(start: Starter, tmp_path: Path, forwarding: str) -> None:
    FORWARDING.write_text(forwarding)
    before = host_state()
    start("web", "8080:80", "127.0.0.1:53:53/udp")
    start("two")
    assert host_state() != before
    with pytest.raises(NetworkError, match="has active endpoints: two, web"):
        repair.remove_bridge()
    for name in ("web", "two", "web"):  # twice: nothing to do is no error
        start.stop(name)
    repair.remove_bridge()
    repair.remove_bridge()
    assert host_state() == before
    assert not list((tmp_path / "net").iterdir())


def test_forwarding_stays_on_while_another_bridge_needs_it(start: Starter) -> None:
    start("web")
    sh("ip link add docker9 type bridge")
    start.stop("web")
    repair.remove_bridge()
    assert FORWARDING.read_text() == "1\n"


def test_attach_undoes_everything_when_it_fails(start: Starter, state: Path) -> None:
    start("first")
    before = host_state()
    (state / "web").mkdir()
    inside = start.lab.namespace()
    inside.sh("ip link add eth0 type bridge")
    with pytest.raises(NetworkError, match="cannot connect container web: RTM_NEWLINK"):
        network.attach(NetworkConfig(ports=parse_publish("8080:80")), "web", inside.fd, str(state))
    assert host_state() == before
    start("two", "8080:80")


def test_attach_refuses_a_container_without_a_folder(lab: Lab, state: Path) -> None:
    with pytest.raises(NetworkError, match="has no folder"):
        network.attach(NetworkConfig(), "ghost", lab.namespace().fd, str(state))


def test_attach_twice_replaces_the_first(start: Starter) -> None:
    _, first = start("web", "8080:80")
    _, second = start("web", "8080:80")
    assert first.ip != second.ip
    assert sh("ip -o link").count("mr-") == 1


def test_attach_does_what_describe_says(start: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    """What if the narration told something else than what is done."""
    start("first")
    done: list[str] = []

    def spy_request(self: NetlinkSocket, *requests: Request) -> list[Reply]:
        done.extend(request.call for request in requests)
        return request_(self, *requests)

    def spy_sysctl(name: str, value: str) -> None:
        done.append(f"{name} = {value}")

    request_ = NetlinkSocket.request
    monkeypatch.setattr(NetlinkSocket, "request", spy_request)
    monkeypatch.setattr("minirun.network.bridge.write_sysctl", spy_sysctl)
    _, found = start("web", "8080:80", "127.0.0.1:53:53/udp")
    changes = re.compile(r"RTM_NEW|NFT_MSG_NEW|net/")
    names = {
        r"master \d+": "master <bridge>",
        r"netns \d+": "netns <container>",
        r"dev \d+": "dev eth0",
        r"NEWLINK 2 up": "NEWLINK eth0 up",
    }
    text = "\n".join(call for call in done if changes.match(call))
    for pattern, name in names.items():
        text = re.sub(pattern, name, text)
    told = network.describe(NetworkConfig(ports=found.ports), found.ip, found.gateway)
    assert text.splitlines() == [call for call, _ in told]


@pytest.mark.requires("userns")
def test_attach_connects_a_container_with_its_own_users(lab: Lab, state: Path) -> None:
    """What if the namespace belongs to a user namespace below ours."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.closerange(3, done)
        kernel.unshare(Clone.CLONE_NEWUSER | Clone.CLONE_NEWNET)
        os.write(done, b"!")
        os.closerange(3, 4096)
        signal.pause()
    os.read(ready, 1)
    netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    (state / "web").mkdir()
    found = network.attach(NetworkConfig(), "web", netns, str(state))
    assert found.ip in sh(f"nsenter -t {pid} -n ip addr show eth0")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for fd in (ready, done, netns):
        os.close(fd)


# ── modes and names ───────────────────────────────────────────────────────────────────────────


def test_mode_none_has_loopback_only(lab: Lab, state: Path) -> None:
    inside = lab.namespace()
    found = network.attach(NetworkConfig(mode="none"), "web", inside.fd, str(state))
    assert found == Attachment("web", "none")
    assert [link["ifname"] for link in json.loads(inside.sh("ip -j link show up"))] == ["lo"]


@pytest.mark.parametrize("mode", ["host", "container:other"])
def test_shared_modes_change_nothing(lab: Lab, state: Path, mode: str) -> None:
    before = host_state()
    assert network.attach(NetworkConfig(mode=mode), "web", -1, str(state)).mode == mode
    assert host_state() == before


def test_two_instances_live_side_by_side(start: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    one, found = start("web", "8080:80")
    monkeypatch.setenv("MINIRUN_BRIDGE", "mrtest1")
    two, other = start("other", "8081:80")
    assert (found.gateway, other.gateway) == ("10.213.0.1", "10.214.0.1")
    one.serve("web", 80)
    two.serve("other", 80)
    assert start.lab.left.ask(HOST, 8080)
    assert start.lab.left.ask(HOST, 8081)
    assert one.ask(other.ip, 80, timeout_s=IMPATIENCE_S) is None, "bridges are separate"


def test_two_state_roots_share_a_bridge_without_sharing_addresses(
    lab: Lab, state: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    second.mkdir()
    found = {Starter(lab, root)("web")[1].ip for root in (state, second)}
    assert len(found) == 2


def test_bridge_avoids_subnets_in_use(start: Starter) -> None:
    sh("ip route add 10.213.77.0/24 dev up0")
    assert start("web")[1].gateway == "10.214.0.1"


def test_bridge_takes_the_subnet_it_is_told(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIRUN_SUBNET", "203.0.113.0/24")
    with pytest.raises(NetworkError, match=r"203.0.113.0/24 overlaps a route"):
        start("web")
    monkeypatch.setenv("MINIRUN_SUBNET", "172.30.0.0/29")
    assert [start(f"c{i}")[1].ip for i in range(5)] == [f"172.30.0.{i}" for i in range(2, 7)]
    with pytest.raises(NetworkError, match=r"no free address in 172.30.0.0/29"):
        start("one-too-many")
    start.stop("c3")
    assert start("next")[1].ip == "172.30.0.5"
    monkeypatch.setenv("MINIRUN_SUBNET", "172.31.0.0/29")
    with pytest.raises(NetworkError, match=r"but mrtest0 has 172.30.0.1/29"):
        start("late")


def test_bridge_refuses_a_link_of_another_kind(start: Starter) -> None:
    sh("ip link add mrtest0 type veth peer name x")
    with pytest.raises(NetworkError, match="mrtest0 exists and is not a bridge"):
        start("web")
