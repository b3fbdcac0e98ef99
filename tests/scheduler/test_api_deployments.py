"""Deployments through the API: asked for, changed under a condition, acted upon, let go."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scheduler.api_lab import SPEC, Lab, pointers

TASK = {"image": "task", "kind": "job", "job": {"completions": 2, "parallelism": 1}}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


def status(lab: Lab, name: str = "web") -> dict[str, Any]:
    found: dict[str, Any] = lab.get(f"deployments/{name}")["status"]  # type: ignore[assignment]
    return found


def replica(lab: Lab, name: str) -> dict[str, Any]:
    found: dict[str, Any] = lab.get(f"replicas/{name}")
    return found


def kinds(lab: Lab) -> list[str]:
    items: Any = lab.get("events?limit=1000")["items"]
    return [event["kind"] for event in items]


# ---- put, get, patch ----------------------------------------------------------------------------


def test_put_creates_then_changes_and_what_is_read_can_be_put_back(lab: Lab) -> None:
    answer = lab.ask("PUT", "deployments/web", SPEC)
    assert (answer.status_code, answer.headers["ETag"]) == (201, '"1"')
    assert answer.headers["Location"] == "/v1/deployments/web"
    read = lab.get("deployments/web")
    same = lab.ask("PUT", "deployments/web", read["spec"])
    assert (same.status_code, same.headers["ETag"]) == (200, '"1"')
    assert lab.put(status=200, replicas=3)["generation"] == 2
    lab.run()
    assert (status(lab)["state"], status(lab)["ready"]) == ("running", 3)


def test_put_keeps_every_field_that_it_is_given(lab: Lab) -> None:
    lab.store.put_secret("key", b"x")
    lab.expect("PUT", "quotas/team", {"replicas": 9})
    given = {
        **SPEC,
        "command": ["serve", "--fast"],
        "environment": {"A": "1"},
        "secrets": [{"source": "key", "target": "/k", "mode": 256}],
        "volumes": [{"type": "tmpfs", "target": "/tmp", "size_bytes": 4096}],
        "probes": {"liveness": {"http": {"path": "/healthz"}, "period_s": 2.0}},
        "restart": {"condition": "on-failure", "max_attempts": 3},
        "concurrency": 4,
        "autoscale": {"minimum": 1, "maximum": 5, "concurrency": 4.0},
        "update": {"surge": {"value": 25, "percent": True}, "on_failure": "pause"},
        "canary": {"weight": 20, "header": "x-canary"},
        "priority": 70,
        "quota": "team",
        "placement": "binpack",
        "labels": {"team": "a"},
        "exposure": {"hosts": ["web.test"], "prefix": "/api"},
        "timeouts": {"request_s": 5.0},
        "queue_limit": 10,
    }
    spec: Any = lab.expect("PUT", "deployments/web", given, status=201)["spec"]

    def is_within(part: object, whole: Any) -> bool:  # noqa: ANN401 - JSON
        if isinstance(part, dict):
            return all(is_within(value, whole[key]) for key, value in part.items())
        if isinstance(part, list):
            return all(is_within(a, b) for a, b in zip(part, whole, strict=True))
        return bool(part == whole)

    assert is_within(given, spec)


def test_if_match_lets_one_of_two_writers_through(lab: Lab) -> None:
    lab.put()
    seen = {"If-Match": '"1"'}
    lab.expect("PUT", "deployments/web", {**SPEC, "replicas": 3}, headers=seen)
    late = {**SPEC, "replicas": 4}
    lab.expect("PUT", "deployments/web", late, headers=seen, status=412)
    lab.expect("POST", "deployments/web/scale", {"replicas": 9}, headers=seen, status=412)
    lab.expect("DELETE", "deployments/web", headers=seen, status=412)
    assert status(lab)["desired"] == 3


@pytest.mark.parametrize(
    ("name", "headers", "expected"),
    [
        ("web", {"If-None-Match": "*"}, 412),
        ("new", {"If-None-Match": "*"}, 201),
        ("new", {"If-Match": "*"}, 412),
        ("web", {"If-Match": "*"}, 200),
        ("web", {"If-Match": "1"}, 400),
        ("web", {"If-Match": 'W/"1"'}, 400),
        ("web", {"If-None-Match": '"1"'}, 400),
    ],
)
def test_put_heeds_its_condition(
    lab: Lab, name: str, headers: dict[str, str], expected: int
) -> None:
    lab.put()
    lab.expect("PUT", f"deployments/{name}", SPEC, headers=headers, status=expected)


def test_patch_changes_what_it_names_and_null_is_the_default(lab: Lab) -> None:
    lab.put(labels={"a": "1", "b": "2"}, priority=70)
    patch = {"labels": {"a": None, "c": "3"}, "priority": None}
    spec: Any = lab.expect("PATCH", "deployments/web", patch)["spec"]
    assert (spec["labels"], spec["priority"], spec["image"]) == ({"b": "2", "c": "3"}, 50, "good")
    assert status(lab)["revision"] == 1, "neither is in the template"


def test_patch_of_nothing_changes_nothing(lab: Lab) -> None:
    lab.put()
    assert lab.expect("PATCH", "deployments/web", {})["generation"] == 1
    lab.expect("PATCH", "deployments/none", {}, status=404)


def test_list_filters_and_pages(lab: Lab) -> None:
    for i in range(5):
        lab.put(f"d{i}", labels={"odd": str(i % 2)})
    lab.expect("PUT", "deployments/job", TASK, status=201)

    def names(query: str) -> tuple[list[str], object]:
        found = lab.get(f"deployments?{query}")
        items: Any = found["items"]
        return [item["name"] for item in items], found["next"]

    assert names("label=odd=1") == (["d1", "d3"], None)
    assert names("kind=job") == (["job"], None)
    assert names("limit=2") == (["d0", "d1"], "d1")
    assert names("limit=2&after=d3") == (["d4", "job"], None)


# ---- dry run ------------------------------------------------------------------------------------


def test_dry_run_tells_diff_and_placement_and_does_nothing(lab: Lab) -> None:
    lab.put()
    lab.run()
    before = lab.store.load()
    wanted = {**SPEC, "replicas": 4, "environment": {"a/b": "1"}}
    found: Any = lab.expect("PUT", "deployments/web?dry_run=true", wanted)
    assert {"pointer": "/replicas", "before": 2, "after": 4} in found["diff"]
    assert {"pointer": "/environment/a~1b", "before": None, "after": "1"} in found["diff"]
    assert (found["changed"], found["revision"], found["pending"]) == (True, 2, "")
    assert [p["replica"] for p in found["placement"]] == ["web.3", "web.4", "web.5"]
    assert lab.store.load() is before


def test_dry_run_of_what_is_there_says_that_nothing_changes(lab: Lab) -> None:
    lab.put()
    lab.run()
    found = lab.expect("PATCH", "deployments/web?dry_run=true", {"replicas": 2})
    assert (found["changed"], found["diff"], found["placement"]) == (False, [], [])


def test_dry_run_says_why_something_would_be_pending(lab: Lab) -> None:
    large = {"requests": {"cpu_millis": 3000}}
    wanted = {**SPEC, "replicas": 3, "resources": large}
    found: Any = lab.expect("PUT", "deployments/web?dry_run=true", wanted)
    assert len(found["placement"]) == 2
    assert "no room: n0: cpu needs 3, 1 free" in found["pending"]
    lab.get("deployments/web", status=404)


# ---- what can and cannot be placed --------------------------------------------------------------


def test_what_can_never_fit_is_refused_and_what_could_is_pending(lab: Lab) -> None:
    never = {**SPEC, "resources": {"requests": {"memory_bytes": 1 << 50}}}
    problem = lab.expect("PUT", "deployments/web", never, status=422)
    assert pointers(problem) == ["/resources/requests"]
    assert "larger than the host: memory" in str(problem["detail"])
    lab.put(replicas=3, resources={"requests": {"cpu_millis": 3000}})
    lab.run()
    assert status(lab)["state"] == "pending"
    assert "no room" in status(lab)["reason"]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"image": "absent"}, "/image"),
        ({"quota": "none"}, "/quota"),
        ({"secrets": [{"source": "none"}]}, "/secrets/0/source"),
    ],
)
def test_what_does_not_exist_is_named(lab: Lab, changes: dict[str, Any], pointer: str) -> None:
    problem = lab.expect("PUT", "deployments/web", {**SPEC, **changes}, status=422)
    assert pointers(problem) == [pointer]


# ---- actions ------------------------------------------------------------------------------------


def test_scale_restart_pause_and_resume(lab: Lab) -> None:
    lab.put()
    lab.run()
    lab.expect("POST", "deployments/web/scale", {"replicas": 3})
    lab.expect("POST", "deployments/web/pause")
    assert status(lab)["paused"]
    lab.expect("POST", "deployments/web/resume")
    lab.expect("POST", "deployments/web/restart")
    lab.run(10)
    assert (status(lab)["state"], status(lab)["ready"], status(lab)["revision"]) == (
        "running",
        3,
        2,
    )
    told = ["scale-requested", "paused", "resumed", "restart-requested"]
    assert [kind for kind in kinds(lab) if kind in told] == told


def test_scale_is_refused_where_it_means_nothing(lab: Lab) -> None:
    lab.put(autoscale={"concurrency": 2.0})
    lab.expect("POST", "deployments/web/scale", {"replicas": 3}, status=409)
    lab.expect("PUT", "deployments/job", TASK, status=201)
    lab.expect("POST", "deployments/job/scale", {"replicas": 3}, status=409)
    lab.put("plain")
    problem = lab.expect("POST", "deployments/plain/scale", {"replicas": -1}, status=422)
    assert pointers(problem) == ["/replicas"]


def test_rollback_goes_to_the_revision_before_or_to_one_by_number(lab: Lab) -> None:
    lab.put()
    lab.run()
    lab.expect("POST", "deployments/web/rollback", {}, status=409)
    lab.put(status=200, environment={"v": "2"})
    lab.run(10)
    lab.expect("POST", "deployments/web/rollback", {})
    lab.run(10)
    assert status(lab)["revision"] == 1
    lab.expect("POST", "deployments/web/rollback", {"revision": 2})
    lab.expect("POST", "deployments/web/rollback", {"revision": 7}, status=404)
    revisions: Any = lab.get("deployments/web/revisions")["items"]
    assert [(r["number"], r["current"], r["stable"]) for r in revisions] == [
        (1, False, True),
        (2, True, False),
    ]


def test_promote_ends_a_canary(lab: Lab) -> None:
    lab.put(canary={"weight": 10, "auto_promote": False})
    lab.run()
    lab.expect("POST", "deployments/web/promote", status=409)
    lab.put(status=200, canary={"weight": 10, "auto_promote": False}, environment={"v": "2"})
    lab.run()
    assert status(lab)["stage"] == "canary"
    assert status(lab)["reason"] == "the canary gets 10% of the requests until it is promoted"
    lab.expect("POST", "deployments/web/promote")
    lab.run(10)
    assert (status(lab)["stage"], status(lab)["stable_revision"]) == ("complete", 2)


def test_a_canary_says_whose_requests_it_gets(lab: Lab) -> None:
    """What if it gets no share, but the requests with its header?"""
    canary = {"weight": 0, "header": "x-try", "auto_promote": False}
    lab.put(canary=canary)
    lab.run()
    lab.put(status=200, canary=canary, environment={"v": "2"})
    lab.run()
    said = "the canary gets all requests with the header x-try until it is promoted"
    assert status(lab)["reason"] == said


def test_delete_lets_it_go_and_the_name_can_be_used_again(lab: Lab) -> None:
    lab.put()
    lab.run()
    assert lab.expect("DELETE", "deployments/web", status=202)["generation"] == 2
    lab.expect("DELETE", "deployments/web", status=202)
    assert status(lab)["state"] == "deleting"
    lab.expect("PUT", "deployments/web", SPEC, status=409)
    lab.expect("POST", "deployments/web/restart", status=409)
    lab.run(40)
    lab.get("deployments/web", status=404)
    again: Any = lab.put()
    assert again["generation"] > 2, "an ETag of the one before must not match"


def test_what_is_being_removed_is_told_of_and_holds_nothing(lab: Lab) -> None:
    lab.runtime.removed_after_s = lambda: 1e6
    lab.put(replicas=1)
    lab.run()
    lab.expect("DELETE", "deployments/web", status=202)
    lab.run()
    assert status(lab)["reason"] == "waits until its containers are removed"
    found = replica(lab, "web.1")
    assert (found["phase"], found["reason"]) == ("removing", "deleted")
    assert lab.get("host")["allocations"] == []
    lab.runtime.boxes["web.1"].problem = "cannot be removed: the disk is full"
    lab.run(0.5)
    assert status(lab)["reason"].endswith(": web.1 cannot be removed: the disk is full")
    assert replica(lab, "web.1")["reason"] == "cannot be removed: the disk is full"


def test_a_kind_cannot_be_changed(lab: Lab) -> None:
    lab.put()
    lab.expect("PUT", "deployments/web", TASK, status=409)


# ---- jobs ---------------------------------------------------------------------------------------


def test_a_job_runs_and_runs_again_when_it_is_asked_to(lab: Lab) -> None:
    lab.expect("PUT", "deployments/train", TASK, status=201)
    lab.run(1)
    lab.expect("POST", "deployments/train/run", status=409)
    lab.run(20)
    assert status(lab, "train")["state"] == "done"
    lab.expect("POST", "deployments/train/run")
    lab.run(20)
    runs: Any = lab.get("deployments/train/runs")["items"]
    assert [(r["number"], r["outcome"], r["succeeded"]) for r in runs] == [
        (2, "succeeded", 2),
        (1, "succeeded", 2),
    ]
    assert runs[0]["started_unix_s"] <= runs[0]["ended_unix_s"]
    lab.put("web")
    lab.expect("POST", "deployments/web/run", status=409)


# ---- replicas -----------------------------------------------------------------------------------


def test_replicas_tell_their_state_and_its_reason(lab: Lab) -> None:
    lab.put(image="crash", replicas=1)
    lab.run(3)
    found: Any = lab.get("deployments/web/replicas")["items"]
    assert [(r["state"], r["ready"]) for r in found] == [("waiting", False)]
    assert "exit" in found[0]["reason"]
    assert lab.get(f"replicas/{found[0]['id']}")["restarts"] == found[0]["restarts"]
    lab.get("replicas/web.99", status=404)
    lab.get("replicas/nonsense", status=404)
    assert found[0]["id"] in status(lab)["reason"]


def test_exec_returns_output_and_exit_code(lab: Lab) -> None:
    lab.put()
    lab.run()
    path = "replicas/web.1/exec"
    assert lab.expect("POST", path, {"command": ["echo", "a"]}) == {
        "exit_code": 3,
        "stdout": "echo a",
        "stderr": "\ufffd",
        "timed_out": False,
        "truncated": False,
    }
    assert lab.expect("POST", path, {"command": ["sleep"], "timeout_s": 1})["timed_out"]
    wrong: tuple[object, ...] = (
        {"command": []},
        {"command": ["a"], "timeout_s": 1e9},
        {"command": "ls"},
    )
    for bad in wrong:
        lab.expect("POST", path, bad, status=422)
    lab.expect("POST", "replicas/web.77/exec", {"command": ["a"]}, status=404)


# ---- the host, quotas, secrets ------------------------------------------------------------------


def test_drain_empties_the_host_and_uncordon_fills_it_again(lab: Lab) -> None:
    lab.put()
    lab.run()
    host: Any = lab.get("host")
    assert sum(node["allocated"]["cpu_millis"] for node in host["nodes"]) == 200
    lab.expect("POST", "host/drain")
    lab.run(40)
    host = lab.get("host")
    assert (host["cordoned"], host["allocations"]) == (True, [])
    assert status(lab)["pending"] == "the host is being drained"
    lab.expect("POST", "host/uncordon")
    lab.run()
    assert status(lab)["state"] == "running"


def test_a_quota_holds_and_stays_while_it_is_used(lab: Lab) -> None:
    lab.expect("PUT", "quotas/team", {"replicas": 1})
    lab.put(quota="team")
    lab.run()
    quota: Any = lab.get("quotas/team")
    assert (quota["used_replicas"], quota["deployments"]) == (1, ["web"])
    assert status(lab)["state"] == "pending"
    lab.expect("DELETE", "quotas/team", status=409)
    lab.expect("DELETE", "quotas/none", status=404)
    lab.expect("PUT", "quotas/Team!", {}, status=400)
    lab.expect("PATCH", "deployments/web", {"quota": ""})
    lab.expect("DELETE", "quotas/team", status=204)
    assert lab.get("quotas")["items"] == []


def test_a_secret_goes_in_and_never_comes_out(lab: Lab) -> None:
    lab.expect("PUT", "secrets/key", {"value": "hunter2"})
    lab.expect("PUT", "secrets/raw", {"base64": "AP8="})
    assert lab.store.secret_value("raw") == b"\x00\xff"
    for body in ({}, {"value": "a", "base64": "AA=="}, {"base64": "%"}):
        lab.expect("PUT", "secrets/key", body, status=422)
    lab.put(secrets=[{"source": "key"}])
    lab.expect("DELETE", "secrets/key", status=409)
    lab.expect("DELETE", "secrets/raw", status=204)
    paths = ("secrets", "deployments/web", "events", "openapi.json", "/metrics")
    assert not any("hunter2" in lab.ask("GET", path).text for path in paths)


def test_what_a_deployment_names_cannot_go_while_it_is_accepted(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What if a secret and a quota are removed after they were seen, and before the write."""
    lab.expect("PUT", "secrets/key", {"value": "x"})
    lab.expect("PUT", "quotas/team", {"replicas": 9})
    transact = lab.store.transact

    def transact_late(*arguments: Any, **options: Any) -> object:  # noqa: ANN401 - passed on
        monkeypatch.setattr(lab.store, "transact", transact)
        lab.expect("DELETE", "secrets/key", status=204)
        lab.expect("DELETE", "quotas/team", status=204)
        return transact(*arguments, **options)

    monkeypatch.setattr(lab.store, "transact", transact_late)
    wanted = {**SPEC, "secrets": [{"source": "key"}], "quota": "team"}
    problem = lab.expect("PUT", "deployments/web", wanted, status=422)
    assert pointers(problem) == ["/quota", "/secrets/0/source"]


