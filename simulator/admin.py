"""The doors beside the providers' own: what was called, how to script it over HTTP, tiny model lists."""

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from simulator.calls import CallLog
from simulator.script import Script, parse
from simulator.scripts import Scripts

OPENAI_MODELS = ("gpt-6-luna", "gpt-6-sol", "gpt-4o")
ANTHROPIC_MODELS = ("claude-haiku-5-5", "claude-sonnet-5-5")
GEMINI_MODELS = ("gemini-3.8-flash", "gemini-3.5-flash-lite")
GROQ_MODELS = ("openai/gpt-oss-120b", "openai/gpt-oss-20b")
_ABOUT = (
    "A stand-in for four providers. POST /v1/chat/completions and /v1/responses (OpenAI), /openai/v1/chat/completions (Groq), "
    "/v1/messages (Anthropic), /v1beta/models/{model}:generateContent (Gemini), /compatible/v1/chat/completions (any other). "
    "GET /_calls, /_counts, /_script; PUT or POST /_script; POST /_release, /_reset.\n"
)


def add_admin_routes(
    app: web.Application, log: CallLog, scripts: Scripts, *, release: Callable[[], None], reset: Callable[[], None]
) -> None:
    """Add the routes that watch and script a simulator."""

    async def calls(_request: web.Request) -> web.Response:
        return _json([call.as_json() for call in log.calls])

    async def forget(_request: web.Request) -> web.Response:
        log.clear()
        return web.Response(status=204)

    async def counts(_request: web.Request) -> web.Response:
        return _json(log.counts())

    async def show_scripts(_request: web.Request) -> web.Response:
        return _json([{"script": _shown(entry.script), "calls": entry.left} for entry in scripts.entries])

    async def put_scripts(request: web.Request) -> web.Response:
        try:
            read = _read_scripts(orjson.loads(await request.read()))
        except ValueError as error:
            return _json({"error": str(error)}, status=400)
        if request.method == "PUT":
            scripts.clear()
        for script, number in read:
            scripts.add(script, number)
        return web.Response(status=204)

    async def clear_scripts(_request: web.Request) -> web.Response:
        scripts.clear()
        return web.Response(status=204)

    async def let_go(_request: web.Request) -> web.Response:
        release()
        return web.Response(status=204)

    async def start_over(_request: web.Request) -> web.Response:
        reset()
        return web.Response(status=204)

    app.router.add_get("/_calls", calls)
    app.router.add_delete("/_calls", forget)
    app.router.add_get("/_counts", counts)
    app.router.add_get("/_script", show_scripts)
    app.router.add_put("/_script", put_scripts)
    app.router.add_post("/_script", put_scripts)
    app.router.add_delete("/_script", clear_scripts)
    app.router.add_post("/_release", let_go)
    app.router.add_post("/_reset", start_over)
    _add_model_lists(app)


def _add_model_lists(app: web.Application) -> None:
    async def models(request: web.Request) -> web.Response:
        if "x-goog-api-key" in request.headers or "/v1beta/" in request.path:
            methods = ["generateContent", "streamGenerateContent"]
            gemini = [{"name": f"models/{name}", "supportedGenerationMethods": methods} for name in GEMINI_MODELS]
            return _json({"models": gemini})
        if "anthropic-version" in request.headers:
            claude = [{"type": "model", "id": name, "display_name": name} for name in ANTHROPIC_MODELS]
            return _json({"data": claude, "has_more": False, "first_id": None, "last_id": None})
        on_groq = request.path.startswith("/openai/")
        owner, names = ("groq", GROQ_MODELS) if on_groq else ("openai", OPENAI_MODELS)
        listed = [{"id": name, "object": "model", "created": 1_760_000_000, "owned_by": owner} for name in names]
        return _json({"object": "list", "data": listed})

    async def about(_request: web.Request) -> web.Response:
        return web.Response(text=_ABOUT)

    async def unknown(request: web.Request) -> web.Response:
        message = f"Invalid URL ({request.method} {request.path})"
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        return _json({"error": error}, status=404)

    for path in ("/v1/models", "/openai/v1/models", "/v1beta/models"):
        app.router.add_get(path, models)
    app.router.add_get("/", about)
    app.router.add_route("*", "/{path:.*}", unknown)


def _read_scripts(value: Any) -> list[tuple[Script, int | None]]:
    """Read one script or a list of them; `calls` in one says for how many calls (absent: it stands until cleared)."""
    found = []
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, dict):
            raise ValueError("expected an object, or an array of objects")  # noqa: TRY004 - it is the body's value
        keys = dict(item)
        calls = keys.pop("calls", None)
        if calls is not None and (not isinstance(calls, int) or calls < 1):
            raise ValueError("calls must be a whole number above 0")
        found.append((parse(keys), calls))
    return found


def _shown(script: Script) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(orjson.dumps(script, default=dict))
    return {name: item for name, item in value.items() if item is not None}


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")
