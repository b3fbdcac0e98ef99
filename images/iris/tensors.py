"""Check what a client sent against what the model takes, and say exactly what is wrong.

Pure: JSON values in, a flat list of leaves out, or `Invalid` naming the field. No HTTP here (that
is serve.py) and no machine learning (that is model.py). The words are those of the Open Inference
Protocol: a tensor has a name, a datatype, a shape, and its data in row-major order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MAX_BATCH = 1024
"""Items in one request. A longer batch would hold a thread while the others wait for it."""


class Invalid(ValueError):
    """A value the client must change.

    Args:
        field: where it stands, as in ``inputs[0].shape[1]``.
        expected: what would be accepted, to be read after the word "expected".
        got: the value at fault.
    """

    def __init__(self, field: str, expected: str, got: object) -> None:
        super().__init__(f"{field}: expected {expected}, got {_describe(got)}")
        self.field = field
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of a model.

    Args:
        name: the field name in a request.
        datatype: ``FP32`` or ``FP64`` for numbers, ``BYTES`` for text.
        shape: the shape of one item, without the batch: ``(4,)``, ``(8, 8)``, ``()`` for a scalar.
        low: smallest number accepted.
        high: largest number accepted; for text, the most characters.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] = ()
    low: float = 0
    high: float = 1

    def metadata(self) -> dict[str, Any]:
        """Describe the tensor as the protocol does: -1 is the batch, whose size varies."""
        return {"name": self.name, "datatype": self.datatype, "shape": [-1, *self.shape]}


def parse_item(tensor: Tensor, value: object) -> list[Any]:
    """Return one item's leaves, in row-major order.

    >>> parse_item(Tensor("image", "FP32", (2, 2), 0, 16), [[0, 1], [2, 3]])
    [0, 1, 2, 3]

    Raises:
        Invalid: the nesting, a length, a type or a range is not the tensor's.
    """
    leaves = _flatten(value, tensor.shape, tensor.name)
    return [_check_leaf(tensor, leaf, field) for field, leaf in leaves]


def parse_batch(tensor: Tensor, sent: dict[str, Any], where: str) -> list[Any]:
    """Return a batch's leaves from one entry of the protocol's ``inputs``.

    Args:
        tensor: what the model takes.
        sent: an object with ``name``, ``shape``, ``datatype`` and ``data``.
        where: the entry's own field path, for messages.

    Raises:
        Invalid: naming the member of the entry that is wrong.
    """
    only_fields(sent, ("name", "shape", "datatype", "data", "parameters"), where)
    for member, expected in (("name", tensor.name), ("datatype", tensor.datatype)):
        if sent.get(member) != expected:
            raise Invalid(f"{where}.{member}", f'"{expected}"', sent.get(member))
    no_parameters(sent, where)
    shape = _check_shape(tensor, sent.get("shape"), f"{where}.shape")
    return _check_data(tensor, shape, sent.get("data"), f"{where}.data")


def only_fields(sent: dict[str, Any], known: tuple[str, ...], where: str = "") -> None:
    """Refuse a field nobody will read: a misspelt option must not pass for an accepted one.

    Raises:
        Invalid: naming the first unknown field.
    """
    for key, value in sent.items():
        if key not in known:
            field = f"{where}.{key[:40]}" if where else key[:40]
            raise Invalid(field, f"no field of this name (known: {', '.join(known)})", value)


def no_parameters(sent: dict[str, Any], where: str) -> None:
    """Refuse parameters, the protocol's door for extensions: this server has none.

    Raises:
        Invalid: ``parameters`` is there and is not an empty object.
    """
    parameters = sent.get("parameters", {})
    if parameters != {}:
        raise Invalid(f"{where}.parameters", "none, as no extension is supported", parameters)


def _check_shape(tensor: Tensor, shape: object, field: str) -> list[int]:
    """Return the shape, sure to be ``[batch, *tensor.shape]``."""
    wanted = f"[n{''.join(f', {size}' for size in tensor.shape)}] with n from 1 to {MAX_BATCH}"
    if not isinstance(shape, list) or any(type(size) is not int for size in shape):
        raise Invalid(field, wanted, shape)
    if tuple(shape[1:]) != tensor.shape or not shape or not 1 <= shape[0] <= MAX_BATCH:
        raise Invalid(field, wanted, shape)
    return shape


def _check_data(tensor: Tensor, shape: list[int], data: object, field: str) -> list[Any]:
    """Flatten data that is nested like its shape, or already flat: the protocol allows both."""
    nested = isinstance(data, list) and bool(data) and isinstance(data[0], list)
    leaves = _flatten(data, tuple(shape) if nested else (math.prod(shape),), field)
    return [_check_leaf(tensor, leaf, where) for where, leaf in leaves]


def _flatten(value: object, shape: tuple[int, ...], field: str) -> Iterator[tuple[str, object]]:
    """Yield each leaf with its path; the depth is the shape's, never the client's."""
    if not shape:
        yield field, value
        return
    if not isinstance(value, list) or len(value) != shape[0]:
        raise Invalid(field, f"a list of {shape[0]}", value)
    for index, item in enumerate(value):
        yield from _flatten(item, shape[1:], f"{field}[{index}]")


def _check_leaf(tensor: Tensor, value: object, field: str) -> object:
    """Return a leaf that is text or a number in range."""
    if tensor.datatype == "BYTES":
        if isinstance(value, str) and value.strip() and len(value) <= tensor.high:
            return value
        raise Invalid(field, f"text of 1 to {tensor.high:.0f} characters", value)
    # type(), as isinstance(True, int) holds; the comparison is false for NaN, which JSON has not.
    if type(value) in (int, float) and tensor.low <= value <= tensor.high:  # type: ignore[operator]
        return value
    raise Invalid(field, f"a number from {tensor.low:g} to {tensor.high:g}", value)


def _describe(value: object) -> str:
    """Name a JSON value in a few words, however large or deep it is."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        flat = len(value) <= 8 and not any(isinstance(item, dict | list) for item in value)
        short = json.dumps(value) if flat else ""
        return short if 0 < len(short) <= 60 else f"a list of {len(value)}"
    text = json.dumps(value)
    kind = "text" if isinstance(value, str) else "a number"
    return text if len(text) <= 42 else f"{kind} of {len(text)} characters"
