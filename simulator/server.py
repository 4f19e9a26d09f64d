"""The simulator as an HTTP server: routes, one handler for all formats, and the doors to script and watch it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from simulator import recorded
from simulator.admin import add_admin_routes
from simulator.answer import Ask, answer
from simulator.calls import Call, CallLog, Outcome
from simulator.formats import anthropic, compatible, gemini, groq, openai, responses
from simulator.formats.base import Format, Incoming, Problem, RefusedError, Reply, read
from simulator.script import Script
from simulator.scripts import Scripts
from simulator.sending import Sending

MAX_BODY_BYTES = 64 * 1024 * 1024
DEFAULT_SCRIPT = Script(gap_ms=15, ttft_ms=0, drip_ms=1)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a simulator behaves.

    `script`: what every call gets unless told otherwise. `fixtures`: folders searched for recordings before the shipped
    ones. `directives`: whether messages may script their own reply. `keys`: the only keys accepted (None: any).
    `max_calls`: how many calls are kept.
    """

    script: Script = field(default_factory=Script)
    fixtures: tuple[Path, ...] = ()
    directives: bool = True
    keys: frozenset[str] | None = None
    max_calls: int = 10_000


class Simulator:
    """A running simulator. `base_url` is its address, without a slash at the end; `log` holds the calls."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.base_url = ""
        self.log = CallLog(settings.max_calls)
        self.scripts = Scripts(settings.script.over(DEFAULT_SCRIPT))
        self._gate = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def calls(self) -> list[Call]:
        """The calls so far, oldest first."""
        return self.log.calls

    @property
    def stalled(self) -> int:
        """How many calls are held by a script now."""
        return self.log.stalled

    def count(self, outcome: Outcome) -> int:
        """How many calls ended so (or are `open`), since the start or the last `reset()`."""
        return self.log.outcomes[outcome]

    def script(self, script: Script, *, calls: int | None = 1) -> None:
        """Give the next `calls` calls that it is for this script; None: it stands until `reset()`."""
        self.scripts.add(script, calls)

    def release(self) -> None:
        """Let every stalled reply go on."""
        self._gate.set()
        self._gate = asyncio.Event()

    def reset(self) -> None:
        """Forget scripts, counts and the calls that have ended; let stalled replies go on."""
        self.scripts.clear()
        self.log.clear()
        self.release()

    async def until(self, condition: Callable[["Simulator"], bool]) -> None:
        """Wait until `condition(simulator)` holds; looked at whenever a call begins, stalls, goes on or ends."""
        await self.log.until(lambda: condition(self))

    async def close(self) -> None:
        """Stop serving; replies still under way are cut."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def start(self, host: str, port: int) -> None:
        """Listen; raise `OSError` when the address is taken."""
        # Replies under way get no time at shutdown: the phases' timeouts must be above zero, which means "wait for ever".
        app = self._app()
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.01)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self.close()
            raise
        shown = f"[{host}]" if ":" in host else host
        self.base_url = f"http://{shown}:{self._runner.addresses[0][1]}"

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        chat, on_groq = self._handler(openai.FORMAT), self._handler(groq.FORMAT)
        app.router.add_post("/v1/chat/completions", chat)
        app.router.add_post("/chat/completions", chat)
        responses_api = self._handler(responses.FORMAT)
        app.router.add_post("/v1/responses", responses_api)
        app.router.add_post("/responses", responses_api)
        app.router.add_post("/openai/v1/chat/completions", on_groq)
        app.router.add_post("/compatible/v1/chat/completions", self._handler(compatible.FORMAT))
        app.router.add_post("/v1/messages", self._handler(anthropic.FORMAT))
        action = "{action:generateContent|streamGenerateContent}"
        app.router.add_post(f"/{{version:v1|v1beta|v1alpha}}/models/{{model}}:{action}", self._handler(gemini.FORMAT))
        add_admin_routes(app, self.log, self.scripts, release=self.release, reset=self.reset)
        return app

    def _handler(self, wire: Format) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            call = await self._begin(request, wire)
            try:
                return await self._answer(request, call, wire)
            except asyncio.CancelledError:
                self.log.end(call, "aborted")
                raise
            except ConnectionError:
                self.log.end(call, "aborted")
                return web.Response(status=499)

        return handle

    async def _begin(self, request: web.Request, wire: Format) -> Call:
        raw = await request.read()
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            body = None
        values: dict[str, Any] = body if isinstance(body, dict) else {}
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(
            number=self.log.total + 1,
            provider=wire.provider,
            path=request.path,
            query=dict(request.query),
            headers=headers,
            raw=raw,
            body=body,
            model=request.match_info.get("model") or str(values.get("model") or ""),
            stream=bool(values.get("stream")) or request.match_info.get("action") == "streamGenerateContent",
            key=wire.key(headers, request.query),
            at=time.time(),
        )
        self.log.begin(call)
        return call

    async def _answer(self, request: web.Request, call: Call, wire: Format) -> web.StreamResponse:
        try:
            self._check_key(call, wire)
            ask = read(wire, _incoming(request, call))
            script = self._script(ask, call)
            reply = self._reply(ask, script, wire)
        except RefusedError as refused:
            call.status = refused.problem.status
            self.log.end(call, "rejected")
            body = wire.error(refused.problem)
            return web.Response(body=body, status=refused.problem.status, headers=wire.head(False) | _SIMULATED)
        return await Sending(request, call, self.log, wire, reply, script, self._wait_for_release).send()

    def _check_key(self, call: Call, wire: Format) -> None:
        wire.check_key(call.key, call.headers)
        if self.settings.keys is not None and call.key not in self.settings.keys:
            wire.check_key("invalid", call.headers)

    def _script(self, ask: Ask, call: Call) -> Script:
        directive = ask.directive if self.settings.directives else None
        try:
            return self.scripts.pick(call.provider, call.key, directive)
        except ValueError as error:
            raise RefusedError(400, f"simulator: {error}") from None

    def _reply(self, ask: Ask, script: Script, wire: Format) -> Reply:
        in_stream = script.fault is not None and script.fault.kind in ("error", "bare-error")
        if script.fixture is not None:
            try:
                found = recorded.find(script.fixture, wire.folder, ask.stream, self.settings.fixtures)
            except ValueError as error:
                raise RefusedError(400, f"simulator: {error}") from None
            reply = recorded.as_reply(found)
        elif (script.status is not None or script.body is not None) and not in_stream:
            reply = _failure(script, wire, ask.model)
        else:
            reply = wire.reply(ask, answer(ask, script))
        return Reply(
            reply.status, {**reply.headers, **_SIMULATED, **(script.headers or {})}, reply.pieces, reply.streamed, reply.closing
        )

    async def _wait_for_release(self) -> None:
        await self._gate.wait()


