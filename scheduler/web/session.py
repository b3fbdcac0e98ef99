"""Who looks at the pages, and whether a form was sent from one of them.

    the Unix socket       admin, as for the API
    Authorization         a token, as for the API
    a cookie              the same token, which a person gave on the login page

The cookie is for the pages alone: the API does not heed it, so no other site can make a browser use
it there. A form is heeded where the browser says that it was sent from here (``Origin``), and where
it holds a word that only our pages to this viewer hold. See: RFC 6265bis, OWASP's cheat sheet on
cross-site request forgery. Next: ``pages.py``.
"""

from __future__ import annotations

import hmac
import re
import secrets
from urllib.parse import urlsplit

from flask import Request, Response

from minirun import ScheduleError

from ..auth import Caller, identify, is_local
from ..control import Control
from ..store import Scope

_KEY = secrets.token_bytes(32)
#: Where the login page may lead to: a path of ours, and no other host.
_PATH = re.compile(r"/(?:[A-Za-z0-9._~-]+/?)*")


def viewer(control: Control, request: Request) -> Caller:
    """Return who looks.

    Raises:
        ScheduleError: nobody whom we know (401), or not from this site (403).
    """
    text = _cookie_text(request)
    if is_local(request) or "Authorization" in request.headers or not text:
        return identify(control, request)
    info = control.store.check_token(text)
    if info is None:
        raise ScheduleError("the token is not valid any more", status=401, hint="log in again")
    return Caller(info.name, info.scope)


def may_change(caller: Caller) -> bool:
    """Return whether somebody sees buttons."""
    return caller.scope is not None and caller.scope.allows(Scope.DEPLOY)


# ---- cookie -------------------------------------------------------------------------------------


def _cookie(request: Request) -> str:
    # __Host- makes the browser refuse one that came without encryption, or from another host. It
    # shows it to this host's other ports too: to those that have this host's certificate.
    return "__Host-minisched" if request.is_secure else "minisched"


def _cookie_text(request: Request) -> str:
    return request.cookies.get(_cookie(request), "")


def has_cookie(request: Request) -> bool:
    """Return whether there is anything to log out of."""
    return bool(_cookie_text(request))


def remember(request: Request, response: Response, token: str) -> None:
    """Let the browser show a token until it is closed; no script can read it."""
    response.set_cookie(
        _cookie(request), token, httponly=True, secure=request.is_secure, samesite="Strict"
    )


def forget(request: Request, response: Response) -> None:
    """Let the browser forget the token."""
    response.delete_cookie(
        _cookie(request), httponly=True, secure=request.is_secure, samesite="Strict"
    )


def way_back(wanted: str) -> str:
    """Return where to go after the login.

    >>> way_back("/deployments/web"), way_back("//evil.test"), way_back("https://evil.test")
    ('/deployments/web', '/', '/')
    """
    return wanted if _PATH.fullmatch(wanted) else "/"


# ---- forms --------------------------------------------------------------------------------------


def form_word(request: Request) -> str:
    """Return the word that a form of ours holds."""
    whose = _cookie_text(request) or request.headers.get("Authorization", "")
    return hmac.new(_KEY, whose.encode("utf-8", "replace"), "sha256").hexdigest()


def check_origin(request: Request) -> None:
    """Refuse what was not sent from here.

    Raises:
        ScheduleError: another site sent it, or nobody says who (403).
    """
    if urlsplit(request.headers.get("Origin", "")).netloc != request.host:
        text = "this form was not sent from this site"
        raise ScheduleError(text, status=403, hint="open the page here, and use its own buttons")


def check_form(request: Request) -> None:
    """Refuse a form that is not from a page of ours to this viewer.

    Raises:
        ScheduleError: it is not (403).
    """
    check_origin(request)
    if not hmac.compare_digest(request.form.get("word", "").encode(), form_word(request).encode()):
        text = "this page is older than the scheduler, or another login's"
        raise ScheduleError(text, status=403, hint="go back, reload it and try again")
