"""Clocks that jump: nothing that serves is touched, and nothing is waited for that has passed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scheduler import serve_lab
from tests.scheduler.serve_lab import Lab, Load, wait_until
from tests.scheduler.test_faults import ids, pid_of

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "busybox", "timens")

HOUR_S, YEAR_S = 3600, 365 * 86400


@pytest.fixture
def lab(tiny: Path) -> Iterator[Lab]:
    with serve_lab.lab(tiny) as made:
        yield made


def begin(lab: Lab, monotonic_s: int) -> None:
    """Start the scheduler with its monotonic clock off by so much."""
    program = ("-m", "tests.scheduler.elsewhen", str(monotonic_s), str(lab.top / "wall"))
    lab.start(program=program)


def turn(lab: Lab, wall_s: int) -> None:
    """Turn the wall clock of the scheduler that runs, and of the next."""
    turned = lab.top / "turned"
    turned.write_text(str(wall_s))
    turned.replace(lab.top / "wall")


def pids(lab: Lab) -> dict[str, int]:
    return {replica: pid_of(lab, replica) for replica in ids(lab)}


def kinds(lab: Lab) -> set[str]:
    """Return what was told of the deployment."""
    return {event["kind"] for event in lab.client.events(limit=1000)}


@pytest.mark.parametrize("jump_s", [YEAR_S, -HOUR_S])
def test_a_monotonic_clock_that_jumps_between_two_schedulers_stops_nothing(
    lab: Lab, jump_s: int
) -> None:
    begin(lab, YEAR_S)
    lab.deploy("web", 2)
    lab.wait_running("web", 2)
    before = pids(lab)
    with Load(lab, "web") as load:
        lab.kill()
        begin(lab, YEAR_S + jump_s)
        lab.wait_running("web", 2)
        assert pids(lab) == before
        lab.client.scale("web", 3)
        lab.wait_running("web", 3)
        load.wait_for(20)
    assert not load.failed
    assert not kinds(lab) & {"exited", "rollback", "rollout-failed", "crash-loop"}


def test_a_wall_clock_that_jumps_moves_nothing_but_timestamps(lab: Lab) -> None:
    begin(lab, 0)
    lab.deploy("web", 2)
    lab.wait_running("web", 2)
    before = pids(lab)
    with Load(lab, "web") as load:
        for jump_s in (YEAR_S, -HOUR_S):
            turn(lab, jump_s)
            lab.client.scale("web", 3)
            lab.wait_running("web", 3)
            lab.client.scale("web", 2)
            lab.wait_running("web", 2)
            lab.kill()
            begin(lab, 0)
            lab.wait_running("web", 2)
        load.wait_for(20)
    assert not load.failed
    assert pids(lab) == before, "the young are let go first, by a clock that was not turned"
    wait_until(lambda: lab.containers() == ids(lab), "none is left over", lab.told)
