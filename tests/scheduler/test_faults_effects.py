"""The controller is killed around every effect that it ever does: see ``lives.py``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, get_args

import pytest

from scheduler.actions import Effect
from scheduler.client import ApiError
from tests.scheduler import serve_lab
from tests.scheduler.serve_lab import Load, wait_until

T = TypeVar("T")


@pytest.mark.requires("root", "overlay", "cgroups", "busybox")
def test_a_controller_killed_around_every_effect_loses_and_doubles_nothing(tiny: Path) -> None:
    with serve_lab.lab(tiny) as lab:
        deaths = lab.top / "deaths"
        lab.start(program=("-m", "tests.scheduler.lives", str(deaths)), wait=False)
        # A drain that has lasted too long is cut short, and so many deaths take their time.
        patient = {
            "update": {"min_ready_s": 0.0, "progress_deadline_s": 120.0},
            "timeouts": {"stop_s": 2.0, "drain_s": 120.0},
        }
        again(lambda: lab.deploy("web", 1, **patient), "deployed")
        wait_until(lambda: stands(lab, 1, 1), "one replica", lab.log)
        wait_until(lambda: lab.ask("web") == 200, "it answers", lab.log)
        with Load(lab, "web") as load:
            again(lambda: lab.client.scale("web", 2), "scaled")
            wait_until(lambda: stands(lab, 2, 1), "two replicas", lab.log)
            again(lambda: lab.deploy("web", 2, environment={"A": "2"}, **patient), "updated")
            wait_until(lambda: stands(lab, 2, 2), "two new replicas", lab.log)
            load.wait_for(20)
        assert not load.failed
        wait_until(lambda: len(lab.containers()) == 2, "none is twice, no old one left", lab.log)
        again(lambda: lab.client.delete("web"), "deleted")
        wait_until(lambda: not again(lab.client.deployments, "listed"), "it is gone", lab.log)
        assert not lab.containers()
        # The route outlives its deployment, and with it the controller's last effect.
        last = "RemoveRoute web"
        wait_until(lambda: json.loads(deaths.read_text()).get(last, 0) >= 2, last, lab.log)
        _check(json.loads(deaths.read_text()))


def _check(deaths: dict[str, int]) -> None:
    """Check that each effect was met, and that there was a death before and after each."""
    kinds = Counter(key.split()[0] for key in deaths)
    assert kinds.keys() == {kind.__name__ for kind in get_args(Effect)}, "one was never met"
    assert kinds["Start"] >= 4
    for kind in ("AddServer", "DrainServer", "RemoveServer", "Stop", "Remove"):
        assert kinds[kind] >= 4, kinds
    assert kinds["SetRoute"] == kinds["RemoveRoute"] == 1
    assert min(deaths.values()) >= 2, deaths


def again(work: Callable[[], T], what: str) -> T:
    """Ask until there is an answer: whoever is asked may be killed meanwhile."""
    answers: list[T] = []

    def attempt() -> bool:
        try:
            answers.append(work())
        except ApiError as error:
            if error.status:
                raise
        return bool(answers)

    wait_until(attempt, what)
    return answers[0]


def stands(lab: serve_lab.Lab, ready: int, revision: int) -> bool:
    """Return whether so many replicas of a revision are ready, and nothing else is there."""
    status = again(lambda: lab.client.deployment("web"), "looked")["status"]
    return (status["ready"], status["revision"], status["state"]) == (ready, revision, "running")
