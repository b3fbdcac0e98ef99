"""What the reconciler decides: changes to the store, effects on the world, events for people.

An Outcome is carried out in this order: commit ``entries`` and ``events`` in one transaction, then
do the effects. Each effect may be done twice, or be lost: the next look at the world asks for it
again. That is all that a crash at any point comes down to.

May not import anything with an effect. Next: ``reconcile.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .entry import Entry
from .model import Template
from .observed import Grant, Route


@dataclass(frozen=True, slots=True)
class Start:
    """Create and start a container; nothing happens where the id exists already."""

    id: str
    deployment: str
    revision: int
    template: Template
    grants: tuple[Grant, ...] = ()


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask a container to end; ``stop_s`` seconds later it is killed."""

    id: str
    stop_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete what an exited container left: its state, cgroup, mounts and socket."""

    id: str


@dataclass(frozen=True, slots=True)
class AddServer:
    """Let the gateway send requests to a replica, at most ``concurrency`` at a time (0: any)."""

    id: str
    deployment: str
    pool: str
    address: str
    concurrency: int = 0


@dataclass(frozen=True, slots=True)
class DrainServer:
    """Send no new requests to a replica; what is in flight ends in peace."""

    id: str
    pool: str


@dataclass(frozen=True, slots=True)
class RemoveServer:
    """Take a replica out of one pool; nothing happens where it is in the other by now."""

    id: str
    pool: str


@dataclass(frozen=True, slots=True)
class SetRoute:
    """Say which requests belong to a deployment, and how they wait."""

    route: Route


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """Forget a deployment at the gateway."""

    deployment: str


RuntimeEffect = Start | Stop | Remove
GatewayEffect = AddServer | DrainServer | RemoveServer | SetRoute | RemoveRoute
Effect = RuntimeEffect | GatewayEffect


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a deployment's history: what was decided, and the numbers it was decided by."""

    deployment: str
    kind: str
    message: str
    inputs: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A tick's decisions. In ``entries``, None means that the entry is deleted."""

    entries: Mapping[str, Entry | None] = field(default_factory=dict)
    effects: tuple[Effect, ...] = ()
    events: tuple[Event, ...] = ()
