"""What a model server answers, to good requests and to bad ones."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.images.conftest import Server

KNOWN: dict[str, tuple[str, list[tuple[object, str]]]] = {
    "iris": (
        "features",
        [
            ([5.1, 3.5, 1.4, 0.2], "setosa"),
            ([6.0, 2.9, 4.5, 1.5], "versicolor"),
            ([6.7, 3, 5.6, 2.4], "virginica"),
        ],
    ),
    "sentiment": (
        "text",
        [
            ("A wonderful film, I loved it.", "positive"),
            ("Terrible, a waste of money.", "negative"),
        ],
    ),
}
"""Items any sound model of that kind gets right."""


def post(server: Server, path: str, body: object) -> httpx.Response:
    """Send JSON as Python's encoder writes it, NaN and all."""
    headers = {"content-type": "application/json"}
    return server.client.post(path, content=json.dumps(body), headers=headers)


def example(server: Server) -> dict[str, Any]:
    """Return the request the server itself offers when it refuses one."""
    body: dict[str, Any] = post(server, "/predict", {}).json()["example"]
    return body


def infer(server: Server, **changes: object) -> httpx.Response:
    """Send a valid one-item inference request, with some members of its tensor changed."""
    [item] = example(server).values()
    tensor = server.client.get(f"/v2/models/{server.name}").json()["inputs"][0]
    tensor |= {"shape": [1, *tensor["shape"][1:]], "data": [item]} | changes
    return post(server, f"/v2/models/{server.name}/infer", {"inputs": [tensor]})


# ---- what works ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/healthz", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/{}/ready"]
)
def test_health_is_ok_once_reachable(server: Server, path: str) -> None:
    assert server.client.get(path.format(server.name)).status_code == 200


def test_predict_answers_the_example_it_advertises(server: Server) -> None:
    answer = post(server, "/predict", example(server))

    assert answer.status_code == 200
    chances = answer.json()["probabilities"]
    assert answer.json()["label"] == max(chances, key=chances.__getitem__)
    assert sum(chances.values()) == pytest.approx(1)


def test_predict_knows_the_easy_cases(server: Server) -> None:
    field, cases = KNOWN.get(server.name, ("image", [(example(server).get("image"), "0")]))

    labels = [post(server, "/predict", {field: item}).json()["label"] for item, _ in cases]

    assert labels == [label for _, label in cases]


def test_infer_agrees_with_predict_and_with_its_own_metadata(server: Server) -> None:
    single = post(server, "/predict", example(server)).json()

    answer = infer(server).json()

    declared = server.client.get(f"/v2/models/{server.name}").json()["outputs"]
    label, probabilities = answer["outputs"]
    assert answer["model_name"] == server.name
    assert [tensor["name"] for tensor in declared] == ["label", "probabilities"]
    assert label["data"] == [single["label"]]
    assert probabilities["shape"] == [1, *declared[1]["shape"][1:]]
    assert sorted(probabilities["data"]) == sorted(single["probabilities"].values())


def test_infer_takes_a_batch_and_echoes_the_id(server: Server) -> None:
    [item] = example(server).values()
    tensor = server.client.get(f"/v2/models/{server.name}").json()["inputs"][0]
    tensor |= {"shape": [3, *tensor["shape"][1:]], "data": [item] * 3}
    body = {"id": "42", "inputs": [tensor], "outputs": [{"name": "label"}]}

    answer = post(server, f"/v2/models/{server.name}/infer", body).json()

    assert answer["id"] == "42"
    [label] = answer["outputs"]
    assert label["shape"] == [3]
    assert len(set(label["data"])) == 1


def test_infer_takes_flat_data_as_well_as_nested(server: Server) -> None:
    nested = infer(server)
    [item] = example(server).values()
    flat = item if isinstance(item, list) else [item]
    flat = [leaf for row in flat for leaf in (row if isinstance(row, list) else [row])]

    assert infer(server, data=flat).json() == nested.json()


