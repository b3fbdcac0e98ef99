"""One thread that asks every probe of every replica when it is due.

    due ──ask──▶ attempt ──ready or overdue──▶ answer ──▶ Health ──changed──▶ the runtime

``../probes.py`` knows when and what it comes to; ``checks.py`` knows how to ask. Here is only the
waiting, for whichever comes first of all of them.

Next: ``local.py``.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock, Thread

from ..probes import Course, Health
from .checks import Attempt, Target, ask

#: Tells of a replica: its id, whether it may get requests, whether it should go on, and why not.
Report = Callable[[str, bool, bool, str], None]


@dataclass(slots=True)
class _Patient:
    """A replica that is asked."""

    name: str
    target: Target
    health: Health
    told: tuple[bool, bool, str] | None = None
    answered: bool = False
    gone: bool = False
    asking: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Asked:
    """A question that was asked and not answered."""

    patient: _Patient
    course: Course
    attempt: Attempt
    deadline: float


class Prober:
    """The thread; it ends with ``close``.

    Args:
        report: called when something has changed, in this thread.
        clock: monotonic seconds.
    """

    def __init__(self, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._lock = Lock()
        self._patients: dict[str, _Patient] = {}
        self._due: list[tuple[float, int, _Patient, Course]] = []
        self._asked: dict[int, _Asked] = {}
        self._numbers = itertools.count()
        self._wake_out, self._wake_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._closed = False
        self._thread = Thread(target=self._run, name="prober", daemon=True)
        self._thread.start()

    def watch(self, name: str, target: Target) -> None:
        """Begin to ask a replica that runs."""
        patient = _Patient(name, target, Health(target.template, self._clock()))
        with self._lock:
            self._patients[name] = patient
            self._plan(patient)
        os.write(self._wake_in, b"w")

    def forget(self, name: str) -> None:
        """Ask a replica no more."""
        with self._lock:
            if patient := self._patients.pop(name, None):
                patient.gone = True

    def settled(self) -> bool:
        """Return whether every replica was heard at least once."""
        with self._lock:
            return all(p.answered or not any(p.health.courses()) for p in self._patients.values())

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        os.write(self._wake_in, b"w")
        self._thread.join()
        for asked in self._asked.values():
            asked.attempt.close()
        os.close(self._wake_in)
        os.close(self._wake_out)

    # ---- the loop -------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed:
            self._tell_news()
            self._ask_due()
            ready = self._wait()
            now = self._clock()
            for fd, asked in list(self._asked.items()):
                if fd in ready:
                    self._conclude(fd, asked, asked.attempt.proceed())
                elif now >= asked.deadline or asked.patient.gone:
                    asked.attempt.said = f"no answer in {asked.course.probe.timeout_s:g} s"
                    self._conclude(fd, asked, False)

    def _plan(self, patient: _Patient) -> None:
        """Put what a replica has to be asked on the list; each once."""
        for course in patient.health.courses():
            if id(course) not in patient.asking:
                patient.asking.add(id(course))
                heapq.heappush(self._due, (course.due_at, next(self._numbers), patient, course))

    def _tell_news(self) -> None:
        """Tell of each replica once what nobody was told."""
        with self._lock:
            patients = list(self._patients.values())
        for patient in patients:
            health = patient.health
            found = health.ready, health.alive, health.problem
            if found != patient.told:
                patient.told = found
                self._report(patient.name, *found)

    def _ask_due(self) -> None:
        while True:
            with self._lock:
                if not self._due or self._due[0][0] > self._clock():
                    return
                _, _, patient, course = heapq.heappop(self._due)
            if patient.gone:
                continue
            try:
                attempt = ask(course.probe.check, patient.target)
            except OSError:  # out of descriptors: it says nothing about the replica
                self._again(patient, course, course.probe.period_s)
                continue
            if isinstance(attempt, str):
                self._answer(patient, course, answer=False, said=attempt)
                continue
            deadline = self._clock() + course.probe.timeout_s
            self._asked[attempt.fd] = _Asked(patient, course, attempt, deadline)

    def _again(self, patient: _Patient, course: Course, seconds: float) -> None:
        course.due_at = self._clock() + seconds
        with self._lock:
            patient.asking.discard(id(course))
            self._plan(patient)

    def _wait(self) -> set[int]:
        poll = select.poll()
        poll.register(self._wake_out, select.POLLIN)
        for fd, asked in self._asked.items():
            poll.register(fd, asked.attempt.events)
        ready = {fd for fd, _ in poll.poll(self._timeout_ms())}
        if self._wake_out in ready:
            os.read(self._wake_out, 4096)
        return ready

    def _timeout_ms(self) -> float | None:
        moments = [asked.deadline for asked in self._asked.values()]
        with self._lock:
            moments += [entry[0] for entry in self._due[:1]]
        # poll(2) counts in milliseconds: one more, or it would return a little too early.
        return max(0.0, min(moments) - self._clock()) * 1000 + 1 if moments else None

    def _conclude(self, fd: int, asked: _Asked, answer: bool | None) -> None:
        if answer is None:
            return
        asked.attempt.close()
        del self._asked[fd]
        if not asked.patient.gone:
            self._answer(asked.patient, asked.course, answer=answer, said=asked.attempt.said)

    def _answer(self, patient: _Patient, course: Course, *, answer: bool, said: str) -> None:
        with self._lock:
            patient.answered = True
            patient.health.answered(course, answer, self._clock(), said)
            patient.asking.discard(id(course))
            self._plan(patient)
