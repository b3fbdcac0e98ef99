"""What all pages have in common: who looks, the headers that keep strangers' code out, errors.

Next: ``pages.py``.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

from flask import Blueprint, Flask, Response, render_template, request, url_for
from jinja2 import StrictUndefined
from werkzeug.exceptions import HTTPException, NotFound

from minirun import MinirunError, ScheduleError, __version__

from ..auth import Caller
from . import facts
from .session import form_word, has_cookie, may_change

_STATIC = Path(__file__).parent / "static"
_MEDIA = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_YEAR = "public, max-age=31536000, immutable"
#: Nothing runs, loads or frames this that is not ours; no script and no style in the page itself.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # "no-referrer" would make a browser send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
NOBODY = Caller("", None)


def install(app: Flask) -> None:
    """Let an app's templates say things as people do, and refuse a name that nobody gave them."""
    app.jinja_options = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.filters.update({filter_.__name__: filter_ for filter_ in facts.FILTERS})
    app.jinja_env.globals.update(asset=asset, version=__version__)


def room(name: str) -> Blueprint:
    """Return a blueprint whose answers are pages, its refusals too."""
    bp = Blueprint(name, __name__, template_folder="templates")
    bp.after_request(_guarded)
    bp.register_error_handler(MinirunError, _refused)
    bp.register_error_handler(HTTPException, _http)
    return bp


def show(template: str, caller: Caller, code: int = 200, **values: object) -> Response:
    """Return a page as one viewer may see it."""
    common = {"caller": caller, "may_change": may_change(caller), "word": form_word(request)}
    text = render_template(template, **common, may_leave=has_cookie(request), **values)
    return Response(text, code, mimetype="text/html")


def _guarded(response: Response) -> Response:
    response.headers.extend(_HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


# ---- refusals -----------------------------------------------------------------------------------


def _refused(error: MinirunError) -> Response:
    status = error.status if isinstance(error, ScheduleError) else 500
    if status == HTTPStatus.UNAUTHORIZED:
        return ask_who("" if request.path == "/" else error.message, request.path)
    return problem(HTTPStatus(status).phrase, error.message, error.hint, status)


def _http(error: HTTPException) -> Response:
    return problem(error.name, (error.description or "").rstrip("."), "", error.code or 500)


def problem(title: str, text: str, hint: str, status: int) -> Response:
    """Return a page that says what went wrong."""
    return show("problem.html", NOBODY, status, title=title, text=text, hint=hint)


def ask_who(text: str, wanted: str, code: int = HTTPStatus.UNAUTHORIZED) -> Response:
    """Return the login page; ``wanted`` is where it leads to."""
    return show("login.html", NOBODY, code, text=text, wanted=wanted)


# ---- style sheet, script, icon ------------------------------------------------------------------


@cache
def _file(name: str) -> tuple[bytes, str]:
    """Return a file and the short name of its content."""
    found = {file.name: file for file in _STATIC.iterdir()}
    if name not in found:
        raise NotFound("there is no such file")
    data = found[name].read_bytes()
    return data, sha256(data).hexdigest()[:12]


def asset(name: str) -> str:
    """Return the address of a file, which changes with its content."""
    return url_for("pages.static_file", name=name, v=_file(name)[1])


def static_file(name: str) -> Response:
    """Return a file; under the address of this very content it may be kept."""
    data, digest = _file(name)
    response = Response(data, mimetype=_MEDIA[Path(name).suffix])
    response.headers["Cache-Control"] = _YEAR if request.args.get("v") == digest else "no-cache"
    return response
