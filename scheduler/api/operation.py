"""How a route is made: one decorator that checks the request and remembers itself for OpenAPI.

    @operation(blueprint, "PUT", "/deployments/<name>", scope=DEPLOY, body=DeploymentSpec, ...)
    def put(call: Call[DeploymentSpec, DryRunQuery]) -> Reply

The body and the query are read by pydantic before the function is called, so a function never sees
a request that its own entry in the OpenAPI document does not describe. What it returns is written
as JSON. Next: ``reading.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, wraps
from typing import Any, Generic, TypeVar

from flask import Blueprint, Response, current_app
from flask import request as flask_request
from pydantic import TypeAdapter

from ..auth import Caller, authorize
from ..control import Control
from ..control.deployments import Request
from ..store import Scope
from . import reading
from .schemas.base import Body, Query

B = TypeVar("B", bound=Body)
Q = TypeVar("Q", bound=Query)
JSON = "application/json"


class NoBody(Body):
    """Nothing is sent."""


class NoQuery(Query):
    """Nothing is asked for in the query."""


@dataclass(frozen=True, slots=True)
class Call(Generic[B, Q]):
    """A request that was understood: who, which resource, and what with it."""

    control: Control
    caller: Caller
    path: Mapping[str, str]
    body: B
    query: Q

    @property
    def name(self) -> str:
        """Return the name in the path."""
        return self.path["name"]

    @property
    def request(self) -> Request:
        """Return who asks, and on which condition."""
        is_admin = self.caller.scope is Scope.ADMIN
        return Request(self.caller.name, reading.match(flask_request.headers), is_admin)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is more than a value with status 200."""

    value: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """A route, as the OpenAPI document describes it.

    Args:
        method: of HTTP.
        path: as Flask writes it.
        name: of the function; the operation's id.
        text: its docstring.
        scope: what the caller must be allowed; None for everybody.
        body: what is sent, or None.
        query: what is in the query.
        answers: what comes back, by status; None where there is no JSON body.
        problems: statuses of the problems that only this operation has.
        media: what is sent, and what comes back.
        conditional: whether ``If-Match`` is heeded.
    """

    method: str
    path: str
    name: str
    text: str
    scope: Scope | None
    body: type[Body] | None
    query: type[Query] | None
    answers: Mapping[int, Any]
    problems: tuple[int, ...] = ()
    takes: tuple[str, ...] = (JSON,)
    gives: str = JSON
    conditional: bool = False


OPERATIONS: list[Operation] = []


def operation(  # noqa: PLR0913 - a route is described by all of these
    blueprint: Blueprint,
    method: str,
    path: str,
    *,
    scope: Scope | None,
    answers: Mapping[int, Any],
    body: type[B] = NoBody,  # type: ignore[assignment]
    query: type[Q] = NoQuery,  # type: ignore[assignment]
    problems: Iterable[int] = (),
    takes: tuple[str, ...] = (JSON,),
    gives: str = JSON,
    conditional: bool = False,
) -> Callable[[Callable[[Call[B, Q]], object]], Callable[[Call[B, Q]], object]]:
    """Make a function a route; see ``Operation`` for the arguments."""

    def register(function: Callable[[Call[B, Q]], object]) -> Callable[[Call[B, Q]], object]:
        described = Operation(
            method,
            f"{blueprint.url_prefix or ''}{path}",
            function.__name__,
            function.__doc__ or "",
            scope,
            None if body is NoBody else body,
            None if query is NoQuery else query,
            answers,
            tuple(problems),
            takes,
            gives,
            conditional,
        )
        OPERATIONS.append(described)

        @wraps(function)
        def view(**path: str) -> Response:
            caller = authorize(control_of_app(), flask_request, scope)
            sent = reading.body(body, takes) if body is not NoBody else body()
            asked = reading.query(query)
            return respond(function(Call(control_of_app(), caller, path, sent, asked)), answers)

        blueprint.add_url_rule(path, function.__name__, view, methods=[method])
        return function

    return register


def control_of_app() -> Control:
    """Return what the app that answers was made with."""
    control: Control = current_app.extensions["minisched"].control
    return control


# ---- answers ------------------------------------------------------------------------------------


def respond(found: object, answers: Mapping[int, Any]) -> Response:
    """Return what a function gave as a response."""
    if isinstance(found, Response):
        return found
    reply = found if isinstance(found, Reply) else Reply(found, next(iter(answers)))
    kind = answers[reply.status]
    text = b"" if kind is None else adapter(kind).dump_json(reply.value)
    response = Response(text, reply.status, mimetype=JSON if text else None)
    response.headers.extend(dict(reply.headers))
    response.headers["Cache-Control"] = "no-store"
    return response


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - any type that pydantic can write
    """Return pydantic's reader and writer of a type."""
    return TypeAdapter(kind)