# ---- what is refused, and how -------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [None, True, {}, [], 10**400, float("nan"), [1, 2, 3], "", "x" * 10_001],
    ids=["none", "bool", "object", "empty", "huge", "nan", "short", "blank", "long"],
)
def test_predict_names_the_field_and_shows_an_example(server: Server, value: object) -> None:
    [name] = example(server)

    answer = post(server, "/predict", {name: value})

    assert answer.status_code == 400
    assert answer.json()["field"] == name
    assert answer.json()["error"].startswith(f"{name}: expected ")
    assert post(server, "/predict", answer.json()["example"]).status_code == 200


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("red", 'features[2]: expected a number from 0 to 30, got "red"'),
        (True, "features[2]: expected a number from 0 to 30, got true"),
        (-1, "features[2]: expected a number from 0 to 30, got -1"),
        (31, "features[2]: expected a number from 0 to 30, got 31"),
        (None, "features[2]: expected a number from 0 to 30, got nothing"),
        (float("inf"), "features[2]: expected a number from 0 to 30, got Infinity"),
        ([1], "features[2]: expected a number from 0 to 30, got [1]"),
    ],
)
def test_predict_names_the_element_at_fault(iris: Server, value: object, says: str) -> None:
    answer = post(iris, "/predict", {"features": [5.1, 3.5, value, 0.2]})

    assert answer.json()["error"] == says


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "body: expected a JSON object, got []"),
        ("text", 'body: expected a JSON object, got "text"'),
        ({"colour": 1}, "colour: expected no field of this name"),
    ],
)
def test_predict_refuses_another_shape_of_body(server: Server, body: object, says: str) -> None:
    answer = post(server, "/predict", body)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(says)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_predict_refuses_what_is_not_json(server: Server, raw: bytes) -> None:
    answer = server.client.post(
        "/predict", content=raw, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("body: expected JSON")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "other"}, "inputs[0].name: expected"),
        ({"datatype": "INT8"}, "inputs[0].datatype: expected"),
        ({"shape": None}, "inputs[0].shape: expected [n"),
        ({"shape": []}, "inputs[0].shape: expected [n"),
        ({"shape": [-1]}, "inputs[0].shape: expected [n"),
        ({"shape": [0, 4]}, "inputs[0].shape: expected [n"),
        ({"shape": [True, 4]}, "inputs[0].shape: expected [n"),
        ({"shape": [10**12]}, "inputs[0].shape: expected [n"),
        ({"data": None}, "inputs[0].data: expected a list of"),
        ({"data": []}, "inputs[0].data: expected a list of"),
        ({"data": [[[[1]]]]}, "inputs[0].data"),
        ({"parameters": {"binary_data_size": 8}}, "inputs[0].parameters: expected none"),
        ({"colour": 1}, "inputs[0].colour: expected no field of this name"),
    ],
)
def test_infer_names_the_member_at_fault(
    server: Server, changes: dict[str, object], says: str
) -> None:
    answer = infer(server, **changes)

    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
    assert answer.json()["error"].startswith(says)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"inputs": None}, "inputs: expected a list with the one tensor"),
        ({"inputs": [{}, {}]}, "inputs: expected a list with the one tensor"),
        ({"id": 42}, "id: expected text, got 42"),
        ({"outputs": "label"}, "outputs: expected a list of"),
        ({"outputs": [{"name": "x"}]}, "outputs[0].name: expected one of"),
        ({"parameters": {"priority": 1}}, "request.parameters: expected none"),
    ],
)
def test_infer_refuses_what_it_cannot_do(
    server: Server, changes: dict[str, object], says: str
) -> None:
    tensor = json.loads(infer(server).request.content)["inputs"]

    answer = post(server, f"/v2/models/{server.name}/infer", {"inputs": tensor} | changes)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(says)


def test_infer_limits_the_batch(server: Server) -> None:
    shape = server.client.get(f"/v2/models/{server.name}").json()["inputs"][0]["shape"]

    answer = infer(server, shape=[1025, *shape[1:]])

    assert answer.status_code == 400
    assert "n from 1 to 1024" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v2/models/other", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("GET", "/predict", 405),
        ("DELETE", "/healthz", 405),
    ],
)
def test_wrong_path_or_method_is_json(server: Server, method: str, path: str, status: int) -> None:
    answer = server.client.request(method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]
    assert ("allow" in answer.headers) == (status == 405)


def test_curl_default_content_type_is_refused_with_the_remedy(server: Server) -> None:
    answer = server.client.post("/predict", data={"features": "1"})

    assert answer.status_code == 415
    assert "-H 'content-type: application/json'" in answer.json()["error"]


def test_compressed_body_is_refused(server: Server) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}

    assert server.client.post("/predict", content=b"x", headers=headers).status_code == 415


@pytest.mark.parametrize("chunked", [False, True])
def test_oversized_body_is_413(server: Server, chunked: bool) -> None:
    big = b" " * ((1 << 20) + 1)
    body = iter([big]) if chunked else big

    answer = server.client.post(
        "/predict", content=body, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 413
    assert "at most 1048576 bytes" in answer.json()["error"]


# ---- anything at all ----------------------------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)
members = st.dictionaries(
    st.sampled_from(["name", "shape", "datatype", "data", "parameters"]), anything
)
requests = st.dictionaries(
    st.sampled_from(["id", "inputs", "outputs", "parameters", "features", "image", "text"]),
    anything | st.lists(members, max_size=2),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=anything | requests)
def test_any_json_gets_an_answer_that_is_no_failure_of_ours(server: Server, body: object) -> None:
    for path in ("/predict", f"/v2/models/{server.name}/infer"):
        answer = post(server, path, body)

        assert answer.status_code in (200, 400)
        assert ("error" in answer.json()) == (answer.status_code == 400)
        assert "Traceback" not in answer.text


@settings(max_examples=150, deadline=None)
@given(changes=members)
def test_any_tensor_gets_an_answer_that_is_no_failure_of_ours(
    server: Server, changes: dict[str, object]
) -> None:
    assert infer(server, **changes).status_code in (200, 400)
