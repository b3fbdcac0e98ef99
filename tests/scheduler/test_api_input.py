"""Whatever a client sends: an answer below 500 that says what is wrong, and where."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler.api.operation import OPERATIONS
from scheduler.api.schemas import DeploymentSpec
from scheduler.app import MAX_BODY_BYTES
from tests.scheduler.api_lab import SPEC, Lab, pointers

PATH = "deployments/web"
TMPFS = {"type": "tmpfs", "target": "/x", "size_bytes": -1}
#: On a busy machine even a small example may take its time.
EASY = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("input"))
    yield made
    made.close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"NaN",
        b'{"image": "good", "port": NaN}',
        b'{"image": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 20_000,
    ],
)
def test_a_body_that_is_no_json_is_malformed(lab: Lab, body: bytes) -> None:
    lab.expect("PUT", PATH, body, status=400)
    lab.expect("PATCH", PATH, body, status=400)


@pytest.mark.parametrize("body", [None, 1, "text", [], [SPEC], True])
def test_a_body_that_is_no_object_is_refused(lab: Lab, body: object) -> None:
    lab.expect("PUT", PATH, json.dumps(body).encode(), status=422)
    lab.expect("PATCH", PATH, json.dumps(body).encode(), status=422)


def test_a_body_that_is_too_large_is_not_read(lab: Lab) -> None:
    lab.expect("PUT", PATH, b" " * (MAX_BODY_BYTES + 1), status=413)


def test_another_media_type_is_refused(lab: Lab) -> None:
    for media in ("text/yaml", "application/x-www-form-urlencoded", ""):
        headers = {"Content-Type": media}
        lab.expect("PUT", PATH, json.dumps(SPEC).encode(), headers=headers, status=415)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"imag": "x"}, "/imag"),
        ({"autoscale": {"min": 1}}, "/autoscale/min"),
        ({"probes": {"liveness": {"http": {"path": "/", "host": "x"}}}}, None),
        ({"a/b~c": 1}, "/a~1b~0c"),
        ({"image": 1}, "/image"),
        ({"image": ""}, "/image"),
        ({"port": "80"}, "/port"),
        ({"port": 8000.5}, "/port"),
        ({"port": 70000}, "/port"),
        ({"port": 10**30}, "/port"),
        ({"replicas": True}, "/replicas"),
        ({"replicas": 10**6}, "/replicas"),
        ({"name": "other"}, "/name"),
        ({"name": "Not A Name"}, "/name"),
        ({"kind": "daemon"}, "/kind"),
        ({"volumes": [{"type": "nfs", "target": "/x", "source": "y"}]}, "/volumes/0/type"),
        ({"environment": {"A": None}}, "/environment/A"),
        ({"timeouts": {"request_s": -1}}, "/timeouts/request_s"),
        ({"exposure": {"hosts": ["a b"]}}, "/exposure/hosts/0"),
        ({"probes": {"startup": {}}}, "/probes/startup"),
        ({"cron": {"schedule": "* * *"}}, "/cron"),
        ({"restart": {"condition": "sometimes"}}, "/restart/condition"),
        ({"secrets": [{"source": "s", "uid": 10**25}]}, "/secrets/0/uid"),
        ({"secrets": [{"source": "s", "uid": -1}]}, "/secrets/0/uid"),
        ({"secrets": [{"source": "s", "target": "a\0b"}]}, "/secrets/0/target"),
        ({"command": ["a", "b\0"]}, "/command/1"),
        (
            {"volumes": [TMPFS]},
            "/volumes/0/size_bytes",
        ),
        ({"autoscale": {"rps": 1.0, "initial": -1}}, "/autoscale/initial"),
    ],
)
def test_the_field_at_fault_is_named(
    lab: Lab, changes: dict[str, object], pointer: str | None
) -> None:
    problem = lab.expect("PUT", PATH, {**SPEC, **changes}, status=422)
    named = pointers(problem)
    assert (pointer in named) if pointer else named
    assert problem["hint"]


def test_every_problem_is_told_at_once(lab: Lab) -> None:
    wrong = {"image": "good", "port": 0, "priority": 1000, "labels": {}}
    assert pointers(lab.expect("PUT", PATH, wrong, status=422)) == ["/port", "/priority"]


@pytest.mark.parametrize(
    "name", ["UPPER", "a" * 64, "-a", "a b", "%00", "..%2f..", "a.b", "\N{SNOWMAN}", "%ff"]
)
def test_a_name_that_is_none_is_refused(lab: Lab, name: str) -> None:
    answer = lab.ask("PUT", f"deployments/{name}", SPEC)
    assert answer.status_code in (404, 422)
    assert lab.ask("GET", f"deployments/{name}").status_code == 404


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "nope=1", "kind=pod", "limit=1&limit=2", "limit=1e3"],
)
def test_a_query_that_is_wrong_is_refused(lab: Lab, query: str) -> None:
    lab.get(f"deployments?{query}", status=400)


def test_a_wrong_path_or_method_is_a_problem_too(lab: Lab) -> None:
    lab.get("nothing", status=404)
    answer = lab.ask("POST", PATH, SPEC)
    assert (answer.status_code, answer.mimetype) == (405, "application/problem+json")
    assert "PUT" in answer.headers["Allow"]


def test_a_request_sent_twice_does_no_harm(lab: Lab) -> None:
    for _ in range(2):
        lab.ask("PUT", "deployments/twice", SPEC)
    assert lab.get("deployments/twice")["generation"] == 1
    for _ in range(2):
        lab.expect("POST", "deployments/twice/scale", {"replicas": 3})
    assert lab.get("deployments/twice")["generation"] == 2


# ---- anything at all ----------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@EASY
@given(field=st.sampled_from(sorted(DeploymentSpec.model_fields)), value=JSON)
def test_no_value_of_any_field_is_an_error_of_ours(lab: Lab, field: str, value: object) -> None:
    body = {**SPEC, field: value}
    for method in ("PUT", "PATCH"):
        answer = lab.ask(method, f"{PATH}?dry_run=true", body)
        assert answer.status_code < 500, answer.text


@EASY
@given(body=st.binary(max_size=64), operation=st.sampled_from(OPERATIONS))
def test_no_bytes_to_any_operation_are_an_error_of_ours(
    lab: Lab, body: bytes, operation: object
) -> None:
    path = operation.path.replace("<name>", "web")  # type: ignore[attr-defined]
    method = operation.method  # type: ignore[attr-defined]
    answer = lab.ask(method, path, body, headers={"Last-Event-ID": "x"})
    assert answer.status_code < 500, answer.text
