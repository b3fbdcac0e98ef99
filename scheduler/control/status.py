"""How a deployment stands: its entry and the last look at the world, as one word and its reason.

May not import anything with an effect. Next: ``deployments.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..entry import Entry, JobRun, Slot, Stage, State
from ..model import Kind
from ..observed import Grant, Observed, Phase, Replica
from ..tick import is_ready
from .ports import Usage


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run of a job; ``outcome`` is "" while it is going on."""

    number: int
    outcome: str = ""
    succeeded: int = 0
    failed: int = 0
    started_unix_s: float | None = None
    ended_unix_s: float | None = None


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """How a deployment stands.

    ``state`` is one of running, progressing, pending, degraded, failed, paused, idle, done and
    deleting; ``reason`` says why where that needs saying.
    """

    state: str
    reason: str
    desired: int
    replicas: int
    updated: int
    ready: int
    revision: int
    stable_revision: int
    stage: str
    reverting: bool = False
    pending: str = ""
    paused: bool = False
    deleting: bool = False
    scale_reason: str = ""
    job: RunStatus | None = None


def status_of(entry: Entry, observed: Observed) -> DeploymentStatus:
    """Return how a deployment stands."""
    wanted = [slot for slot in entry.slots if slot.state is not State.DRAINING]
    ready = sum(is_ready(observed.replicas.get(slot.id)) for slot in wanted)
    desired = desired_of(entry)
    state, reason = _state(entry, observed, desired, ready)
    trouble = observed.troubles.get(entry.deployment.name, "")
    if trouble not in reason:
        reason = f"{reason}: {trouble}" if reason else trouble
    rollout = entry.rollout
    return DeploymentStatus(
        state,
        reason,
        desired,
        len(wanted),
        sum(slot.revision == rollout.target for slot in wanted),
        ready,
        rollout.target,
        rollout.stable,
        rollout.stage,
        rollout.reverting,
        entry.pending,
        entry.deployment.paused,
        entry.deleted,
        entry.scale.reason,
        _run(entry.run) if entry.deployment.kind is not Kind.SERVICE else None,
    )


def desired_of(entry: Entry) -> int:
    """Return how many replicas are wanted at this moment."""
    deployment = entry.deployment
    if deployment.kind is not Kind.SERVICE:
        job = deployment.job
        is_going = entry.run.number and not entry.run.outcome
        return min(job.parallelism, job.completions) if job and is_going else int(bool(is_going))
    if deployment.autoscale and entry.scale.desired is not None:
        return entry.scale.desired
    return deployment.replicas


def _run(run: JobRun) -> RunStatus | None:
    if not run.number:
        return None
    return RunStatus(run.number, run.outcome, run.succeeded, run.failed)


def _state(entry: Entry, observed: Observed, desired: int, ready: int) -> tuple[str, str]:
    """Return the one word and its reason, the most telling first."""
    if entry.deleted:
        return "deleting", _remnant(entry, observed)
    if entry.pending:
        return "pending", entry.pending
    if entry.deployment.kind is not Kind.SERVICE:
        return _job_state(entry, observed)
    if entry.rollout.stage is Stage.FAILED:
        return "failed", entry.rollout.reason or _trouble(entry, observed)
    if entry.deployment.paused:
        return "paused", "resume it to go on"
    return _service_state(entry, observed, desired, ready)


def _remnant(entry: Entry, observed: Observed) -> str:
    """Return what a deletion waits for; containers of earlier restarts have no slot any more."""
    name = entry.deployment.name
    mine = [replica for replica in observed.replicas.values() if replica.deployment == name]
    if not mine or any(replica.phase is not Phase.REMOVING for replica in mine):
        return "waits until its replicas have gone" if mine or entry.slots else ""
    stuck = (f": {replica.id} {replica.problem}" for replica in mine if replica.problem)
    return "waits until its containers are removed" + next(stuck, "")


def _service_state(entry: Entry, observed: Observed, desired: int, ready: int) -> tuple[str, str]:
    rollout = entry.rollout
    if not desired and not entry.slots:
        return "idle", entry.scale.reason  # a rollout goes on when there is a replica to prove it
    if rollout.stage is not Stage.COMPLETE:
        # Who goes back has a reason; what it says is worth more than what is being left.
        return "progressing", rollout.reason or _trouble(entry, observed) or _trial(entry)
    if ready < desired:
        return "degraded", _trouble(entry, observed) or f"{ready} of {desired} ready"
    return ("running", rollout.reason) if desired else ("idle", entry.scale.reason)


