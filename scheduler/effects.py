"""From slots to effects: what has to be done so that the world is what the store says.

Level-triggered: each effect follows from how things are, never from what was done before, so one
that was lost is asked for again. The order in which a replica leaves is what saves requests:

    drain at the gateway → nothing in flight → out of the gateway → stop → remove → gone

May not import anything with an effect. Next: ``reconcile.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

from .actions import (
    AddServer,
    DrainServer,
    Effect,
    Remove,
    RemoveRoute,
    RemoveServer,
    SetRoute,
    Start,
    Stop,
)
from .entry import Entry, Slot, Stage, State
from .model import Deployment
from .observed import Phase, Replica, Route, Server
from .policy import Autoscale, Timeouts
from .tick import Tick, is_ready, is_served

CANARY, STABLE = "canary", "stable"
QUEUE_FACTOR = 10
LEAST_QUEUE = 100
UNBOUNDED_QUEUE = 10_000
#: A replica nobody owns is given what everybody gets by default.
DEFAULTS = Timeouts()
#: Whoever is not scaled is measured like those who say nothing about it.
NOT_SCALED = Autoscale()


def of_entry(entry: Entry, tick: Tick) -> Iterator[Effect]:
    """Yield what a deployment's slots and route need, routes first: they open before they close."""
    if is_served(entry) and not entry.deleted:
        route = route_of(entry, tick)
        if tick.observed.routes.get(route.deployment) != route:
            yield SetRoute(route)
    for slot in entry.slots:
        yield from _of_slot(entry, slot, tick)


def _of_slot(entry: Entry, slot: Slot, tick: Tick) -> Iterator[Effect]:
    replica = tick.observed.replicas.get(slot.id)
    server = tick.observed.servers.get(slot.id)
    if slot.state is State.DRAINING:
        timeouts = entry.deployment.timeouts
        overdue = tick.now - slot.since >= timeouts.drain_s
        if tick.observed.at > slot.since:
            yield from _leaving(slot.id, replica, server, timeouts.stop_s, overdue=overdue)
        elif is_served(entry):
            # The look is older than the decision: the gateway may have the replica since.
            yield DrainServer(slot.id, server.pool if server else pool_of(entry, slot))
    elif slot.state is not State.PLACED:
        if server:
            yield RemoveServer(slot.id, server.pool)
    elif replica is None:
        yield from _missing(entry, slot, server, tick)
    elif is_served(entry):
        yield from _in_gateway(entry, slot, replica, server)


def _missing(entry: Entry, slot: Slot, server: Server | None, tick: Tick) -> Iterator[Effect]:
    if server:
        yield RemoveServer(slot.id, server.pool)
    if all(tick.is_gone(other) for other in slot.after):
        template = entry.revision(slot.revision).template
        yield Start(slot.id, entry.deployment.name, slot.revision, template, slot.grants)


def _in_gateway(
    entry: Entry, slot: Slot, replica: Replica, server: Server | None
) -> Iterator[Effect]:
    """Yield what brings a replica into its pool when it is ready, and out when it is not."""
    pool = pool_of(entry, slot)
    if not is_ready(replica):
        if server and replica.has_ended:
            yield RemoveServer(slot.id, server.pool)
        elif server and not server.draining:
            yield DrainServer(slot.id, server.pool)
    elif server is None or (server.draining and server.pool == pool):
        template = entry.revision(slot.revision).template
        name, address = entry.deployment.name, replica.address
        yield AddServer(slot.id, name, pool, address, template.concurrency)
    elif server.pool != pool:
        # Out of one pool before into the other: in both, it would be given twice its concurrency.
        yield from _out(server, overdue=False)


def _leaving(
    replica_id: str,
    replica: Replica | None,
    server: Server | None,
    stop_s: float,
    *,
    overdue: bool,
) -> Iterator[Effect]:
    if server:
        dead = replica is None or replica.has_ended or not replica.alive
        yield from _out(server, overdue=overdue or dead)
    elif replica and replica.phase is Phase.EXITED:
        yield Remove(replica_id)
    elif replica and not replica.has_ended:
        yield Stop(replica_id, stop_s)


def _out(server: Server, *, overdue: bool) -> Iterator[Effect]:
    if overdue or (server.draining and server.in_flight == 0):
        yield RemoveServer(server.id, server.pool)
    elif not server.draining:
        yield DrainServer(server.id, server.pool)


def pool_of(entry: Entry, slot: Slot) -> str:
    """Return the gateway pool that a slot's replica belongs to."""
    rollout = entry.rollout
    on_trial = rollout.stage is Stage.CANARY and slot.revision == rollout.target
    return CANARY if on_trial else STABLE


def route_of(entry: Entry, tick: Tick) -> Route:
    """Return how the gateway should treat a deployment's requests."""
    deployment, canary = entry.deployment, entry.deployment.canary
    trial = canary if canary and _has_canary(entry, tick) else None
    return Route(
        deployment.name,
        deployment.exposure.hosts,
        deployment.exposure.prefix,
        deployment.exposure.published,
        trial.weight if trial else 0,
        trial.header if trial else "",
        queue_limit(deployment),
        deployment.timeouts.request_s,
        deployment.timeouts.queue_s,
        deployment.timeouts.activation_s,
        *_windows(deployment),
    )


def _windows(deployment: Deployment) -> tuple[float, float]:
    """Return what the autoscaler's two averages are taken over; a second is the least."""
    spec = deployment.autoscale or NOT_SCALED
    return spec.stable_window_s, max(1.0, spec.stable_window_s * spec.panic_window_percent / 100)


def queue_limit(deployment: Deployment) -> int:
    """Return how many requests may wait: ten for each that may be answered, as Knative does."""
    if deployment.queue_limit is not None:
        return deployment.queue_limit
    most = deployment.autoscale.maximum if deployment.autoscale else deployment.replicas
    answered = deployment.template.concurrency * max(1, most)
    return max(LEAST_QUEUE, QUEUE_FACTOR * answered) if answered else UNBOUNDED_QUEUE


def _has_canary(entry: Entry, tick: Tick) -> bool:
    if entry.rollout.stage is not Stage.CANARY or not entry.rollout.canary_since:
        return False
    servers = (tick.observed.servers.get(slot.id) for slot in entry.slots)
    return any(server and server.pool == CANARY and not server.draining for server in servers)


def of_strangers(known: set[str], tick: Tick) -> Iterator[Effect]:
    """Yield what takes away replicas, servers and routes that no entry accounts for."""
    observed = tick.observed
    for replica_id in sorted(observed.replicas.keys() - known):
        replica, server = observed.replicas[replica_id], observed.servers.get(replica_id)
        yield from _leaving(replica_id, replica, server, DEFAULTS.stop_s, overdue=False)
    for server_id in sorted(observed.servers.keys() - known - observed.replicas.keys()):
        yield RemoveServer(server_id, observed.servers[server_id].pool)
    for name in sorted(observed.routes):
        entry = tick.entries.get(name)
        if entry is None or entry.deleted or not is_served(entry):
            yield RemoveRoute(name)
