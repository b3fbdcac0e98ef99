"""What the host has to say to a deployment before it is accepted.

What can never come true is refused here with the field that is at fault; what cannot be had at the
moment is accepted and waits, with its reason.

``admit`` is asked before a transaction, since it looks at images; ``find_names`` once more within
it, for a quota or a secret can be removed in between, and an address taken.
"""

from __future__ import annotations

from collections.abc import Iterator

from .. import exposures
from ..entry import Desired
from ..model import Deployment, Kind
from ..placement import never_fits
from . import problems
from .context import Control
from .problems import FieldProblem, FieldsError, pointer_of


def admit(control: Control, deployment: Deployment) -> None:
    """Refuse a deployment that contradicts itself or can never run on this host.

    Raises:
        FieldsError: naming every field that is at fault.
    """
    problems.check(deployment)
    unknown = _unknown(control, control.store.load(), deployment)
    if found := (*_impossible(control, deployment), *unknown):
        raise FieldsError(found)


def find_names(control: Control, desired: Desired, deployment: Deployment) -> None:
    """Refuse a deployment whose quota or secret is not there, or whose address is another's.

    Raises:
        FieldsError: naming every field that is at fault.
    """
    if found := tuple(_unknown(control, desired, deployment)):
        raise FieldsError(found)


def _impossible(control: Control, deployment: Deployment) -> Iterator[FieldProblem]:
    template, kind = deployment.template, deployment.kind
    if kind is not Kind.SERVICE and deployment.replicas != 1:
        yield FieldProblem("/replicas", f"is for services; a {kind} has job.parallelism")
    if not control.images.has_image(template.image):
        text = f"there is no image {template.image} on this host; build or pull it first"
        yield FieldProblem("/image", text)
    host = control.observed().host
    if host.nodes and (refusal := never_fits(template.requests, host)):
        yield FieldProblem("/resources/requests", refusal.reason)


def _unknown(control: Control, desired: Desired, deployment: Deployment) -> Iterator[FieldProblem]:
    template = deployment.template
    if deployment.quota and deployment.quota not in desired.quotas:
        yield FieldProblem("/quota", f"there is no quota {deployment.quota}")
    known = {secret.name for secret in control.store.secrets()} if template.secrets else set()
    for i, secret in enumerate(template.secrets):
        if secret.source not in known:
            yield FieldProblem(f"/secrets/{i}/source", f"there is no secret {secret.source}")
    yield from _taken(control, desired, deployment)


def _taken(control: Control, desired: Desired, deployment: Deployment) -> Iterator[FieldProblem]:
    """Yield which of its addresses are somebody else's; one that it has already it may keep."""
    before = desired.entries.get(deployment.name)
    known = exposures.claims(before.deployment) if before else {}
    if exposures.claims(deployment).items() <= known.items():
        return
    port = deployment.exposure.published
    if port is not None and control.gateway.endswith(f":{port}"):
        yield FieldProblem("/exposure/published", f"port {port} is the gateway's own")
    others = (entry.deployment for entry in desired.entries.values() if not entry.deleted)
    for path, text in exposures.taken(deployment, others):
        yield FieldProblem(pointer_of(path), text)
