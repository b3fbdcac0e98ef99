"""JSON ⇄ Records: the annotation is the schema.

``decode(Mount, {"destination": "/proc"}, "$.mounts[0]")`` reads the annotations of ``Mount`` and
checks every value against them, so ``spec.py`` holds no parsing code at all and each error names
the JSON path of the value at fault. The annotations understood are exactly those that occur there:

    str  bool  float  U16 U32 U64 I64  a Record  tuple[X, ...]  Mapping[str, X]  X | None

JSON names are camelCase; a class lists the few that the rule does not reach in ``__json__``. As the
runtime-spec demands (config.md, Extensibility), unknown properties are ignored; null means absent.

May not import anything with an effect. Next: ``spec.py``.
"""

from __future__ import annotations

import sys

from .errors import SpecError
from .record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    R = TypeVar("R", bound=Record)

# The name in an annotation is the range that is checked.
U16 = int
U32 = int
U64 = int
I64 = int

_RANGES = {
    "U16": (0, 2**16 - 1),
    "U32": (0, 2**32 - 1),
    "U64": (0, 2**64 - 1),
    "I64": (-(2**63), 2**63 - 1),
    "int": (-(2**63), 2**63 - 1),
}
_KINDS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}


def camel_case(name: str) -> str:
    """Return the JSON spelling of a field.

    >>> camel_case("oom_score_adj")
    'oomScoreAdj'
    """
    head, *tail = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in tail)


_names: dict[type[Record], dict[str, str]] = {}


def json_names(cls: type[Record]) -> dict[str, str]:
    """Return {field: JSON name} of a class, made on first use."""
    if cls not in _names:
        special: Mapping[str, str] = getattr(cls, "__json__", EMPTY)
        _names[cls] = {f: special.get(f) or camel_case(f) for f in cls.__fields__}
    return _names[cls]


def decode(cls: type[R], value: Any, path: str = "$") -> R:  # noqa: ANN401 - the JSON edge
    """Return the record that a JSON object describes.

    Raises:
        SpecError: a value has the wrong type or range, or a required property is missing.
    """
    if not isinstance(value, dict):
        raise SpecError(path, f"expected an object, found {_kind(value)}")
    found = {}
    for field, name in json_names(cls).items():
        if value.get(name) is not None:
            found[field] = _decoder(cls, field)(value[name], f"{path}.{name}")
        elif field not in cls.__defaults__:
            raise SpecError(f"{path}.{name}", "required property is missing")
    return cls(**found)


def encode(value: Any) -> Any:  # noqa: ANN401 - the JSON edge
    """Return plain JSON for a record; fields that hold their default are left out."""
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, Record):
        plain = {}
        defaults = type(value).__defaults__
        for field, name in json_names(type(value)).items():
            held, default = getattr(value, field), defaults.get(field, ...)
            # Most fields hold the default itself; to compare records takes far longer.
            if held is not default and held != default:
                plain[name] = encode(held)
        return plain
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if hasattr(value, "items"):
        return {key: encode(item) for key, item in value.items()}
    return value


_cache: dict[tuple[type[Record], str], Callable[[Any, str], Any]] = {}


def _decoder(cls: type[Record], field: str) -> Callable[[Any, str], Any]:
    """Return the checker for one field, made from its annotation on first use."""
    key = (cls, field)
    if key not in _cache:
        kinds = vars(cls)["__annotations__"]
        _cache[key] = _compile(kinds[field], cls.__module__)
    return _cache[key]


def _compile(kind: str, module: str) -> Callable[[Any, str], Any]:
    """Return the checker for an annotation."""
    kind = kind.removesuffix("| None").strip()
    if kind.startswith("tuple["):
        return _array_of(_compile(kind[6:-1].removesuffix(", ..."), module))
    if kind.startswith("Mapping[str, "):
        return _object_of(_compile(kind[13:-1], module))
    if kind in _RANGES:
        return _integer(kind)
    if kind in ("str", "bool", "float"):
        return _SCALARS[kind]
    record = getattr(sys.modules[module], kind)
    return lambda value, path: decode(record, value, path)


def _array_of(item: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def check(value: object, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise SpecError(path, f"expected an array, found {_kind(value)}")
        return tuple(item(held, f"{path}[{i}]") for i, held in enumerate(value))

    return check


def _object_of(item: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def check(value: object, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise SpecError(path, f"expected an object, found {_kind(value)}")
        return {_string(key, path): item(held, f"{path}.{key}") for key, held in value.items()}

    return check


def _integer(kind: str) -> Callable[[Any, str], int]:
    low, high = _RANGES[kind]

    def check(value: object, path: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise SpecError(path, f"expected an integer, found {_kind(value)}")
        if not low <= value <= high:
            raise SpecError(path, f"{value} is not between {low} and {high}")
        return value

    return check


def _string(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise SpecError(path, f"expected a string, found {_kind(value)}")
    if "\0" in value:
        raise SpecError(path, "a string may not hold a NUL byte")
    if not value.isascii():
        _encodable(value, path)
    return value


def _encodable(value: str, path: str) -> None:
    """Refuse half a character, as JSON can spell it: no file or host could be called that."""
    try:
        value.encode("utf-8", "surrogateescape")  # as os.fsencode does
    except UnicodeEncodeError as error:
        raise SpecError(path, f"{value!r} is no Unicode text") from error


def _boolean(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise SpecError(path, f"expected true or false, found {_kind(value)}")
    return value


def _number(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SpecError(path, f"expected a number, found {_kind(value)}")
    return value


_SCALARS: dict[str, Callable[[Any, str], Any]] = {
    "str": _string,
    "bool": _boolean,
    "float": _number,
}


def _kind(value: object) -> str:
    return _KINDS.get(type(value)) or ("null" if value is None else f"the number {value}")
