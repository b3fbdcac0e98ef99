"""What can be looked at: the list of deployments, one deployment, the API's reference.

Each page is whole without a script. What changes by itself stands in parts marked ``data-live``,
which the script takes from the same page, asked for again. Next: ``forms.py``.
"""

from __future__ import annotations

from functools import cache

from flask import Response, current_app, request

from minirun import ScheduleError

from ..api import openapi
from ..api.operation import control_of_app
from ..api.replicas import statuses
from ..auth import Caller
from ..control import Control, capacity, history, logs
from ..control.status import status_of
from . import facts, layout
from .history import History
from .predict import METHODS, Prediction, Wanted
from .reference import Reference
from .session import viewer

bp = layout.room("pages")
bp.get("/static/<name>")(layout.static_file)
_EVENTS, _LINES, _NEWS = 50, 200, 12


def _history() -> History:
    found: History = current_app.extensions["minisched"].history
    return found


# ---- list ---------------------------------------------------------------------------------------


@bp.get("/")
def deployments() -> Response:
    """Show all deployments, in pages."""
    control = control_of_app()
    caller = viewer(control, request)
    asked, state = request.args.get("q", ""), request.args.get("state", "")
    entries, observed = control.store.load().entries, control.observed()
    found = {name: status_of(e, observed) for name, e in entries.items() if asked in name}
    names = sorted(name for name, status in found.items() if state in ("", status.state))
    page = facts.page_of(names, request.args.get("page", 1, type=int))
    past = _history()
    return layout.show(
        "deployments.html",
        caller,
        rows=[
            facts.row(entries[n].deployment, found[n], past.of(n, facts.ROW)) for n in page.names
        ],
        page=page,
        counts=facts.counted(status.state for status in found.values()),
        asked=asked,
        state=state,
        meters=facts.meters(host := capacity.host_status(control)),
        cordoned=host.cordoned,
        problems={name: text for name, text in control.health().items() if text},
        events=control.store.events(None, None, _NEWS)[::-1],
    )


# ---- one ----------------------------------------------------------------------------------------


@bp.get("/deployments/<name>")
def deployment(name: str) -> Response:
    """Show one deployment."""
    control = control_of_app()
    return one(control, viewer(control, request), name)


def one(
    control: Control,
    caller: Caller,
    name: str,
    *,
    problem: ScheduleError | None = None,
    wanted: Wanted | None = None,
    prediction: Prediction | None = None,
) -> Response:
    """Return a deployment's page, with what has become of a form.

    Raises:
        ScheduleError: there is no such deployment (404).
    """
    entry, _ = control.entry(name)
    is_live = "live" in request.args  # the script has events and logs from streams
    return layout.show(
        "deployment.html",
        caller,
        problem.status if problem else 200,
        deployment=entry.deployment,
        status=status_of(entry, control.observed()),
        addresses=facts.addresses(entry.deployment, control.gateway),
        charts=facts.charts(_history().of(name)),
        replicas=statuses(control, name),
        revisions=history.revisions(entry)[::-1],
        last=control.store.last_sequence(),
        events=() if is_live else control.store.events(None, name, _EVENTS)[::-1],
        lines=() if is_live else logs.lines(control, name, tail=_LINES),
        problem=problem,
        methods=METHODS,
        wanted=wanted or Wanted(path=f"/v2/models/{name}"),
        prediction=prediction,
    )


# ---- reference ----------------------------------------------------------------------------------


@cache
def _reference() -> Reference:
    return Reference(openapi.document())


@bp.get("/docs")
def docs() -> Response:
    """Show the API's reference; it needs no login, as the document it is made of needs none."""
    return layout.show("docs.html", layout.NOBODY, reference=_reference())