def test_a_secret_is_not_removed_under_a_deployment_that_comes_meanwhile(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.expect("PUT", "secrets/key", {"value": "x"})
    answers: list[int] = []

    def put() -> None:
        body = {**SPEC, "secrets": [{"source": "key"}]}
        answers.append(lab.ask("PUT", "deployments/web", body).status_code)

    writer, remove = threading.Thread(target=put), lab.store._secrets.remove

    def remove_late(name: str) -> None:
        writer.start()
        writer.join(0.2)  # it has to wait: nobody used the secret a moment ago
        remove(name)

    monkeypatch.setattr(lab.store._secrets, "remove", remove_late)
    lab.expect("DELETE", "secrets/key", status=204)
    writer.join()
    assert answers == [422]


def test_images_are_listed(lab: Lab) -> None:
    items: Any = lab.get("images")["items"]
    assert {"reference", "digest", "size_bytes", "created_unix_s"} == items[0].keys()


# ---- health -------------------------------------------------------------------------------------


def test_readyz_names_what_is_wrong(lab: Lab) -> None:
    assert lab.get("/healthz")["status"] == "ok"
    assert lab.get("/readyz") == {"status": "ready", "problems": {}}
    lab.problems["gateway"] = "haproxy has gone"
    answer = lab.ask("GET", "/readyz")
    assert (answer.status_code, answer.json) == (
        503,
        {"status": "not ready", "problems": {"gateway": "haproxy has gone"}},
    )


def test_metrics_are_in_prometheus_form(lab: Lab) -> None:
    lab.put()
    lab.run()
    lab.gateway.request("web", 0.1)
    lab.run()
    text = lab.ask("GET", "/metrics").text
    assert 'minisched_replicas_ready{deployment="web"} 2\n' in text
    assert 'minisched_gateway_requests_total{deployment="web",pool="stable"} 1\n' in text
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    samples = [re.split("[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#")]
    assert set(samples) == families
