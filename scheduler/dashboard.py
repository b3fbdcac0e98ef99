"""A door for browsers to a scheduler that they cannot reach: a port here, its Unix socket there.

    browser ─ minisched-….localhost:8801 ─▶ dashboard ─ the socket, or TLS and a token ─▶ scheduler

Whoever may open the socket is admin, but a port can be opened by everybody on the machine. So the
door lets in whoever has been at a link with a key, which is printed for the one who started it and
opens once: the browser gets a cookie for it. A cookie is for a host, on all of its ports, and so
would be shown to whatever else listens at 127.0.0.1: the link has a host name that is made for this
door alone and that nobody else can know. Browsers take all names below localhost for this machine.

Beyond that nothing is understood here: a connection is one request, its head is judged, and from
then on bytes pass both ways until one side ends.

See: RFC 9112 (HTTP/1.1), RFC 6265bis section 8.5 (cookies and ports), RFC 6761 section 6.3
(localhost). Next: ``web/session.py``, what the pages ask for.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from minirun import MinirunError

HOST = "127.0.0.1"
HEAD_BYTES, HEAD_S = 32 << 10, 10.0
_PIECE = 64 << 10
#: Of one connection, or whose we replace.
_NOT_PASSED_ON = {
    "connection", "keep-alive", "proxy-authorization", "te", "upgrade", "cookie", "authorization",
}  # fmt: skip
#: Not a redirect: a link that was clicked elsewhere would lead on without the new, strict cookie.
_WELCOME = b'<!doctype html><meta http-equiv="refresh" content="0;url=/"><a href="/">minisched</a>'


class _BadHeadError(Exception):
    """What was sent is no request."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request; header names are lowercase."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, data: bytes) -> Head:
        """Return a head from its bytes, the empty line included."""
        first, *lines = data.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[1].startswith("/") or not words[2].startswith("HTTP/1."):
            raise _BadHeadError(first)
        return cls(words[0], words[1], tuple(map(_header, lines)))

    def cookie(self, name: str) -> str:
        """Return a cookie's value; "" where there is none."""
        for header, value in self.headers:
            for part in value.split(";") if header == "cookie" else ():
                key, _, held = part.strip().partition("=")
                if key == name:
                    return held
        return ""

    def passed_on(self, token: str) -> bytes:
        """Return the head that the scheduler gets."""
        return "\r\n".join([*self._lines(token), "", ""]).encode("latin-1")

    def _lines(self, token: str) -> Iterator[str]:
        yield f"{self.method} {self.target} HTTP/1.1"
        for name, value in self.headers:
            if name not in _NOT_PASSED_ON:
                yield f"{name}: {value}"
        yield "connection: close"  # so that no second request follows that nobody has judged
        if token:
            yield f"authorization: Bearer {token}"


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name or name != name.strip() or any(c in "\r\n\0" for c in line):
        raise _BadHeadError(line)
    return name.lower(), value.strip()


class Dashboard:
    """One door.

    Args:
        address: of the scheduler, as in ``transport.py``.
        token: shown to it; "" for none.
        ca_file: the certificate to trust in place of the system's; "" for these.
    """

    def __init__(self, address: str, token: str = "", ca_file: str = "") -> None:
        self._parts = urlsplit(address)
        self._token = token
        is_encrypted = self._parts.scheme == "https"
        self._tls = ssl.create_default_context(cafile=ca_file or None) if is_encrypted else None
        self._key = secrets.token_urlsafe(24)
        self._session = secrets.token_urlsafe(32)
        self._name = f"minisched-{secrets.token_hex(8)}.localhost"
        self._port = 0

    async def serve(self, port: int, opened: Callable[[str], None]) -> None:
        """Serve for ever.

        Args:
            port: of this machine's own address; 0 for any.
            opened: is given the link, as soon as it works.

        Raises:
            MinirunError: somebody else has the port.
        """
        try:
            server = await asyncio.start_server(self._serve_one, HOST, port, limit=HEAD_BYTES)
        except OSError as error:
            hint = "choose another with --port"
            raise MinirunError(f"cannot listen at {HOST}:{port}", hint=hint) from error
        self._port = server.sockets[0].getsockname()[1]
        opened(f"http://{self._name}:{self._port}/open/{self._key}")
        async with server:
            await server.serve_forever()

    # ---- one connection -------------------------------------------------------------------------

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_S):
                head = Head.read(await reader.readuntil(b"\r\n\r\n"))
            await self._answer(head, reader, writer)
        except (_BadHeadError, asyncio.LimitOverrunError):
            await _say(writer, "400 Bad Request", b"this is no request\n")
        except (OSError, EOFError):
            pass  # it has gone, or said nothing in time
        finally:
            await _close(writer)

    async def _answer(
        self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if head.method == "GET" and self._opens(head.target.removeprefix("/open/")):
            await _say(writer, "200 OK", _WELCOME, f"{self._cookie()}={self._session}")
        elif _same(head.cookie(self._cookie()), self._session):
            await self._pass_on(head, reader, writer)
        else:
            text = b"open the link that minisched dashboard has printed; it works once\n"
            await _say(writer, "403 Forbidden", text)

    def _cookie(self) -> str:
        return f"minisched-{self._port}"  # who writes 127.0.0.1 instead may have two doors open

    def _opens(self, key: str) -> bool:
        if not self._key or not _same(key, self._key):
            return False
        self._key = ""
        return True

    async def _pass_on(
        self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            their_reader, their_writer = await self._connect()
        except OSError:
            await _say(writer, "502 Bad Gateway", b"the scheduler does not answer\n")
            return
        try:
            their_writer.write(head.passed_on(self._token))
            await _until_one_ends(_copy(reader, their_writer), _copy(their_reader, writer))
        finally:
            await _close(their_writer)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = self._parts
        if parts.scheme == "unix":
            return await asyncio.open_unix_connection(parts.path)
        port = parts.port or (443 if self._tls else 80)
        return await asyncio.open_connection(parts.hostname, port, ssl=self._tls)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("latin-1", "replace"), wanted.encode())


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_PIECE):
            writer.write(data)
            await writer.drain()


async def _until_one_ends(*copies: Coroutine[None, None, None]) -> None:
    tasks = [asyncio.create_task(copy) for copy in copies]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _say(writer: asyncio.StreamWriter, status: str, body: bytes, cookie: str = "") -> None:
    """Answer by ourselves."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: text/{'html' if cookie else 'plain'}; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
        "Referrer-Policy: no-referrer",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if cookie:
        lines.append(f"Set-Cookie: {cookie}; Path=/; HttpOnly; SameSite=Strict")
    head = "\r\n".join([*lines, "", ""])
    with suppress(OSError):
        writer.write(head.encode() + body)
        await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
