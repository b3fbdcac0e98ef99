"""Jobs and crons over a fake host: one story each."""

from __future__ import annotations

import pytest

from scheduler.control.status import status_of
from scheduler.model import Kind
from scheduler.policy import Cron, Job, Restart, RestartPolicy
from tests.scheduler.world import World, deployment

ONCE = RestartPolicy(Restart.ON_FAILURE)


def test_job_runs_to_its_completions() -> None:
    world = World()
    job = Job(completions=5, parallelism=2)
    world.apply(deployment(image="task", kind=Kind.JOB, job=job, restart=ONCE, port=None))
    most = 0
    while not world.entry().run.outcome:
        world.step()
        most = max(most, world.wanted())
    assert most == 2
    assert world.entry().run.succeeded == 5
    world.run(3)
    assert not world.runtime.boxes
    assert len(world.runtime.started) == 5


def test_job_that_a_person_holds_starts_nothing() -> None:
    world = World()
    job = Job(completions=2)
    world.apply(
        deployment(image="task", kind=Kind.JOB, job=job, port=None, restart=ONCE, paused=True)
    )
    world.run(5)
    assert not world.runtime.started


def test_job_gives_up_after_its_failures() -> None:
    world = World()
    job = Job(backoff_limit=2)
    world.apply(deployment(image="crash", kind=Kind.JOB, job=job, restart=ONCE, port=None))
    world.run_until(lambda: world.entry().run.outcome == "failed")
    reason = world.entry().run.reason
    assert reason.startswith("3 failures, 2 are allowed; the last: ")
    assert "exit" in reason
    world.run(3)
    assert len(world.runtime.started) == 3
    assert not world.runtime.boxes


def test_job_has_a_deadline() -> None:
    world = World()
    job = Job(deadline_s=5.0)
    world.apply(deployment(image="never", kind=Kind.JOB, job=job, restart=ONCE, port=None))
    assert world.run_until(lambda: world.entry().run.outcome == "failed") < 7
    state = status_of(world.entry(), world.controller.observe())
    assert (state.state, state.reason) == ("failed", "run 1: not done after 5 s")
    world.run(3)
    assert not world.runtime.boxes


def cron_world(
    schedule: str = "* * * * *", *, replace_: bool = False, image: str = "task"
) -> World:
    world = World()
    spec = Cron(schedule, replace=replace_)
    world.apply(deployment(image=image, kind=Kind.CRON, cron=spec, restart=ONCE, port=None))
    return world


def test_cron_runs_once_a_minute_whatever_the_clock_does() -> None:
    world = cron_world()
    world.run(180)
    runs = world.entry().run.number
    assert runs in (3, 4)
    world.unix_s -= 3600  # set back an hour: nothing is repeated
    world.run(60)
    assert world.entry().run.number == runs
    world.unix_s += 3600 + 86400 * 365  # a year ahead: one run, not half a million
    world.run(5)
    assert world.entry().run.number == runs + 1


@pytest.mark.parametrize(("late_s", "runs"), [(90, 2), (110, 1)])
def test_cron_that_is_too_late_is_left_out(late_s: int, runs: int) -> None:
    """What if the scheduler slept when a run was due: it begins within the deadline, or never."""
    midnight = 1_750_032_000
    world = World()
    world.unix_s = midnight - 86400 + 1.0
    cron = Cron("0 0 * * *", starting_deadline_s=100.0)
    world.apply(deployment(image="task", kind=Kind.CRON, cron=cron, restart=ONCE, port=None))
    world.run(10)
    assert world.entry().run.number == 1
    world.unix_s = midnight + late_s
    world.run(5)
    assert world.entry().run.number == runs


def test_cron_leaves_out_or_replaces_a_run_that_is_still_going() -> None:
    world = cron_world(image="never")
    world.run(130)
    assert world.entry().run.number == 1
    assert world.kinds().count("job-skipped") >= 1
    world = cron_world(image="never", replace_=True)
    world.run(130)
    assert world.entry().run.number >= 2
    assert len(world.runtime.boxes) == 1
