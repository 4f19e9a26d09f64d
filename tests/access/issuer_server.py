"""An issuer of the tests' own: serves a key set over HTTP, and misbehaves on request."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.access.jwks import KeySet


class Issuer:
    """`keys` is what it publishes; `answer` replaces the whole body; `calls` are the paths asked for; requests wait
    for `gate` where there is one."""

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.answer: bytes | None = None
        self.status = 200
        self.headers: dict[str, str] = {}
        self.calls: list[str] = []
        self.called = asyncio.Event()
        self.gate: asyncio.Event | None = None
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.calls.append(request.path)
        self.called.set()
        if self.gate is not None:
            await self.gate.wait()
        body = json.dumps({"keys": self.keys}).encode() if self.answer is None else self.answer
        return web.Response(body=body, status=self.status, headers=self.headers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[aiohttp.ClientSession]:
        app = web.Application()
        app.router.add_get("/{path:.*}", self.handle)
        async with TestServer(app) as server, aiohttp.ClientSession() as session:
            self.url = str(server.make_url("/certs"))
            yield session


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def key_set(issuer: Issuer, session: aiohttp.ClientSession, clock: Clock | None = None) -> KeySet:
    return KeySet(issuer.url, "RS256", session, clock=clock or Clock())
