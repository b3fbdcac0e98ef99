"""The OpenAPI 3.1 document: made from the operations and the models that read and write them.

Nothing in it is written twice, so it cannot say anything else than what the routes do. Next:
``../app.py``.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from minirun import __version__

from .operation import OPERATIONS, Operation, adapter
from .problems import PROBLEM_JSON, Problem

Json = dict[str, Any]
_REF = "#/components/schemas/{model}"
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "the ETag that the deployment must have, or *",
    "schema": {"type": "string", "pattern": r'^(\*|"[0-9]{1,18}")$'},
}
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "* asks for a deployment that is new",
    "schema": {"type": "string", "enum": ["*"]},
}
_DESCRIPTION = """Deploy, balance, autoscale and roll out model replicas on one host.

Over the Unix socket no token is needed; over TCP every operation names the scope its token must
have. Errors are RFC 9457 problems. A change may be made conditional with `If-Match`.
"""


def document() -> Json:
    """Return the OpenAPI document."""
    models, schemas = _schemas()
    paths: Json = {}
    for operation in OPERATIONS:
        path = re.sub(r"<(\w+)>", r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _described(operation, models)
    return {
        "openapi": "3.1.0",
        "info": {"title": "minisched", "version": __version__, "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas() -> tuple[Mapping[Any, Json], Json]:
    """Return the schema of every model, and the definitions they refer to."""
    wanted: list[tuple[Any, str, TypeAdapter[Any]]] = [(Problem, "serialization", adapter(Problem))]
    for operation in OPERATIONS:
        if operation.body:
            wanted.append((operation.body, "validation", adapter(operation.body)))
        kinds = (kind for kind in operation.answers.values() if kind is not None)
        wanted += [(kind, "serialization", adapter(kind)) for kind in kinds]
    unique = {(repr(key), mode): (key, mode, made) for key, mode, made in wanted}
    by_key, top = TypeAdapter.json_schemas(
        list(unique.values()),  # type: ignore[arg-type]
        ref_template=_REF,
        schema_generator=_Described,
    )
    return {key: schema for (key, _), schema in by_key.items()}, top.get("$defs", {})


class _Described(GenerateJsonSchema):
    """Describes a field by the text below it.

    pydantic would do so itself (``use_attribute_docstrings``), but whenever a class is made: it
    reads and parses the source, which every start of the scheduler had to wait for.
    """

    def model_schema(self, schema: Any) -> Json:  # noqa: ANN401 - pydantic's own
        """Return a model's schema with its fields described."""
        made = super().model_schema(schema)
        for name, text in _texts(schema["cls"]).items():
            if name in made.get("properties", {}):
                made["properties"][name]["description"] = text
        return made


def _texts(model: type) -> dict[str, str]:
    """Return the text below each field of a class, those of its bases included."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if not kind.__module__.startswith(f"{__package__}.") or "[" in kind.__name__:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(tree, ast.ClassDef)
        for field, below in pairwise(tree.body):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = inspect.cleandoc(text)
    return found


def _described(operation: Operation, models: Mapping[Any, Json]) -> Json:
    summary, _, text = operation.text.partition("\n\n")
    found: Json = {
        "operationId": operation.name,
        "summary": summary.rstrip("."),
        "parameters": list(_parameters(operation)),
        "responses": _responses(operation, models),
        "tags": [operation.path.removeprefix("/v1").split("/")[1]],
    }
    if text:
        found["description"] = text.strip()
    if operation.scope:
        found["security"] = [{"token": []}]
        found["x-scope"] = str(operation.scope)
    if operation.body:
        content = {media: {"schema": models[operation.body]} for media in operation.takes}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _parameters(operation: Operation) -> Iterator[Json]:
    for name in re.findall(r"<(\w+)>", operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    if operation.query:
        schema = operation.query.model_json_schema()
        for name, field in schema["properties"].items():
            yield {"name": name, "in": "query", "schema": _inlined(field, schema.get("$defs", {}))}
    if operation.conditional:
        yield _IF_MATCH
        if operation.method == "PUT":
            yield _IF_NONE_MATCH


def _inlined(field: Json, definitions: Json) -> Json:
    """Return a parameter's schema without references, and without null: it is left out then."""
    options = [option for option in field.get("anyOf", ()) if option.get("type") != "null"]
    found = {**field, **(options[0] if options else {})}
    if reference := found.pop("$ref", None):
        found |= definitions[reference.rpartition("/")[2]]
    for key in ("anyOf", "default"):
        if found.get(key, ...) is None or key == "anyOf":
            found.pop(key, None)
    return found


def _responses(operation: Operation, models: Mapping[Any, Json]) -> Json:
    found: Json = {}
    for status, kind in operation.answers.items():
        found[str(status)] = {"description": _PHRASES.get(status, "As asked for")}
        if kind is not None:
            found[str(status)]["content"] = {operation.gives: {"schema": models[kind]}}
    problem = {PROBLEM_JSON: {"schema": models[Problem]}}
    for status in sorted(_problems(operation) - operation.answers.keys()):
        found[str(status)] = {"description": _PHRASES[status], "content": problem}
    return found


def _problems(operation: Operation) -> set[int]:
    """Return the statuses of the problems that an operation may answer with."""
    found = {400, *operation.problems}
    if operation.scope:
        found |= {401, 403}
    if "<" in operation.path:
        found.add(404)
    if operation.body:
        found |= {413, 415, 422}
    if operation.conditional:
        found |= {409, 412}
    if operation.method != "GET":
        found |= {413, 422, 503, 507}
    return found


_PHRASES = {
    200: "As asked for",
    201: "Created",
    202: "Accepted; it goes on",
    204: "Done",
    400: "Not understood",
    401: "No valid token",
    403: "The token's scope is too small",
    404: "There is none",
    409: "Not in the state it is in",
    410: "Events after that number are not kept any more",
    412: "It has another generation",
    413: "The body is too large",
    415: "The body is of another media type",
    422: "Understood, and not acceptable; the fields at fault are named",
    503: "Not at the moment; try again",
    507: "The disk is full",
}
