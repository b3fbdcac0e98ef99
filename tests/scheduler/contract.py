"""What every runtime and every gateway has to keep, as tests over any of them.

A subclass says how to make one and how to let time pass. The fakes are held to it here; whatever
replaces them is held to the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from scheduler.actions import AddServer, Start
from scheduler.gateway.protocol import Gateway
from scheduler.model import Template
from scheduler.observed import Phase, Route
from scheduler.runtime import Runtime


class RuntimeLab(Protocol):
    """A runtime under test.

    ``good``, ``crash`` and ``missing`` are images that serve, exit with 1 soon, and are not there.
    """

    runtime: Runtime
    good: str
    crash: str
    missing: str

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Let time pass until something is so, or fail."""


class GatewayLab(Protocol):
    """A gateway under test, in front of servers that can be told to take their time."""

    gateway: Gateway

    def server(self, name: str, pool: str = "stable", concurrency: int = 0) -> AddServer:
        """Start something that answers; return how it is added."""

    def begin(self) -> None:
        """Send one request that takes until ``finish``."""

    def finish(self) -> None:
        """Let every request end."""

    def answered(self) -> int:
        """Return how many requests have been answered well."""

    def lost(self) -> int:
        """Return how many were answered badly, or not at all."""

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Let time pass until something is so, or fail."""


ROUTE = Route("web", hosts=("web.test",), queue_limit=100)


class RuntimeContract:
    """The rules of ``scheduler/runtime.py``."""

    def start(self, lab: RuntimeLab, image: str, name: str = "web.1") -> None:
        lab.runtime.start(Start(name, "web", 3, Template(image, port=8000)))

    def test_start_is_listed_at_once_and_becomes_ready(self, lab: RuntimeLab) -> None:
        self.start(lab, lab.good)
        seen = lab.runtime.replicas()["web.1"]
        assert (seen.deployment, seen.revision) == ("web", 3)
        lab.wait_until(lambda: lab.runtime.replicas()["web.1"].ready_since is not None)

    def test_start_of_an_id_that_exists_does_nothing(self, lab: RuntimeLab) -> None:
        self.start(lab, lab.good)
        before = lab.runtime.replicas()["web.1"].started_at
        self.start(lab, lab.good)
        assert list(lab.runtime.replicas()) == ["web.1"]
        assert lab.runtime.replicas()["web.1"].started_at == before

    def test_start_that_fails_is_listed_with_its_problem(self, lab: RuntimeLab) -> None:
        self.start(lab, lab.missing)
        seen = lab.runtime.replicas()["web.1"]
        assert seen.phase is Phase.EXITED
        assert seen.problem

    def test_stop_ends_it_and_remove_forgets_it(self, lab: RuntimeLab) -> None:
        self.start(lab, lab.good)
        lab.runtime.stop("web.1", 5.0)
        lab.wait_until(lambda: lab.runtime.replicas()["web.1"].phase is Phase.EXITED)
        lab.runtime.remove("web.1")
        lab.wait_until(lambda: not lab.runtime.replicas())

    def test_what_is_removed_is_listed_until_it_is_gone(self, lab: RuntimeLab) -> None:
        self.start(lab, lab.crash)
        lab.wait_until(lambda: lab.runtime.replicas()["web.1"].has_ended)
        lab.runtime.remove("web.1")
        lab.runtime.remove("web.1")
        lab.runtime.stop("web.1", 1.0)
        phases = {seen.phase for seen in lab.runtime.replicas().values()}
        assert phases <= {Phase.REMOVING}, "it does not go back"
        lab.wait_until(lambda: not lab.runtime.replicas())

    def test_stop_and_remove_of_nothing_do_nothing(self, lab: RuntimeLab) -> None:
        lab.runtime.stop("web.9", 1.0)
        lab.runtime.remove("web.9")
        assert not lab.runtime.replicas()

    def test_remove_of_a_running_replica_does_nothing(self, lab: RuntimeLab) -> None:
        self.start(lab, lab.good)
        lab.runtime.remove("web.1")
        assert "web.1" in lab.runtime.replicas()

    def test_exit_code_is_kept_until_removed(self, lab: RuntimeLab) -> None:
        self.start(lab, lab.crash)
        lab.wait_until(lambda: lab.runtime.replicas()["web.1"].phase is Phase.EXITED)
        assert lab.runtime.replicas()["web.1"].exit_code == 1


class GatewayContract:
    """The rules of ``scheduler/gateway/protocol.py``."""

    def test_routes_are_as_they_were_set(self, lab: GatewayLab) -> None:
        lab.gateway.set_route(ROUTE)
        assert lab.gateway.routes() == {"web": ROUTE}
        lab.gateway.remove_route("web")
        lab.gateway.remove_route("web")
        assert not lab.gateway.routes()

    def test_requests_wait_for_the_first_server(self, lab: GatewayLab) -> None:
        lab.gateway.set_route(ROUTE)
        lab.begin()
        lab.wait_until(lambda: lab.gateway.traffic()["web"].held == 1)
        lab.gateway.add(lab.server("web.1"))
        lab.wait_until(lambda: lab.gateway.servers()["web.1"].in_flight == 1)
        lab.finish()
        lab.wait_until(lambda: lab.answered() == 1)
        assert lab.gateway.traffic()["web"].held == 0

    def test_draining_lets_requests_end_and_takes_no_new_one(self, lab: GatewayLab) -> None:
        lab.gateway.set_route(ROUTE)
        lab.gateway.add(lab.server("web.1"))
        lab.begin()
        lab.wait_until(lambda: lab.gateway.servers()["web.1"].in_flight == 1)
        lab.gateway.add(lab.server("web.2"))
        lab.gateway.drain("web.1", "stable")
        lab.begin()
        lab.wait_until(lambda: lab.gateway.servers()["web.2"].in_flight == 1)
        assert lab.gateway.servers()["web.1"].draining
        lab.finish()
        lab.wait_until(lambda: lab.answered() == 2)
        lab.gateway.remove("web.1", "stable")
        assert list(lab.gateway.servers()) == ["web.2"]
        assert lab.lost() == 0

    def test_concurrency_is_a_hard_cap(self, lab: GatewayLab) -> None:
        lab.gateway.set_route(ROUTE)
        lab.gateway.add(lab.server("web.1", concurrency=2))
        for _ in range(5):
            lab.begin()
        lab.wait_until(lambda: lab.gateway.servers()["web.1"].in_flight == 2)
        lab.finish()
        lab.wait_until(lambda: lab.answered() == 5)

    def test_add_of_a_draining_server_takes_it_back(self, lab: GatewayLab) -> None:
        lab.gateway.set_route(ROUTE)
        server = lab.server("web.1")
        lab.gateway.add(server)
        lab.gateway.drain("web.1", "stable")
        lab.gateway.add(server)
        assert not lab.gateway.servers()["web.1"].draining

    def test_what_is_meant_for_the_other_pool_does_not_reach_it(self, lab: GatewayLab) -> None:
        lab.gateway.set_route(ROUTE)
        lab.gateway.add(lab.server("web.1", "stable"))
        lab.gateway.drain("web.1", "canary")
        lab.gateway.remove("web.1", "canary")
        assert not lab.gateway.servers()["web.1"].draining

    def test_an_empty_pool_falls_back_to_the_other(self, lab: GatewayLab) -> None:
        lab.gateway.set_route(ROUTE)
        lab.gateway.add(lab.server("web.1", "canary"))
        lab.begin()
        lab.wait_until(lambda: lab.gateway.servers()["web.1"].in_flight == 1)
        lab.finish()
        lab.wait_until(lambda: lab.answered() == 1)

    def test_drain_and_remove_of_nothing_do_nothing(self, lab: GatewayLab) -> None:
        lab.gateway.drain("web.9", "stable")
        lab.gateway.remove("web.9", "stable")
        assert not lab.gateway.servers()
