"""Who may do what: tokens and their scopes over TCP, and the Unix socket without one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.api.operation import OPERATIONS
from scheduler.store import Scope
from tests.scheduler.api_lab import SPEC, Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer ", "Basic abc", "Bearer wrong"])
def test_without_a_valid_token_there_is_no_answer(lab: Lab, header: str | None) -> None:
    given = {"Authorization": header} if header else {}
    answer = lab.client.get("/v1/deployments", headers=given)
    assert answer.status_code == 401
    assert answer.mimetype == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scope", list(Scope))
def test_every_operation_heeds_the_scope_that_it_names(lab: Lab, scope: Scope) -> None:
    token = lab.store.create_token(f"only-{scope}", scope)
    for operation in OPERATIONS:
        if operation.scope is None:
            continue
        path = operation.path.replace("<name>", "none")
        # A stream that is let in would go on; it is refused in another way after the scope.
        headers = {"Last-Event-ID": "x"}
        answer = lab.ask(operation.method, path, token=token, headers=headers)
        assert (answer.status_code == 403) is not scope.allows(operation.scope), operation
        assert answer.status_code != 401


def test_a_token_is_told_once_and_opens_nothing_when_it_is_removed(lab: Lab) -> None:
    made = lab.expect("POST", "tokens", {"name": "ci", "scope": "deploy"}, status=201)
    token = str(made["token"])
    assert lab.ask("PUT", "deployments/web", SPEC, token=token).status_code == 201
    assert lab.ask("GET", "tokens", token=token).status_code == 403
    assert token not in lab.ask("GET", "tokens").text
    lab.expect("POST", "tokens", {"name": "ci", "scope": "read"}, status=409)
    lab.expect("POST", "tokens", {"name": "x", "scope": "root"}, status=422)
    lab.expect("DELETE", "tokens/ci", status=204)
    assert lab.ask("GET", "deployments", token=token).status_code == 401
    lab.expect("DELETE", "tokens/ci", status=404)


def test_events_tell_who_asked(lab: Lab) -> None:
    token = lab.store.create_token("ci", Scope.DEPLOY)
    lab.ask("PUT", "deployments/web", SPEC, token=token)
    assert lab.store.events()[-1].inputs == {"by": "ci"}


def test_a_unix_socket_needs_no_token_and_a_header_does_not_make_one(lab: Lab) -> None:
    near, far = socket.socketpair(socket.AF_UNIX)
    with near, far, socket.socket(socket.AF_INET) as elsewhere:
        local = {"gunicorn.socket": near}
        assert lab.client.get("/v1/deployments", environ_overrides=local).status_code == 200
        remote = {"gunicorn.socket": elsewhere, "REMOTE_ADDR": ""}
        assert lab.client.get("/v1/deployments", environ_overrides=remote).status_code == 401
    claims = {"X-Forwarded-For": "unix", "Gunicorn-Socket": "x", "Forwarded": "for=unix"}
    assert lab.client.get("/v1/deployments", headers=claims).status_code == 401


@pytest.mark.parametrize(
    "header", [("Origin", "http://evil.test"), ("Sec-Fetch-Site", "cross-site")]
)
def test_another_site_cannot_use_a_port_that_leads_to_the_socket(
    lab: Lab, header: tuple[str, str]
) -> None:
    near, far = socket.socketpair(socket.AF_UNIX)
    with near, far:
        local = {"gunicorn.socket": near}
        answer = lab.client.post("/v1/host/drain", headers=[header], environ_overrides=local)
    assert answer.status_code == 403
    assert not lab.store.cordoned()
