"""Rollouts under load with each kind of bad image: what serves goes on, and the bad one goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.client import ApiError
from tests.scheduler import serve_lab
from tests.scheduler.serve_lab import Lab, Load, wait_until

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "busybox")

PROBE = {"period_s": 0.1, "timeout_s": 2.0}
#: What each bad revision changes, besides being another one.
BAD: dict[str, dict[str, Any]] = {
    "exits at once": {"command": ["sh", "-c", "exit 1"]},
    "never listens": {"command": ["sleep", "1000"]},
    "is never well": {"probes": {"readiness": {"http": {"path": "/cgi-bin/bad"}, **PROBE}}},
    "has no such program": {"command": ["/nowhere"]},
    "listens elsewhere": {"command": ["httpd", "-f", "-p", "9000", "-h", "/www"]},
    "eats its memory": {
        "command": ["sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=64M"],
        "resources": {"limits": {"memory_bytes": 16 << 20}},
    },
}


@pytest.fixture(scope="module")
def server(tiny: Path) -> Iterator[Lab]:
    with serve_lab.lab(tiny) as made:
        made.start()
        made.run_once()
        yield made


@pytest.fixture
def lab(server: Lab) -> Iterator[Lab]:
    yield server
    server.delete_all()


def revision(lab: Lab) -> tuple[int, str]:
    status = lab.client.deployment("web")["status"]
    return status["revision"], status["state"]


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_revision_is_rolled_back_and_costs_no_request(lab: Lab, kind: str) -> None:
    lab.deploy("web", 2)
    lab.wait_running("web", 2)
    before = {row["id"] for row in lab.client.replicas("web")}
    update = {"min_ready_s": 0.1, "progress_deadline_s": 2.0}
    with Load(lab, "web") as load:
        lab.deploy("web", 2, update=update, **BAD[kind])
        assert revision(lab)[0] == 2
        wait_until(lambda: revision(lab) == (1, "running"), "it is rolled back", lab.told)
        lab.wait_running("web", 2)
    assert not load.failed
    assert {row["id"] for row in lab.client.replicas("web")} == before, "the good ones stayed"


def test_a_revision_that_is_ready_and_then_dies_costs_what_it_was_answering(lab: Lab) -> None:
    """It has to live for ``min_ready_s`` before anything that works makes room for it."""
    lab.deploy("web", 2)
    lab.wait_running("web", 2)
    before, clients = {row["id"] for row in lab.client.replicas("web")}, 2
    dies = ["sh", "-c", "httpd -p 8000 -h /www; exec sleep 0.5"]
    update = {"min_ready_s": 1.5, "progress_deadline_s": 2.0}
    with Load(lab, "web", clients=clients) as load:
        lab.deploy("web", 2, update=update, command=dies)
        wait_until(lambda: revision(lab) == (1, "running"), "it is rolled back", lab.told)
        lab.wait_running("web", 2)
    deaths = sum(event["kind"] == "exited" for event in lab.client.events(limit=1000))
    assert sum(load.failed.values()) <= clients * deaths
    assert {row["id"] for row in lab.client.replicas("web")} == before, "the good ones stayed"


def test_a_slow_revision_is_waited_for(lab: Lab) -> None:
    lab.deploy("web", 2)
    lab.wait_running("web", 2)
    slow = ["sh", "-c", "sleep 1; exec httpd -f -p 8000 -h /www"]
    with Load(lab, "web") as load:
        lab.deploy("web", 2, command=slow, update={"progress_deadline_s": 30.0, "min_ready_s": 0.1})
        wait_until(lambda: revision(lab) == (2, "running"), "it is there", lab.told)
        lab.wait_running("web", 2)
    assert not load.failed


def test_a_revision_that_answers_500_is_aborted_as_a_canary(lab: Lab) -> None:
    """What is ready and wrong is found by its answers, and only its share of them is bad."""
    canary = {"weight": 50, "min_requests": 10, "duration_s": 30.0, "error_rate": 0.05}
    lab.deploy("web", 2, canary=canary)
    lab.wait_running("web", 2)
    serve_errors = (
        "mkdir -p /tmp/w/cgi-bin; cp /www/cgi-bin/bad /tmp/w/cgi-bin/index.cgi; "
        "exec httpd -f -p 8000 -h /tmp/w"
    )
    bad = ["sh", "-c", serve_errors]
    probes = {"readiness": {"tcp": {}, **PROBE}}
    with Load(lab, "web", clients=4) as load:
        lab.deploy("web", 2, canary=canary, command=bad, probes=probes)
        wait_until(lambda: revision(lab) == (1, "running"), "it is aborted", lab.told)
        lab.wait_running("web", 2)
    assert set(load.failed) <= {500, 404}, "nothing was lost: those were its own answers"
    assert load.statuses[200] > sum(load.failed.values())


def test_a_missing_image_is_refused_before_anything_is_done(lab: Lab) -> None:
    lab.deploy("web", 1)
    lab.wait_running("web", 1)
    with pytest.raises(ApiError) as caught:
        lab.deploy("web", 1, image="nowhere")
    assert caught.value.status == 422
    assert "nowhere" in str(caught.value)
    assert revision(lab) == (1, "running")


def test_rolling_updates_under_load_lose_nothing(lab: Lab) -> None:
    lab.deploy("web", 3)
    lab.wait_running("web", 3)
    with Load(lab, "web", clients=6) as load:
        for number in (2, 3):
            lab.deploy("web", 3, environment={"VERSION": str(number)})
            lab.wait_running("web", 3, revision=number)
    assert not load.failed
