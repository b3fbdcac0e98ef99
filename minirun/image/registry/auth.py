"""Basic and token authentication, as every registry since Docker's first speaks them.

A registry answers 401 and names what it wants. ``Basic`` wants user and password with each request.
``Bearer`` wants a token, which another server gives for a *scope*: who may do what to which
repository. Tokens are kept per registry and scope and sent unasked from then on: a request with a
body must not be the one that is answered with 401, since the registry then closes the connection
in the middle of it.

See: distribution docs/content/spec/auth/{token,oauth}.md. Next: ``connection.py``.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from typing import ClassVar, Protocol
from urllib.parse import urlencode

from ...errors import ImageError
from ...record import Record
from .. import model
from .challenge import Challenge, parse
from .credentials import Credential
from .endpoint import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

CLIENT_ID = "minirun"
_TOKEN_LIMIT_BYTES = 1 << 20
_DEFAULT_SECONDS = 60  # what the specification says where a token does not
_MARGIN_SECONDS = 10  # a token must last until the request has arrived


class Get(Protocol):
    """Sends a request to a token server, and returns the body of a good answer."""

    def __call__(self, url: str, headers: dict[str, str], form: bytes | None, /) -> bytes:
        """Send a GET, or with a form a POST."""
        ...


class Answer(Record):
    """What a token server says."""

    __json__: ClassVar[Mapping[str, str]] = {
        "access_token": "access_token",
        "expires_in": "expires_in",
        "refresh_token": "refresh_token",
    }
    token: str = ""
    access_token: str = ""
    expires_in: int = _DEFAULT_SECONDS
    refresh_token: str = ""


class Authorizer:
    """Finds the Authorization header for requests to one registry. Threads may share it.

    Args:
        endpoint: the registry.
        find: returns the credentials kept under a name; asked once, and only when needed.
        get: reaches token servers.
    """

    def __init__(
        self, endpoint: Endpoint, find: Callable[[str], Credential | None], get: Get
    ) -> None:
        self._endpoint = endpoint
        self._find = find
        self._get = get
        self._lock = threading.Lock()
        self._credential: Credential | None = None
        self._asked = False
        self._challenge: Challenge | None = None
        self._headers: dict[tuple[str, ...], tuple[str, float]] = {}
        self._refresh_token = ""

    def header(self, scopes: tuple[str, ...]) -> str:
        """Return the header to send unasked; "" while the registry has not asked for one."""
        with self._lock:
            held, expires = self._headers.get(scopes, ("", 0.0))
            if held and time.monotonic() < expires:
                return held
            return self._make(scopes) if self._challenge else ""

    def answer(self, headers: list[str], scopes: tuple[str, ...], sent: str) -> str:
        """Return the header that a 401 asks for.

        Args:
            headers: all WWW-Authenticate of the answer.
            scopes: what the request needs.
            sent: the header that was refused; "" for none.
        """
        with self._lock:
            held, expires = self._headers.get(scopes, ("", 0.0))
            if held and held != sent and time.monotonic() < expires:
                return held  # another thread was refused as well, and has a new one by now
            self._challenge = self._choose([c for text in headers for c in parse(text)])
            return self._make(scopes)

    def _choose(self, challenges: list[Challenge]) -> Challenge:
        """Return the challenge to take up: a token tells less than a password."""
        for scheme in ("bearer", "basic"):
            for challenge in challenges:
                if challenge.scheme == scheme:
                    return challenge
        offered = ", ".join(c.scheme for c in challenges) or "nothing"
        raise ImageError(
            f"registry {self._endpoint.host} wants {offered} authentication",
            hint="Basic and Bearer are supported",
        )

    def _make(self, scopes: tuple[str, ...]) -> str:
        challenge = self._challenge
        assert challenge is not None  # both callers have just made sure
        credential = self._known()
        if challenge.scheme == "basic":
            made, seconds = self._basic(credential), float("inf")
        elif credential is not None and credential.registry_token:
            made, seconds = _bearer(credential.registry_token), float("inf")
        else:
            asked = (*scopes, *(s for s in challenge.scopes if s not in scopes))
            made, seconds = self._token(challenge, asked, credential)
        self._headers[scopes] = made, time.monotonic() + seconds
        return made

    def _known(self) -> Credential | None:
        if not self._asked:
            self._credential = self._find(self._endpoint.credentials)
            self._asked = True
        return self._credential

    def _basic(self, credential: Credential | None) -> str:
        if credential is None or not credential.username:
            raise ImageError(
                f"registry {self._endpoint.host} wants a user and a password",
                hint=login_hint(self._endpoint),
            )
        return basic(credential)

    def _token(
        self, challenge: Challenge, scopes: tuple[str, ...], credential: Credential | None
    ) -> tuple[str, float]:
        """Ask the token server; returns the header, and for how many seconds it is good."""
        realm = challenge.realm
        if not realm.startswith("https://") and not (
            self._endpoint.may_be_plain and realm.startswith("http://")
        ):
            raise ImageError(
                f"registry {self._endpoint.host} sends credentials to {realm[:80]!r}",
                hint="a token server must be reached by https://",
            )
        query = [("service", challenge.service)] if challenge.service else []
        identity = self._refresh_token or (credential.identity_token if credential else "")
        if identity:
            answer = self._refreshed(realm, query, scopes, identity)
        else:
            answer = self._granted(realm, query, scopes, credential)
        self._refresh_token = answer.refresh_token or self._refresh_token
        token = answer.token or answer.access_token
        if not token or not (token.isascii() and token.isprintable()):
            raise ImageError(f"token server {realm} gave no token")
        return _bearer(token), max(answer.expires_in, _DEFAULT_SECONDS) - _MARGIN_SECONDS

    def _granted(
        self,
        realm: str,
        query: list[tuple[str, str]],
        scopes: tuple[str, ...],
        credential: Credential | None,
    ) -> Answer:
        headers = {}
        if credential is not None and credential.username:
            headers["Authorization"] = basic(credential)
            query = [*query, ("account", credential.username)]
        pairs = [*query, *(("scope", scope) for scope in scopes)]
        joint = "&" if "?" in realm else "?"
        url = f"{realm}{joint}{urlencode(pairs)}" if pairs else realm
        return self._parse(self._get(url, headers, None), realm)

    def _refreshed(
        self, realm: str, query: list[tuple[str, str]], scopes: tuple[str, ...], token: str
    ) -> Answer:
        """Trade a refresh token, as ``docker login`` keeps it, for one of this scope."""
        form = dict(query, grant_type="refresh_token", client_id=CLIENT_ID, refresh_token=token)
        if scopes:
            form["scope"] = " ".join(scopes)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._parse(self._get(realm, headers, urlencode(form).encode()), realm)

    @staticmethod
    def _parse(raw: bytes, realm: str) -> Answer:
        return model.parse(Answer, raw, f"token server {realm}", _TOKEN_LIMIT_BYTES)


def basic(credential: Credential) -> str:
    """Return the header that carries user and password."""
    pair = f"{credential.username}:{credential.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def login_hint(endpoint: Endpoint) -> str:
    """Return what to do where credentials are missing or wrong."""
    from .endpoint import HUB_CREDENTIALS

    name = "" if endpoint.credentials == HUB_CREDENTIALS else f" {endpoint.host}"
    return f"minirun login{name}"


def _bearer(token: str) -> str:
    return f"Bearer {token}"
