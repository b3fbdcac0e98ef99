"""The policies of a deployment: how it restarts, updates, is probed, scales, and is reached.

Each has defaults that hold where nothing is said. Durations are seconds. May not import anything
with an effect. Next: ``model.py``, which puts them together.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Restart(StrEnum):
    """After which exits a replica is started again."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


class OnFailure(StrEnum):
    """What happens to a rollout that makes no progress."""

    ROLLBACK = "rollback"
    PAUSE = "pause"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True)
class Portion:
    """A number of replicas, or a share of them in percent."""

    value: int
    percent: bool = False

    def __str__(self) -> str:
        return f"{self.value}%" if self.percent else str(self.value)


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """Healthy where a GET of the path answers with a status below 400."""

    path: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """Healthy where a connection is accepted."""

    port: int | None = None


@dataclass(frozen=True, slots=True)
class ExecCheck:
    """Healthy where a command inside the replica exits with 0."""

    command: tuple[str, ...]


Check = HttpCheck | TcpCheck | ExecCheck


@dataclass(frozen=True, slots=True)
class Probe:
    """One check and how often, how patiently it is made."""

    check: Check
    period_s: float = 10.0
    timeout_s: float = 1.0
    failure_threshold: int = 3
    success_threshold: int = 1
    initial_delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Probes:
    """The three questions: has it started, is it alive, may it get requests.

    A startup probe has no deadline of its own: a model that loads for twenty minutes is slow, not
    dead, as long as the rollout's progress deadline allows it.
    """

    startup: Probe | None = None
    liveness: Probe | None = None
    readiness: Probe | None = None


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How a replica that exited is started again (the curve of KEP-4603)."""

    condition: Restart = Restart.ALWAYS
    initial_s: float = 1.0
    cap_s: float = 60.0
    reset_s: float = 600.0
    max_attempts: int | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """How one revision replaces another; the defaults lose no capacity and undo a bad image."""

    surge: Portion = Portion(1)
    unavailable: Portion = Portion(0)
    min_ready_s: float = 5.0
    progress_deadline_s: float = 600.0
    on_failure: OnFailure = OnFailure.ROLLBACK


@dataclass(frozen=True, slots=True)
class Canary:
    """A new revision first gets a share of the requests, and is judged by its answers.

    Args:
        weight: percent of the requests.
        header: requests that carry this header always go to the canary; "" for none.
        replicas: how many canaries beside the full number of stable replicas.
        duration_s: how long it must hold before it is promoted.
        min_requests: no judgement on fewer requests than these.
        error_rate: abort where its share of 5xx exceeds the stable one's by more than this.
        latency_ratio: abort where its mean latency is more than so many times the stable one's.
        auto_promote: False waits for a person.
    """

    weight: int = 10
    header: str = ""
    replicas: Portion = Portion(1)
    duration_s: float = 60.0
    min_requests: int = 100
    error_rate: float = 0.01
    latency_ratio: float = 0.0
    auto_promote: bool = True


@dataclass(frozen=True, slots=True)
class Autoscale:
    """Bounds and targets of the autoscaler; the other numbers are Knative's defaults.

    At least one of the three targets is set. ``concurrency`` and ``rps`` are what one replica can
    take, of which ``utilization`` is aimed at; ``cpu_percent`` is of the requested CPU.
    """

    minimum: int = 0
    maximum: int = 10
    initial: int = 1
    concurrency: float = 0.0
    rps: float = 0.0
    cpu_percent: float = 0.0
    utilization: float = 0.7
    stable_window_s: float = 60.0
    panic_window_percent: float = 10.0
    panic_threshold: float = 2.0
    max_up_rate: float = 1000.0
    max_down_rate: float = 2.0
    tick_s: float = 2.0
    zero_grace_s: float = 30.0
    tolerance: float = 0.1
    down_stabilization_s: float = 60.0
    shared_bytes: int = 0
    delta_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each party waits for another."""

    request_s: float = 60.0
    queue_s: float = 30.0
    activation_s: float = 60.0
    drain_s: float = 30.0
    stop_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Exposure:
    """Which requests reach the deployment: host names, a path prefix, a published port."""

    hosts: tuple[str, ...] = ()
    prefix: str = ""
    published: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """Work with an end: so many successes are wanted, so many at a time."""

    completions: int = 1
    parallelism: int = 1
    backoff_limit: int = 6
    deadline_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Cron:
    """When a job runs: five fields, in UTC. ``replace`` ends a run that is still going."""

    schedule: str
    replace: bool = False
    starting_deadline_s: float = 3600.0
