"""What the gateway was told, in a file: so a new proxy, or a new controller, knows all of it.

The file is written before the proxy is told. Whoever finds the two different makes the proxy follow
the file. Next: ``admin.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..observed import Route
from .files import replace_file


@dataclass(frozen=True, slots=True)
class Member:
    """A replica in a pool; ``place`` is where its deployment was when it was added."""

    deployment: str
    pool: str
    place: str
    address: str
    concurrency: int = 0
    draining: bool = False

    @property
    def backend(self) -> str:
        """Return the name of the pool in the proxy."""
        return f"{self.place}-{self.pool}"


@dataclass
class State:
    """Routes and places by deployment, members by replica.

    Args:
        path: the file.
    """

    path: Path
    routes: dict[str, Route] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)

    def deployments(self) -> Mapping[str, str]:
        """Return the deployment at each place."""
        return {place: name for name, place in self.places.items()}

    def taken(self) -> set[str]:
        """Return the places that are somebody's, or were and have replicas left."""
        return {*self.places.values(), *(member.place for member in self.members.values())}

    def pool(self, member: Member) -> Mapping[str, Member]:
        """Return everybody in a member's pool who takes requests."""
        return {
            name: other
            for name, other in self.members.items()
            if other.backend == member.backend and not other.draining
        }

    def is_settled(self, member: Member) -> bool:
        """Say whether a member is where its deployment is: its queue may have changed since."""
        return self.places.get(member.deployment) == member.place

    def save(self) -> None:
        """Write it down; not prettily, since indenting is done in Python: ten times as slow."""
        parts = {
            "routes": {name: asdict(route) for name, route in self.routes.items()},
            "places": self.places,
            "members": {name: _fields(member) for name, member in self.members.items()},
        }
        replace_file(self.path, json.dumps(parts))

    def load(self) -> None:
        """Read what was written; nothing where there is no such file, or one of another version.

        Nothing is a state too: the reconciler asks again for everything that it misses.
        """
        try:
            parts = json.loads(self.path.read_text())
            routes = {name: _route(route) for name, route in parts["routes"].items()}
            members = {name: Member(**member) for name, member in parts["members"].items()}
            places = dict(parts["places"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        self.routes, self.places, self.members = routes, places, members


def _fields(member: Member) -> dict[str, object]:
    """Return what ``asdict`` would, without deep copies: all is written at each change."""
    return {name: getattr(member, name) for name in Member.__slots__}


def _route(parts: Mapping[str, object]) -> Route:
    hosts = parts["hosts"]
    if not isinstance(hosts, list):
        raise TypeError(f"hosts: {hosts!r}")
    return Route(**{**parts, "hosts": tuple(hosts)})  # type: ignore[arg-type]  # JSON has no types
