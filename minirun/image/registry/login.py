"""Credentials: tried at the registry first, then kept where docker, podman and skopeo find them.

Next: ``search.py``.
"""

from __future__ import annotations

from ...errors import ImageError
from ...record import replace
from ..reference import DEFAULT_REGISTRY
from . import endpoint as endpoints
from . import settings as settings_file
from .connection import Request
from .credentials import Credential, Keychain, host_of
from .endpoint import Endpoint
from .remote import Access, transport_to
from .settings import Settings
from .transport import Refused


def login(
    registry: str,
    username: str,
    password: str,
    *,
    keychain: Keychain | None = None,
    how: Access | None = None,
) -> str:
    """Log in to a registry; returns where the credentials are kept now.

    Args:
        registry: host and port; "" is the default registry.
        username: may not contain a colon.
        password: or a personal access token.
        keychain: None is the user's.
        how: None takes the host's settings.

    Raises:
        ImageError: the registry does not accept them; nothing was kept then.
    """
    if not username or not password or ":" in username:
        raise ImageError(f"{username!r} and its password cannot be used to log in")
    credential = Credential(username, password)
    how = how or Access(settings_file.load(), lambda _: None)
    end = _endpoint(registry, how.settings)
    try:
        check(end, credential, how)
    except Refused as error:
        if error.status in (401, 403):
            message = f"registry {end.host} does not accept user {username!r} with this password"
            raise ImageError(message, hint="check both; some want a token as password") from error
        raise
    return (keychain or Keychain()).keep(end.credentials, credential)


def logout(
    registry: str, *, keychain: Keychain | None = None, settings: Settings | None = None
) -> bool:
    """Forget the credentials of a registry; returns False where there were none."""
    end = _endpoint(registry, settings or settings_file.load())
    return (keychain or Keychain()).forget(end.credentials)


def check(end: Endpoint, credential: Credential, how: Access) -> None:
    """Raise Refused, unless a registry accepts credentials."""
    own = replace(how, find=lambda _: credential)
    request = Request("GET", "/v2/")
    with transport_to(end, own) as transport, transport.call(request, (), "login"):
        pass


def _endpoint(registry: str, settings: Settings) -> Endpoint:
    """Return where to log in; people paste URLs."""
    domain = host_of(registry) or settings.default_registry
    if domain in ("index.docker.io", endpoints.HUB_HOST):
        domain = DEFAULT_REGISTRY
    return endpoints.of(domain, settings)
