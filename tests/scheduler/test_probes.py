"""When a replica is asked, and what its answers come to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.model import Template
from scheduler.policy import ExecCheck, HttpCheck, Probe, Probes, TcpCheck
from scheduler.probes import EAGER_S, EXEC_S, Course, Health

HTTP = HttpCheck("/")


class Patient:
    """A replica that answers as it is told, and a clock that goes from question to question."""

    def __init__(self, probes: Probes, port: int | None = 8000) -> None:
        self.now = 100.0
        self.health = Health(Template("x", port=port, probes=probes), self.now)
        self.asked: list[float] = []

    def ask(self, *, answer: bool, said: str = "") -> Course:
        """Ask what is due next, and return it."""
        course = min(self.health.courses(), key=lambda course: course.due_at)
        self.now = max(self.now, course.due_at)
        self.asked.append(self.now - 100)
        self.health.answered(course, answer, self.now, said)
        return course

    def problem(self) -> str:
        return self.health.problem

    def is_ready(self) -> bool:
        return self.health.ready


def test_nothing_to_ask_is_ready_and_alive() -> None:
    health = Health(Template("x"), 0.0)
    assert (health.ready, health.alive, list(health.courses())) == (True, True, [])


def test_a_port_is_connected_to_until_it_answers_and_never_again() -> None:
    patient = Patient(Probes())
    for _ in range(3):
        patient.ask(answer=False)
    assert not patient.is_ready()
    assert patient.asked == pytest.approx([0, EAGER_S, 2 * EAGER_S])
    patient.ask(answer=True)
    assert patient.is_ready()
    assert not list(patient.health.courses())


def test_what_does_not_become_ready_says_why_but_not_while_it_starts() -> None:
    patient = Patient(Probes(readiness=Probe(HTTP, period_s=5.0)))
    while patient.now < 101:
        assert not patient.problem()
        patient.ask(answer=False, said="connection refused")
    assert patient.problem() == "readiness probe failed: connection refused"
    patient.ask(answer=True)
    assert not patient.problem()
    for _ in range(2):
        patient.ask(answer=False, said="GET / was answered 503")
        assert not patient.problem(), "it is ready until its threshold"
    patient.ask(answer=False, said="GET / was answered 503")
    assert patient.problem() == "readiness probe failed: GET / was answered 503"


def test_what_is_not_alive_says_that_first() -> None:
    patient = Patient(Probes(readiness=Probe(HTTP), liveness=Probe(HTTP, failure_threshold=1)))
    while patient.health.alive:
        patient.ask(answer=False, said="no answer in 1 s")
    assert patient.problem() == "liveness probe failed: no answer in 1 s"


def test_who_takes_long_is_asked_less_often() -> None:
    patient = Patient(Probes(readiness=Probe(HTTP, period_s=5.0)))
    while patient.now < 400:
        patient.ask(answer=False)
    early = [t for t in patient.asked if t < 0.2]
    late = [b - a for a, b in zip(patient.asked, patient.asked[1:], strict=False) if a > 100]
    assert 9 <= len(early) <= 11
    assert late == pytest.approx([5.0] * len(late))


def test_a_command_is_not_run_in_a_hurry() -> None:
    patient = Patient(Probes(startup=Probe(ExecCheck(("true",)), period_s=10.0)))
    for _ in range(3):
        patient.ask(answer=False)
    assert patient.asked == pytest.approx([0, EXEC_S, 2 * EXEC_S])


def test_readiness_follows_its_thresholds() -> None:
    probe = Probe(HTTP, period_s=1.0, failure_threshold=3, success_threshold=2)
    patient = Patient(Probes(readiness=probe))
    story = [(True, False), (True, True), (False, True), (False, True), (True, True)]
    story += [(False, True), (False, True), (False, False), (True, False), (True, True)]
    for answer, ready in story:
        patient.ask(answer=answer)
        assert patient.is_ready() is ready


def test_what_has_once_been_ready_is_asked_in_its_own_time() -> None:
    patient = Patient(Probes(readiness=Probe(HTTP, period_s=4.0, failure_threshold=1)))
    for answer in (True, False, True):
        patient.ask(answer=answer)
    assert patient.asked == pytest.approx([0, 4, 8])


def test_liveness_is_never_in_a_hurry_and_needs_its_threshold() -> None:
    probe = Probe(HTTP, period_s=2.0, failure_threshold=2, initial_delay_s=3.0)
    patient = Patient(Probes(liveness=probe), port=None)
    alive = []
    for answer in (False, True, False, False):
        patient.ask(answer=answer)
        alive.append(patient.health.alive)
    assert patient.asked == pytest.approx([3, 5, 7, 9])
    assert alive == [True, True, True, False]


def test_before_it_has_started_nothing_else_is_asked() -> None:
    probes = Probes(
        startup=Probe(HTTP), readiness=Probe(TcpCheck()), liveness=Probe(HTTP, initial_delay_s=9.0)
    )
    patient = Patient(probes)
    for _ in range(50):
        patient.ask(answer=False)
    assert not patient.is_ready()
    assert patient.health.alive, "slow is not dead"
    assert patient.now > 105
    patient.ask(answer=True)
    readiness, liveness = patient.health.courses()
    assert readiness.due_at == patient.now
    assert liveness.due_at == patient.now + 9.0
    assert not patient.is_ready()
    patient.ask(answer=True)
    assert patient.is_ready()


def test_a_startup_probe_alone_says_when_it_is_ready() -> None:
    patient = Patient(Probes(startup=Probe(HTTP)))
    assert not patient.is_ready()
    patient.ask(answer=True)
    assert patient.is_ready()


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_asking_always_goes_on(answers: list[bool], failures: int, successes: int) -> None:
    probe = Probe(HTTP, 0.0, failure_threshold=failures, success_threshold=successes)
    patient = Patient(Probes(readiness=probe, liveness=probe))
    for answer in answers:
        assert patient.ask(answer=answer).due_at >= patient.now + EAGER_S
