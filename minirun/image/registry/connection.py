"""HTTP to one registry, and to where it sends us.

* A certificate is checked against the system's authorities and those that an administrator put into
  ``/etc/docker/certs.d/HOST:PORT/*.crt``, where Docker looks too; ``client.cert`` and
  ``client.key`` beside them are shown to a registry that asks. SSL_CERT_FILE and HTTPS_PROXY work
  as everywhere.
* Blobs are often redirected to an object store. Credentials are for the registry alone: they do
  not go along to another host, and no redirect leads from https to http.
* An answer of unknown length is never read whole: see ``read_all``.

Next: ``transport.py``.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import cast

import httpx

from ... import __version__
from ...errors import ImageError
from ...record import EMPTY, Record
from .endpoint import Endpoint, is_loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    import httpcore

#: How Python begins the words of an errno.
_ERRNO = re.compile(r"^\[Errno -?\d+\] ")
MAX_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_KEEP_METHOD = (307, 308)
_CONNECT_SECONDS = 15.0
_NEW_SOCKET = ("connection.connect_tcp.complete", "connection.start_tls.complete")
_CERTIFICATE_FOLDERS = ("/etc/docker/certs.d", "/etc/containers/certs.d")
_FIXED = {"User-Agent": f"minirun/{__version__}", "Accept-Encoding": "identity"}


class Request(Record):
    """A request that can be sent again: its body is made anew each time.

    Args:
        url: absolute.
        body: makes the body, which is ``length`` bytes long.
    """

    method: str
    url: str
    headers: Mapping[str, str] = EMPTY
    body: Callable[[], Iterable[bytes]] | None = None
    length: int = 0


class Connection:
    """Connections to one registry, kept open between requests. Threads may share it."""

    def __init__(self, endpoint: Endpoint, silence_s: float) -> None:
        self.endpoint = endpoint
        self._timeout = httpx.Timeout(silence_s, connect=_CONNECT_SECONDS)
        self._clients: dict[str, httpx.Client] = {}
        self._lock = threading.RLock()
        self._scheme = endpoint.scheme
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def abort(self) -> None:
        """End all that is under way in other threads: a peer that is silent would keep them."""
        for one in list(self._sockets):
            with contextlib.suppress(OSError):
                # Not the method of a TLS socket, which would take away what its reader uses.
                socket.socket.shutdown(one, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def base(self) -> str:
        """Return ``https://host``, or ``http://host`` where that is allowed and all there is."""
        with self._lock:
            if not self._scheme:
                self._scheme = self._probe() if self.endpoint.may_be_plain else "https"
        return f"{self._scheme}://{self.endpoint.host}"

    def send(self, request: Request) -> httpx.Response:
        """Return the answer, whose body is still to be read; the caller closes it.

        Raises:
            httpx.TransportError: the registry could not be reached, or broke off.
            ImageError: it redirects for ever, or to where we do not go.
        """
        url, headers = httpx.URL(request.url), {**_FIXED, **request.headers}
        for _ in range(MAX_REDIRECTS):
            response = self._send_once(request, url, headers)
            target = response.headers.get("location", "")
            keeps_method = response.status_code in _KEEP_METHOD or request.body is None
            if response.status_code not in _REDIRECTS or not target or not keeps_method:
                return response
            response.close()
            url, before = self._followed(url, target), url
            if not same_origin(url, before):
                headers.pop("Authorization", None)
        raise ImageError(f"registry {self.endpoint.host} redirects more than {MAX_REDIRECTS} times")

    def is_ours(self, url: httpx.URL) -> bool:
        """Return True where an answer came from the registry itself."""
        return same_origin(url, httpx.URL(self.base()))

    def _send_once(
        self, request: Request, url: httpx.URL, headers: dict[str, str]
    ) -> httpx.Response:
        client = self._client(url)
        content = None
        if request.body is not None:
            content = request.body()
            headers = {**headers, "Content-Length": str(request.length)}
        made = client.build_request(
            request.method, url, headers=headers, content=content, extensions={"trace": self._note}
        )
        return client.send(made, stream=True)

    def _note(self, event: str, facts: Mapping[str, object]) -> None:
        """Remember a new connection's socket; the library calls this as it goes along."""
        if event in _NEW_SOCKET:
            stream = cast("httpcore.NetworkStream", facts["return_value"])
            self._sockets.add(stream.get_extra_info("socket"))

    def _followed(self, url: httpx.URL, target: str) -> httpx.URL:
        """Return where a redirect leads."""
        try:
            found = url.join(target)
        except httpx.InvalidURL as error:
            host = self.endpoint.host
            raise ImageError(f"registry {host} redirects to {target[:80]!r}") from error
        plain_too = url.scheme == "http" or self.endpoint.may_be_plain
        if found.scheme != "https" and not (found.scheme == "http" and plain_too):
            raise ImageError(
                f"registry {self.endpoint.host} redirects to {target[:80]!r}",
                hint="from https a redirect must lead to https",
            )
        return found

    def _probe(self) -> str:
        """Find out whether a registry that may be plain speaks TLS; no credentials are sent."""
        try:
            self.send(Request("GET", f"https://{self.endpoint.host}/v2/")).close()
        except httpx.TransportError as error:
            if is_untrusted(error):
                raise
            return "http"
        return "https"

    def _client(self, url: httpx.URL) -> httpx.Client:
        """Return the client for a host; all that need no certificates of their own share one."""
        host = url.netloc.decode("ascii")
        folder = "" if url.scheme == "http" else certificate_folder(host)
        unverified = self.endpoint.unverified and host == self.endpoint.host
        key = host if folder or unverified or is_loopback(host) else url.scheme
        with self._lock:
            if key not in self._clients:
                verify: ssl.SSLContext | bool = False  # no TLS is spoken with a plain host
                if url.scheme == "https":
                    verify = _context(folder, unverified=unverified)
                # As in Go, a proxy is never asked for what is on this machine.
                trust = not is_loopback(host)
                client = httpx.Client(verify=verify, timeout=self._timeout, trust_env=trust)
                self._clients[key] = client
            return self._clients[key]


