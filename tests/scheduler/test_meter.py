"""What the gateway counts, averaged over what each deployment's autoscaler says."""

from __future__ import annotations

from scheduler.effects import route_of
from scheduler.gateway.meter import SLIDING, Gauge, spent_ms
from scheduler.observed import Observed, Route
from scheduler.policy import Autoscale
from scheduler.tick import Tick
from tests.scheduler.fakes import HOST
from tests.scheduler.world import World, deployment


def gauge(stable_s: float, panic_s: float) -> Gauge:
    """Return a gauge that saw ten requests at a time for a minute, then none for ten seconds."""
    made = Gauge(Route("web"))
    made.follow(Route("web", stable_s=stable_s, panic_s=panic_s))
    for second in range(70):
        busy = 10 if second < 60 else 0
        made.sample({"stable": {"scur": str(busy), "stot": "0"}}, busy, 0, float(second))
    return made


def test_gauge_averages_over_the_deployments_own_windows() -> None:
    quick = gauge(6.0, 1.0).traffic(None, 69.0)
    slow = gauge(40.0, 20.0).traffic(None, 69.0)
    assert quick is not None
    assert slow is not None
    assert (quick.stable_concurrency, quick.panic_concurrency) == (0.0, 0.0)
    assert (slow.stable_concurrency, slow.panic_concurrency) == (7.5, 5.0)


class Backend:
    """The proxy's arithmetic: a sum up to 512 requests, and beyond one that each takes from."""

    def __init__(self) -> None:
        self.requests = self.held = self.took = 0

    def answer(self, ms: int) -> None:
        self.requests += 1
        self.took += ms
        self.held += ms - (-(-self.held // SLIDING) if self.requests > SLIDING else 0)

    def row(self) -> dict[str, str]:
        count = min(self.requests, SLIDING)
        return {"req_tot": str(self.requests), "rtime": str(-(-self.held // max(1, count)))}


def test_spent_is_what_requests_took_however_many_came_before() -> None:
    backend, before, told = Backend(), dict[str, str](), 0.0
    for look in range(400):
        for number in range(look % 20):
            backend.answer(200 if look > 200 and number % 5 == 0 else 2)
        row = backend.row()
        told, before = told + spent_ms(before, row), row
    assert backend.requests > 4 * SLIDING
    assert abs(told - backend.took) <= SLIDING, "one rounding, and not one for each look"


def test_route_carries_the_windows_that_were_asked_for() -> None:
    world = World()
    spec = Autoscale(concurrency=1.0, stable_window_s=120.0, panic_window_percent=5.0)
    for wanted, windows in ((spec, (120.0, 6.0)), (None, (60.0, 6.0))):
        world.apply(deployment(autoscale=wanted))
        tick = Tick(world.store.load(), Observed(0.0, HOST), 0.0)
        route = route_of(world.entry(), tick)
        assert (route.stable_s, route.panic_s) == windows
