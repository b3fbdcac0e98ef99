"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container."""

from __future__ import annotations

import pytest

from minirun.errors import NetworkError
from minirun.network import NetworkConfig, describe, hostname, hosts, parse_publish, resolv_conf

RESOLVED = "# stub\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n"


def test_hosts_lists_loopback_extra_hosts_and_itself() -> None:
    config = NetworkConfig(
        hostname="web", aliases=("www", "web"), extra_hosts=(("db", "10.0.0.7"),)
    )
    lines = hosts(config, ip="10.213.0.2").splitlines()
    assert lines[0] == "127.0.0.1\tlocalhost"
    assert lines[-2:] == ["10.0.0.7\tdb", "10.213.0.2\tweb www"]


def test_hosts_resolves_host_gateway() -> None:
    config = NetworkConfig(extra_hosts=(("up", "host-gateway"),))
    assert hosts(config, gateway="10.213.0.1").endswith("10.213.0.1\tup\n")
    with pytest.raises(NetworkError, match="host-gateway has no meaning"):
        hosts(config)


def test_hosts_of_the_host_network_starts_with_the_hosts_own() -> None:
    config = NetworkConfig(mode="host", extra_hosts=(("db", "10.0.0.7"),))
    text = hosts(config, host_hosts="127.0.0.1 localhost\n192.0.2.5 printer")
    assert text == "127.0.0.1 localhost\n192.0.2.5 printer\n10.0.0.7\tdb\n"


def test_hostname_is_one_line() -> None:
    assert hostname(NetworkConfig(hostname="web")) == "web\n"


def test_resolv_conf_keeps_what_the_bridge_reaches() -> None:
    host = "nameserver 127.0.0.1\nnameserver 192.0.2.53\nnameserver fd00::1\nnameserver ::1\n"
    assert resolv_conf(NetworkConfig(), host) == "nameserver 192.0.2.53\n"


def test_resolv_conf_falls_back_to_public_servers() -> None:
    text = resolv_conf(NetworkConfig(), RESOLVED)
    assert text == ("nameserver 8.8.8.8\nnameserver 8.8.4.4\nsearch lan\noptions edns0 trust-ad\n")


def test_resolv_conf_options_replace_the_hosts() -> None:
    config = NetworkConfig(dns=("127.0.0.1",), search=("a", "b"), dns_options=("ndots:1",))
    assert resolv_conf(config, RESOLVED) == "nameserver 127.0.0.1\nsearch a b\noptions ndots:1\n"


def test_resolv_conf_search_dot_means_none() -> None:
    assert "search" not in resolv_conf(NetworkConfig(search=(".",)), RESOLVED)


def test_resolv_conf_of_the_host_network_is_the_hosts() -> None:
    text = resolv_conf(NetworkConfig(mode="host"), RESOLVED)
    assert text.splitlines()[0] == "nameserver 127.0.0.53"


def test_resolv_conf_last_search_counts() -> None:
    host = "nameserver 192.0.2.53\ndomain one\nsearch two\nsearch three four\nnameserver\n"
    assert "search three four\n" in resolv_conf(NetworkConfig(), host)


@pytest.mark.parametrize("mode", ["bridge", "none", "host", "container:web"])
def test_describe_explains_every_mode(mode: str) -> None:
    steps = describe(NetworkConfig(mode=mode))
    assert steps
    assert all(call and why for call, why in steps)


def test_describe_names_every_published_port() -> None:
    steps = describe(NetworkConfig(ports=parse_publish("8080:80") + parse_publish("53/udp")))
    calls = [call for call, _ in steps]
    assert calls[0] == (
        "RTM_NEWLINK mr-0ad50002 type veth master <bridge> peer eth0 netns <container>"
    )
    assert calls[-1] == (
        "NFT_MSG_NEWSETELEM published"
        " { tcp . 8080 : 10.213.0.2 . 80, udp . <free> : 10.213.0.2 . 53 }"
    )
