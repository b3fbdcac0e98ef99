"""Which requests are whose: hosts, prefixes, published ports, and names that mean harm."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from minirun import MinirunError, ScheduleError
from scheduler.actions import AddServer
from scheduler.gateway import binary, routing
from scheduler.gateway.admin import Admin
from scheduler.gateway.certificate import Certificate
from scheduler.gateway.config import PLACES, Listen
from scheduler.gateway.haproxy import HaproxyGateway
from scheduler.observed import Route
from tests.scheduler import gateway_lab
from tests.scheduler.gateway_lab import Lab, free_port

HOSTILE = (
    "a b",
    "a\nb",
    "a;disable frontend gateway",
    "a\\ b",
    "a\0b",
    "a\rb",
    '"a"',
    "a\tb",
    "é",
    "a" * 3000,
    "#a",
    "",
)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with gateway_lab.lab() as made:
        yield made


def serve(lab: Lab, name: str, **route: object) -> None:
    """Route something to a deployment with one replica of its own."""
    lab.gateway.set_route(Route(name, queue_limit=10, **route))  # type: ignore[arg-type]
    lab.gateway.add(lab.added(lab.replica(f"{name}.1"), to=name))


def who(lab: Lab, host: str, path: str) -> str:
    """Return which deployment answers, or the status where none does."""
    status, headers, _ = lab.get(path, host)
    return str(headers["X-Replica"]).rpartition(".")[0] if status == 200 else str(status)


def test_longest_prefix_of_the_closest_host_decides(lab: Lab) -> None:
    serve(lab, "host", hosts=("a.test",))
    serve(lab, "both", hosts=("a.test",), prefix="/api/")
    serve(lab, "deep", hosts=("a.test",), prefix="/api/v2")
    serve(lab, "wild", hosts=("*.b.test",))
    serve(lab, "bare", prefix="/api")
    answers = {
        ("a.test", "/"): "host",
        ("A.Test.:8080", "/apis"): "host",
        ("a.test", "/api"): "both",
        ("a.test", "/api?x=/y"): "both",
        ("a.test", "/api/v1/x"): "both",
        ("a.test", "/api/v2/x"): "deep",
        ("x.b.test", "/api"): "wild",
        ("b.test", "/"): "404",
        ("x.y.b.test", "/"): "404",
        ("c.test", "/api/x"): "bare",
        ("c.test", "/apis"): "404",
        ("wild.localhost", "/"): "wild",
    }
    assert {asked: who(lab, *asked) for asked in answers} == answers


def test_path_reaches_the_replica_as_it_was_sent(lab: Lab) -> None:
    serve(lab, "web", prefix="/v1")
    assert lab.get("/v1/a%2Fb/../c?q=1;2", "x")[2] == b"web.1 /v1/a%2Fb/../c?q=1;2"


def test_request_without_a_deployment_is_404_as_a_problem(lab: Lab) -> None:
    status, headers, body = lab.get()
    assert (status, headers["Content-Type"]) == (404, "application/problem+json")
    assert json.loads(body)["title"] == "Not Found"


def test_published_port_is_its_deployments_alone(lab: Lab) -> None:
    port = free_port()
    serve(lab, "web", published=port)
    serve(lab, "other", hosts=("other.test",))
    assert lab.get("/x", "other.test", port=port)[1]["X-Replica"] == "web.1"
    heard = lab.replicas["web.1"].heard
    assert heard["x-forwarded-for"] == "127.0.0.1"
    lab.gateway.remove_route("web")
    lab.wait_until(lambda: not is_open(port))


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_published_port_that_moves_opens_before_it_closes(lab: Lab) -> None:
    first, second = free_port(), free_port()
    serve(lab, "web", published=first)
    lab.gateway.set_route(Route("web", published=second, queue_limit=10))
    assert lab.get(port=second)[0] == 200
    lab.wait_until(lambda: not is_open(first))


def test_published_port_that_is_taken_is_refused(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ScheduleError, match=f"port {port}.*in use") as caught:
            lab.gateway.set_route(Route("web", published=port))
    assert caught.value.status == 503
    assert "another program" in caught.value.hint
    assert not lab.gateway.routes()


def test_published_port_that_is_the_gateways_own_is_refused(lab: Lab) -> None:
    """What if the kernel let both listen there? Each would get half of the connections."""
    with pytest.raises(ScheduleError, match="in use"):
        lab.gateway.set_route(Route("web", published=lab.port))
    assert not lab.gateway.routes()


def test_same_requests_for_two_deployments_are_refused(lab: Lab) -> None:
    port = free_port()
    serve(lab, "web", hosts=("a.test",), prefix="/x", published=port)
    for route in (Route("b", hosts=("c.test", "A.test"), prefix="/x/"), Route("b", published=port)):
        with pytest.raises(ScheduleError, match="belongs to deployment 'web'") as caught:
            lab.gateway.set_route(route)
        assert caught.value.status == 409
    assert list(lab.gateway.routes()) == ["web"]


def test_own_address_yields_to_whoever_asks_for_it(lab: Lab) -> None:
    serve(lab, "web")
    assert who(lab, "web.localhost", "/") == "web"
    serve(lab, "thief", hosts=("web.localhost",))
    assert who(lab, "web.localhost", "/") == "thief"
    lab.gateway.remove_route("thief")
    assert who(lab, "web.localhost", "/") == "web"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_refused_before_the_proxy_hears_them(text: str) -> None:
    routes = [Route(text), Route("web", hosts=(text,)), Route("web", hosts=("*." + text,))]
    routes += [Route("web", canary_header=text), Route("web", prefix="/" + text)] if text else []
    for route in routes:
        with pytest.raises(ScheduleError, match="cannot be routed"):
            routing.check_route(route)
    for server_id, address in ((text, "/run/x.sock"), ("web.1", "/" + text), ("web.1", text)):
        with pytest.raises(ScheduleError, match="cannot be routed"):
            routing.check_server(server_id, address)


def test_check_route_refuses_prefixes_that_climb() -> None:
    for prefix in ("/..", "/a/../b", "/./a", "a", "//a"):
        with pytest.raises(ScheduleError, match="prefix"):
            routing.check_route(Route("web", prefix=prefix))


def test_check_route_refuses_a_queue_more_patient_than_any() -> None:
    with pytest.raises(ScheduleError, match="queue_s: 3601") as caught:
        routing.check_route(Route("web", queue_s=3601))
    assert "3600" in caught.value.hint


def test_check_server_knows_addresses() -> None:
    for address in ("10.0.0.1:80", "[fd00::1]:8080"):
        assert routing.check_server("web.1", address) == address


def test_find_place_says_when_there_is_none_left() -> None:
    route = Route("web", queue_s=200)
    places = [f"q300-{number}" for number in range(PLACES[300])]
    assert routing.find_place(route, places[1:]) == places[0]
    with pytest.raises(ScheduleError, match="no place is left for deployment 'web'"):
        routing.find_place(route, places)


def test_server_before_its_route_is_refused(lab: Lab) -> None:
    with pytest.raises(ScheduleError, match="has no route"):
        lab.gateway.add(AddServer("web.1", "web", "stable", "/run/x.sock"))


def test_tls_is_spoken_where_it_is_asked_for(lab: Lab) -> None:
    pem, port = certificate(lab.folder), free_port()
    listen = Listen(f"127.0.0.1:{lab.port}", tls_address=f"127.0.0.1:{port}", tls_pem=pem)
    lab.gateway.shutdown()
    lab.gateway = HaproxyGateway(lab.folder / "gateway", listen)
    lab.gateway.start()
    serve(lab, "web", hosts=("web.test",))
    context = ssl.create_default_context(cafile=str(pem))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="web.test") as client,
    ):
        client.sendall(b"GET / HTTP/1.0\r\nHost: web.test\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
    assert lab.replicas["web.1"].heard["x-forwarded-proto"] == "https"


def test_certificate_that_is_renewed_is_shown_by_the_same_proxy(lab: Lab) -> None:
    """What if it is renewed while nobody watches, and again while somebody does?"""
    pem, port = certificate(lab.folder), free_port()
    listen = Listen(f"127.0.0.1:{lab.port}", tls_address=f"127.0.0.1:{port}", tls_pem=pem)
    lab.gateway.shutdown()
    lab.gateway = HaproxyGateway(lab.folder / "gateway", listen)
    lab.gateway.start()
    before = lab.gateway.status().pid
    lab.gateway.close()
    first, second = shown(port), certificate(lab.folder)
    lab.gateway = HaproxyGateway(lab.folder / "gateway", listen)
    lab.gateway.start()
    assert shown(port) == leaf(second) != first
    certificate(lab.folder)
    lab.wait_until(lambda: shown(port) == leaf(pem))
    assert lab.gateway.status().pid == before


def test_certificate_that_is_not_whole_is_not_shown(lab: Lab) -> None:
    pem, port = certificate(lab.folder), free_port()
    listen = Listen(f"127.0.0.1:{lab.port}", tls_address=f"127.0.0.1:{port}", tls_pem=pem)
    lab.gateway.shutdown()
    lab.gateway = HaproxyGateway(lab.folder / "gateway", listen)
    lab.gateway.start()
    lab.gateway.close()
    before, text = shown(port), pem.read_text()
    for broken in ("", text[:100], text.partition("-----BEGIN PRIVATE")[0]):
        pem.write_text(broken)
        Certificate(pem, Admin(lab.folder / "gateway/proxy.sock")).follow()
        assert shown(port) == before
    pem.write_text(text)
    lab.gateway = HaproxyGateway(lab.folder / "gateway", listen)
    lab.gateway.start()  # whoever has let go of a proxy does not end it


def shown(port: int) -> bytes:
    """Return the certificate that a client is shown."""
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))


def leaf(pem: Path) -> bytes:
    """Return the first certificate of a file."""
    end = "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(pem.read_text().partition(end)[0] + end)


def certificate(folder: Path) -> Path:
    key, chain, pem = folder / "key", folder / "chain", folder / "both.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    name = "-subj /CN=web.test -addext subjectAltName=DNS:web.test".split()
    files = ["-keyout", str(key), "-out", str(chain)]
    subprocess.run([*command.split(), *name, *files], check=True, capture_output=True)
    pem.write_text(chain.read_text() + key.read_text())
    return pem


def test_unix_socket_serves_without_any_port(lab: Lab) -> None:
    lab.gateway.shutdown()
    lab.gateway = HaproxyGateway(lab.folder / "gateway", Listen(address=""))
    lab.gateway.start()
    serve(lab, "web", hosts=("web.test",))
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(lab.folder / "gateway/http.sock"))
        client.sendall(b"GET / HTTP/1.0\r\nHost: web.test\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")


def test_address_of_another_gateway_is_taken(lab: Lab) -> None:
    second = HaproxyGateway(lab.folder / "second", Listen(f"127.0.0.1:{lab.port}"))
    with pytest.raises(MinirunError, match="in use"):
        second.start()


def test_address_that_is_taken_is_an_error_with_a_hint(lab: Lab) -> None:
    gateway = HaproxyGateway(lab.folder / "second", replace(Listen(), address=f"127.0.0.1:{1}"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gateway = HaproxyGateway(
            lab.folder / "second", Listen(f"127.0.0.1:{taken.getsockname()[1]}")
        )
        with pytest.raises(MinirunError, match="in use") as caught:
            gateway.start()
    assert "another program" in caught.value.hint


def test_folder_with_a_long_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MinirunError, match="too long a path"):
        HaproxyGateway(tmp_path / ("x" * 80))


def test_find_names_what_is_wrong_with_each_binary(tmp_path: Path) -> None:
    old = tmp_path / "haproxy"
    old.write_text("#!/bin/sh\necho 'HAProxy version 2.4.22 2023/02/14'\n")
    old.chmod(0o755)
    for path, text in ((old, "is HAProxy version 2.4.22; 2.6 or newer"), (tmp_path, "cannot be")):
        with pytest.raises(MinirunError, match=text) as caught:
            binary.find(path)
        assert "pip install" in caught.value.hint
