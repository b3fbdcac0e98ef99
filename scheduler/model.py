"""What a person asks for: a deployment, as frozen facts.

    Deployment ─ how many, how to update, who may reach it
      └─ Template ─ what one replica is: image, command, resources, probes

A change of the template is a new Revision and is rolled out; a change of anything else takes effect
where it is. Durations are seconds, sizes are bytes, CPU is thousandths of one (``cpu_millis``). A
field that is None or "" was not asked for.

The policies are in ``policy.py``; ``validate.py`` says which combinations are contradictory, and
``compose/`` reads and writes these as a Compose file. May not import anything with an effect. Next:
``entry.py``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from .policy import (
    Autoscale,
    Canary,
    Cron,
    Exposure,
    Job,
    Probes,
    RestartPolicy,
    Timeouts,
    Update,
)

DEFAULT_PRIORITY = 50
#: Facts never change, so all deployments may share the ones that nobody changed.
NO_PROBES, RESTART, UPDATE = Probes(), RestartPolicy(), Update()
EXPOSURE, TIMEOUTS = Exposure(), Timeouts()


class Kind(StrEnum):
    """Whether the work has an end, and who starts it."""

    SERVICE = "service"
    JOB = "job"
    CRON = "cron"


class Spread(StrEnum):
    """Which score a placement goes by: few nodes used well, or all nodes used evenly."""

    BINPACK = "binpack"
    SPREAD = "spread"


@dataclass(frozen=True, slots=True)
class Resources:
    """What a replica is admitted by (its requests), or what it may reach (its limits).

    In requests 0 means nothing is reserved; in limits 0 means there is no limit.
    """

    cpu_millis: int = 0
    memory_bytes: int = 0
    gpus: int = 0
    pids: int = 0


@dataclass(frozen=True, slots=True)
class Secret:
    """A stored secret, mounted as a file; the value itself is never part of a deployment."""

    source: str
    target: str = ""
    uid: int = 0
    gid: int = 0
    mode: int = 0o444


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder or file of the host (``bind``), a named volume, or a ``tmpfs``."""

    kind: str
    target: str
    source: str = ""
    read_only: bool = False
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Template:
    """What one replica is. Two equal templates are one revision.

    ``port`` or ``socket`` is where it listens: a TCP port, or a Unix socket's path inside it.
    ``concurrency`` is how many requests it may be given at a time; 0 means any number. A new
    ``restart_token`` makes a new revision of an unchanged template, and so restarts it gently.
    """

    image: str
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    volumes: tuple[Volume, ...] = ()
    user: str = ""
    working_dir: str = ""
    port: int | None = None
    socket: str = ""
    requests: Resources = Resources()
    limits: Resources = Resources()
    probes: Probes = NO_PROBES
    restart: RestartPolicy = RESTART
    concurrency: int = 0
    read_only: bool = False
    restart_token: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Everything that is asked for under one name."""

    name: str
    template: Template
    kind: Kind = Kind.SERVICE
    replicas: int = 1
    autoscale: Autoscale | None = None
    update: Update = UPDATE
    rollback: Update | None = None
    canary: Canary | None = None
    job: Job | None = None
    cron: Cron | None = None
    priority: int = DEFAULT_PRIORITY
    quota: str = ""
    spread: Spread = Spread.SPREAD
    labels: Mapping[str, str] = field(default_factory=dict)
    exposure: Exposure = EXPOSURE
    timeouts: Timeouts = TIMEOUTS
    queue_limit: int | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Revision:
    """A template that was once asked for, under the number it is rolled back to by.

    ``failure`` is why its last rollout came to nothing, "" where it did not.
    """

    number: int
    template: Template
    digest: str
    cause: str = ""
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Quota:
    """What all deployments that name it may request together; None means no bound."""

    name: str
    cpu_millis: int | None = None
    memory_bytes: int | None = None
    gpus: int | None = None
    replicas: int | None = None


def digest(template: Template) -> str:
    """Return a name for the template's content, the same in every process.

    >>> digest(Template("digits")) == digest(Template("digits", env={}))
    True
    """
    text = json.dumps(asdict(template), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