_SIMULATED = {"X-Simulated": "true"}
_HTML = "<!doctype html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


def _incoming(request: web.Request, call: Call) -> Incoming:
    if not isinstance(call.body, dict):
        raise RefusedError(400, "We could not parse the JSON body of your request.")
    action = request.match_info.get("action", "")
    model = request.match_info.get("model", "")
    return Incoming(call.headers, call.query, call.body, len(call.raw), model=model, action=action)


def _failure(script: Script, wire: Format, model: str) -> Reply:
    """A reply of `status`, with the provider's own error in it or something else entirely."""
    status = script.status or 200
    problem = Problem(status, script.message, script.code, model=model, retry_after=script.retry_after)
    own = wire.error(problem)
    headers = wire.head(False) | wire.retry_headers(problem)
    match script.body:
        case None | "own":
            body = own
        case "html":
            body, headers = _HTML.encode(), headers | {"Content-Type": "text/html; charset=utf-8"}
        case "empty":
            body = b""
        case "garbage":
            body = b'\x00\xff\xfe\x80{"error":'
        case "json-cut":
            body = own[: len(own) // 2]
        case text:
            body = text.encode()
    return Reply(status, headers, [body])


async def start_simulator(host: str = "127.0.0.1", port: int = 0, settings: Settings | None = None) -> Simulator:
    """Start a simulator (port 0: any free one) and return it when it accepts connections; raise `OSError` if it can't listen."""
    simulator = Simulator(settings or Settings())
    await simulator.start(host, port)
    return simulator
