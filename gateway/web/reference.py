"""GET /openapi.json and GET /docs: made of all models, once, when somebody first asks."""

import asyncio
from functools import cache
from typing import Final

from aiohttp import web

from gateway.core.jsontext import dumps

_MAX_AGE: Final = "public, max-age=300"


def reference_routes() -> list[web.RouteDef]:
    """The routes of the document and its page."""
    making = asyncio.Lock()

    async def made() -> tuple[bytes, bytes, str]:
        # In a thread: it takes as long as half a start.
        async with making:
            return await asyncio.to_thread(_made)

    async def openapi(_: web.Request) -> web.Response:
        document, _page, _policy = await made()
        return web.Response(body=document, content_type="application/json", headers={"Cache-Control": _MAX_AGE})

    async def docs(_: web.Request) -> web.Response:
        _document, page, policy = await made()
        headers = {"Cache-Control": _MAX_AGE, "Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
        return web.Response(body=page, content_type="text/html", charset="utf-8", headers=headers)

    return [web.get("/openapi.json", openapi), web.get("/docs", docs)]


@cache
def _made() -> tuple[bytes, bytes, str]:
    """The document, the page, and the page's Content-Security-Policy. Few processes are ever asked for them."""
    from gateway.web.docs_page import render
    from gateway.web.openapi import build_document

    built = build_document()
    return dumps(built), *render(built)
