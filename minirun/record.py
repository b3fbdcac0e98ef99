"""Record: a frozen, slotted dataclass that costs nothing to define.

A container start is described by some seventy small classes. ``dataclasses`` builds each of them by
compiling source text: importing it and defining them took 45 ms on the machine where this was
measured, more than starting the container. ``RecordMeta`` reads the same annotations and shares one
``__init__``, ``__eq__`` and ``__repr__`` between all of them. Type checkers see an ordinary frozen
dataclass (PEP 681).

    >>> class Point(Record):
    ...     x: int
    ...     y: int = 0
    >>> Point(1)
    Point(x=1, y=0)
    >>> replace(Point(1), y=5)
    Point(x=1, y=5)

A name annotated ``ClassVar`` is left alone. Defaults must be immutable: they are shared.

May not import anything but ``types``. Next: ``spec.py``, which is made of these.
"""

from __future__ import annotations

from types import MappingProxyType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import KeysView, Mapping
    from typing import Any, TypeVar, dataclass_transform

    R = TypeVar("R", bound="Record")
else:

    def dataclass_transform(**_arguments):  # noqa: ANN003, ANN201 - unseen by type checkers
        """Stand in for typing's marker, which does nothing at run time."""
        return lambda decorated: decorated


#: What a frozen record's own __setattr__ refuses; bound once, since every fact goes through it.
_set = object.__setattr__
#: The default for a field that holds a mapping.
EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass_transform(frozen_default=True)
class RecordMeta(type):
    """Turns the annotations of a class body into slots, fields and defaults."""

    __fields__: tuple[str, ...]
    __names__: KeysView[str]
    __defaults__: dict[str, Any]

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> RecordMeta:
        """Collect the fields of the bases and of the body, in order of definition."""
        own = [
            f for f, kind in body.get("__annotations__", {}).items() if "ClassVar" not in str(kind)
        ]
        fields: dict[str, None] = {}
        defaults: dict[str, Any] = {}
        for base in bases:
            if isinstance(base, RecordMeta):
                fields.update(dict.fromkeys(base.__fields__))
                defaults.update(base.__defaults__)
        # A slot and a class attribute of the same name cannot coexist, so defaults move aside.
        defaults.update({f: body.pop(f) for f in own if f in body})
        body["__slots__"] = tuple(f for f in own if f not in fields)
        fields.update(dict.fromkeys(own))
        made = super().__new__(cls, name, bases, body)
        made.__fields__ = tuple(fields)
        made.__names__ = fields.keys()
        made.__defaults__ = defaults
        return made


class Record(metaclass=RecordMeta):
    """Base of every fact: equal by value, hashable, and never changed after it was made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Set each field from the arguments or its default.

        Raises:
            TypeError: a field is missing, unknown or given twice.
        """
        cls = type(self)
        given = {**dict(zip(cls.__fields__, args, strict=False)), **kwargs} if args else kwargs
        values = cls.__defaults__ | given
        if values.keys() != cls.__names__ or len(given) != len(args) + len(kwargs):
            missing = [f for f in cls.__fields__ if f not in values]
            unknown = [k for k in kwargs if k not in cls.__fields__]
            count = len(args) + len(kwargs)
            message = f"{cls.__name__}: missing {missing}, unknown {unknown}, {count} given"
            raise TypeError(message)
        for name, value in values.items():
            _set(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: a Record is a fact."""
        message = f"{type(self).__name__} is frozen"
        raise AttributeError(message)

    def __eq__(self, other: object) -> bool:
        """Compare class and fields."""
        if self is other:
            return True
        if type(self) is not type(other):
            return NotImplemented
        return as_tuple(self) == as_tuple(other)

    def __hash__(self) -> int:
        """Hash class and fields; raises TypeError when a field holds a mapping."""
        return hash((type(self), as_tuple(self)))

    def __repr__(self) -> str:
        """Return the call that would make this record."""
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in type(self).__fields__)
        return f"{type(self).__name__}({inside})"


def as_tuple(record: Record) -> tuple[Any, ...]:
    """Return the values of the fields, in order of definition."""
    return tuple(getattr(record, name) for name in type(record).__fields__)


def replace(record: R, **changes: object) -> R:
    """Return a copy of the record with some fields changed."""
    cls = type(record)
    return cls(**{**dict(zip(cls.__fields__, as_tuple(record), strict=True)), **changes})
