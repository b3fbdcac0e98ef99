"""The OpenAPI document: valid, complete, and true of every answer that schemathesis can provoke."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.scheduler.api_lab import Lab

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy
    from schemathesis import Case

    AnyCase = Case[Any]

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("openapi"))
    made.put()
    made.run()
    yield made
    made.close()


def test_every_operation_has_its_words(lab: Lab) -> None:
    paths = lab.get("openapi.json")["paths"]
    assert isinstance(paths, dict)
    operations = [found for path in paths.values() for found in path.values()]
    assert all(operation["summary"] for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations) > 30


def test_every_route_is_in_the_document(lab: Lab) -> None:
    routes = {
        (method, rule.rule.replace("<", "{").replace(">", "}"))
        for rule in lab.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/v1/") and rule.rule != "/v1/openapi.json"
    }
    paths = lab.get("openapi.json")["paths"]
    assert isinstance(paths, dict)
    documented = {(method.upper(), path) for path, found in paths.items() for method in found}
    assert routes <= documented


def test_no_answer_is_undocumented(lab: Lab) -> None:
    """Ask everything that the document allows, and what it does not; streams excepted."""
    schema = schemathesis.openapi.from_wsgi("/v1/openapi.json", lab.app)
    headers = {"Authorization": f"Bearer {lab.token}"}
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if operation.path.endswith("/watch"):
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            _ask(operation.as_strategy(generation_mode=mode), headers)


def _ask(cases: SearchStrategy[AnyCase], headers: dict[str, str]) -> None:
    @settings(
        max_examples=6,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def ask(case: AnyCase) -> None:
        case.query = {**(case.query or {})}
        case.query.pop("follow", None)
        if "name" in (case.path_parameters or {}) and len(case.path_parameters["name"]) % 2:
            case.path_parameters["name"] = "web"
        case.call_and_validate(headers=headers, checks=list(CHECKS))

    with suppress(Unsatisfiable):
        ask()


def test_every_route_of_the_api_is_in_the_document(lab: Lab) -> None:
    """But for the pages, what belongs to them, and the document itself."""
    document: Any = lab.get("openapi.json")
    rules = {rule.rule for rule in lab.app.url_map.iter_rules() if rule.rule.startswith("/v1/")}
    described = {path.replace("{", "<").replace("}", ">") for path in document["paths"]}
    assert rules - described == {"/v1/openapi.json"}
    assert {"/healthz", "/readyz", "/metrics"} <= described
