"""Errors as RFC 9457 problems: one shape for every refusal, with the fields at fault.

Everything that is raised ends here and nowhere else. Next: ``streams.py``.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Flask, Response, request
from gunicorn.http.errors import NoMoreData, ParseException
from werkzeug.exceptions import HTTPException

from minirun import MinirunError, ScheduleError

from ..control.problems import FieldProblem, FieldsError
from .schemas.base import View

PROBLEM_JSON = "application/problem+json"
_BUSY = {503, 507}
_SAID = {
    404: "there is nothing at this path",
    405: "this path does not take this method",
    413: "the body is too large",
}
_log = logging.getLogger(__name__)


class Problem(View):
    """Why a request was refused (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    hint: str = ""
    """What to do about it."""
    errors: tuple[FieldProblem, ...] = ()
    """The fields at fault, each by its JSON pointer."""


def install(app: Flask) -> None:
    """Let every error of an app be answered as a problem."""
    app.register_error_handler(MinirunError, _refused)
    app.register_error_handler(HTTPException, _http)
    for broken in (ParseException, NoMoreData):
        app.register_error_handler(broken, _unreadable)
    app.register_error_handler(Exception, _bug)


def answer(problem: Problem) -> Response:
    """Return a problem as a response."""
    text = problem.model_dump_json()
    response = Response(text, problem.status, mimetype=PROBLEM_JSON)
    response.headers["Cache-Control"] = "no-store"
    if problem.status in _BUSY:
        response.headers["Retry-After"] = "1"
    if problem.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="minisched"'
    return response


def _refused(error: MinirunError) -> Response:
    status = error.status if isinstance(error, ScheduleError) else 500
    if status >= 500 and status != HTTPStatus.SERVICE_UNAVAILABLE:
        _log.error("%s (%s)", error, error.hint)
    errors = error.problems if isinstance(error, FieldsError) else ()
    title = HTTPStatus(status).phrase
    return answer(
        Problem(title=title, status=status, detail=error.message, hint=error.hint, errors=errors)
    )


def _http(error: HTTPException) -> Response:
    """Answer what Flask refuses by itself: no such path, wrong method, too large."""
    status = error.code or 500
    detail = _SAID.get(status) or (error.description or "").lower().rstrip(".")
    too_large = status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    hint = f"{request.max_content_length} bytes are the most" if too_large else ""
    response = answer(Problem(title=error.name, status=status, detail=detail, hint=hint))
    for name, value in error.get_headers():
        if name in {"Allow", "Location"}:
            response.headers[name] = value
    return response


def _unreadable(error: Exception) -> Response:
    """Answer a body that ends early, or whose chunks are none: the server reads it while we do."""
    detail = f"the body cannot be read: {error}"
    return answer(Problem(title="Bad Request", status=400, detail=detail, hint="see RFC 9112"))


def _bug(error: Exception) -> Response:
    """Answer what nobody foresaw; what it was is for the log alone."""
    _log.error("not foreseen", exc_info=error)
    title, detail = "Internal Server Error", "this is an error of the scheduler; its log says more"
    return answer(Problem(title=title, status=500, detail=detail))
