"""What is done to a deployment beside changing its fields: scale, restart, pause, roll back, run.

Each is a POST that heeds ``If-Match`` and answers with the deployment.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint

from ..control import deployments
from ..store import Scope
from .deployments import answer_with
from .operation import Call, NoBody, NoQuery, Reply, operation
from .schemas.views import DeploymentView, RollbackBody, ScaleBody

bp = Blueprint("actions", __name__, url_prefix="/v1")
Handler = Callable[[Call[NoBody, NoQuery]], object]
_ONE = {200: DeploymentView}


@operation(
    bp,
    "POST",
    "/deployments/<name>/scale",
    scope=Scope.DEPLOY,
    body=ScaleBody,
    answers=_ONE,
    problems=(409,),
    conditional=True,
)
def scale_deployment(call: Call[ScaleBody, NoQuery]) -> Reply:
    """Ask for another number of replicas."""
    return answer_with(
        call.control, deployments.scale(call.control, call.name, call.body.replicas, call.request)
    )


@operation(
    bp,
    "POST",
    "/deployments/<name>/rollback",
    scope=Scope.DEPLOY,
    body=RollbackBody,
    answers=_ONE,
    problems=(409,),
    conditional=True,
)
def rollback_deployment(call: Call[RollbackBody, NoQuery]) -> Reply:
    """Go back to an earlier revision."""
    return answer_with(
        call.control,
        deployments.rollback(call.control, call.name, call.body.revision, call.request),
    )


def _plain(
    path: str,
) -> Callable[[Handler], Handler]:
    """Return the decorator of an action that is asked for without a body."""
    return operation(
        bp,
        "POST",
        f"/deployments/<name>/{path}",
        scope=Scope.DEPLOY,
        answers=_ONE,
        problems=(409,),
        conditional=True,
    )


@_plain("restart")
def restart_deployment(call: Call[NoBody, NoQuery]) -> Reply:
    """Replace every replica, as gently as an update does."""
    return answer_with(call.control, deployments.restart(call.control, call.name, call.request))


@_plain("pause")
def pause_deployment(call: Call[NoBody, NoQuery]) -> Reply:
    """Hold a rollout, or a schedule, where it is."""
    return answer_with(
        call.control, deployments.pause(call.control, call.name, call.request, paused=True)
    )


@_plain("resume")
def resume_deployment(call: Call[NoBody, NoQuery]) -> Reply:
    """Let a paused deployment go on."""
    return answer_with(
        call.control, deployments.pause(call.control, call.name, call.request, paused=False)
    )


@_plain("promote")
def promote_deployment(call: Call[NoBody, NoQuery]) -> Reply:
    """Let the canary have all requests."""
    return answer_with(call.control, deployments.promote(call.control, call.name, call.request))


@_plain("run")
def run_deployment(call: Call[NoBody, NoQuery]) -> Reply:
    """Begin a run of a job or cron now."""
    return answer_with(call.control, deployments.run(call.control, call.name, call.request))
