"""Is it started, may it get requests, is it alive: three questions, and when to ask them.

    startup ──holds──▶ readiness ──▶ ready
                  └──▶ liveness  ──▶ alive

Until a probe holds for the first time it is asked every few milliseconds, less often the longer it
takes: what waits for a first replica waits for this. From then on its period counts.

A replica with a port or a socket and neither a startup nor a readiness probe is ready when it
accepts a connection. Pure. Next: ``engines/prober.py``, which asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .model import Template
from .policy import ExecCheck, Probe, TcpCheck

#: How soon one asks again that has never heard yes: a tenth of the time it has waited already.
EAGER_S, EAGER_SHARE = 0.02, 0.1
#: A command in a replica costs a process: it is not started more often than this.
EXEC_S = 1.0
#: What is heard before that is the noise of a start.
TOLD_AFTER_S = 1.0
CONNECTS = Probe(TcpCheck(), period_s=1.0)


@dataclass(slots=True)
class Course:
    """One probe of one replica: when it is due, and what its answers come to.

    Args:
        probe: what is asked, and how often.
        since: when it could first have held.
        due_at: when to ask next.
        eager: ask more often than the period says, until the first yes.
        holds: None until enough answers in a row have agreed.
        last: the last answer.
        streak: how many in a row were like it.
        said: what the last no was; "" while that is to be expected.
    """

    probe: Probe
    since: float
    due_at: float
    eager: bool = True
    holds: bool | None = None
    last: bool | None = None
    streak: int = 0
    said: str = ""

    def answered(self, answer: bool, now: float, said: str = "") -> None:
        """Take an answer into account, and say when to ask again."""
        is_early = self.eager and now - self.since < TOLD_AFTER_S
        self.said = "" if answer or is_early else said
        self.streak = self.streak + 1 if answer is self.last else 1
        self.last = answer
        self.eager = self.eager and not answer
        needed = self.probe.success_threshold if answer else self.probe.failure_threshold
        if self.streak >= needed:
            self.holds = answer
        self.due_at = now + self._pause_s(now)

    def _pause_s(self, now: float) -> float:
        period = max(self.probe.period_s, EAGER_S)
        if not self.eager:
            return period
        least = EXEC_S if isinstance(self.probe.check, ExecCheck) else EAGER_S
        return min(period, max(least, (now - self.since) * EAGER_SHARE))


class Health:
    """What the probes of one replica come to.

    Args:
        template: what the replica is.
        now: monotonic seconds: when it began to run.
    """

    def __init__(self, template: Template, now: float) -> None:
        probes = template.probes
        self._startup = _course(probes.startup, now)
        served = bool(template.port or template.socket)
        implied = CONNECTS if served and not probes.startup else None
        self._readiness = _course(probes.readiness or implied, now)
        self._once = probes.readiness is None
        self._liveness = _course(probes.liveness, now, eager=False)

    def courses(self) -> Iterator[Course]:
        """Yield the probes that have to be asked; there is nothing to ask before it has started."""
        if self._startup and not self._startup.holds:
            yield self._startup
            return
        # That it accepts connections is found out once; the gateway sees what happens after that.
        if self._readiness and not (self._once and self._readiness.holds):
            yield self._readiness
        if self._liveness:
            yield self._liveness

    def answered(self, course: Course, answer: bool, now: float, said: str = "") -> None:
        """Take an answer into account."""
        course.answered(answer, now, said)
        if course is self._startup and course.holds:
            for later in filter(None, (self._readiness, self._liveness)):
                later.since, later.due_at = now, now + later.probe.initial_delay_s

    @property
    def ready(self) -> bool:
        """Return whether it may get requests."""
        return all(course.holds for course in (self._startup, self._readiness) if course)

    @property
    def alive(self) -> bool:
        """Return whether it should go on."""
        return self._liveness is None or self._liveness.holds is not False

    @property
    def problem(self) -> str:
        """Return why it is not ready, or should not go on; "" where all is well or it starts."""
        if self._liveness and self._liveness.said and not self.alive:
            return f"liveness probe failed: {self._liveness.said}"
        for name, course in (("startup", self._startup), ("readiness", self._readiness)):
            if course and course.said and not course.holds:
                return f"{name} probe failed: {course.said}"
        return ""


def _course(probe: Probe | None, now: float, *, eager: bool = True) -> Course | None:
    return Course(probe, now, now + probe.initial_delay_s, eager) if probe else None
