"""Two containers are given one control group: tidying up after one must not kill the other."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from minirun.errors import StepError
from minirun.lifecycle import Container
from minirun.ownership import processes
from minirun.steps.base import Step
from tests.integration.engine_lab import kill_hard
from tests.integration.lifecycle_lab import Json, Lab, footprint, fork

pytestmark = pytest.mark.requires("root", "overlay", "busybox", "cgroups")

GROUP = f"minirun/lab-{os.getpid()}-shared"


@pytest.fixture
def config(lab: Lab) -> Json:
    """Return the config of a container that sleeps in the shared group."""
    made = lab.config("sleep", "1000")
    made["linux"]["cgroupsPath"] = GROUP
    return made


def die_at_step(lab: Lab, name: str, config: Json, wanted: str) -> None:
    """Create a container in a runtime that dies by kill -9 right after one step."""

    def die(_index: int, step: Step, _seconds: float) -> None:
        if step.id == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    pid = fork(partial(lab.create, lab.container(name), config, observe=die))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def running(lab: Lab, config: Json) -> Container:
    container = lab.container()
    lab.create(container, config)
    container.start()
    return container


@pytest.mark.parametrize("again", [False, True], ids=["deleted", "created again"])
def test_what_a_killed_create_left_does_not_kill_the_next_in_its_group(
    lab: Lab, config: Json, again: bool
) -> None:
    """What if the group was taken over by another container before somebody tidied up?"""
    name = f"lab-{os.getpid()}-killed"
    die_at_step(lab, name, config, "create-cgroup")
    web = running(lab, config)
    killed = lab.container(name)
    if again:
        with pytest.raises(StepError, match="in use by 1 processes"):
            lab.create(killed, config)
    else:
        killed.kill(signal.SIGKILL, everybody=True)
        killed.delete(force=True)
    assert web.state().status == "running"
    web.delete(force=True)
    assert not footprint(lab.root)


def test_deleting_the_one_that_ended_leaves_its_successor_alone(lab: Lab, config: Json) -> None:
    first = running(lab, config)
    kill_hard(first.state().pid)
    second = running(lab, config)
    assert processes(first, first.state()) == []
    first.delete()
    assert second.state().status == "running"
    second.delete(force=True)
    assert not footprint(lab.root)


@pytest.fixture
def stranger(lab: Lab, config: Json) -> Iterator[subprocess.Popen[bytes]]:
    """Give a process of the user's own that lives in the group."""
    driver_of = Container(str(lab.root), "driver", lab.container().host)
    web = running(lab, config)
    driver = driver_of.driver(web.state())
    web.delete(force=True)
    driver.create()
    process = subprocess.Popen(["sleep", "1000"])
    driver.add(process.pid)
    driver.claim.release()
    yield process
    process.kill()
    process.wait()
    driver.delete()


def test_create_killed_before_it_came_to_its_group_has_no_claim(
    lab: Lab, config: Json, stranger: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What if the group has always been the user's, who runs something else in it?"""
    name = f"lab-{os.getpid()}-early"
    doomed = lab.container(name)
    monkeypatch.setattr(
        "minirun.creation.run_plan", lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    )
    pid = fork(partial(lab.create, doomed, config))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    monkeypatch.undo()
    with pytest.raises(StepError, match="in use"):
        lab.create(doomed, config)
    doomed.delete(force=True)
    assert stranger.poll() is None
    assert Path(f"/proc/{stranger.pid}").exists()


def create_at(lab: Lab, container: Container, config: Json, start: tuple[int, int]) -> int:
    """Create in a child that begins when the pipe is closed; exit code 5 where it is refused."""

    def act() -> None:
        os.close(start[1])
        os.read(start[0], 1)
        try:
            lab.create(container, config)
        except StepError as error:
            os._exit(5 if "in use by" in str(error) else 6)

    return fork(act)


def exit_codes(pids: list[int]) -> list[int]:
    return sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)


@pytest.mark.parametrize("_round", range(3))
def test_of_creates_that_race_for_one_group_one_wins(lab: Lab, config: Json, _round: int) -> None:
    """What if each looks before the other's process is in?"""
    rivals = [lab.container() for _ in range(4)]
    start = os.pipe()
    children = [create_at(lab, container, config, start) for container in rivals]
    for end in start:
        os.close(end)
    assert exit_codes(children) == [0, 5, 5, 5]
    alive = [container for container in rivals if container.directory.exists()]
    assert [container.state().status for container in alive] == ["created"]
    alive[0].delete(force=True)
    assert not footprint(lab.root)


def test_removing_an_old_group_waits_for_who_moves_in(lab: Lab, config: Json) -> None:
    """What if a container is deleted while another one's process is on its way into the group?"""
    old = running(lab, config)
    kill_hard(old.state().pid)
    deleting: list[int] = []

    def delete(_index: int, step: Step, _seconds: float) -> None:
        if step.id == "create-cgroup":
            deleting.append(fork(partial(old.delete, force=True)))
            pidfd = os.pidfd_open(deleting[0])
            assert not select.select([pidfd], [], [], 0.3)[0]
            os.close(pidfd)

    new = lab.container()
    lab.create(new, config, observe=delete)
    assert exit_codes(deleting) == [0]
    assert not old.directory.exists()
    assert new.state().status == "created"
    new.start()
    new.delete(force=True)
    assert not footprint(lab.root)


def test_first_error_is_told_where_taking_back_fails_too(
    lab: Lab, config: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What if a hook leaves a process of the host in the group before it fails?"""
    monkeypatch.setattr("minirun.cgroups.files.REMOVAL_S", 0.1)
    procs = next(iter(lab.container().host.controllers.values())).base + f"/{GROUP}/cgroup.procs"
    stranger = subprocess.Popen(["sleep", "1000"])
    script = f"echo {stranger.pid} > {procs}; exit 3"
    config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    doomed = lab.container()
    try:
        with pytest.raises(StepError, match=r"createRuntime hook .* 3") as caught:
            lab.create(doomed, config)
        assert "left behind" in caught.value.hint
        assert f"still in use by processes: {stranger.pid}" in caught.value.hint
        assert not doomed.directory.exists()
    finally:
        kill_hard(stranger.pid)
        stranger.wait()
        driver = running(lab, {**config, "hooks": {}})  # the group is free, and goes with it
        driver.delete(force=True)
    assert not footprint(lab.root)
