"""Names and ids: made, checked and found again.

An id is 64 hexadecimal digits of the kernel's randomness, shown as its first 12. A name that the
user did not give is an adjective and a bird. Both find a container, and so does any prefix of the
id that fits one container only.

Next: ``options.py``.
"""

from __future__ import annotations

import os

from ..errors import NotFoundError, StateError, UsageError
from .words import NAME_FIRST, NAME_REST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SHORT = 12
_HEX = frozenset("0123456789abcdef")

_ADJECTIVES = (
    "acyclic atomic balanced binary bounded buffered cached calm canonical clever concurrent "
    "curried distributed durable eager elastic fluent frozen greedy hashed idle immutable indexed "
    "infinite isolated keen lazy lossless mapped merged modular monadic mutable nested nimble "
    "optimal packed parallel pipelined polite pure quick recursive robust sealed sparse stable "
    "stateless swift symbolic tidy tuned typed unary uncaught verified vivid wired"
)
_BIRDS = (
    "albatross avocet bittern bluetit bunting buzzard condor cormorant crane curlew dipper dove "
    "dunlin dunnock egret eider falcon fieldfare finch flamingo gannet goldcrest goose grebe "
    "harrier hawk heron hoopoe ibis jackdaw jay kestrel kingfisher kite lapwing lark linnet magpie "
    "martin merlin nightjar nuthatch oriole osprey ostrich owl partridge pelican petrel pipit "
    "plover puffin quail raven redstart robin rook sandpiper siskin skylark snipe sparrow starling "
    "stork swallow swan swift teal tern thrush toucan treecreeper wagtail warbler waxwing wren"
)


def new_id() -> str:
    """Return 64 random hexadecimal digits; the short form is never all digits.

    An id that reads as a number would be taken for one by tools that accept either.
    """
    while True:
        made = os.urandom(32).hex()
        if not made[:SHORT].isdigit():
            return made


def short_id(full: str) -> str:
    """Return the 12 digits that people see."""
    return full[:SHORT]


def is_id(text: str) -> bool:
    """Return whether the text is a full id."""
    return len(text) == 64 and not set(text) - _HEX


def container_name(text: str) -> str:
    """Return a name without docker's optional leading slash.

    Raises:
        UsageError: it is not ``[a-zA-Z0-9][a-zA-Z0-9_.-]+``.
    """
    name = text.removeprefix("/")
    if len(name) < 2 or len(name) > 128 or name[0] not in NAME_FIRST or set(name) - NAME_REST:
        hint = "two or more of [a-zA-Z0-9_.-], the first a letter or a digit"
        raise UsageError(f"invalid container name {text!r}", hint=hint)
    if is_id(name):
        raise UsageError(f"invalid container name {text!r}: it looks like an id")
    return name


def generate(taken: Callable[[str], bool]) -> str:
    """Return a free name like ``lazy_heron``; after a few collisions a number is added."""
    for attempt in range(100):
        adjective, bird = _pick(_ADJECTIVES), _pick(_BIRDS)
        name = f"{adjective}_{bird}" + (str(_random(10**attempt)) if attempt > 2 else "")
        if not taken(name):
            return name
    raise StateError("no free container name was found", hint="give one with --name")


def _random(below: int) -> int:
    return int.from_bytes(os.urandom(8), "big") % min(below, 2**32)


def _pick(words: str) -> str:
    choice = words.split()
    return choice[_random(len(choice))]


def find(query: str, names: Mapping[str, str]) -> str:
    """Return the id for a full id, a name or a unique prefix of an id.

    Args:
        query: what the user typed.
        names: {id: name} of every container.

    Raises:
        NotFoundError: nothing matches.
        StateError: the prefix fits more than one container.
    """
    if query in names:
        return query
    wanted = query.removeprefix("/")
    by_name = [full for full, name in names.items() if name == wanted]
    matches = by_name or [full for full in names if query and full.startswith(query)]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise NotFoundError(f"no such container: {query}", hint="minirun ps -a lists all of them")
    found = ", ".join(sorted(map(short_id, matches)))
    raise StateError(f"{query!r} fits more than one container: {found}", hint="give more digits")