def _trial(entry: Entry) -> str:
    """Return what a canary is doing; "" where there is none."""
    policy = entry.deployment.canary
    if entry.rollout.stage is not Stage.CANARY or policy is None:
        return ""
    if not entry.rollout.canary_since:
        return "the canary is starting"
    told = [f"{policy.weight}% of the requests"] if policy.weight else []
    told += [f"all requests with the header {policy.header}"] if policy.header else []
    share = f"the canary gets {' and '.join(told)}"
    return share if policy.auto_promote else f"{share} until it is promoted"


def _job_state(entry: Entry, observed: Observed) -> tuple[str, str]:
    run, is_cron = entry.run, entry.deployment.kind is Kind.CRON
    is_going = bool(run.number) and not run.outcome
    if entry.deployment.paused and not (is_going if is_cron else run.outcome):
        return "paused", "resume it to go on"
    if run.outcome:
        if run.outcome == "succeeded":
            return "done", ""
        return "failed", f"run {run.number}: {run.reason or f'{run.failed} failed'}"
    return ("progressing", _trouble(entry, observed)) if run.number else ("idle", "no run yet")


def _trouble(entry: Entry, observed: Observed) -> str:
    """Return what the worst slot complains of, of those that are wanted and not ready."""
    wanted = [slot for slot in entry.slots if slot.state is not State.DRAINING]
    unready = [slot for slot in wanted if not is_ready(observed.replicas.get(slot.id))]
    told = [(slot, why) for slot in unready if (why := _complaint(slot, observed))]
    worst, why = max(told, key=lambda pair: pair[0].failures, default=(None, ""))
    return f"{worst.id}: {why}" if worst else ""


def _complaint(slot: Slot, observed: Observed) -> str:
    replica = observed.replicas.get(slot.id)
    return _reason(slot.state, slot.reason, replica) if replica else slot.reason


# ---- replicas -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One replica: its place in the store, its container, its traffic.

    ``state`` is that of its slot; ``phase`` that of its container, None where there is none.
    """

    id: str
    deployment: str
    revision: int
    state: str
    phase: str | None
    ready: bool
    reason: str = ""
    restarts: int = 0
    age_s: float | None = None
    exit_code: int | None = None
    oom: bool = False
    peak_memory_bytes: int = 0
    address: str = ""
    in_flight: int = 0
    grants: tuple[Grant, ...] = ()
    usage: Usage | None = None


def replica_status(
    entry: Entry, slot: Slot, observed: Observed, usage: Usage | None, now: float
) -> ReplicaStatus:
    """Return how one replica stands."""
    replica = observed.replicas.get(slot.id)
    server = observed.servers.get(slot.id)
    common = ReplicaStatus(
        slot.id,
        entry.deployment.name,
        slot.revision,
        slot.state,
        None,
        ready=is_ready(replica),
        reason=slot.reason,
        restarts=slot.failures,
        in_flight=server.in_flight if server else 0,
        grants=slot.grants,
        usage=usage,
    )
    return _with_container(common, observed, now)


def _with_container(status: ReplicaStatus, observed: Observed, now: float) -> ReplicaStatus:
    replica = observed.replicas.get(status.id)
    if replica is None:
        return status
    return replace(
        status,
        phase=replica.phase,
        reason=_reason(status.state, status.reason, replica),
        age_s=max(0.0, now - replica.started_at) if replica.started_at else None,
        exit_code=replica.exit_code,
        oom=replica.oom,
        peak_memory_bytes=replica.peak_memory_bytes,
        address=replica.address,
    )


def _reason(state: str, of_slot: str, replica: Replica) -> str:
    """Return why a replica is as it is.

    What its probes find, or what keeps it from being removed, is worth more than what came before.
    """
    runs = state == State.PLACED and not replica.has_ended
    if runs or replica.phase is Phase.REMOVING:
        return replica.problem or of_slot
    return of_slot or replica.problem
