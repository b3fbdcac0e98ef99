"""What exists: the host, its replicas, the gateway's servers, and the traffic through them.

One Observed is one look at the world. ``at`` is when the look began, on the same monotonic clock as
the reconciler's ``now``: news that is older than the last decision is not acted upon.

May not import anything with an effect. Next: ``actions.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    """Where in its life a container is. It only ever moves to the right."""

    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    #: Its process is gone, and what it left is being deleted; it is listed until that is done.
    REMOVING = "removing"


@dataclass(frozen=True, slots=True)
class Grant:
    """Room on one node, held for one replica."""

    node: str
    cpu_millis: int = 0
    memory_bytes: int = 0
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replica:
    """One container, as the runtime and the probes see it.

    ``ready_since`` is when it last became ready, None while it is not. ``alive`` is False once its
    liveness probe has failed as often as it may. ``problem`` says why a start failed, or what its
    probes found where it runs and is not ready. ``loaded_in_s`` is how long it took to be ready for
    the first time; what is ready again has loaded nothing.
    """

    id: str
    deployment: str
    revision: int
    phase: Phase
    ready_since: float | None = None
    alive: bool = True
    started_at: float = 0.0
    ended_at: float = 0.0
    exit_code: int | None = None
    oom: bool = False
    peak_memory_bytes: int = 0
    problem: str = ""
    address: str = ""
    grants: tuple[Grant, ...] = ()
    loaded_in_s: float | None = None

    @property
    def has_ended(self) -> bool:
        """Return whether its process is gone, and with it all that it took of the host."""
        return self.phase in (Phase.EXITED, Phase.REMOVING)


@dataclass(frozen=True, slots=True)
class Server:
    """A replica as the gateway has it; ``pool`` is ``stable`` or ``canary``."""

    id: str
    pool: str
    draining: bool = False
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """Counters of one pool since the gateway started."""

    requests: int = 0
    errors: int = 0
    latency_s_sum: float = 0.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """Averages of a deployment's requests; a field is None where it could not be measured.

    Concurrency is in flight plus queued plus held, of all replicas together; ``held`` is how many
    requests wait at the gateway for a first replica. ``cpu_percent`` is the mean over ready
    replicas, of what each requested.
    """

    stable_concurrency: float | None = None
    panic_concurrency: float | None = None
    stable_rps: float | None = None
    panic_rps: float | None = None
    cpu_percent: float | None = None
    held: int = 0
    pools: Mapping[str, Totals] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Node:
    """A part of the host with its own memory: a NUMA node, its CPUs and the devices near it."""

    id: str
    cpu_millis: int
    memory_bytes: int
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """What may be given to replicas: the machine less what is kept for itself."""

    nodes: tuple[Node, ...]
    memory_free_bytes: int | None = None
    cordoned: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """How the gateway treats a deployment's requests; compared as a whole.

    ``stable_s`` and ``panic_s`` are what it averages its traffic over, for the autoscaler.
    """

    deployment: str
    hosts: tuple[str, ...] = ()
    prefix: str = ""
    published: int | None = None
    canary_weight: int = 0
    canary_header: str = ""
    queue_limit: int = 0
    request_s: float = 60.0
    queue_s: float = 30.0
    activation_s: float = 60.0
    stable_s: float = 60.0
    panic_s: float = 6.0


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at everything; ``unix_s`` is the wall clock, which only cron schedules follow.

    ``troubles`` is what could not be done for a deployment after the look before; it decides
    nothing, and is for people.
    """

    at: float
    host: Host
    replicas: Mapping[str, Replica] = field(default_factory=dict)
    servers: Mapping[str, Server] = field(default_factory=dict)
    routes: Mapping[str, Route] = field(default_factory=dict)
    traffic: Mapping[str, Traffic] = field(default_factory=dict)
    unix_s: float = 0.0
    troubles: Mapping[str, str] = field(default_factory=dict)
