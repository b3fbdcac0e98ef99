"""What -p means, in docker's words and with docker's refusals."""

from __future__ import annotations

import pytest

from minirun.errors import NetworkError
from minirun.network import NetworkConfig, PortMapping, parse_extra_host, parse_network
from minirun.network.config import check
from minirun.network.publish import parse_publish


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", [PortMapping(80)]),
        ("0:80", [PortMapping(80)]),
        (":80", [PortMapping(80)]),
        ("8080:80", [PortMapping(80, "tcp", "0.0.0.0", 8080)]),
        ("8080:80/UDP", [PortMapping(80, "udp", "0.0.0.0", 8080)]),
        ("127.0.0.1:8080:80/tcp", [PortMapping(80, "tcp", "127.0.0.1", 8080)]),
        ("127.0.0.1::80", [PortMapping(80, "tcp", "127.0.0.1", 0)]),
        (":8080:80", [PortMapping(80, "tcp", "0.0.0.0", 8080)]),
        ("8000-8010:80", [PortMapping(80, "tcp", "0.0.0.0", 8000, 8010)]),
        ("80-81", [PortMapping(80), PortMapping(81)]),
        (
            "127.0.0.1:8000-8001:80-81/udp",
            [
                PortMapping(80, "udp", "127.0.0.1", 8000),
                PortMapping(81, "udp", "127.0.0.1", 8001),
            ],
        ),
    ],
)
def test_parse_publish_reads(text: str, expected: list[PortMapping]) -> None:
    assert list(parse_publish(text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no port specified: ''"),
        ("8080:", "no port specified: '8080:'"),
        ("80a", "invalid containerPort: '80a'"),
        ("0", "invalid containerPort: '0'"),
        ("65536", "invalid containerPort: '65536'"),
        ("80-", "invalid containerPort: '80-'"),
        ("81-80", "invalid containerPort: '81-80'"),
        ("-1:80", "invalid hostPort: '-1'"),
        ("٣:80", "invalid hostPort"),
        ("65536:80", "invalid hostPort: '65536'"),
        ("8000-8005:80-81", "invalid ranges specified for container and host ports: 80-81 and"),
        ("8000:80-81", "invalid ranges specified"),
        ("80/sctp", "invalid proto: 'sctp'"),
        ("80/", "invalid proto: ''"),
        ("localhost:8080:80", "invalid IP address: 'localhost'"),
        ("127.1:8080:80", "invalid IP address: '127.1'"),
        ("256.0.0.1:8080:80", "invalid IP address: '256.0.0.1'"),
        ("[::1]:8080:80", "publishing on the IPv6 address [::1] is not supported"),
        ("::1:8080:80", "publishing on the IPv6 address ::1 is not supported"),
    ],
)
def test_parse_publish_refuses(text: str, message: str) -> None:
    with pytest.raises(NetworkError) as error:
        parse_publish(text)
    assert message in str(error.value)
    assert error.value.hint


def test_port_mapping_reads_like_docker_ps() -> None:
    assert str(parse_publish("8080:80/udp")[0]) == "0.0.0.0:8080->80/udp"


@pytest.mark.parametrize("text", ["bridge", "none", "host", "container:web"])
def test_parse_network_accepts(text: str) -> None:
    assert parse_network(text) == text


@pytest.mark.parametrize("text", ["mynet", "container:", "container", "Host"])
def test_parse_network_refuses(text: str) -> None:
    with pytest.raises(NetworkError) as error:
        parse_network(text)
    assert error.value.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("db:10.0.0.7", ("db", "10.0.0.7")),
        ("db=10.0.0.7", ("db", "10.0.0.7")),
        ("db:::1", ("db", "::1")),
        ("db:[::1]", ("db", "::1")),
        ("up:host-gateway", ("up", "host-gateway")),
    ],
)
def test_parse_extra_host_reads(text: str, expected: tuple[str, str]) -> None:
    assert parse_extra_host(text) == expected


@pytest.mark.parametrize("text", ["db", "db:", ":10.0.0.7", "db:ten", "db=1.2.3"])
def test_parse_extra_host_refuses(text: str) -> None:
    with pytest.raises(NetworkError):
        parse_extra_host(text)


@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig(mode="host", ports=parse_publish("80")),
        NetworkConfig(mode="none", ports=parse_publish("80")),
        NetworkConfig(mode="container:web", ports=parse_publish("80")),
        NetworkConfig(mode="container:web", dns=("9.9.9.9",)),
        NetworkConfig(mode="container:web", hostname="other"),
    ],
)
def test_check_refuses_contradictions(config: NetworkConfig) -> None:
    with pytest.raises(NetworkError, match=config.mode):
        check(config)
