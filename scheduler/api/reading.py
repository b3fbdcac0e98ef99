"""Reading a request: body, query and preconditions; every refusal names what is at fault.

not JSON, or not JSON at all          400        larger than MAX_BODY_BYTES       413
a field unknown or of another type    422        another media type               415
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import TypeVar

from flask import request
from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json
from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge

from minirun import ScheduleError

from ..control.deployments import ANY, Match
from ..control.problems import FieldProblem, FieldsError
from .schemas.base import Body, Query
from .schemas.deployment import PATTERNS

B = TypeVar("B", bound=Body)
Q = TypeVar("Q", bound=Query)
#: What SQLite, and every client in another language, takes for an integer.
LARGEST = (1 << 63) - 1
_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
_ETAG = re.compile(r'"(\d{1,18})"')


def body(kind: type[B], takes: tuple[str, ...]) -> B:
    """Return the request's body.

    Raises:
        ScheduleError: it is not JSON (400), too large (413), or of another media type (415).
        FieldsError: a field is unknown or has the wrong type (422).
    """
    return parse(kind, document(takes))


def document(takes: tuple[str, ...]) -> object:
    """Return the request's body as plain values."""
    if request.mimetype not in takes:
        text = f"the body is {request.mimetype or 'of no type'}, not {' or '.join(takes)}"
        raise ScheduleError(text, status=415, hint=f"send Content-Type: {takes[0]}")
    if coding := request.headers.get("Content-Encoding", "").replace("identity", ""):
        text = f"the body is encoded as {coding[:40]!r}"
        raise ScheduleError(text, status=415, hint="send it as it is")
    data = request.get_data()
    # Of a body that does not say its length, werkzeug gives as much as is allowed, and no word.
    if request.content_length is None and len(data) >= (request.max_content_length or math.inf):
        raise RequestEntityTooLarge
    try:
        from_json(data, allow_inf_nan=False)  # also tells what nests too deep for the other
        found: object = json.loads(data, object_pairs_hook=_once)
    except ValueError as error:
        text = f"the body is not JSON: {error}"
        raise ScheduleError(text, status=400, hint="see RFC 8259") from error
    if large := [FieldProblem(pointer, "is out of range") for pointer in _too_large(found, "")]:
        raise FieldsError(large)
    return found


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object; one that says something twice would have one of the two passed over.

    Raises:
        ScheduleError: it does (400).
    """
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            text = f"the body gives {name[:80]!r} twice in one object"
            raise ScheduleError(text, status=400, hint="leave one of them away")
        found[name] = value
    return found


def parse(kind: type[B], found: object) -> B:
    """Return plain values as a body.

    Raises:
        FieldsError: a field is unknown or has the wrong type.
    """
    try:
        return kind.model_validate_json(json.dumps(found))
    except ValidationError as error:
        raise FieldsError(map(_problem, error.errors(include_url=False))) from error


def _too_large(value: object, pointer: str) -> Iterator[str]:
    """Yield where integers are that nobody could store."""
    if isinstance(value, dict):
        for key, held in value.items():
            yield from _too_large(held, f"{pointer}/{_escaped(key)}")
    elif isinstance(value, list):
        for i, held in enumerate(value):
            yield from _too_large(held, f"{pointer}/{i}")
    elif isinstance(value, int | float) and abs(value) > LARGEST:
        yield pointer


def _problem(error: ErrorDetails) -> FieldProblem:
    pointer = "".join(f"/{_escaped(str(part))}" for part in error["loc"])
    text = error["msg"].removeprefix("Value error, ")
    text = "is not supported" if error["type"] in _UNKNOWN else text[:1].lower() + text[1:]
    pattern = str(error.get("ctx", {}).get("pattern"))
    return FieldProblem(pointer, PATTERNS.get(pattern, text))


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def query(kind: type[Q]) -> Q:
    """Return the query's parameters; one that is given twice is a list.

    Raises:
        FieldsError: one is unknown or has the wrong form (400).
    """
    fields = kind.model_fields
    found: dict[str, object] = {}
    for key, values in request.args.lists():
        repeats = key in fields and "tuple" in str(fields[key].annotation)
        found[key] = tuple(values) if repeats or len(values) > 1 else values[0]
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        problems = map(_problem, error.errors(include_url=False))
        raise FieldsError(problems, status=400, hint="correct the query") from error


def match(headers: Headers | Mapping[str, str]) -> Match:
    """Return the condition in ``If-Match`` or ``If-None-Match``.

    Raises:
        ScheduleError: it is not a generation in quotes (400).
    """
    wanted, unwanted = headers.get("If-Match"), headers.get("If-None-Match")
    if unwanted is not None:
        if unwanted.strip() != "*" or wanted is not None:
            text = f"If-None-Match: {unwanted!r} is not *, alone"
            raise ScheduleError(text, status=400, hint="* asks for a deployment that is new")
        return Match(0)
    if wanted is None:
        return ANY
    if wanted.strip() == "*":
        return Match(exists=True)
    found = _ETAG.fullmatch(wanted.strip())
    if found is None:
        text = f"If-Match: {wanted!r} is not a generation in quotes"
        raise ScheduleError(text, status=400, hint="send the ETag of an answer back as it came")
    return Match(int(found[1]))
