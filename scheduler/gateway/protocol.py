"""The seam to the data plane: what the scheduler may ask of it, and what it may rely on.

The rules below are held by contract tests that every implementation passes, a fake included
(``tests/scheduler/contract.py``):

- Calls take effect in the order in which they are made, before they return.
- ``add`` of a server that exists makes it take requests again, in the pool and with the
  concurrency now given; the other calls do nothing where there is nothing to do it to, and a server
  is in one pool at a time: what is meant for it in the other does not reach it.
- A draining server gets no new request; those in flight end in peace.
- With no server in a pool, its requests go to the other pool; with none in both, they wait: up to
  ``activation_s``, and ``queue_limit`` of them. ``Traffic.held`` counts them.
- A request that finds its server gone before it was sent is sent to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..actions import AddServer
from ..observed import Route, Server, Traffic


class Gateway(Protocol):
    """What stands between clients and replicas."""

    def servers(self) -> Mapping[str, Server]:
        """Return every server by its replica's id."""

    def routes(self) -> Mapping[str, Route]:
        """Return every route by its deployment."""

    def traffic(self) -> Mapping[str, Traffic]:
        """Return averages and counters by deployment; one without numbers is left out."""

    def add(self, server: AddServer) -> None:
        """Send requests to a replica."""

    def drain(self, server_id: str, pool: str) -> None:
        """Send no new requests to a replica."""

    def remove(self, server_id: str, pool: str) -> None:
        """Forget a replica; what is still in flight to it is cut off."""

    def set_route(self, route: Route) -> None:
        """Say which requests belong to a deployment, and how they wait."""

    def remove_route(self, deployment: str) -> None:
        """Forget a deployment; what waits for it is answered with 503."""
