"""When a replica that ended is started again, and when it is not.

The curve is that of KEP-4603: the first restart is immediate, the next waits 1 s, each further one
twice as long, up to 60 s; ten minutes without an exit forget it all. Ten percent of jitter keep
replicas that died together from being started together. A replica that the kernel keeps ending for
its memory gets a name for it: no back-off cures a limit that is too low.

May not import anything with an effect. Next: ``rollout.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .actions import Event
from .entry import Slot, State
from .observed import Replica
from .policy import Restart, RestartPolicy

JITTER = 0.1
OOM_WINDOW_S = 600.0
OOM_LOOP = 3
MIB = 1 << 20

#: Returns a number between 0 and 1, as ``random.Random(seed).random`` does.
Draw = Callable[[], float]


def delay_s(policy: RestartPolicy, failures: int, draw: Draw) -> float:
    """Return how long to wait before the next start.

    >>> [delay_s(RestartPolicy(), n, lambda: 0.5) for n in (1, 2, 3, 4, 8, 9, 100)]
    [0.0, 1.0, 2.0, 4.0, 60.0, 60.0, 60.0]

    Args:
        policy: where the curve starts and ends.
        failures: exits in a row, this one included; 1 is the first.
        draw: where the jitter comes from.
    """
    if failures <= 1:
        return 0.0
    doublings = min(failures - 2, 32)  # 2.0 ** 1100 is an error, and any cap is passed long before
    return min(policy.cap_s, policy.initial_s * 2.0**doublings) * (1 + JITTER * (2 * draw() - 1))


def failed(replica: Replica) -> bool:
    """Return whether the exit was anything but a success."""
    return replica.exit_code != 0 or replica.oom or bool(replica.problem)


def after_exit(
    policy: RestartPolicy, slot: Slot, replica: Replica, now: float, draw: Draw
) -> tuple[Slot, Event]:
    """Return the slot of a replica that ended: waiting for its next start, or ended for good."""
    held = replica.started_at > 0 and replica.ended_at - replica.started_at >= policy.reset_s
    failures = 1 if held else slot.failures + 1
    ooms = tuple(t for t in slot.ooms if t > now - OOM_WINDOW_S) + ((now,) if replica.oom else ())
    why = reason(replica, len(ooms))
    slot = replace(slot, since=now, failures=failures, ooms=ooms, after=(), reason=why)
    if final := _final(policy, replica, failures):
        slot = replace(slot, state=State.ENDED, reason=f"{why}; {final}")
        return slot, _event(replica, "ended", slot)
    slot = replace(slot, state=State.WAITING, retry_at=now + delay_s(policy, failures, draw))
    return slot, _event(replica, "crash-loop" if len(ooms) >= OOM_LOOP else "exited", slot)


def reason(replica: Replica, ooms: int = 0) -> str:
    """Return why a replica ended, in the words of a status column."""
    if replica.oom:
        peak = f"out of memory at {replica.peak_memory_bytes // MIB} MiB"
        return f"CrashLoop(OOM): {peak}, {ooms} times in 10 min" if ooms >= OOM_LOOP else peak
    if replica.problem:
        return replica.problem
    if replica.exit_code is not None and replica.exit_code > 128:
        return f"ended by signal {replica.exit_code - 128}"
    return f"exited with {replica.exit_code}"


def _final(policy: RestartPolicy, replica: Replica, failures: int) -> str:
    """Return why there is no next start, or ""."""
    if policy.condition is Restart.NEVER:
        return "restart policy is never"
    if policy.condition is Restart.ON_FAILURE and not failed(replica):
        return "completed, restart policy is on-failure"
    if policy.max_attempts is not None and failures > policy.max_attempts:
        return f"gave up after {policy.max_attempts} restarts"
    return ""


def _event(replica: Replica, kind: str, slot: Slot) -> Event:
    inputs = {
        "replica": replica.id,
        "exit_code": replica.exit_code,
        "oom": replica.oom,
        "peak_memory_bytes": replica.peak_memory_bytes,
        "failures": slot.failures,
        "retry_at": slot.retry_at if slot.state is State.WAITING else None,
    }
    return Event(replica.deployment, kind, f"{replica.id}: {slot.reason}", inputs)
