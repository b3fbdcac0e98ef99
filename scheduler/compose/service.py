"""One service of a Compose file → one Deployment.

Where Compose has words for something they are used, with Compose's meaning; where a number is left
out, the scheduler's default holds, which is the safer one (a bad image is rolled back).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..model import Deployment, Kind, Spread, Template
from ..policy import Autoscale, Canary, Cron, Exposure, Job, Timeouts, Update
from . import mounts
from .facts import decode
from .fields import Section, refuse
from .policies import command, probes, restart, update
from .resources import resources

if TYPE_CHECKING:
    from .facts import F
    from .project import Outside

HINTS = (
    ("build", "build the image first and name it in image:"),
    ("depends_on", "no order is kept; give the other service a readiness probe and try again"),
    ("networks", "a service is reached through the gateway, also by another: give it an x-route"),
    ("network_mode", "replicas are reached through the gateway"),
    ("container_name", "there are several; the scheduler names them"),
    ("privileged", "a replica is isolated; there is no switch for it"),
    ("extends", "use a YAML anchor and <<"),
    ("profiles", "put optional services into a file of their own"),
    ("configs", "use a bind volume or a secret"),
    ("placement", "say x-placement: spread or binpack; there is one host"),
    ("stop_signal", "an image says its own; SIGTERM otherwise"),
    ("logging", "what replicas print is kept by the scheduler: minisched logs"),
    ("pull_policy", "what runs is in this host's store already: minirun pull"),
    ("links", "a service is reached through the gateway, also by another: give it an x-route"),
    ("hostname", "each replica has one of its own"),
)


def deployment_of(name: str, service: Section, outside: Outside) -> Deployment:
    """Return the deployment that a service describes.

    Raises:
        ScheduleError: a field is wrong or not supported, named by its path.
    """
    deploy = service.section("deploy") or Section({}, service.at("deploy"))
    kind, cron = _kind(service, deploy)
    replicas = _replicas(service, deploy)
    target, published = mounts.port(service)
    template = _template(service, deploy, outside, target, kind)
    made = Deployment(name, template, kind, cron=cron, job=_job(service, kind, replicas))
    made = replace(
        made,
        replicas=1 if replicas is None or kind is not Kind.SERVICE else replicas,
        autoscale=_fact(Autoscale, service, "x-autoscale"),
        canary=_fact(Canary, service, "x-canary"),
        update=update(deploy.section("update_config"), service.section("x-update")) or Update(),
        rollback=update(deploy.section("rollback_config"), service.section("x-rollback")),
    )
    made = _placed(made, service, deploy)
    made = _exposed(made, service, published)
    deploy.close(HINTS)
    service.close(HINTS)
    return made


def _fact(cls: type[F], service: Section, key: str) -> F | None:
    """Return an extension, or None where it is left out."""
    section = service.section(key)
    return decode(cls, section) if section else None


def _kind(service: Section, deploy: Section) -> tuple[Kind, Cron | None]:
    mode = deploy.text("mode", "replicated")
    if mode not in ("replicated", "replicated-job"):
        hint = "on one host it means replicas: 1" if mode.startswith("global") else ""
        refuse(deploy.at("mode"), f"{mode!r} is not supported", hint=hint)
    cron = _fact(Cron, service, "x-cron")
    if cron:
        return Kind.CRON, cron
    is_job = mode == "replicated-job" or service.has("x-job")
    return (Kind.JOB if is_job else Kind.SERVICE), None


def _job(service: Section, kind: Kind, replicas: int | None) -> Job | None:
    job = _fact(Job, service, "x-job")
    if kind is Kind.SERVICE:
        return None
    if job and replicas is not None:
        hint = "leave one of them away; a job has completions and parallelism"
        refuse(service.at("x-job"), "and the number of replicas say the same thing twice", hint)
    count = 1 if replicas is None else replicas
    return job or Job(completions=count, parallelism=count)


def _replicas(service: Section, deploy: Section) -> int | None:
    scale, replicas = service.integer("scale"), deploy.integer("replicas")
    if scale is not None and replicas is not None and scale != replicas:
        refuse(service.at("scale"), f"{scale} is not deploy.replicas, which is {replicas}")
    return scale if replicas is None else replicas


def _placed(made: Deployment, service: Section, deploy: Section) -> Deployment:
    """Return the deployment with what decides on its place."""
    spread = service.text("x-placement", Spread.SPREAD)
    if spread not in set(Spread):
        refuse(service.at("x-placement"), f"{spread!r} is not one of {', '.join(Spread)}")
    priority = service.integer("x-priority")
    return replace(
        made,
        priority=made.priority if priority is None else priority,
        quota=service.text("x-quota"),
        spread=Spread(spread),
        labels={**mounts.pairs(service, "labels"), **mounts.pairs(deploy, "labels")},
        paused=service.flag("x-paused"),
    )


def _exposed(made: Deployment, service: Section, published: int | None) -> Deployment:
    """Return the deployment with how requests come to it and how long they wait."""
    exposure = _fact(Exposure, service, "x-route") or Exposure()
    timeouts = _fact(Timeouts, service, "x-timeouts") or Timeouts()
    stop_s = service.duration_s("stop_grace_period")
    return replace(
        made,
        exposure=replace(exposure, published=exposure.published or published),
        timeouts=timeouts if stop_s is None else replace(timeouts, stop_s=stop_s),
        queue_limit=service.integer("x-queue_limit"),
    )


# ---- the template -------------------------------------------------------------------------------


def _template(
    service: Section, deploy: Section, outside: Outside, port: int | None, kind: Kind
) -> Template:
    requests, limits = resources(service, deploy)
    return Template(
        service.text("image"),
        command(service, "entrypoint"),
        command(service, "command"),
        mounts.environment(service, outside.variables, outside.read),
        mounts.secrets(service, outside.secrets),
        mounts.volumes(service, outside.folder, outside.volumes),
        service.text("user"),
        service.text("working_dir"),
        port,
        service.text("x-socket"),
        requests,
        limits,
        probes(service),
        restart(service, deploy, kind),
        service.integer("x-concurrency") or 0,
        service.flag("read_only"),
        service.text("x-restart_token"),
    )
