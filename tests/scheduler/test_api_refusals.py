"""What is refused though each field is right by itself: it would be another's, or in vain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minirun import ScheduleError
from scheduler.app import create_app
from scheduler.observed import Route
from scheduler.store import Scope
from tests.scheduler.api_lab import SPEC, Lab, pointers

ROUTE: dict[str, object] = {"hosts": ["shop.test"], "prefix": "/api", "published": 9000}
BIND = {"type": "bind", "source": "/etc", "target": "/host"}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


def refused(lab: Lab, name: str = "other", /, **changes: object) -> list[str]:
    """Return the fields for which a deployment is refused."""
    return pointers(lab.put(name, status=422, **changes))


# ---- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exposure", "field"),
    [
        ({"published": 9000}, "/exposure/published"),
        ({"hosts": ["a.test", "SHOP.test"], "prefix": "/api/"}, "/exposure/hosts/1"),
        ({"hosts": ["web.localhost"]}, "/exposure/hosts/0"),
    ],
)
def test_an_address_of_another_deployment_is_refused(
    lab: Lab, exposure: dict[str, object], field: str
) -> None:
    lab.put(exposure=ROUTE)
    assert refused(lab, exposure=exposure) == [field]
    lab.put("other")
    problem = lab.expect("PATCH", "deployments/other", {"exposure": exposure}, status=422)
    assert pointers(problem) == [field]
    assert "web" in str(problem["detail"])


def test_a_prefix_of_another_deployment_is_refused(lab: Lab) -> None:
    lab.put(exposure={"prefix": "/api"})
    assert refused(lab, exposure={"prefix": "/api/"}) == ["/exposure/prefix"]
    lab.put("other", exposure={"prefix": "/api/v2", "hosts": []})


def test_a_name_whose_address_is_taken_is_refused(lab: Lab) -> None:
    lab.put(exposure={"hosts": ["later.localhost"]})
    assert refused(lab, "later") == ["/name"]


def test_an_address_is_free_once_its_owner_is_deleted(lab: Lab) -> None:
    lab.put(exposure=ROUTE)
    lab.expect("DELETE", "deployments/web", status=202)
    lab.put("other", exposure=ROUTE)


def test_a_deployment_keeps_its_own_address(lab: Lab) -> None:
    lab.put(exposure=ROUTE)
    lab.put(exposure=ROUTE, replicas=3, status=200)
    lab.put(exposure={**ROUTE, "published": 9001}, status=200)


def test_the_gateways_own_port_is_refused(lab: Lab) -> None:
    control = replace(lab.control, gateway="127.0.0.1:8800")
    lab.client = create_app(control).test_client()
    assert refused(lab, exposure={"published": 8800}) == ["/exposure/published"]
    lab.put(exposure={"published": 18800})


# ---- what nothing would come of -----------------------------------------------------------------

VOLUME = {"type": "volume", "source": "data", "target": "/data"}
JOB: dict[str, object] = {"kind": "job", "port": None, "replicas": 1}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"exposure": {"prefix": "/a b"}}, "/exposure/prefix"),
        ({"exposure": {"prefix": "/a/../b"}}, "/exposure/prefix"),
        ({"exposure": {"prefix": "api"}}, "/exposure/prefix"),
        ({"canary": {"header": "a b"}}, "/canary/header"),
        ({"timeouts": {"queue_s": 3601.0}}, "/timeouts/queue_s"),
        ({"working_dir": "app"}, "/working_dir"),
        ({"volumes": [VOLUME | {"source": "../../etc"}]}, "/volumes/0/source"),
        ({"volumes": [VOLUME | {"source": "/etc"}]}, "/volumes/0/source"),
        ({"volumes": [VOLUME | {"source": "v"}]}, "/volumes/0/source"),
        ({"volumes": [VOLUME | {"target": "/"}]}, "/volumes/0/target"),
        ({"volumes": [VOLUME | {"target": "/a/../../b"}]}, "/volumes/0/target"),
        ({"port": None, "socket": "/app.sock"}, "/socket"),
        ({"port": None, "socket": "/run/../app.sock"}, "/socket"),
        ({"labels": {"": "x"}}, "/labels"),
        ({"labels": {"a=b": "x"}}, "/labels"),
        ({**JOB, "replicas": 2}, "/replicas"),
        ({**JOB, "port": 80, "exposure": {"prefix": "/a"}}, "/exposure"),
    ],
)
def test_a_wish_that_could_only_fail_later_is_refused(
    lab: Lab, changes: dict[str, object], field: str
) -> None:
    assert refused(lab, **changes) == [field]


def test_a_dry_run_of_what_is_not_there_says_so(lab: Lab) -> None:
    for query in ("", "?dry_run=true"):
        answer = lab.ask("PUT", f"deployments/new{query}", SPEC, headers={"If-Match": "*"})
        assert answer.status_code == 412
        assert answer.json is not None
        assert answer.json["detail"] == "there is no deployment new"


def test_a_refusal_is_in_words(lab: Lab) -> None:
    token = lab.expect("POST", "tokens", {"name": "A B", "scope": "read"}, status=422)
    assert "/name: is not lowercase letters" in str(token["detail"])
    spec = lab.put("other", status=422, user="a\0b")
    assert spec["detail"] == "/user: has a NUL in it"
    auto = lab.put("other", status=422, autoscale={"concurrency": 4.0, "rps": -1.0})
    assert str(auto["detail"]).startswith("/autoscale/rps: -1 is not between 0 and")
    lab.put()
    for changes in ({"user": "1"}, {"user": "2"}, {"user": ""}):
        lab.expect("PATCH", "deployments/web", changes)
    problem = lab.expect("POST", "deployments/web/rollback", {"revision": 9}, status=404)
    assert problem["hint"] == "it has 1, 2, 3"


@pytest.mark.parametrize("target", ["a/b", "..", "/a/../b", "/"])
def test_a_secret_that_nobody_could_mount_is_refused(lab: Lab, target: str) -> None:
    lab.expect("PUT", "secrets/key", {"value": "x"})
    assert refused(lab, secrets=[{"source": "key", "target": target}]) == ["/secrets/0/target"]


# ---- what an admin has mounted ------------------------------------------------------------------


def test_no_command_runs_in_a_replica_with_the_hosts_files_but_an_admins(lab: Lab) -> None:
    deploy = lab.store.create_token("ci", Scope.DEPLOY)
    lab.put(volumes=[BIND])
    lab.put("plain")
    lab.run()
    wanted = {"command": ["cat", "/host/shadow"]}
    answer = lab.ask("POST", "replicas/web.1/exec", wanted, token=deploy)
    assert (answer.status_code, "/etc" in answer.text) == (403, True)
    lab.expect("POST", "replicas/web.1/exec", wanted)
    assert lab.ask("POST", "replicas/plain.1/exec", wanted, token=deploy).status_code == 200


def test_a_command_may_run_where_the_mount_is_everybodys(lab: Lab) -> None:
    deploy = lab.store.create_token("ci", Scope.DEPLOY)
    lab.put(volumes=[BIND])
    lab.run()
    lab.client = create_app(replace(lab.control, mounts=frozenset({"/etc"}))).test_client()
    answer = lab.ask("POST", "replicas/web.1/exec", {"command": ["ls"]}, token=deploy)
    assert answer.status_code == 200


# ---- a restart is not in the file ---------------------------------------------------------------


def test_a_restart_is_not_undone_by_applying_the_same_again(lab: Lab) -> None:
    deploy = lab.store.create_token("ci", Scope.DEPLOY)
    before: Any = lab.put(volumes=[BIND])
    body = {**before["spec"], "restart_token": ""}
    lab.expect("POST", "deployments/web/restart")
    lab.run(20)
    assert lab.expect("PUT", "deployments/web?dry_run=true", body)["changed"] is False
    after: Any = lab.ask("PUT", "deployments/web", body, token=deploy).json
    assert after["status"]["revision"] == 2
    assert after["spec"]["restart_token"]


# ---- bodies -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b'{"image": "good", "image": "bad"}', b'{"image": "good", "job": {"a": 1, "a": 2}}']
)
def test_a_field_that_is_given_twice_is_refused(lab: Lab, body: bytes) -> None:
    problem = lab.expect("PUT", "deployments/web", body, status=400)
    assert "twice" in str(problem["detail"])
    assert problem["hint"]


# ---- what only the gateway can know -------------------------------------------------------------


def test_status_says_what_cannot_be_done_for_a_deployment(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What if the port is another program's: the deployment waits, and says for what."""
    text = "port 9000 cannot be published: it is in use"

    def refuse(_route: Route) -> None:
        raise ScheduleError(text, status=503)

    with monkeypatch.context() as patch:
        patch.setattr(lab.gateway, "set_route", refuse)
        lab.put(exposure={"published": 9000})
        lab.run(2)
        waits: Any = lab.get("deployments/web")
    lab.run(2)
    served: Any = lab.get("deployments/web")
    assert (waits["status"]["reason"], served["status"]["reason"]) == (text, "")
