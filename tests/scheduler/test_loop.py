"""How often somebody looks: at once where there is more to do, and seldom where nothing can be."""

from __future__ import annotations

from threading import Event

import pytest

from minirun import ScheduleError
from scheduler.loop import BUSY_S, IDLE_S, Loop
from scheduler.observed import Route
from tests.scheduler.world import World, deployment


def test_loop_does_not_hurry_for_what_cannot_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """What if a port is another program's: fifty tries a second would not free it."""
    world = World()
    world.apply(deployment(replicas=0))

    def refuse(_route: Route) -> None:
        raise ScheduleError("port 8000 cannot be published", status=503)

    with monkeypatch.context() as taken:
        taken.setattr(world.gateway, "set_route", refuse)
        pauses = [_pause(world) for _ in range(5)]
    assert pauses[-1] == IDLE_S
    assert not world.gateway.routes()
    assert [_pause(world) for _ in range(2)] == [BUSY_S, IDLE_S]
    assert list(world.gateway.routes()) == ["web"]


def _pause(world: World) -> float:
    """Let the loop look once; return how long it would wait before the next look."""
    world.pass_time()
    return Loop(world.controller, Event())._tick(world.controller.tick)
