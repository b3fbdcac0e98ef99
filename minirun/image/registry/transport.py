"""One call to a registry: authorized, repeated where that helps, and its failures in words.

Repeated is what may go better the second time: a connection that broke, 408, 429 and 5xx; later
each time, and as late as the registry asks for (Retry-After). Everything else is an answer.

Next: ``repository.py``.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import random
import time
from collections.abc import Callable, Iterator

import httpx

from ...errors import ImageError
from ...record import replace
from ..arrival import Interrupted
from ..parallel import Stop
from .auth import Authorizer, login_hint
from .connection import Connection, Request, is_untrusted, read_all, said
from .credentials import Credential
from .endpoint import Endpoint
from .settings import Patience

_AGAIN = (408, 429, 500, 502, 503, 504)
_ERROR_LIMIT_BYTES = 64 << 10
_TOKEN_LIMIT_BYTES = 1 << 20


class Refused(ImageError):
    """A registry's answer was an error; ``status`` is HTTP's."""

    def __init__(self, message: str, status: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Transport:
    """Calls to one registry. Threads may share it.

    Args:
        endpoint: the registry.
        find: returns the credentials kept under a name.
        patience: how often and how long to try.
        stop: set by somebody else, ends every wait.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        find: Callable[[str], Credential | None],
        patience: Patience,
        stop: Stop | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.patience = patience
        self._stop = stop or Stop()
        self._connection = Connection(endpoint, patience.silence_s)
        self._stop.on_set(self._connection.abort)
        self._authorizer = Authorizer(endpoint, find, self._ask_token_server)

    def close(self) -> None:
        """Close all connections."""
        self._connection.close()

    def url(self, path: str) -> str:
        """Return the absolute form of a path below the registry's top; a URL stays as it is."""
        with self.in_words():
            return str(httpx.URL(self._connection.base()).join(path))

    @contextlib.contextmanager
    def call(
        self,
        request: Request,
        scopes: tuple[str, ...],
        what: str,
        *,
        good: tuple[int, ...] = (),
        once: bool = False,
    ) -> Iterator[httpx.Response]:
        """Yield a good answer, whose body is still to be read.

        Args:
            request: its URL may be relative to the registry's top.
            scopes: what it needs to be allowed, as in ``repository:library/app:pull``.
            what: for errors, as in ``manifest of app``.
            good: the status codes to accept; none accepts all below 300.
            once: do not repeat it: the caller knows better how to go on.

        Raises:
            Refused: the registry answers with an error.
            Interrupted: it cannot be reached, whatever was tried.
        """
        absolute = replace(request, url=self.url(request.url))
        response = self._persist(absolute, scopes, 1 if once else self.patience.attempts)
        try:
            with self.in_words():
                if response.status_code not in (good or range(200, 300)):
                    raise self._refusal(response, what)
                yield response
        finally:
            response.close()

    def wait(self, attempt: int, response: httpx.Response | None = None) -> None:
        """Wait before one more attempt.

        Args:
            attempt: how many there were.
            response: may say for how long.

        Raises:
            Interrupted: that is too long, or somebody wants us to stop.
        """
        delay = min(self.patience.first_s * 2 ** (attempt - 1), self.patience.longest_s)
        delay *= random.uniform(0.75, 1.0)  # so that clients do not march in step
        if response is not None:
            delay = max(delay, retry_after(response.headers.get("retry-after", "")))
        if delay > self.patience.longest_s:
            raise Interrupted(
                f"registry {self.endpoint.host} asks us to wait for {delay:.0f} s",
                hint="try again after that",
            )
        if self._stop.wait(delay):
            raise Interrupted("stopped")

    @contextlib.contextmanager
    def in_words(self) -> Iterator[None]:
        """Turn what the HTTP library raises into an Interrupted with a hint."""
        try:
            yield
        except (httpx.TransportError, httpx.StreamError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error

    def _persist(self, request: Request, scopes: tuple[str, ...], attempts: int) -> httpx.Response:
        """Send until there is an answer that is worth looking at."""
        attempt = 0
        while True:
            attempt += 1
            response = None
            try:
                response = self._authorized(request, scopes)
                if response.status_code not in _AGAIN or attempt >= attempts:
                    return response
                response.close()
            except httpx.TransportError as error:
                if self._stop.is_set() or attempt >= attempts or is_untrusted(error):
                    raise self._unreachable(error) from error
            self.wait(attempt, response)

    def _authorized(self, request: Request, scopes: tuple[str, ...]) -> httpx.Response:
        """Send with what the registry is known to want; answer once if it wants something else."""
        if not self._connection.is_ours(httpx.URL(request.url)):
            return self._connection.send(request)  # an upload to elsewhere: no credentials
        sent = self._authorizer.header(scopes)
        response = self._connection.send(_with_authorization(request, sent))
        if response.status_code != httpx.codes.UNAUTHORIZED:
            return response
        challenges = response.headers.get_list("www-authenticate")
        if not challenges or not self._connection.is_ours(response.url):
            return response
        response.close()
        answer = self._authorizer.answer(challenges, scopes, sent)
        return self._connection.send(_with_authorization(request, answer))

    def _ask_token_server(self, url: str, headers: dict[str, str], form: bytes | None) -> bytes:
        """Send a request to a token server; its errors are mostly about the password."""
        body = (lambda: [form]) if form is not None else None
        method = "GET" if form is None else "POST"
        response = self._connection.send(Request(method, url, headers, body, len(form or b"")))
        try:
            if response.status_code == httpx.codes.OK:
                return read_all(response, _TOKEN_LIMIT_BYTES, "token")
            raise self._refusal(response, "login")
        finally:
            response.close()

    def _refusal(self, response: httpx.Response, what: str) -> Refused:
        status, host = response.status_code, self.endpoint.host
        reason = _reason(response)
        message = f"registry {host}: {what}: {reason}"
        hints = {
            401: login_hint(self.endpoint),
            403: login_hint(self.endpoint),
            404: "check the name, or log in if it is private",
            429: "too many requests: log in, or try again later",
        }
        hint = hints.get(status, "try again later" if status >= 500 else "")
        return Refused(message, status, hint=hint)

    def _unreachable(self, error: Exception) -> Interrupted:
        host = self.endpoint.host
        if is_untrusted(error):
            hint = f"put its authority into /etc/docker/certs.d/{host}/ca.crt"
            return Interrupted(f"registry {host}: certificate is not trusted: {error}", hint=hint)
        return Interrupted(f"registry {host}: {said(error)}", hint="is it running, and reachable?")


def retry_after(text: str) -> float:
    """Return the seconds that a Retry-After header means: a number, or a date.

    >>> retry_after("7")
    7.0
    >>> retry_after("soon")
    0.0
    """
    if text.isdecimal():
        return float(text[:9])
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, moment.timestamp() - time.time())


def _with_authorization(request: Request, header: str) -> Request:
    if not header:
        return request
    return replace(request, headers={**request.headers, "Authorization": header})


def _reason(response: httpx.Response) -> str:
    """Return what an error says: a registry's JSON, else its status; never a page of HTML."""
    status = f"{response.status_code} {response.reason_phrase[:60]}".strip().lower()
    try:
        found = json.loads(read_all(response, _ERROR_LIMIT_BYTES, "error"))
        first = found["errors"][0] if "errors" in found else found
        words = str(first.get("message") or first.get("details") or first.get("code") or "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, ImageError):
        return status
    except httpx.TransportError:
        return status
    return f"{words[:200]} ({status})" if words and words.isprintable() else status
