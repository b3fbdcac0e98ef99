"""Record against what a frozen dataclass promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

from minirun.record import EMPTY, Record, as_tuple, replace


class Point(Record):
    x: int
    y: int = 0


class Named(Point):
    label: str = "origin"
    kind: ClassVar[str] = "point"


class Holder(Record):
    held: Mapping[str, int] = EMPTY


def test_record_takes_fields_by_place_and_by_name() -> None:
    assert as_tuple(Point(1)) == (1, 0)
    assert Point(1, 2) == Point(y=2, x=1)
    assert repr(Point(1)) == "Point(x=1, y=0)"


def test_record_inherits_fields_and_defaults_in_order() -> None:
    assert Named.__fields__ == ("x", "y", "label")
    assert as_tuple(Named(3, label="a")) == (3, 0, "a")
    assert Named.kind == "point"


def test_record_is_equal_by_class_and_value() -> None:
    assert Point(1) != Named(1)
    assert len({Point(1), Point(1), Point(2)}) == 2
    with pytest.raises(TypeError):
        hash(Holder({"a": 1}))


def test_record_is_frozen_and_slotted() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="Point is frozen"):
        point.x = 2  # type: ignore[misc]
    assert not hasattr(point, "__dict__")


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1}), ((), {"y": 1})],
    ids=["missing", "too-many", "twice", "unknown", "required"],
)
def test_record_refuses_wrong_arguments(args: tuple[int, ...], kwargs: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Point"):
        Point(*args, **kwargs)


def test_replace_copies() -> None:
    first = Named(1, 2, "a")
    assert replace(first, y=5) == Named(1, 5, "a")
    assert first == Named(1, 2, "a")
    with pytest.raises(TypeError):
        replace(first, z=1)
