"""What can be done with a form: log in and out, change a deployment, send it a prediction.

A change is the same call that the API makes. Where it worked, the browser is led back to the
deployment; where not, it is shown the page with the reason on top.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask import Response, request, url_for
from werkzeug.exceptions import NotFound

from minirun import ScheduleError

from ..api.operation import control_of_app
from ..auth import Caller
from ..control import Control
from ..control import deployments as change
from ..control.deployments import Request, Written
from ..control.problems import refuse
from ..store import Scope
from . import layout, pages
from .predict import Wanted, predict
from .session import (
    check_form,
    check_origin,
    forget,
    may_change,
    remember,
    viewer,
    way_back,
)

bp = layout.room("forms")
Work = Callable[[Control, str, Request], Written]


def _found(where: str) -> Response:
    return Response(status=303, headers={"Location": where})


# ---- who ----------------------------------------------------------------------------------------


@bp.get("/login")
def login_page() -> Response:
    """Ask for a token."""
    return layout.ask_who("", "/", 200)


@bp.post("/login")
def login() -> Response:
    """Let a token be shown by the browser from now on, if it is one."""
    check_origin(request)
    token, wanted = request.form.get("token", "").strip(), request.form.get("wanted", "")
    if control_of_app().store.check_token(token) is None:
        return layout.ask_who("this token is not valid", way_back(wanted))
    response = _found(way_back(wanted))
    remember(request, response, token)
    return response


@bp.post("/logout")
def logout() -> Response:
    """Let the browser forget the token."""
    check_form(request)
    response = _found(url_for("forms.login_page"))
    forget(request, response)
    return response


# ---- what ---------------------------------------------------------------------------------------


def _scale(control: Control, name: str, by: Request) -> Written:
    return change.scale(control, name, _number("replicas"), by)


def _roll_back(control: Control, name: str, by: Request) -> Written:
    to = _number("revision") if request.form.get("revision") else None
    return change.rollback(control, name, to, by)


def _number(field: str) -> int:
    text = request.form.get(field, "").strip()
    if not text.isdecimal() or len(text) > 9:
        raise refuse(f"/{field}", f"{text[:40]!r} is not a number")
    return int(text)


_ACTIONS: Mapping[str, Work] = {
    "scale": _scale,
    "rollback": _roll_back,
    "restart": change.restart,
    "pause": lambda control, name, by: change.pause(control, name, by, paused=True),
    "resume": lambda control, name, by: change.pause(control, name, by, paused=False),
    "promote": change.promote,
    "run": change.run,
}


def _allowed() -> tuple[Control, Caller]:
    """Return whom to ask, and who asks.

    Raises:
        ScheduleError: this viewer may not (401, 403), or the form is not ours (403).
    """
    control = control_of_app()
    caller = viewer(control, request)
    check_form(request)
    if not may_change(caller):
        text = f"token {caller.name} has the scope {caller.scope}, this needs {Scope.DEPLOY}"
        raise ScheduleError(text, status=403, hint="log in with another token")
    return control, caller


def _request(caller: Caller) -> Request:
    return Request(caller.name, is_admin=caller.scope is Scope.ADMIN)


@bp.post("/deployments/<name>/<action>")
def act(name: str, action: str) -> Response:
    """Change a deployment."""
    control, caller = _allowed()
    if action not in _ACTIONS:
        raise NotFound("there is no such button")
    control.entry(name)
    try:
        _ACTIONS[action](control, name, _request(caller))
    except ScheduleError as error:
        return pages.one(control, caller, name, problem=error)
    return _found(url_for("pages.deployment", name=name))


@bp.post("/deployments/<name>/predict")
def ask(name: str) -> Response:
    """Send a request to a deployment and show what it answers."""
    control, caller = _allowed()
    control.entry(name)
    wanted = Wanted(*(request.form.get(field, "") for field in ("method", "path", "body")))
    try:
        found = predict(control, name, wanted)
    except ScheduleError as error:
        return pages.one(control, caller, name, problem=error, wanted=wanted)
    return pages.one(control, caller, name, wanted=wanted, prediction=found)