def read_all(response: httpx.Response, limit_bytes: int, what: str) -> bytes:
    """Return the body of an answer, which must not be longer than a limit."""
    parts, size = [], 0
    for part in response.iter_raw():
        parts.append(part)
        size += len(part)
        if size > limit_bytes:
            raise ImageError(f"{what} is larger than {limit_bytes} bytes")
    return b"".join(parts)


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Return True where two URLs lead to the same scheme, host and port."""
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def is_untrusted(error: BaseException) -> bool:
    """Return True where a connection failed because of the other side's certificate."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def said(error: BaseException) -> str:
    """Return what an error of the network says, as a message of ours would.

    >>> said(ConnectionRefusedError(111, "Connection refused"))
    'connection refused'
    """
    text = _ERRNO.sub("", str(error)) or type(error).__name__
    return f"{text[:1].lower()}{text[1:200]}"


def certificate_folder(host: str) -> str:
    """Return the folder with a host's own certificates, or ""."""
    own = os.environ.get("MINIRUN_CERTS", "")
    for folder in (own,) if own else _CERTIFICATE_FOLDERS:
        path = os.path.join(folder, host)
        if "/" not in host and os.path.isdir(path):
            return path
    return ""


def _context(folder: str, *, unverified: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        for name in sorted(os.listdir(folder)) if folder else ():
            path = os.path.join(folder, name)
            if name.endswith(".crt"):
                context.load_verify_locations(path)
            elif name.endswith(".cert"):
                context.load_cert_chain(path, f"{path.removesuffix('.cert')}.key")
    except OSError as error:  # ssl.SSLError is one
        raise ImageError(f"certificates in {folder} cannot be used: {error}") from error
    if unverified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
