"""Deployments → a Compose file that reads back as the same deployments.

Probes, updates and restarts are written in the scheduler's own words, which say all of it; what
holds its default is left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from .. import units
from ..model import DEFAULT_PRIORITY, Deployment, Kind, Resources, Secret, Spread, Template, Volume
from ..policy import ExecCheck, Exposure, HttpCheck, Probe, Probes, Restart, RestartPolicy, Update
from .facts import encode
from .project import Project, SecretSource


def render(project: Project) -> str:
    """Return the text of a Compose file."""
    top: dict[str, object] = {"name": project.name} if project.name else {}
    top["services"] = {d.name: _service(d) for d in project.deployments}
    if project.secrets:
        top["secrets"] = {name: _source(source) for name, source in project.secrets.items()}
    if project.volumes:
        top["volumes"] = dict.fromkeys(project.volumes)
    return str(yaml.safe_dump(_escaped(top), sort_keys=False, allow_unicode=True))


def _escaped(value: object) -> object:
    """Return the document with its dollar signs kept from being variables."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: _escaped(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in value]
    return value


def _source(source: SecretSource) -> dict[str, object]:
    return {"external": True} if source.kind == "external" else {source.kind: source.value}


def _service(deployment: Deployment) -> dict[str, object]:
    found: dict[str, object] = _template(deployment.template, deployment)
    deploy = _deploy(deployment)
    if deploy:
        found["deploy"] = deploy
    found |= _extensions(deployment)
    said = {"entrypoint", "command"}  # an empty one is not the same as none
    return {
        key: value
        for key, value in found.items()
        if value not in (None, "", {}, []) or (key in said and value is not None)
    }


def _template(template: Template, deployment: Deployment) -> dict[str, object]:
    published = deployment.exposure.published
    port = template.port and {"target": template.port, "published": published}
    return {
        "image": template.image,
        "entrypoint": _command(template.entrypoint),
        "command": _command(template.command),
        "environment": dict(template.env),
        "user": template.user,
        "working_dir": template.working_dir,
        "ports": [port] if port and published else None,
        "expose": [template.port] if port and not published else None,
        "secrets": [_secret(secret) for secret in template.secrets],
        "volumes": [_volume(volume) for volume in template.volumes],
        "read_only": template.read_only or None,
        "x-socket": template.socket,
        "x-concurrency": template.concurrency or None,
        "x-restart_token": template.restart_token,
        "x-probes": _probes(template.probes),
    }


def _command(words: tuple[str, ...] | None) -> list[str] | None:
    return None if words is None else list(words)


def _secret(secret: Secret) -> dict[str, object]:
    mode = {"mode": f"{secret.mode:04o}"}
    return {**encode(secret), **(mode if secret.mode != Secret("").mode else {})}


def _volume(volume: Volume) -> dict[str, object]:
    found: dict[str, object] = {"type": volume.kind, "target": volume.target}
    if volume.source:
        found["source"] = volume.source
    if volume.read_only:
        found["read_only"] = True
    return found | _tmpfs(volume.size_bytes)


def _tmpfs(size: int) -> dict[str, object]:
    return {"tmpfs": {"size": units.size_suffixed(size)}} if size else {}


def _probes(probes: Probes) -> dict[str, object]:
    named = (
        ("startup", probes.startup),
        ("liveness", probes.liveness),
        ("readiness", probes.readiness),
    )
    return {name: _probe(probe) for name, probe in named if probe}


def _probe(probe: Probe) -> dict[str, object]:
    found = encode(probe)
    del found["check"]
    check = probe.check
    if isinstance(check, ExecCheck):
        return {"exec": list(check.command), **found}
    kind = "http" if isinstance(check, HttpCheck) else "tcp"
    return {kind: encode(check) or True, **found}


def _deploy(deployment: Deployment) -> dict[str, object]:
    found: dict[str, object] = {}
    if deployment.kind is Kind.SERVICE and deployment.replicas != 1:
        found["replicas"] = deployment.replicas
    if deployment.labels:
        found["labels"] = dict(deployment.labels)
    limits, requests = deployment.template.limits, deployment.template.requests
    resources = {"limits": _amounts(limits), "reservations": _amounts(requests)}
    if any(resources.values()):
        found["resources"] = {key: value for key, value in resources.items() if value}
    return found


def _amounts(amounts: Resources) -> dict[str, object]:
    found: dict[str, object] = {}
    if amounts.cpu_millis:
        found["cpus"] = units.cpu_text(amounts.cpu_millis)
    if amounts.memory_bytes:
        found["memory"] = units.size_suffixed(amounts.memory_bytes)
    if amounts.pids:
        found["pids"] = amounts.pids
    if amounts.gpus:
        device = {"driver": "nvidia", "count": amounts.gpus, "capabilities": ["gpu"]}
        found["devices"] = [device]
    return found


def _extensions(deployment: Deployment) -> dict[str, object]:
    d, exposure = deployment, deployment.exposure
    default = Restart.ALWAYS if d.kind is Kind.SERVICE else Restart.ON_FAILURE
    restart = d.template.restart
    found: dict[str, object] = {
        "x-route": encode(Exposure(exposure.hosts, exposure.prefix)),
        "x-timeouts": encode(d.timeouts),
        "x-autoscale": d.autoscale and encode(d.autoscale),
        "x-canary": d.canary and (encode(d.canary) or {"weight": d.canary.weight}),
        "x-cron": d.cron and encode(d.cron),
        "x-job": d.job and {"completions": d.job.completions, **encode(d.job)},
        "x-update": None if d.update == Update() else encode(d.update),
        "x-rollback": d.rollback
        and {"min_ready": f"{d.rollback.min_ready_s}s", **encode(d.rollback)},
        "x-restart": None if restart == RestartPolicy(default) else _restart(restart),
        "x-priority": None if d.priority == DEFAULT_PRIORITY else d.priority,
        "x-quota": d.quota,
        "x-placement": None if d.spread is Spread.SPREAD else str(d.spread),
        "x-queue_limit": d.queue_limit,
        "x-paused": d.paused or None,
    }
    return found


def _restart(policy: RestartPolicy) -> dict[str, object]:
    return {"condition": str(policy.condition), **encode(policy)}
