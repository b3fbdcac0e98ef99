"""Small bodies, and answers that are no fact of ``scheduler.control`` as they stand."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from ...control.capacity import Amounts
from ...control.preview import Placed
from ...control.status import DeploymentStatus
from ...store import Scope
from .base import Body, View
from .deployment import DeploymentSpec, Name, Text


class DeploymentView(View):
    """A deployment: what is asked for, and how it stands."""

    name: str
    generation: int
    """Grows with every change; it is the ETag, and what ``If-Match`` compares."""
    spec: DeploymentSpec
    status: DeploymentStatus


class DeploymentPatch(Body):
    """Fields of a DeploymentSpec that are to change; null puts one back to its default."""

    model_config = ConfigDict(extra="allow")


class Change(View):
    """One field that an apply would change; ``null`` is absent."""

    pointer: str
    before: object
    after: object


class DryRunView(View):
    """What an apply would do next; nothing was done."""

    changed: bool
    diff: tuple[Change, ...]
    revision: int
    placement: tuple[Placed, ...]
    drained: tuple[str, ...]
    preempted: tuple[str, ...]
    pending: str
    """Why not everything could be placed; "" where it could."""


class ScaleBody(Body):
    """How many replicas are wanted."""

    replicas: int


class RollbackBody(Body):
    """Which revision to go back to; left out, the one before."""

    revision: int | None = None


class ExecBody(Body):
    """A command to run inside a replica."""

    command: tuple[Text, ...] = Field(min_length=1, max_length=256)
    timeout_s: float = Field(30.0, gt=0, le=600)


class ExecView(View):
    """What the command came to; bytes that are no UTF-8 are replaced."""

    exit_code: int | None
    stdout: str
    stderr: str
    timed_out: bool
    truncated: bool


class QuotaBody(Body):
    """What all deployments that name the quota may request together; null is no bound."""

    cpu_millis: int | None = Field(None, ge=0)
    memory_bytes: int | None = Field(None, ge=0)
    gpus: int | None = Field(None, ge=0)
    replicas: int | None = Field(None, ge=0)


class QuotaView(View):
    """A quota, who names it, and what of it is in use."""

    name: str
    cpu_millis: int | None
    memory_bytes: int | None
    gpus: int | None
    replicas: int | None
    used: Amounts
    used_replicas: int
    deployments: tuple[str, ...]


class SecretBody(Body):
    """A secret's value: as a text, or in base64; one of the two."""

    value: str | None = Field(None, max_length=500_000)
    base64: str | None = Field(None, max_length=700_000)


class TokenBody(Body):
    """Whom a token is for, and what it allows."""

    name: Name
    scope: Scope


class TokenCreated(View):
    """A token; its text is told this once."""

    name: str
    scope: Scope
    token: str


class Health(View):
    """What is wrong, by part; empty where all is well."""

    status: str
    problems: dict[str, str]
