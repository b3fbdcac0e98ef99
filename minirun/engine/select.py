"""``ps --filter``: which containers are meant. Pure.

Next: ``usage.py``.
"""

from __future__ import annotations

from ..errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..container.entry import ContainerRecord

    Test = Callable[[ContainerRecord, str], bool]


def _label(record: ContainerRecord, value: str) -> bool:
    name, equals, wanted = value.partition("=")
    return name in record.labels and (not equals or record.labels[name] == wanted)


def _health(record: ContainerRecord, value: str) -> bool:
    health = record.state.health
    return (health.status if health else "none") == value


_TESTS: dict[str, Test] = {
    "id": lambda record, value: record.id.startswith(value),
    "name": lambda record, value: value in record.name,
    "status": lambda record, value: record.state.status == value,
    "exited": lambda r, value: r.state.status == "exited" and str(r.state.exit_code) == value,
    "label": _label,
    "ancestor": lambda r, v: v in (r.image, r.image_id) or r.image_id.startswith(f"sha256:{v}"),
    "health": _health,
    "volume": lambda r, v: v in r.volumes or v in r.volumes.values(),
}


def matching(records: Iterable[ContainerRecord], filters: Iterable[str]) -> list[ContainerRecord]:
    """Return the records that fit: one value of each key has to.

    Raises:
        UsageError: a filter that does not exist.
    """
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        if key not in _TESTS or not equals:
            hint = "one of: " + ", ".join(sorted(_TESTS))
            raise UsageError(f"invalid filter {text!r}", hint=hint)
        wanted.setdefault(key, []).append(value)
    return [
        record
        for record in records
        if all(any(_TESTS[k](record, v) for v in values) for k, values in wanted.items())
    ]
