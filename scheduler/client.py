"""A Python client of the control API: one method per thing one may ask.

    from scheduler.client import Client

    sched = Client()                                  # this host's own scheduler
    sched.scale("digits", 5)
    for event in sched.watch(): ...

What is sent and answered is plain JSON, as `/v1/openapi.json` describes it. The command line is
made of this and nothing else. Next: ``transport.py``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from .transport import TIMEOUT_S, ApiError, Transport

__all__ = ["ApiError", "Client"]

#: An object of JSON.
Json = dict[str, Any]
#: The largest page of deployments that the API gives.
PAGE = 1000


class Client:
    """One scheduler.

    Args:
        address: ``unix:///path``, ``https://host:port`` or ``http://127.0.0.1:port``; "" is the
            socket of this host's own scheduler.
        token: what lets us in over TCP; the Unix socket asks for none.
        ca_file: the certificate to trust in place of the system's.

    Raises:
        ApiError: by every method: refused (``status``, a hint), or nobody answered (status 0).
    """

    def __init__(self, address: str = "", *, token: str = "", ca_file: str = "") -> None:
        self.transport = Transport(address or own_address(), token=token, ca_file=ca_file)

    # ── deployments ───────────────────────────────────────────────────────────────────────────

    def deployments(self, labels: Mapping[str, str] | None = None, kind: str = "") -> list[Json]:
        """Return all deployments, or those with these labels or of this kind."""
        wanted = [("label", f"{key}={value}") for key, value in (labels or {}).items()]
        return self._items("/v1/deployments", *wanted, ("kind", kind), ("limit", PAGE))

    def deployment(self, name: str) -> Json:
        """Return one deployment: its spec, its status, its generation."""
        return self._object("GET", _at(name))

    def apply(
        self, name: str, spec: Mapping[str, Any], *, generation: int | None = None
    ) -> tuple[Json, bool]:
        """Make a deployment what the spec says; return it, and whether it is new.

        Args:
            name: of the deployment.
            spec: all of it: what is left out has its default.
            generation: refuse (412) where it is not this one; 0: where there is one at all.
        """
        headers = {} if generation is None else {"If-Match": f'"{generation}"'}
        if generation == 0:
            headers = {"If-None-Match": "*"}
        answer = self.transport.ask("PUT", _at(name), spec, headers)
        return _as_object(answer.json()), answer.status == 201

    def preview(self, name: str, spec: Mapping[str, Any]) -> Json:
        """Return what ``apply`` would change, and where replicas would go; change nothing."""
        return self._object("PUT", f"{_at(name)}?dry_run=true", spec)

    def patch(self, name: str, changes: Mapping[str, Any]) -> Json:
        """Change some fields of a spec; null takes one away. See: RFC 7396."""
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = self.transport.ask("PATCH", _at(name), changes, headers)
        return _as_object(answer.json())

    def delete(self, name: str) -> Json:
        """Drain a deployment and remove it; it is listed until its last replica has gone."""
        return self._object("DELETE", _at(name))

    def scale(self, name: str, replicas: int) -> Json:
        """Say how many replicas there are."""
        return self._object("POST", _at(name, "scale"), {"replicas": replicas})

    def restart(self, name: str) -> Json:
        """Replace all replicas, gently."""
        return self._object("POST", _at(name, "restart"))

    def pause(self, name: str) -> Json:
        """Let a rollout stop where it is."""
        return self._object("POST", _at(name, "pause"))

    def resume(self, name: str) -> Json:
        """Let a rollout go on."""
        return self._object("POST", _at(name, "resume"))

    def promote(self, name: str) -> Json:
        """Let a canary take over."""
        return self._object("POST", _at(name, "promote"))

    def roll_back(self, name: str, revision: int | None = None) -> Json:
        """Return to a revision; None is the last one that worked."""
        body = {} if revision is None else {"revision": revision}
        return self._object("POST", _at(name, "rollback"), body)

    def run(self, name: str) -> Json:
        """Start a job, or a cron's job out of its turn."""
        return self._object("POST", _at(name, "run"))

    def revisions(self, name: str) -> list[Json]:
        """Return the revisions that are kept."""
        return self._items(_at(name, "revisions"))

    def runs(self, name: str) -> list[Json]:
        """Return how a job's runs ended."""
        return self._items(_at(name, "runs"))

    # ── replicas, logs, events ────────────────────────────────────────────────────────────────

    def replicas(self, name: str) -> list[Json]:
        """Return a deployment's replicas."""
        return self._items(_at(name, "replicas"))

    def replica(self, replica_id: str) -> Json:
        """Return one replica."""
        return self._object("GET", f"/v1/replicas/{quote(replica_id, safe='')}")

    def execute(self, replica_id: str, command: Sequence[str], timeout_s: float = 30.0) -> Json:
        """Run a command in a replica; return its exit code and what it printed."""
        path = f"/v1/replicas/{quote(replica_id, safe='')}/exec"
        body = {"command": list(command), "timeout_s": timeout_s}
        answer = self.transport.ask("POST", path, body, timeout_s=timeout_s + 30.0)
        return _as_object(answer.json())

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[Json]:
        """Yield lines that replicas printed: ``replica``, ``unix_s``, ``stream``, ``text``.

        Args:
            name: of a deployment, for all of its replicas, or of one replica.
            tail: so many of the last lines; None is all that are kept.
            follow: go on, until the replica has ended or the deployment is deleted.
        """
        path = _named("replicas" if "." in name else "deployments", name, "logs")
        query = [("tail", tail), ("follow", "true" if follow else "")]
        # Nothing is sent while nothing is printed, however long that is.
        patience_s = None if follow else TIMEOUT_S
        for line in self.transport.lines(_with(path, query), timeout_s=patience_s):
            if line:
                yield _as_object(json.loads(line))

    def events(
        self, *, deployment: str = "", after: int | None = None, limit: int | None = None
    ) -> list[Json]:
        """Return events, oldest first; without ``after`` the last ones."""
        query = [("deployment", deployment), ("after", after), ("limit", limit)]
        return self._items(_with("/v1/events", query))

    def watch(self, *, deployment: str = "", after: int | None = None) -> Iterator[Json]:
        """Yield events as they happen; none is skipped after the one numbered ``after``."""
        query = [("deployment", deployment), ("after", after)]
        headers, is_gone = {"Accept": "text/event-stream"}, False
        for line in self.transport.lines(_with("/v1/events/watch", query), headers):
            field, _, value = line.partition(b": ")
            if field == b"event":
                is_gone = value == b"gone"
            elif field == b"data" and is_gone:
                raise ApiError(value.decode(), status=410, hint="watch again, from now on")
            elif field == b"data":
                yield _as_object(json.loads(value))

    # ── the host ──────────────────────────────────────────────────────────────────────────────

    def host(self) -> Json:
        """Return what the host has, and what of it is given to whom."""
        return self._object("GET", "/v1/host")

    def cordon(self) -> Json:
        """Place nothing new on the host."""
        return self._object("POST", "/v1/host/cordon")

    def uncordon(self) -> Json:
        """Place replicas on the host again."""
        return self._object("POST", "/v1/host/uncordon")

    def drain(self) -> Json:
        """Cordon the host, and let every replica end its requests and stop."""
        return self._object("POST", "/v1/host/drain")

    def images(self) -> list[Json]:
        """Return the images that a deployment may name."""
        return self._items("/v1/images")

    # ── quotas, secrets, tokens ───────────────────────────────────────────────────────────────

    def quotas(self) -> list[Json]:
        """Return the quotas, and what of them is used."""
        return self._items("/v1/quotas")

    def set_quota(self, name: str, bounds: Mapping[str, int]) -> Json:
        """Bound what all deployments of a quota request together; what is left out has no bound."""
        return self._object("PUT", _named("quotas", name), dict(bounds))

    def remove_quota(self, name: str) -> None:
        """Remove a quota."""
        self.transport.ask("DELETE", _named("quotas", name))

    def secrets(self) -> list[Json]:
        """Return the secrets' names and sizes; a value never comes back."""
        return self._items("/v1/secrets")

    def put_secret(self, name: str, value: bytes) -> Json:
        """Store a secret, or replace its value."""
        body = {"base64": base64.b64encode(value).decode()}
        return self._object("PUT", _named("secrets", name), body)

    def remove_secret(self, name: str) -> None:
        """Remove a secret."""
        self.transport.ask("DELETE", _named("secrets", name))

    def tokens(self) -> list[Json]:
        """Return the tokens' names and scopes."""
        return self._items("/v1/tokens")

    def create_token(self, name: str, scope: str) -> Json:
        """Make a token of the scope read, deploy or admin; its text is shown this once."""
        return self._object("POST", "/v1/tokens", {"name": name, "scope": scope})

    def remove_token(self, name: str) -> None:
        """Revoke a token: the next request with it is refused."""
        self.transport.ask("DELETE", _named("tokens", name))

    # ── is it well ────────────────────────────────────────────────────────────────────────────

    def ready(self) -> bool:
        """Return whether the scheduler answers and all of its parts are well."""
        try:
            return self.transport.ask("GET", "/readyz").status == 200
        except ApiError:
            return False

    def metrics(self) -> str:
        """Return the numbers of everything, in Prometheus' text format."""
        return self.transport.ask("GET", "/metrics").content.decode()

    def _object(self, method: str, path: str, body: object = None) -> Json:
        return _as_object(self.transport.ask(method, path, body).json())

    def _items(self, path: str, *query: tuple[str, object]) -> list[Json]:
        """Return the items of all pages."""
        found, after = list[Json](), ""
        while True:
            page = self._object("GET", _with(path, [*query, ("after", after)]))
            found += [_as_object(item) for item in page.get("items", [])]
            after = page.get("next") or ""
            if not after:
                return found


def own_address() -> str:
    """Return the address of this host's own scheduler."""
    from .places import default_places

    return f"unix://{default_places().socket}"


def _named(noun: str, name: str, *more: str) -> str:
    return "/".join(("/v1", noun, quote(name, safe=""), *more))


def _at(name: str, *more: str) -> str:
    return _named("deployments", name, *more)


def _with(path: str, query: Sequence[tuple[str, object]]) -> str:
    """Return a path with a query of what was given.

    >>> _with("/v1/events", [("after", 0), ("deployment", ""), ("limit", None)])
    '/v1/events?after=0'
    """
    given = [(key, value) for key, value in query if value not in ("", None)]
    return f"{path}?{urlencode(given)}" if given else path


def _as_object(value: object) -> Json:
    if not isinstance(value, dict):
        raise ApiError(f"the answer is no object: {str(value)[:80]!r}")
    return value
