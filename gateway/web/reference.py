"""GET /openapi.json and GET /docs: made once at start, served as bytes."""

from functools import cache

from aiohttp import web

from gateway.core.jsontext import dumps
from gateway.web.docs_page import render
from gateway.web.openapi import build_document

_MAX_AGE = "public, max-age=300"


def reference_routes() -> list[web.RouteDef]:
    """The routes of the document and its page."""
    document, page, policy = _made()

    async def openapi(_: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json", headers={"Cache-Control": _MAX_AGE})

    async def docs(_: web.Request) -> web.Response:
        headers = {"Cache-Control": _MAX_AGE, "Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
        return web.Response(body=page, content_type="text/html", charset="utf-8", headers=headers)

    return [web.get("/openapi.json", openapi), web.get("/docs", docs)]


@cache
def _made() -> tuple[bytes, bytes, str]:
    """The document, the page, and the page's Content-Security-Policy."""
    built = build_document()
    return dumps(built), *render(built)
