"""Subnets, addresses and the ledger."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.errors import NetworkError
from minirun.network.bridge import SUBNETS, choose_subnet, names, parse_subnet
from minirun.network.firewall import ruleset
from minirun.network.leases import Ledger, mac_of, next_free, veth_name
from minirun.network.publish import parse_publish

PREFIXES = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 32))


@given(st.lists(PREFIXES, max_size=12))
def test_choose_subnet_never_overlaps(numbers: list[tuple[int, int]]) -> None:
    routes = [ipaddress.ip_network((number, prefix), strict=False) for number, prefix in numbers]
    as_text = [(str(route.network_address), route.prefixlen) for route in routes]
    try:
        gateway, prefix = choose_subnet(as_text)
    except NetworkError:
        candidates = map(ipaddress.ip_network, SUBNETS)
        assert all(any(c.overlaps(route) for route in routes) for c in candidates)
        return
    chosen = ipaddress.ip_network(f"{gateway}/{prefix}", strict=False)
    assert not any(chosen.overlaps(route) for route in routes)


def test_choose_subnet_ignores_the_default_route() -> None:
    assert choose_subnet([("0.0.0.0", 0)]) == ("10.213.0.1", 16)


@pytest.mark.parametrize(
    "text", ["10.0.0.0", "10.0.0.0/30", "10.0.0.0/7", "10.0.0/16", "fd00::/64"]
)
def test_parse_subnet_refuses(text: str) -> None:
    with pytest.raises(NetworkError):
        parse_subnet(text)


def test_next_free_goes_round_before_it_reuses() -> None:
    taken: set[str] = set()
    given_out, last = [], ""
    for _ in range(7):
        last = next_free("10.0.0.1", 29, taken, last)
        given_out.append(last[-1])
    assert given_out == ["2", "3", "4", "5", "6", "2", "3"]


def test_next_free_gives_every_address_once() -> None:
    taken: set[str] = set()
    for _ in range(2**8 - 3):
        taken.add(next_free("10.0.0.1", 24, taken, "10.0.0.99"))
    assert taken == {f"10.0.0.{last}" for last in range(2, 255)}
    with pytest.raises(NetworkError, match="no free address in"):
        next_free("10.0.0.1", 24, taken, "10.0.0.99")


def test_names_that_follow_from_an_address() -> None:
    assert veth_name("255.255.255.255") == "mr-ffffffff"
    assert len(veth_name("255.255.255.255")) < 16
    assert int(mac_of("10.213.0.2")[:2], 16) & 3 == 2, "local and unicast"


def test_ledger_remembers(tmp_path: Path) -> None:
    folder = str(tmp_path / "net")
    home = tmp_path / "web"
    home.mkdir()
    ports = parse_publish("127.0.0.1:8080:80") + parse_publish("53:53/udp")
    with Ledger(folder) as book:
        book.enabled_forwarding = True
        lease = book.grant(str(home), "10.213.0.2", ports)
    with Ledger(folder) as book:
        assert book.leases == {str(home): lease}
        assert (book.last, book.enabled_forwarding, book.complete) == ("10.213.0.2", True, False)
        assert [owner for owner, _ in book.published()] == ["container web"] * 2
        assert book.dead() == []
        home.rmdir()
        assert book.dead() == [lease]
        book.drop(lease)
        book.destroy()
    assert not (tmp_path / "net").exists()


def test_names_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIRUN_BRIDGE", raising=False)
    assert (names().bridge, names().table) == ("minirun0", "minirun")
    monkeypatch.setenv("MINIRUN_BRIDGE", "mr-test0")
    assert names().table == "minirun_mr_test0"
    for bad in ("a" * 16, 'x"; flush ruleset', "a/b"):
        monkeypatch.setenv("MINIRUN_BRIDGE", bad)
        with pytest.raises(NetworkError, match="MINIRUN_BRIDGE"):
            names()


def test_ruleset_names_uplinks_only_when_there_are_some() -> None:
    assert "elements" not in ruleset("t", "b", "10.0.0.0/16")
    assert 'elements = { "eth0", "wlan0" }' in ruleset("t", "b", "10.0.0.0/16", ["eth0", "wlan0"])
