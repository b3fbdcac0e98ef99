"""The fakes, held to the contract that everything they stand for is held to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scheduler.actions import AddServer, Start
from scheduler.model import Template
from tests.scheduler.contract import GatewayContract, RuntimeContract
from tests.scheduler.fakes import Clock, FakeGateway, FakeRuntime

ENDLESS_S = 1e6


class FakeRuntimeLab:
    good, crash, missing = "good", "crash", "missing"

    def __init__(self) -> None:
        self.clock = Clock()
        self.runtime = FakeRuntime(self.clock)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        for _ in range(100):
            if condition():
                return
            self.clock.now += 0.1
            self.runtime.advance()
        pytest.fail("it never came to be")


class FakeGatewayLab(FakeRuntimeLab):
    def __init__(self) -> None:
        super().__init__()
        self.gateway = FakeGateway(self.clock, self.runtime)
        self.finishing = False

    def server(self, name: str, pool: str = "stable", concurrency: int = 0) -> AddServer:
        self.runtime.start(Start(name, "web", 1, Template("good", port=8000)))
        return AddServer(name, "web", pool, f"/run/{name}.sock", concurrency)

    def begin(self) -> None:
        self.gateway.request("web", ENDLESS_S)

    def finish(self) -> None:
        self.finishing = True

    def answered(self) -> int:
        return self.gateway.fates["ok"]

    def lost(self) -> int:
        return sum(n for fate, n in self.gateway.fates.items() if fate != "ok")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        def advanced() -> bool:
            for member in self.gateway.members.values() if self.finishing else ():
                for request in member.in_flight:
                    request.done_at = self.clock.now
            self.gateway.advance()
            return condition()

        super().wait_until(advanced)


class TestFakeRuntime(RuntimeContract):
    @pytest.fixture
    def lab(self) -> FakeRuntimeLab:
        return FakeRuntimeLab()


class TestFakeGateway(GatewayContract):
    @pytest.fixture
    def lab(self) -> FakeGatewayLab:
        return FakeGatewayLab()
