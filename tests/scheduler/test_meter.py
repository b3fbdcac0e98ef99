"""What the gateway counts, averaged over what each deployment's autoscaler says."""

from __future__ import annotations

from scheduler.effects import route_of
from scheduler.gateway.meter import Gauge
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


def test_route_carries_the_windows_that_were_asked_for() -> None:
    world = World()
    spec = Autoscale(concurrency=1.0, stable_window_s=120.0, panic_window_percent=5.0)
    for wanted, windows in ((spec, (120.0, 6.0)), (None, (60.0, 6.0))):
        world.apply(deployment(autoscale=wanted))
        tick = Tick(world.store.load(), Observed(0.0, HOST), 0.0)
        route = route_of(world.entry(), tick)
        assert (route.stable_s, route.panic_s) == windows
