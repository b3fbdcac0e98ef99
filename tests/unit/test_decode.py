"""JSON to Records and back: whatever comes in, a Spec or a SpecError that says where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minirun import spec as spec_module
from minirun import spec_resources
from minirun.decode import camel_case, decode, encode
from minirun.errors import SpecError
from minirun.record import Record
from minirun.spec import Spec

MINIMAL: dict[str, Any] = {"ociVersion": "1.2.0", "root": {"path": "rootfs"}}
RANGES = {"U16": 16, "U32": 32, "U64": 64}
TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=6)


def values(kind: str) -> st.SearchStrategy[Any]:
    """Return a strategy for an annotation of spec.py, read independently of decode.py."""
    if kind.endswith("| None"):
        return st.none() | values(kind.removesuffix("| None").strip())
    if kind.startswith("tuple["):
        return st.lists(values(kind[6:-6]), max_size=2).map(tuple)
    if kind.startswith("Mapping["):
        return st.dictionaries(TEXT, values(kind[13:-1]), max_size=2)
    if kind in RANGES:
        return st.integers(0, 2 ** RANGES[kind] - 1)
    if kind in ("I64", "int"):
        return st.integers(-(2**63), 2**63 - 1)
    simple = {"str": TEXT, "bool": st.booleans()}
    return simple[kind] if kind in simple else records(_class(kind))


def _class(name: str) -> type[Record]:
    found: type[Record] = getattr(spec_module, name, None) or getattr(spec_resources, name)
    return found


def records(cls: type[Record]) -> st.SearchStrategy[Any]:
    kinds: Mapping[str, str] = cls.__annotations__
    fields = {name: values(kinds[name]) for name in cls.__fields__}
    required = {name: fields.pop(name) for name in cls.__fields__ if name not in cls.__defaults__}
    return st.fixed_dictionaries(required, optional=fields).map(lambda given: cls(**given))


@settings(max_examples=60, deadline=None)
@given(st.deferred(lambda: records(Spec)))
def test_encode_and_decode_are_inverse(spec: Spec) -> None:
    assert decode(Spec, json.loads(json.dumps(encode(spec)))) == spec


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = st.sampled_from(["process", "root", "hostname", "mounts", "hooks", "annotations", "linux"])


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, ANYTHING))
def test_decode_of_anything_is_a_spec_or_a_spec_error(hostile: dict[str, Any]) -> None:
    path = "$"
    try:
        decode(Spec, {**MINIMAL, **hostile})
    except SpecError as error:
        path = error.path
    assert path.startswith("$")


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"root": None}, "$.root", "required"),
        ({"root": {}}, "$.root.path", "required"),
        ({"root": "rootfs"}, "$.root", "expected an object"),
        ({"hostname": 7}, "$.hostname", "expected a string"),
        ({"hostname": "a\0b"}, "$.hostname", "NUL"),
        ({"mounts": {}}, "$.mounts", "expected an array"),
        ({"mounts": [{"destination": "/a"}, {}]}, "$.mounts[1].destination", "required"),
        ({"process": {"cwd": "/", "user": {"uid": -1}}}, "$.process.user.uid", "not between"),
        ({"process": {"cwd": "/", "user": {"uid": 2**32}}}, "$.process.user.uid", "not between"),
        ({"process": {"cwd": "/", "user": {"uid": True}}}, "$.process.user.uid", "an integer"),
        ({"process": {"cwd": "/", "user": {"uid": 1.5}}}, "$.process.user.uid", "an integer"),
        ({"process": {"cwd": "/", "terminal": 1}}, "$.process.terminal", "true or false"),
        ({"annotations": {"k": 1}}, "$.annotations.k", "expected a string"),
        ({"linux": {"uidMappings": [{"containerID": 0}]}}, "$.linux.uidMappings[0].hostID", "req"),
    ],
)
def test_decode_names_the_place_of_the_fault(change: Any, path: str, words: str) -> None:  # noqa: ANN401
    with pytest.raises(SpecError, match=words) as caught:
        decode(Spec, {**MINIMAL, **change})
    assert caught.value.path == path


def test_decode_ignores_unknown_properties_and_takes_null_for_absent() -> None:
    assert decode(Spec, {**MINIMAL, "x": [1], "process": None}) == decode(Spec, MINIMAL)


def test_camel_case_of_fields() -> None:
    assert camel_case("oom_score_adj") == "oomScoreAdj"
