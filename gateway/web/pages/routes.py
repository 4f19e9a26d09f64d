"""Every address of the pages."""

from aiohttp import web

from gateway.web.pages import log, session
from gateway.web.pages.assets import asset
from gateway.web.pages.overview import overview
from gateway.web.pages.render import for_operators


def page_routes() -> list[web.RouteDef]:
    """The routes of the dashboard and the playground."""
    return [
        web.get("/dashboard", for_operators(overview)),
        web.get("/dashboard/login", session.login_page),
        web.post("/dashboard/login", session.login),
        web.post("/dashboard/logout", session.logout),
        web.get("/dashboard/conversations", for_operators(log.conversations)),
        web.get("/dashboard/conversations/{conversation_id}", for_operators(log.conversation)),
        web.get("/dashboard/errors", for_operators(log.errors)),
        web.get("/dashboard/callers", for_operators(log.callers)),
        web.get("/dashboard/assets/{digest}/{name}", asset),
        web.get("/playground", for_operators(log.playground)),
    ]
