"""``python -m benchmarks.aiohttp_proxy PORT SOCKET``: a proxy as one would write it in Python.

It keeps its connections to the replica, so each of its requests costs one exchange, no more.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

#: A connection's own headers; they end where the connection ends (RFC 9110, 7.6.1).
_OWN = {"connection", "keep-alive", "transfer-encoding", "content-length"}


def main() -> None:
    """Serve until killed."""
    port, socket = int(sys.argv[1]), sys.argv[2]
    app = web.Application()
    session = web.AppKey("session", aiohttp.ClientSession)

    async def with_session(app: web.Application) -> AsyncIterator[None]:
        connector = aiohttp.UnixConnector(socket, limit=0)
        async with aiohttp.ClientSession(connector=connector) as app[session]:
            yield

    async def pass_on(request: web.Request) -> web.Response:
        url = f"http://replica{request.path_qs}"
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        async with app[session].request(request.method, url, data=body, headers=headers) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _OWN}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    app.cleanup_ctx.append(with_session)
    app.router.add_route("*", "/{path:.*}", pass_on)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=lambda *_: None)


if __name__ == "__main__":
    main()
