"""/v1/deployments: ask for one, look at it, change it, let it go."""

from __future__ import annotations

import json

from flask import Blueprint
from pydantic import Field

from ..control import Control, deployments
from ..control.deployments import Written
from ..control.preview import preview
from ..control.problems import refuse
from ..control.status import status_of
from ..entry import Entry
from ..model import Deployment, Kind
from ..store import Scope
from . import reading
from .diff import difference, merged
from .operation import JSON, Call, NoBody, NoQuery, Reply, operation
from .schemas import DeploymentSpec, Listed, Query, deployment_of, spec_of
from .schemas.views import DeploymentPatch, DeploymentView, DryRunView

bp = Blueprint("deployments", __name__, url_prefix="/v1")
MERGE_PATCH = "application/merge-patch+json"
_ONE = {200: DeploymentView}


class ListQuery(Query):
    """Which deployments: of a kind, with labels (``key=value`` or ``key``), in pages."""

    kind: Kind | None = None
    label: tuple[str, ...] = ()
    after: str = ""
    limit: int = Field(100, ge=1, le=1000)


class ApplyQuery(Query):
    """Whether to do it, or to say what it would do."""

    dry_run: bool = False


# ---- look ---------------------------------------------------------------------------------------


@operation(
    bp,
    "GET",
    "/deployments",
    scope=Scope.READ,
    query=ListQuery,
    answers={200: Listed[DeploymentView]},
)
def list_deployments(call: Call[NoBody, ListQuery]) -> object:
    """List deployments by name, in pages."""
    entries = call.control.store.load().entries
    names = sorted(name for name, e in entries.items() if _is_asked_for(e.deployment, call.query))
    page = [name for name in names if name > call.query.after][: call.query.limit]
    last = page[-1] if page and page[-1] != names[-1] else None
    found = map(call.control.store.entry, page)
    items = tuple(_view(call.control, entry, number) for entry, number in found if entry)
    return Listed[DeploymentView].model_construct(items=items, next=last)


def _is_asked_for(deployment: Deployment, query: ListQuery) -> bool:
    if query.kind is not None and deployment.kind is not query.kind:
        return False
    wanted = (label.partition("=") for label in query.label)
    return all(
        key in deployment.labels and (not equals or deployment.labels[key] == value)
        for key, equals, value in wanted
    )


def _view(control: Control, entry: Entry, generation: int) -> DeploymentView:
    return DeploymentView.model_construct(
        name=entry.deployment.name,
        generation=generation,
        spec=spec_of(entry.deployment),
        status=status_of(entry, control.observed()),
    )


def answer_with(control: Control, written: Written, status: int = 200) -> Reply:
    """Return a deployment as a write left it, with its ETag."""
    view = _view(control, written.entry, written.generation)
    headers = {"ETag": f'"{view.generation}"'}
    if status == 201:
        headers["Location"] = f"/v1/deployments/{view.name}"
    return Reply(view, status, headers)


@operation(bp, "GET", "/deployments/<name>", scope=Scope.READ, answers=_ONE)
def get_deployment(call: Call[NoBody, NoQuery]) -> Reply:
    """Return a deployment; its generation is the ETag."""
    return answer_with(call.control, Written(*call.control.entry(call.name)))


# ---- ask ----------------------------------------------------------------------------------------


@operation(
    bp,
    "PUT",
    "/deployments/<name>",
    scope=Scope.DEPLOY,
    body=DeploymentSpec,
    query=ApplyQuery,
    answers={200: DeploymentView | DryRunView, 201: DeploymentView},
    problems=(409,),
    conditional=True,
)
def put_deployment(call: Call[DeploymentSpec, ApplyQuery]) -> Reply:
    """Ask for a deployment: create it, or change it to be exactly this."""
    wanted = deployment_of(call.body, _named(call.name, call.body))
    if call.query.dry_run:
        return _dry_run(call.control, wanted, call.request)
    written = deployments.put(call.control, wanted, call.request)
    return answer_with(call.control, written, 201 if written.is_new else 200)


@operation(
    bp,
    "PATCH",
    "/deployments/<name>",
    scope=Scope.DEPLOY,
    body=DeploymentPatch,
    query=ApplyQuery,
    answers={200: DeploymentView | DryRunView},
    problems=(409,),
    takes=(MERGE_PATCH, JSON),
    conditional=True,
)
def patch_deployment(call: Call[DeploymentPatch, ApplyQuery]) -> Reply:
    """Change some fields (JSON merge patch, RFC 7396); null puts a field back to its default."""

    def merge(before: Deployment) -> Deployment:
        document = json.loads(spec_of(before).model_dump_json())
        spec = reading.parse(DeploymentSpec, merged(document, call.body.model_extra))
        return deployment_of(spec, _named(call.name, spec))

    if call.query.dry_run:
        before, _ = call.control.entry(call.name)
        return _dry_run(call.control, merge(before.deployment), call.request)
    return answer_with(
        call.control, deployments.patch(call.control, call.name, merge, call.request)
    )


def _named(name: str, spec: DeploymentSpec) -> str:
    """Return the name in the path, which is the one in the body where that says one."""
    if spec.name not in (None, name):
        raise refuse("/name", f"{spec.name!r} is not the name in the path")
    return name


def _dry_run(control: Control, wanted: Deployment, request: deployments.Request) -> Reply:
    found = preview(control, wanted, request)
    before = spec_of(found.before) if found.before else None
    changes = difference(before, spec_of(found.after))
    return Reply(
        DryRunView(
            changed=bool(changes),
            diff=changes,
            revision=found.revision,
            placement=found.placement,
            drained=found.drained,
            preempted=found.preempted,
            pending=found.pending,
        )
    )


@operation(
    bp,
    "DELETE",
    "/deployments/<name>",
    scope=Scope.DEPLOY,
    answers={202: DeploymentView},
    conditional=True,
)
def delete_deployment(call: Call[NoBody, NoQuery]) -> Reply:
    """Let a deployment go; it can be seen until its last replica has gone."""
    written = deployments.delete(call.control, call.name, call.request)
    return answer_with(call.control, written, 202)
