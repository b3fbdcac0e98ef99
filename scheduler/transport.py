"""HTTP to one control API: over a Unix socket, or over TCP with TLS and a token.

The standard library's client is enough: one request per connection, answers read whole or line by
line. What the API answers with is plain JSON here; ``client.py`` knows what it means.

    unix:///run/minirun/sched.sock      whoever may open the socket may ask
    https://host:8443                   with a token, and a certificate that is checked
    http://127.0.0.1:8080               only to this machine: a token is not shouted over a network
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from minirun import MinirunError

#: An answer that takes longer than this is a scheduler that hangs.
TIMEOUT_S = 30.0
#: What a watch may stay silent for: the API sends a sign of life every 15 seconds.
STREAM_TIMEOUT_S = 90.0
_LOCAL = ("127.0.0.1", "::1", "localhost")


class ApiError(MinirunError):
    """The scheduler refused, or nobody answered.

    Args:
        message: what it said.
        status: the HTTP status; 0 where there was no answer.
    """

    def __init__(self, message: str, *, status: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read whole; ``etag`` is the revision it shows, "" where it has none."""

    status: int
    content: bytes
    etag: str = ""

    def json(self) -> object:
        """Return the content as plain values; None where there is none."""
        if not self.content:
            return None
        try:
            value: object = json.loads(self.content)
        except ValueError as error:
            raise ApiError("the answer is not JSON", status=self.status, hint=_NOT_OURS) from error
        return value


_NOT_OURS = "is this the address of a minisched? minisched context list shows what is configured"


class Transport:
    """One address, and how to be let in there.

    Args:
        address: see the drawing above.
        token: sent as a bearer token; "" for none.
        ca_file: the certificate to trust in place of the system's; "" for these.

    Raises:
        ApiError: the address is none, or would send a token in the clear.
    """

    def __init__(self, address: str, *, token: str = "", ca_file: str = "") -> None:
        self.address = address
        self._token = token
        self._ca_file = ca_file
        self._parts = urlsplit(address)
        self._check()

    def _check(self) -> None:
        scheme, host = self._parts.scheme, self._parts.hostname
        if scheme == "unix":
            if not self._parts.path.startswith("/"):
                hint = "three slashes: unix:///run/minirun/sched.sock"
                raise ApiError(f"{self.address!r} names no absolute path", hint=hint)
        elif scheme not in ("http", "https") or not host or not self._has_port():
            hint = "unix:///path, https://host:port, or http://127.0.0.1:port"
            raise ApiError(f"{self.address!r} is not an address", hint=hint)
        elif scheme == "http" and self._token and host not in _LOCAL:
            hint = "use https://; minisched serve --tls-cert and --tls-key offer it"
            raise ApiError(f"{self.address} would show the token to the network", hint=hint)

    def _has_port(self) -> bool:
        """Return whether the port is a number, or left out."""
        try:
            return self._parts.port != 0
        except ValueError:
            return False

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> Answer:
        """Send one request and return its answer.

        Args:
            method: as in HTTP.
            path: with its query, from ``/v1`` on.
            body: plain values, sent as JSON; None for no body.
            headers: beside the ones that every request has.
            timeout_s: for the connection and for every read.

        Raises:
            ApiError: no answer, or one of status 400 and above.
        """
        connection, response = self._send(method, path, body, headers, timeout_s)
        with connection:
            try:
                content = response.read()
            except (OSError, http.client.HTTPException) as error:
                raise self._lost(error) from error
        if response.status >= 400:
            raise refusal(response.status, content)
        return Answer(response.status, content, response.headers.get("ETag", ""))

    def lines(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float | None = STREAM_TIMEOUT_S,
    ) -> Iterator[bytes]:
        """Yield the lines of an answer as they come, without their ends, until it ends.

        Args:
            path: as in ``ask``.
            headers: as in ``ask``.
            timeout_s: how long it may stay silent; None is for ever.

        Raises:
            ApiError: refused, or the connection was lost on the way.
        """
        connection, response = self._send("GET", path, None, headers, timeout_s)
        with connection:
            try:
                if response.status >= 400:
                    raise refusal(response.status, response.read())
                while line := response.readline():
                    yield line.rstrip(b"\r\n")
            except (OSError, http.client.HTTPException) as error:
                raise self._lost(error) from error

    def _send(
        self,
        method: str,
        path: str,
        body: object,
        headers: Mapping[str, str] | None,
        timeout_s: float | None,
    ) -> tuple[_Closing, http.client.HTTPResponse]:
        connection = self._connection(timeout_s)
        content = None if body is None else json.dumps(body).encode()
        sent = {"Accept": "application/json", **(headers or {})}
        if content is not None:
            sent.setdefault("Content-Type", "application/json")
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        try:
            with suppress(BrokenPipeError):  # what is too large is refused before it is read
                connection.request(method, path, content, sent)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error
        return _Closing(connection, response), response

    def _connection(self, timeout_s: float | None) -> http.client.HTTPConnection:
        parts = self._parts
        if parts.scheme == "unix":
            return _UnixConnection(parts.path, timeout_s)
        host, port = str(parts.hostname), parts.port
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout_s)
        import ssl

        try:
            context = ssl.create_default_context(cafile=self._ca_file or None)
        except OSError as error:
            text = f"cannot read the certificate {self._ca_file}: {error.strerror or error}"
            raise ApiError(text, hint="minisched context add --ca-file names it") from error
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)

    def _unreachable(self, error: Exception) -> ApiError:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        hint = "minisched serve starts one; minisched context list shows others"
        if isinstance(error, PermissionError):
            hint = "only root and the socket's group may use it; over TCP a token does"
        elif "CERTIFICATE" in str(error).upper():
            hint = "trust it with: minisched context add NAME ADDRESS --ca-file FILE"
        return ApiError(f"no scheduler at {self.address}: {why.lower()}", hint=hint)

    def _lost(self, error: Exception) -> ApiError:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return ApiError(f"lost the scheduler at {self.address}: {why.lower()}")


def refusal(status: int, content: bytes) -> ApiError:
    """Return an answer of RFC 9457 as an error, whatever else somebody may have sent.

    >>> str(refusal(422, b'{"detail": "no", "errors": [{"pointer": "/port", "detail": "is 0"}]}'))
    'no: /port is 0'
    """
    try:
        problem = json.loads(content)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        return ApiError(f"status {status}, without a reason", status=status, hint=_NOT_OURS)
    message = str(problem.get("detail") or problem.get("title") or f"status {status}")
    fields = [(e.get("pointer", ""), e.get("detail", "")) for e in problem.get("errors") or ()]
    unsaid = [f"{pointer} {detail}" for pointer, detail in fields if str(detail) not in message]
    text = f"{message}: {'; '.join(unsaid)}" if unsaid else message
    hint = str(problem.get("hint") or _HINTS.get(status, ""))
    return ApiError(text, status=status, hint=hint)


_HINTS = {
    401: "give a token: minisched context add NAME ADDRESS --token-file FILE",
    403: "minisched token create --scope deploy or admin makes one that may",
    412: "somebody changed it meanwhile: look with minisched diff, then try again",
    502: _NOT_OURS,
}


class _Closing:
    """A connection that is closed at the end of a block, also of one that was left half read."""

    def __init__(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        self._connection = connection
        self._response = response

    def __enter__(self) -> None:
        """Nothing to do: it is open already."""

    def __exit__(self, *_exception: object) -> None:
        """Close both: either alone keeps the socket open."""
        self._response.close()
        self._connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """The same protocol over a Unix socket."""

    def __init__(self, path: str, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the path in place of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise
