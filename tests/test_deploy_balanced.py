"""Two replicas behind nginx, with Redis, PgBouncer and PostgreSQL, as docker-compose.yml runs them; skipped without nginx."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import ServerSentEvent, aconnect_sse

from simulator import Script
from tests.balancing import database_for, free_port, program, running_nginx
from tests.processes import GatewayProcess, Launch, launch
from tests.redis_server import running_redis
from tests.running import Told, open_client
from tests.web.shapes import check_problem

__all__ = ["launch"]

pytestmark = pytest.mark.skipif(program("nginx") is None, reason="nginx is not installed")

ASKED: dict[str, Any] = {"message": "ما معنى «كتاب»؟ [[sim: fault=stall@mid]]", "conversation_id": "conv-1"}
NOT_STALLING: dict[str, Any] = {"message": "ما معنى «سلام»؟"}
COMPLETION: dict[str, Any] = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "ما معنى «سلام»؟"}]}


@dataclass(slots=True)
class Balanced:
    """nginx's address, and the replicas behind it."""

    client: httpx.AsyncClient
    replicas: list[GatewayProcess]
    _launch: Launch
    _environ: dict[str, str]
    _home: Path

    async def start(self, port: int) -> GatewayProcess:
        """Start a replica, or start it again: its port and its journal are its own."""
        replica: GatewayProcess = await self._launch(
            **self._environ, PORT=str(port), DATA_DIR=str(self._home / str(port)), ALLOW_ANONYMOUS="true"
        )
        self.replicas.append(replica)
        return replica

    async def owner(self) -> tuple[GatewayProcess, GatewayProcess]:
        """The replica that runs the one turn, and the other."""
        busy = [(await each.client.get("/health")).json()["active_turns"] for each in self.replicas]
        assert sorted(busy) == [0, 1]
        return self.replicas[busy.index(1)], self.replicas[busy.index(0)]


@pytest.fixture
async def balanced(launch: Launch, database_url: str, tmp_path: Path) -> AsyncIterator[Balanced]:
    ports = [free_port(), free_port()]
    with running_redis() as redis, database_for(database_url) as url, running_nginx(ports) as address:
        async with open_client(address, 60) as client:
            stack = Balanced(client, [], launch, {"REDIS_URL": redis.url, "DATABASE_URL": url, "DRAIN_S": "60"}, tmp_path)
            await asyncio.gather(*map(stack.start, ports))
            yield stack
            for replica in stack.replicas:
                await replica.close()


async def until_token(stream: AsyncIterator[ServerSentEvent]) -> list[ServerSentEvent]:
    """The events up to and with the first token."""
    events = [await anext(stream)]
    while events[-1].event != "token":
        events.append(await anext(stream))
    return events


async def rest(stream: AsyncIterator[ServerSentEvent]) -> list[ServerSentEvent]:
    return [event async for event in stream if event.data]


async def until_refused(replica: GatewayProcess) -> None:
    """Wait until it does not listen any more."""
    port = int(replica.url.rpartition(":")[2])
    with suppress(ConnectionRefusedError):
        while True:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await asyncio.sleep(0.02)


async def test_tokens_pass_one_by_one_and_a_cut_stream_goes_on_at_the_other_replica(balanced: Balanced) -> None:
    async with aconnect_sse(balanced.client, "POST", "/chat/stream", json=ASKED) as source:
        stream = source.aiter_sse()
        # The reply stalls behind this token: nothing was held back.
        events = await until_token(stream)
        owner, other = await balanced.owner()
        turn_id = source.response.headers["X-Turn-Id"]
    last = {"Last-Event-ID": events[-1].id}
    async with aconnect_sse(balanced.client, "GET", f"/chat/stream/{turn_id}", headers=last) as source:
        owner.simulator.release()
        events += await rest(source.aiter_sse())
    told = Told(events)
    assert told.last["status"] == "completed"
    assert told.text() == told.last["content"]
    assert "gateway_resumes_total 1.0" in (await other.client.get("/metrics")).text
    assert "gateway_resumes_total 0.0" in (await owner.client.get("/metrics")).text
    assert len(owner.simulator.calls) == 1


async def test_a_replica_that_drains_finishes_its_streams_while_the_other_takes_questions(balanced: Balanced) -> None:
    async with aconnect_sse(balanced.client, "POST", "/chat/stream", json=ASKED) as source:
        stream = source.aiter_sse()
        events = await until_token(stream)
        owner, other = await balanced.owner()
        owner.signal(signal.SIGTERM)
        await until_refused(owner)
        # nginx asks them in turn: where nobody listens, the other is asked.
        for path in ("/chat", "/chat/stream", "/v1/chat/completions") * 2:
            body = COMPLETION if path.startswith("/v1/") else NOT_STALLING
            assert (await balanced.client.post(path, json=body)).status_code == 200
        owner.simulator.release()
        told = Told(events + await rest(stream))
    assert told.last["status"] == "completed"
    assert told.text() == told.last["content"]
    assert await owner.ended() == 0
    rows = await other.rows("SELECT status, count(*) FROM messages WHERE role = 'assistant' GROUP BY status")
    assert [row["status"] for row in rows] == ["completed"]
    assert rows[0]["count"] == len(owner.simulator.calls) == 7
    # What nginx says by itself has the form of the gateway's own errors.
    check_problem(await balanced.client.post("/chat", content=b" " * (12 << 20)), "body_too_large")
    other.signal(signal.SIGTERM)
    await other.ended()
    check_problem(await balanced.client.post("/chat", json=NOT_STALLING), "interrupted")


async def test_what_a_killed_replica_had_said_is_kept_and_its_turn_ends(balanced: Balanced) -> None:
    async with aconnect_sse(balanced.client, "POST", "/chat/stream", json=ASKED) as source:
        stream = source.aiter_sse()
        events = await until_token(stream)
        turn_id = source.response.headers["X-Turn-Id"]
        owner, other = await balanced.owner()
        calls = len(owner.simulator.calls)
        owner.signal(signal.SIGKILL)
        with pytest.raises(httpx.RemoteProtocolError):
            await rest(stream)
    await owner.ended()
    await balanced.start(int(owner.url.rpartition(":")[2]))
    last = {"Last-Event-ID": events[-1].id}
    async with aconnect_sse(balanced.client, "GET", f"/chat/stream/{turn_id}", headers=last) as source:
        told = Told(events + await rest(source.aiter_sse()))
    assert told.names[-1] == "failed"
    assert told.last["code"] == "interrupted"
    statement = "SELECT content, status FROM messages WHERE turn_id = $1 AND role = 'assistant'"
    # The other replica may have noticed before the journal was read.
    while not (rows := await other.rows(statement, turn_id)):  # noqa: ASYNC110 - of other processes, nobody tells
        await asyncio.sleep(0.05)
    [row] = rows
    assert row == {"content": told.text(), "status": "interrupted"}
    assert row["content"]
    assert len(owner.simulator.calls) == calls, "nothing asked the provider again"


async def test_a_provider_s_failure_is_one_turn_and_no_replica_is_left_out_for_it(balanced: Balanced) -> None:
    simulator = balanced.replicas[0].simulator
    simulator.script(Script(status=429, headers={"Retry-After": "600"}), calls=None)
    failed = check_problem(await balanced.client.post("/chat", json=NOT_STALLING), "provider_overloaded")
    assert len(simulator.calls) == 1, "nginx asked one replica"
    rows = await balanced.replicas[0].rows("SELECT turn_id::text, status FROM messages WHERE role = 'assistant'")
    assert rows == [{"turn_id": failed["turn_id"], "status": "failed"}]
    # Those that say 503 are still there to say so.
    for _ in range(4):
        check_problem(await balanced.client.post("/chat", json=NOT_STALLING), "provider_overloaded")
