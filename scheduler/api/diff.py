"""Two deployments as JSON: what differs, and what a merge patch makes of one. Pure.

>>> merged({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"d": 3}})
{'b': {'c': 2, 'd': 3}}
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from .schemas import DeploymentSpec
from .schemas.views import Change


def merged(document: object, patch: object) -> object:
    """Return a document with a merge patch applied (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    found = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


def difference(before: DeploymentSpec | None, after: DeploymentSpec) -> tuple[Change, ...]:
    """Return what changes, one line for each value; a new deployment changes what is no default."""
    old = before or DeploymentSpec(name=after.name, image="")
    return tuple(_changes("", _plain(old), _plain(after)))


def _plain(spec: DeploymentSpec) -> object:
    found: object = json.loads(spec.model_dump_json())
    return found


def _changes(pointer: str, before: object, after: object) -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            yield from _changes(f"{pointer}/{_escaped(key)}", before.get(key), after.get(key))
    else:
        yield Change(pointer=pointer, before=before, after=after)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
