"""Replicas in the proxy's pools: how they come, take requests, drain and go.

    add ─▶ ready ─ drain ─▶ draining ─ remove ─▶ maintenance ─ CONNECT_S ─▶ cut off, deleted
                ╰─ left out for a while, and taken back (outliers.py)

Next: ``state.py``.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from minirun import ScheduleError

from ..actions import AddServer
from ..observed import Server
from .admin import Admin, Row
from .meter import number
from .outliers import FULL_WEIGHT, Outliers, weight
from .routing import check_server
from .state import Member, State

REMOVE_S = 0.1
RETRY_S = 0.005
#: What is not connected by then (``timeout connect``) has been sent to another server.
CONNECT_S = 1.2
READY, DRAINING = "0", "8"  # srv_admin_state: management guide, "show servers state"


class Pools:
    """All replicas of one gateway.

    Args:
        state: what was asked for; what is asked here is written into it first.
        admin: the proxy.
        slow_start_s: for how long a new replica's share grows.
    """

    def __init__(self, state: State, admin: Admin, slow_start_s: float) -> None:
        self._state = state
        self._admin = admin
        self._slow_start_s = slow_start_s
        self._outliers = Outliers()
        self._came: dict[str, float] = {}  # and when, until it is as warm as it gets
        self._warming: set[str] = set()
        self._leaving: dict[tuple[str, str], float] = {}  # and when they are cut off
        self._in_flight: dict[str, int] = {}

    def servers(self) -> dict[str, Server]:
        """Return everybody, with what was in flight at the last count."""
        return {
            name: Server(
                name,
                member.pool,
                member.draining or not self._state.is_settled(member),
                self._in_flight.get(name, 0),
            )
            for name, member in self._state.members.items()
        }

    def count(self) -> None:
        """Count what is in flight.

        Raises:
            AdminError: the proxy does not answer.
        """
        self._count(self._admin.in_flight())

    def add(self, server: AddServer) -> None:
        """Let a replica take requests; one that is busy elsewhere has to end that first.

        Raises:
            ScheduleError: there is no route to its deployment yet.
        """
        address = check_server(server.id, server.address)
        place = self._state.places.get(server.deployment)
        if place is None:
            text = f"replica {server.id!r}: deployment {server.deployment!r} has no route"
            raise ScheduleError(text, status=409, hint="set the route before its servers")
        member = Member(server.deployment, server.pool, place, address, server.concurrency)
        before = self._state.members.get(server.id)
        if before and before.backend != member.backend and not self._gone_from(server.id, before):
            return
        if before is None and self._slow_start_s:
            # Beside those that are as new, a small share would be all of it for whoever is first.
            if self._state.pool(member).keys() - self._came.keys():
                self._warming.add(server.id)
            self._came[server.id] = time.monotonic()
        self._state.members[server.id] = member
        self._state.save()
        self._bring(server.id, member, None)

    def drain(self, server_id: str, pool: str) -> None:
        """Send a replica nothing new."""
        member = self._state.members.get(server_id)
        if member is None or member.pool != pool:
            return
        self._state.members[server_id] = replace(member, draining=True)
        self._state.save()
        self._admin.set_state(member.backend, server_id, "drain")
        self._keep_one(member)

    def remove(self, server_id: str, pool: str) -> None:
        """Forget a replica.

        Whoever is still connecting to it has sent nothing, and finds another server in a moment; it
        would be cut off with those whose answers are under way.
        """
        member = self._state.members.get(server_id)
        if member is None or member.pool != pool:
            return
        del self._state.members[server_id]
        self._state.save()
        self._came.pop(server_id, None)
        self._warming.discard(server_id)
        self._in_flight.pop(server_id, None)
        if not self._admin.delete_server(member.backend, server_id, cut=False):
            self._leaving[member.backend, server_id] = time.monotonic() + CONNECT_S
        self._keep_one(member)

    def restore(self) -> None:
        """Make the proxy have what is written: after its start, or after our own."""
        present = self._admin.states()
        wanted = {(m.backend, name) for name, m in self._state.members.items()}
        for backend, name in present.keys() - wanted:
            self._delete(backend, name)
        for name, member in self._state.members.items():
            self._bring(name, member, present.get((member.backend, name)))

    def tend(self, now: float) -> None:
        """Judge and warm up; call this a few times a second.

        Raises:
            AdminError: the proxy does not answer.
        """
        rows = self._admin.server_rows()
        self._count({server: number(row, "scur") for server, row in rows.items()})
        self._outliers.keep(self._state.members)
        by_pool: defaultdict[str, dict[str, Row]] = defaultdict(dict)
        for (backend, name), row in rows.items():
            member = self._state.members.get(name)
            if member and member.backend == backend and not member.draining:
                by_pool[backend][name] = row
        for backend, pool in by_pool.items():
            self._judge(backend, pool, now)
        self._warm(now)
        self._leave(now)

    def ejected(self) -> set[str]:
        """Return who is left out for now."""
        return self._outliers.ejected()

    def _bring(self, name: str, member: Member, row: Row | None) -> None:
        """Make the proxy have a member as it is written."""
        self._leaving.pop((member.backend, name), None)
        share = weight(0.0, self._slow_start_s) if name in self._warming else FULL_WEIGHT
        at_most = member.concurrency
        is_new = row is None and self._admin.add_server(
            member.backend, name, member.address, share, at_most
        )
        if not is_new:
            self._admin.set_maxconn(member.backend, name, at_most)
        if not is_new and (row is None or row["srv_uweight"] != str(share)):
            self._admin.set_weight(member.backend, name, share)
        if row is None or row["srv_admin_state"] != (DRAINING if member.draining else READY):
            state = "drain" if member.draining else "ready"
            self._admin.set_state(member.backend, name, state)
        self._outliers.pardon([name])

    def _gone_from(self, name: str, before: Member) -> bool:
        """Take a replica out of the pool it was in, unless it has requests there."""
        self._admin.set_state(before.backend, name, "drain")
        if self._admin.in_flight().get((before.backend, name)):
            return False
        self._delete(before.backend, name)
        return True

    def _delete(self, backend: str, name: str) -> None:
        """Cut off a server and delete it; its last connection may take a moment to end."""
        deadline = time.monotonic() + REMOVE_S
        while not self._admin.delete_server(backend, name):
            if time.monotonic() > deadline:
                self._leaving[backend, name] = deadline
                return
            time.sleep(RETRY_S)

    def _leave(self, now: float) -> None:
        """Delete those that have ended what they did, and cut off whose time is over."""
        for (backend, name), until in list(self._leaving.items()):
            if self._admin.delete_server(backend, name, cut=now >= until):
                del self._leaving[backend, name]

    def _keep_one(self, left: Member) -> None:
        """Take back who was left out, where nobody else remains in a pool."""
        pool = self._state.pool(left)
        if pool and pool.keys() <= self._outliers.ejected():
            for name in self._outliers.pardon(pool):
                self._admin.set_state(left.backend, name, "ready")

    def _judge(self, backend: str, pool: Mapping[str, Row], now: float) -> None:
        out, back = self._outliers.look(pool, now)
        for name in out:
            self._admin.set_state(backend, name, "drain")
        for name in back:
            self._admin.set_state(backend, name, "ready")

    def _warm(self, now: float) -> None:
        for name, since in list(self._came.items()):
            share = weight(now - since, self._slow_start_s)
            member = self._state.members.get(name)
            if member and name in self._warming:
                self._admin.set_weight(member.backend, name, share)
            if share == FULL_WEIGHT:
                del self._came[name]
                self._warming.discard(name)

    def _count(self, requests: Mapping[tuple[str, str], int]) -> None:
        for name, member in self._state.members.items():
            self._in_flight[name] = requests.get((member.backend, name), 0)
