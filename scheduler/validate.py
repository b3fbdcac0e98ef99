"""Which deployments contradict themselves, each problem with the field that has it.

Compose files, the API and the tests all come through here, so a rule is written once. May not
import anything with an effect. Next: ``apply.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from minirun import ScheduleError

from . import cron, exposures
from .model import Deployment, Kind, Template
from .policy import (
    Autoscale,
    Canary,
    ExecCheck,
    HttpCheck,
    Job,
    Portion,
    Probe,
    Restart,
    RestartPolicy,
    Update,
)

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
ENV_NAME = re.compile(r"[^=\0]+")
MOST_REPLICAS = 10_000
MOST_ID = (1 << 32) - 2
FOREVER_S = 10 * 365 * 86400.0
#: The gateway's queues are made for so much patience, and it has none for more.
LONGEST_QUEUE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


def check(deployment: Deployment) -> None:
    """Refuse a deployment that contradicts itself.

    Raises:
        ScheduleError: with status 422 and every problem, each named by its field.
    """
    if found := tuple(problems(deployment)):
        listed = "; ".join(map(str, found))
        hint = "correct the fields that are named"
        raise ScheduleError(f"deployment {deployment.name!r}: {listed}", status=422, hint=hint)


def problems(deployment: Deployment) -> Iterator[Problem]:
    """Yield everything that is wrong with a deployment."""
    if not NAME.fullmatch(deployment.name):
        yield Problem("name", "is not lowercase letters, digits and dashes, 63 at most")
    yield from _template(deployment.template)
    yield from _range("replicas", deployment.replicas, 0, MOST_REPLICAS)
    yield from _range("priority", deployment.priority, 0, 100)
    if deployment.queue_limit is not None:
        yield from _range("queue_limit", deployment.queue_limit, 0, 1_000_000)
    yield from _update("update", deployment.update)
    if deployment.rollback:
        yield from _update("rollback", deployment.rollback)
    if deployment.autoscale:
        yield from _autoscale(deployment.autoscale, deployment.template)
    if deployment.canary:
        yield from _canary(deployment.canary)
    yield from (Problem(path, text) for path, text in exposures.faults(deployment))
    for key in deployment.labels:
        if not key or "=" in key:
            yield Problem("labels", f"{key!r} is not a label's name: none could be chosen by it")
    yield from _range("timeouts.queue_s", deployment.timeouts.queue_s, 0, LONGEST_QUEUE_S)
    for name in ("request_s", "activation_s", "drain_s", "stop_s"):
        yield from _range(f"timeouts.{name}", getattr(deployment.timeouts, name), 0, FOREVER_S)
    yield from _kind(deployment)


def _range(path: str, value: float, low: float, high: float) -> Iterator[Problem]:
    if not low <= value <= high:
        yield Problem(path, f"{value:g} is not between {low:g} and {high:g}")


def _template(template: Template) -> Iterator[Problem]:
    if not template.image.strip():
        yield Problem("image", "is missing")
    elif template.image.startswith(("/", ".", "~")):
        # A path would make a replica of the host's own files, whoever asks for it.
        yield Problem("image", f"{template.image!r} is a path: name an image of the store")
    if template.port is not None:
        yield from _range("port", template.port, 1, 65535)
        if template.socket:
            yield Problem("socket", "a replica listens on a port or on a socket, not on both")
    if template.socket:
        yield from _place("socket", template.socket)
        if template.socket.count("/") == 1:
            yield Problem("socket", f"{template.socket!r} is in /: it needs a folder of its own")
    if template.working_dir and not template.working_dir.startswith("/"):
        yield Problem("working_dir", f"{template.working_dir!r} is not an absolute path")
    yield from _range("concurrency", template.concurrency, 0, 1_000_000)
    yield from (
        Problem("environment", f"{name!r} is not a name")
        for name, value in template.env.items()
        if not ENV_NAME.fullmatch(name) or "\0" in value
    )
    yield from _resources(template)
    yield from _mounts(template)
    for name in ("startup", "liveness", "readiness"):
        if probe := getattr(template.probes, name):
            yield from _probe(f"probes.{name}", probe, template)
    yield from _restart(template.restart)


def _resources(template: Template) -> Iterator[Problem]:
    requests, limits = template.requests, template.limits
    for name in ("cpu_millis", "memory_bytes", "gpus", "pids"):
        asked, limit = getattr(requests, name), getattr(limits, name)
        yield from _range(f"resources.requests.{name}", asked, 0, 1 << 62)
        yield from _range(f"resources.limits.{name}", limit, 0, 1 << 62)
        if limit and asked > limit:
            yield Problem(f"resources.requests.{name}", f"{asked} is more than the limit {limit}")
    if limits.gpus:
        yield Problem("resources.limits.gpus", "a device is counted in requests only")
    if requests.pids:
        yield Problem("resources.requests.pids", "processes have a limit only")


def _mounts(template: Template) -> Iterator[Problem]:
    targets: set[str] = set()
    for i, volume in enumerate(template.volumes):
        path = f"volumes[{i}]"
        if volume.kind not in {"bind", "volume", "tmpfs"}:
            yield Problem(f"{path}.type", f"{volume.kind!r} is not bind, volume or tmpfs")
        yield from _place(f"{path}.target", volume.target)
        if volume.target in targets:
            yield Problem(f"{path}.target", f"{volume.target!r} is mounted twice")
        if bool(volume.source) == (volume.kind == "tmpfs"):
            yield Problem(f"{path}.source", "a tmpfs has none, and everything else has one")
        if volume.kind == "bind" and not volume.source.startswith("/"):
            yield Problem(f"{path}.source", f"{volume.source!r} is not an absolute path")
        if volume.kind == "volume" and volume.source and not VOLUME.fullmatch(volume.source):
            yield Problem(f"{path}.source", f"{volume.source!r} is not a volume's name")
        yield from _range(f"{path}.size_bytes", volume.size_bytes, 0, 1 << 62)
        targets.add(volume.target)
    for i, secret in enumerate(template.secrets):
        if not secret.source:
            yield Problem(f"secrets[{i}].source", "is missing")
        if "\0" in secret.target:
            yield Problem(f"secrets[{i}].target", f"{secret.target!r} is not a path")
        elif secret.target.startswith("/"):
            yield from _place(f"secrets[{i}].target", secret.target)
        elif "/" in secret.target or secret.target in {".", ".."}:
            text = f"{secret.target!r} is neither a file's name nor an absolute path"
            yield Problem(f"secrets[{i}].target", text)
        yield from _range(f"secrets[{i}].mode", secret.mode, 0, 0o7777)
        yield from _range(f"secrets[{i}].uid", secret.uid, 0, MOST_ID)
        yield from _range(f"secrets[{i}].gid", secret.gid, 0, MOST_ID)


def _place(path: str, target: str) -> Iterator[Problem]:
    """Yield why nothing can be mounted there, whatever the image has."""
    if not target.startswith("/"):
        yield Problem(path, f"{target!r} is not an absolute path")
    elif ".." in target.split("/"):
        yield Problem(path, f"{target!r} has .. in it")
    elif not target.strip("/."):
        yield Problem(path, f"{target!r} is the whole file system")


def _probe(path: str, probe: Probe, template: Template) -> Iterator[Problem]:
    yield from _range(f"{path}.period_s", probe.period_s, 0.01, 86400)
    yield from _range(f"{path}.timeout_s", probe.timeout_s, 0.01, 86400)
    yield from _range(f"{path}.failure_threshold", probe.failure_threshold, 1, 10_000)
    yield from _range(f"{path}.success_threshold", probe.success_threshold, 1, 10_000)
    yield from _range(f"{path}.initial_delay_s", probe.initial_delay_s, 0, 86400)
    check_ = probe.check
    if isinstance(check_, ExecCheck):
        if not check_.command:
            yield Problem(f"{path}.exec", "has no command")
        return
    if isinstance(check_, HttpCheck) and not check_.path.startswith("/"):
        yield Problem(f"{path}.http.path", f"{check_.path!r} does not begin with /")
    if check_.port is not None:
        yield from _range(f"{path}.port", check_.port, 1, 65535)
    elif template.port is None and not template.socket:
        yield Problem(f"{path}.port", "is missing, and the replica has no port or socket itself")


def _restart(policy: RestartPolicy) -> Iterator[Problem]:
    yield from _range("restart.initial_s", policy.initial_s, 0, 3600)
    yield from _range("restart.cap_s", policy.cap_s, 0, 3600)
    yield from _range("restart.reset_s", policy.reset_s, 0, FOREVER_S)
    if policy.max_attempts is not None:
        yield from _range("restart.max_attempts", policy.max_attempts, 0, 1_000_000)


def _update(path: str, update: Update) -> Iterator[Problem]:
    yield from _portion(f"{path}.surge", update.surge, MOST_REPLICAS)
    yield from _portion(f"{path}.unavailable", update.unavailable, 100)
    if not update.surge.value and not update.unavailable.value:
        yield Problem(f"{path}.unavailable", "is 0 like surge: nothing could ever be replaced")
    yield from _range(f"{path}.min_ready_s", update.min_ready_s, 0, 86400)
    yield from _range(f"{path}.progress_deadline_s", update.progress_deadline_s, 0, FOREVER_S)
    if update.progress_deadline_s <= update.min_ready_s:
        yield Problem(f"{path}.progress_deadline_s", "is not longer than min_ready_s")


def _portion(path: str, portion: Portion, most_percent: int) -> Iterator[Problem]:
    yield from _range(path, portion.value, 0, most_percent if portion.percent else MOST_REPLICAS)


def _autoscale(spec: Autoscale, template: Template) -> Iterator[Problem]:
    path = "autoscale"
    yield from _range(f"{path}.minimum", spec.minimum, 0, MOST_REPLICAS)
    yield from _range(f"{path}.maximum", spec.maximum, 1, MOST_REPLICAS)
    yield from _range(f"{path}.initial", spec.initial, 0, MOST_REPLICAS)
    yield from _range(f"{path}.shared_bytes", spec.shared_bytes, 0, 1 << 62)
    yield from _range(f"{path}.delta_bytes", spec.delta_bytes, 0, 1 << 62)
    if spec.minimum > spec.maximum:
        yield Problem(f"{path}.minimum", f"{spec.minimum} is more than the maximum {spec.maximum}")
    for name in ("concurrency", "rps", "cpu_percent"):
        yield from _range(f"{path}.{name}", getattr(spec, name), 0, 1_000_000_000)
    if not (spec.concurrency or spec.rps or spec.cpu_percent):
        yield Problem(path, "one of concurrency, rps and cpu_percent has to be above 0")
    if spec.minimum == 0 and not (spec.concurrency or spec.rps):
        yield Problem(f"{path}.minimum", "0 needs a concurrency or rps target: CPU cannot wake it")
    if spec.minimum == 0 and not (template.port or template.socket):
        yield Problem(f"{path}.minimum", "0 needs a port or socket: only a request can wake it")
    if spec.cpu_percent and not template.requests.cpu_millis:
        yield Problem(f"{path}.cpu_percent", "needs resources.requests.cpu_millis to be a share of")
    yield from _range(f"{path}.utilization", spec.utilization, 0.01, 1)
    yield from _range(f"{path}.stable_window_s", spec.stable_window_s, 6, 3600)
    yield from _range(f"{path}.panic_window_percent", spec.panic_window_percent, 1, 100)
    yield from _range(f"{path}.panic_threshold", spec.panic_threshold, 1.1, 1000)
    yield from _range(f"{path}.max_up_rate", spec.max_up_rate, 1.01, 1_000_000)
    yield from _range(f"{path}.max_down_rate", spec.max_down_rate, 1.01, 1_000_000)
    yield from _range(f"{path}.tick_s", spec.tick_s, 0.1, 60)
    yield from _range(f"{path}.tolerance", spec.tolerance, 0, 0.5)
    yield from _range(f"{path}.zero_grace_s", spec.zero_grace_s, 0, 86400)
    yield from _range(f"{path}.down_stabilization_s", spec.down_stabilization_s, 0, 3600)


def _canary(canary: Canary) -> Iterator[Problem]:
    yield from _range("canary.weight", canary.weight, 0, 100)
    if not canary.weight and not canary.header:
        yield Problem(
            "canary.weight", "is 0 and there is no header: nothing would reach the canary"
        )
    yield from _portion("canary.replicas", canary.replicas, 100)
    yield from _range("canary.duration_s", canary.duration_s, 0, FOREVER_S)
    yield from _range("canary.min_requests", canary.min_requests, 1, 1_000_000_000)
    yield from _range("canary.error_rate", canary.error_rate, 0, 1)
    if canary.latency_ratio:
        yield from _range("canary.latency_ratio", canary.latency_ratio, 1, 1000)


def _kind(deployment: Deployment) -> Iterator[Problem]:
    if deployment.kind is Kind.SERVICE:
        yield from _absent(deployment, ("job", "cron"), "a service has no end")
        return
    yield from _absent(
        deployment, ("autoscale", "canary"), f"is for services, not a {deployment.kind}"
    )
    if deployment.template.restart.condition is Restart.ALWAYS:
        yield Problem("restart.condition", "always would never let a job end")
    if deployment.template.probes.liveness:
        yield Problem("probes.liveness", f"is for services; a {deployment.kind} has job.deadline_s")
    yield from _job(deployment.job or Job())
    if (deployment.kind is Kind.CRON) != (deployment.cron is not None):
        yield Problem("cron", "is what makes a job a cron, so neither goes without the other")
    if deployment.cron:
        try:
            cron.parse(deployment.cron.schedule)
        except ValueError as error:
            yield Problem("cron.schedule", str(error))
        yield from _range(
            "cron.starting_deadline_s", deployment.cron.starting_deadline_s, 60, 7 * 86400
        )


def _absent(deployment: Deployment, names: Iterable[str], why: str) -> Iterator[Problem]:
    return (Problem(name, why) for name in names if getattr(deployment, name) is not None)


def _job(job: Job) -> Iterator[Problem]:
    yield from _range("job.completions", job.completions, 1, 1_000_000)
    yield from _range("job.parallelism", job.parallelism, 1, MOST_REPLICAS)
    yield from _range("job.backoff_limit", job.backoff_limit, 0, 1_000_000)
    yield from _range("job.deadline_s", job.deadline_s, 0, FOREVER_S)
