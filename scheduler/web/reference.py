"""The OpenAPI document as a page: operations by noun, what they take and answer, and the schemas.

It is made from the document that programs read, so it can say nothing else. May not import anything
with an effect. See: the OpenAPI Specification 3.1, JSON Schema 2020-12.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from markupsafe import Markup, escape

Json = Mapping[str, Any]
_LINK = Markup('<a href="#schema-{name}">{text}</a>')
#: What pydantic calls a page of several; nobody else would.
_LISTED = re.compile(r"Listed_(\w+)_")
_CODE = re.compile(r"``?([^`]+)``?")
_SOCKET = "curl --unix-socket /run/minirun/.scheduler/api.sock"
_STREAMS = {"text/event-stream", "application/x-ndjson"}


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or a field of a schema; ``type`` links to the schemas it names."""

    name: str
    type: Markup
    text: Markup
    required: bool = False
    place: str = ""
    default: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One status that an operation answers with."""

    status: str
    text: str
    type: Markup
    is_problem: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation."""

    anchor: str
    method: str
    path: str
    title: str
    text: Markup
    scope: str
    parameters: tuple[Field, ...]
    body: Markup
    media: str
    answers: tuple[Answer, ...]
    curl: str


@dataclass(frozen=True, slots=True)
class Schema:
    """One schema: its fields, or what else it is."""

    name: str
    text: Markup
    type: Markup
    fields: tuple[Field, ...]


class Reference:
    """Everything that the page shows.

    Args:
        document: the OpenAPI document.
    """

    def __init__(self, document: Json) -> None:
        self._schemas: Json = document["components"]["schemas"]
        self.title: str = document["info"]["title"]
        self.version: str = document["info"]["version"]
        self.text = prose(document["info"]["description"])
        entries = sorted(self._entries(document["paths"]), key=lambda pair: pair[0])
        self.nouns = {
            noun: tuple(entry for _, entry in found)
            for noun, found in groupby(entries, key=lambda pair: pair[0])
        }
        self.schemas = tuple(_schema(name, self._schemas[name]) for name in sorted(self._schemas))

    def _entries(self, paths: Json) -> Iterator[tuple[str, Entry]]:
        for path, operations in paths.items():
            for method, operation in operations.items():
                yield operation["tags"][0], self._entry(method.upper(), path, operation)

    def _entry(self, method: str, path: str, operation: Json) -> Entry:
        media, schema = _content(operation.get("requestBody", {}))
        return Entry(
            operation["operationId"],
            method,
            path,
            operation["summary"],
            prose(operation.get("description", "")),
            operation.get("x-scope", ""),
            tuple(map(_parameter, operation["parameters"])),
            type_of(schema) if media else Markup(),
            media,
            tuple(_answer(*pair) for pair in operation["responses"].items()),
            self._curl(method, path, operation),
        )

    def _curl(self, method: str, path: str, operation: Json) -> str:
        words = [_SOCKET]
        media, schema = _content(operation.get("requestBody", {}))
        if any(_content(answer)[0] in _STREAMS for answer in operation["responses"].values()):
            words.append("-N")
        if method != "GET":
            words.append(f"-X {method}")
        if media:
            words.append(f"-H {shlex.quote(f'Content-Type: {media}')}")
            words.append(f"-d {shlex.quote(json.dumps(self.example(schema)))}")
        path = path.replace("replicas/{name}", "replicas/digits.1").replace("{name}", "digits")
        return " ".join([*words, f"http://localhost{path}"])

    def example(self, schema: Json) -> object:
        """Return a small value of a schema: what is required, or else its first field."""
        schema = self._resolved(schema)
        if "enum" in schema or "const" in schema:
            return schema.get("const", schema.get("enum", [None])[0])
        if properties := schema.get("properties"):
            names = schema.get("required") or list(properties)[:1]
            return {name: self._named(name, properties[name]) for name in names}
        if schema.get("type") == "array":
            return [self._named("", schema["items"])]
        simple: dict[str, object] = {"string": "text", "integer": 3, "number": 1.0, "boolean": True}
        return simple.get(schema.get("type", ""), {})

    def _named(self, name: str, schema: Json) -> object:
        """Return a value that suits a field's name, where its type alone says little."""
        telling = {"image": "digits", "name": "ci", "command": ["ls", "/"]}
        return telling.get(name) or self.example(schema)

    def _resolved(self, schema: Json) -> Json:
        options = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
        if options:
            return self._resolved(options[0])
        reference = schema.get("$ref", "").rpartition("/")[2]
        found: Json = self._schemas[reference] if reference else schema
        return found


def _content(found: Json) -> tuple[str, Json]:
    """Return the first media type of a body or an answer, and its schema; "" where it is empty."""
    for media, content in found.get("content", {}).items():
        return media, content["schema"]
    return "", {}


def _parameter(found: Json) -> Field:
    schema: Json = found["schema"]
    return Field(
        found["name"],
        type_of(schema),
        prose(found.get("description", "")),
        found.get("required", False),
        found["in"],
        _default(schema),
    )


def _default(schema: Json) -> str:
    default = schema.get("default")
    text = "" if default in (None, "", [], {}) else json.dumps(default)
    return text if len(text) <= 30 else ""


def _answer(status: str, found: Json) -> Answer:
    media, schema = _content(found)
    kind = type_of(schema) if media else Markup()
    if media in _STREAMS:
        kind = Markup("a stream of ") + kind
    return Answer(status, found["description"], kind, media == "application/problem+json")


def _schema(name: str, schema: Json) -> Schema:
    required = set(schema.get("required", ()))
    fields = tuple(
        Field(
            field,
            type_of(found),
            prose(found.get("description", "")),
            field in required,
            default=_default(found),
        )
        for field, found in schema.get("properties", {}).items()
    )
    kind = Markup() if fields else type_of(schema)
    return Schema(name, prose(schema.get("description", "")), kind, fields)


def prose(text: str) -> Markup:
    """Return a text with its code marked.

    >>> prose("Heeds ``If-Match`` & more")
    Markup('Heeds <code>If-Match</code> &amp; more')
    """
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text.strip()))))


def type_of(schema: Json) -> Markup:
    """Return what a value may be, in words.

    >>> type_of({"type": "array", "items": {"$ref": "#/components/schemas/Kind"}})
    Markup('list of <a href="#schema-Kind">Kind</a>')
    """
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return _LINK.format(name=name, text=_LISTED.sub(r"page of \1", name))
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return Markup(" or ").join(map(type_of, options))
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return Markup(" or ").join(Markup("<code>{}</code>").format(value) for value in values)
    kind = schema.get("type", "anything")
    if kind == "array":
        return Markup("list of ") + type_of(schema.get("items", {}))
    inner = schema.get("additionalProperties")
    if kind == "object" and isinstance(inner, dict):
        return Markup("map to ") + type_of(inner)
    return Markup(escape(kind))
