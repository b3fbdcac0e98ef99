"""``--filter`` of ``images`` and ``image prune``: which images are meant. Pure.

Next: ``usage.py``.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from ..container.clock import moment
from ..container.words import boolean
from ..errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .store import Image

    Test = Callable[[Image], bool]

#: What each command understands, with docker's words.
LIST_KEYS = frozenset({"dangling", "label", "label!", "until", "before", "since", "reference"})
PRUNE_KEYS = frozenset({"label", "label!", "until"})


def matching(
    images: Sequence[Image], filters: Iterable[str], keys: frozenset[str], now_ns: int
) -> list[Image]:
    """Return the images that fit: all filters have to, of ``reference`` one.

    Args:
        images: in any order.
        filters: as typed, as in ``until=24h``, ``label=stage=test``, ``label!=keep``.
        keys: which of them the command understands.
        now_ns: the present, for durations.

    Raises:
        UsageError: a filter that does not exist, or with a value that is none.
    """
    patterns: list[str] = []
    tests: list[Test] = []
    for text in filters:
        key, value = _split(text, keys)
        if key == "reference":
            patterns.append(value)
        else:
            tests.append(_test(key, value, images, now_ns))
    if patterns:
        tests.append(lambda image: any(_is_named(image, pattern) for pattern in patterns))
    return [image for image in images if all(test(image) for test in tests)]


def _split(text: str, keys: frozenset[str]) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or key not in keys:
        shown = ", ".join(sorted(f"{key}=" for key in keys))
        raise UsageError(f"invalid filter {text!r}", hint=f"one of: {shown}")
    return key, value


def _test(key: str, value: str, images: Sequence[Image], now_ns: int) -> Test:
    if key in ("label", "label!"):
        return lambda image: _has_label(image, value) == (key == "label")
    if key == "dangling":
        wanted = boolean(value, "filter dangling")
        return lambda image: (not image.names) == wanted
    if key == "until":
        limit = moment(value, now_ns)
        return lambda image: image.config.created < limit
    pivot = _find(images, key, value).config.created
    if key == "before":
        return lambda image: image.config.created < pivot
    return lambda image: image.config.created > pivot


def _has_label(image: Image, value: str) -> bool:
    name, equals, wanted = value.partition("=")
    labels = image.config.config.labels
    return name in labels and (not equals or labels[name] == wanted)


def _find(images: Sequence[Image], key: str, value: str) -> Image:
    for image in images:
        names = (*image.names, *image.familiar_names)
        if value in names or f"{value}:latest" in names or image.id[7:].startswith(value):
            return image
    raise UsageError(f"invalid filter {key}={value}: no such image", hint="see: minirun images")


def _is_named(image: Image, pattern: str) -> bool:
    """Return True where a name fits a pattern like ``team/*:1.*``; without a tag any tag does."""
    names = {*image.names, *image.familiar_names}
    if ":" not in pattern.rpartition("/")[2]:
        names = {name.rpartition(":")[0] for name in names}
    return any(fnmatchcase(name, pattern) for name in names)
