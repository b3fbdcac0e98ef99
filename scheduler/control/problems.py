"""An error that names fields: each with the JSON pointer of what is wrong.

May not import anything with an effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from minirun import ScheduleError

from ..model import Deployment
from ..validate import problems


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field; ``pointer`` is where it is in the body (RFC 6901)."""

    pointer: str
    detail: str


class FieldsError(ScheduleError):
    """A body that was understood and cannot be accepted."""

    def __init__(self, found: Iterable[FieldProblem], *, status: int = 422, hint: str = "") -> None:
        self.problems = tuple(found)
        text = "; ".join(f"{p.pointer or 'the body'}: {p.detail}" for p in self.problems)
        hint = hint or "correct the fields that are named"
        super().__init__(text, status=status, hint=hint)


def refuse(pointer: str, detail: str, hint: str = "") -> FieldsError:
    """Return the error for one field."""
    return FieldsError([FieldProblem(pointer, detail)], hint=hint)


def check(deployment: Deployment) -> None:
    """Refuse a deployment that contradicts itself.

    Raises:
        FieldsError: with every problem there is.
    """
    if found := [FieldProblem(pointer_of(p.path), p.text) for p in problems(deployment)]:
        raise FieldsError(found)


def pointer_of(path: str) -> str:
    """Return a path of ``validate.py`` as a JSON pointer.

    >>> pointer_of("volumes[0].type"), pointer_of("image")
    ('/volumes/0/type', '/image')
    """
    return "/" + re.sub(r"\[(\d+)\]", r"/\1", path).replace(".", "/")
