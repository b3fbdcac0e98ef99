"""A deployment as JSON, and back: the only place that knows both shapes.

The template's fields stand beside the deployment's own, as in a Compose service, so that a field's
JSON pointer is the path that ``scheduler.validate`` names it by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from ...model import (
    DEFAULT_PRIORITY,
    EXPOSURE,
    TIMEOUTS,
    UPDATE,
    Deployment,
    Kind,
    Resources,
    Secret,
    Spread,
    Template,
    Volume,
)
from ...policy import (
    Autoscale,
    Canary,
    Cron,
    ExecCheck,
    Exposure,
    HttpCheck,
    Job,
    Probe,
    Probes,
    Restart,
    RestartPolicy,
    TcpCheck,
    Timeouts,
    Update,
)
from .base import Body

#: What a system call takes: no NUL.
_TEXT = r"^[^\x00]*$"
_NAME = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
Text = Annotated[str, Field(max_length=32_768, pattern=_TEXT)]
Name = Annotated[str, Field(pattern=_NAME)]
#: What is wrong with a text that does not match, in words.
PATTERNS = {
    _TEXT: "has a NUL in it",
    _NAME: "is not lowercase letters, digits and dashes, 63 at most",
}
_DEFAULT_RESTART = {Kind.SERVICE: RestartPolicy()}
_JOB_RESTART = RestartPolicy(Restart.ON_FAILURE)


class ResourcesSpec(Body):
    """What a replica is admitted by, and what it may reach; 0 is none and no limit."""

    requests: Resources = Resources()
    limits: Resources = Resources()


class VolumeSpec(Body):
    """A folder or file of the host (``bind``), a named ``volume``, or a ``tmpfs``."""

    type: Text
    target: Text
    source: Text = ""
    read_only: bool = False
    size_bytes: int = 0


class ProbeSpec(Body):
    """One check, one of ``http``, ``tcp`` and ``exec``, and how often it is made."""

    http: HttpCheck | None = None
    tcp: TcpCheck | None = None
    exec: tuple[Text, ...] | None = None
    period_s: float = 10.0
    timeout_s: float = 1.0
    failure_threshold: int = 3
    success_threshold: int = 1
    initial_delay_s: float = 0.0

    @model_validator(mode="after")
    def _is_one_check(self) -> ProbeSpec:
        if sum(check is not None for check in (self.http, self.tcp, self.exec)) != 1:
            raise ValueError("needs one of http, tcp and exec")
        return self


class ProbesSpec(Body):
    """Has it started, is it alive, may it get requests."""

    startup: ProbeSpec | None = None
    liveness: ProbeSpec | None = None
    readiness: ProbeSpec | None = None


class DeploymentSpec(Body):
    """Everything that is asked for under one name. Durations are seconds, sizes are bytes."""

    name: Name | None = None
    """The same as in the path; it may be left out."""
    kind: Kind = Kind.SERVICE
    image: Text
    entrypoint: tuple[Text, ...] | None = None
    command: tuple[Text, ...] | None = None
    environment: Mapping[str, Text] = Field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    volumes: tuple[VolumeSpec, ...] = ()
    user: Text = ""
    working_dir: Text = ""
    port: int | None = None
    """The TCP port a replica listens on; or ``socket``, not both."""
    socket: Text = ""
    resources: ResourcesSpec = ResourcesSpec()
    probes: ProbesSpec = ProbesSpec()
    restart: RestartPolicy | None = None
    """When it is left out, services always restart, and jobs after a failure."""
    concurrency: int = 0
    """How many requests a replica may be given at a time; 0 is any number."""
    read_only: bool = False
    restart_token: Text = ""
    """A new one makes a new revision of an unchanged template, and so restarts it gently.

    Left out of a PUT, the one that is there stays.
    """
    replicas: int = 1
    autoscale: Autoscale | None = None
    update: Update = UPDATE
    rollback: Update | None = None
    canary: Canary | None = None
    job: Job | None = None
    cron: Cron | None = None
    priority: int = DEFAULT_PRIORITY
    quota: Text = ""
    placement: Spread = Spread.SPREAD
    labels: Mapping[str, Text] = Field(default_factory=dict)
    exposure: Exposure = EXPOSURE
    timeouts: Timeouts = TIMEOUTS
    queue_limit: int | None = None
    paused: bool = False


# ---- JSON → facts -------------------------------------------------------------------------------

_SHARED = (
    "kind replicas autoscale update rollback canary job cron priority quota exposure timeouts "
    "queue_limit paused"
).split()
_IN_TEMPLATE = (
    "image entrypoint command secrets user working_dir port socket concurrency read_only "
    "restart_token"
).split()
_PROBE = "period_s timeout_s failure_threshold success_threshold initial_delay_s".split()


def deployment_of(spec: DeploymentSpec, name: str) -> Deployment:
    """Return the fact that a body describes."""
    shared = {key: getattr(spec, key) for key in _SHARED}
    return Deployment(
        name,
        _template_of(spec),
        spread=spec.placement,
        labels=dict(spec.labels),
        **shared,
    )


def _template_of(spec: DeploymentSpec) -> Template:
    shared = {key: getattr(spec, key) for key in _IN_TEMPLATE}
    volumes = (Volume(v.type, v.target, v.source, v.read_only, v.size_bytes) for v in spec.volumes)
    return Template(
        env=dict(spec.environment),
        volumes=tuple(volumes),
        requests=spec.resources.requests,
        limits=spec.resources.limits,
        probes=_probes_of(spec.probes),
        restart=spec.restart or _DEFAULT_RESTART.get(spec.kind, _JOB_RESTART),
        **shared,
    )


def _probes_of(spec: ProbesSpec) -> Probes:
    return Probes(*map(_probe_of, (spec.startup, spec.liveness, spec.readiness)))


def _probe_of(spec: ProbeSpec | None) -> Probe | None:
    if spec is None:
        return None
    check = ExecCheck(spec.exec) if spec.exec is not None else spec.http or spec.tcp or TcpCheck()
    return Probe(check, **{key: getattr(spec, key) for key in _PROBE})


# ---- facts → JSON -------------------------------------------------------------------------------


def spec_of(deployment: Deployment) -> DeploymentSpec:
    """Return the body that asks for this deployment."""
    template = deployment.template
    return DeploymentSpec.model_construct(
        name=deployment.name,
        environment=dict(template.env),
        volumes=tuple(map(_volume_spec, template.volumes)),
        resources=ResourcesSpec.model_construct(requests=template.requests, limits=template.limits),
        probes=ProbesSpec.model_construct(
            startup=_probe_spec(template.probes.startup),
            liveness=_probe_spec(template.probes.liveness),
            readiness=_probe_spec(template.probes.readiness),
        ),
        restart=template.restart,
        placement=deployment.spread,
        labels=dict(deployment.labels),
        **{key: getattr(deployment, key) for key in _SHARED},
        **{key: getattr(template, key) for key in _IN_TEMPLATE},
    )


def _volume_spec(volume: Volume) -> VolumeSpec:
    return VolumeSpec(
        type=volume.kind,
        target=volume.target,
        source=volume.source,
        read_only=volume.read_only,
        size_bytes=volume.size_bytes,
    )


def _probe_spec(probe: Probe | None) -> ProbeSpec | None:
    if probe is None:
        return None
    check = probe.check
    return ProbeSpec.model_construct(
        http=check if isinstance(check, HttpCheck) else None,
        tcp=check if isinstance(check, TcpCheck) else None,
        exec=check.command if isinstance(check, ExecCheck) else None,
        **{key: getattr(probe, key) for key in _PROBE},
    )
