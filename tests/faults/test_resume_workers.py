"""Several workers behind one port: killed, crashed, replaced, drained; whoever reads is never left hanging."""

import asyncio
import errno
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from httpx_sse import ServerSentEvent, aconnect_sse

from tests.processes import GatewayProcess, Launch
from tests.redis_server import RedisServer
from tests.running import Told, open_client
from tests.web.shapes import check_stream

ASKED: dict[str, Any] = {"message": "ما معنى «كتاب»؟", "conversation_id": "conv-1"}
STALLED: dict[str, Any] = ASKED | {"message": ASKED["message"] + " [[sim: fault=stall@mid]]"}
PATIENCE_S = 60

Workers = Callable[..., Awaitable[GatewayProcess]]


@pytest.fixture
def workers(launch: Launch, redis_server: RedisServer) -> Workers:
    """Starts two workers behind one port; keyword arguments are settings."""

    async def start(**environ: str) -> GatewayProcess:
        return await launch(REDIS_URL=redis_server.url, WEB_CONCURRENCY="2", **environ)

    return start


def children(gateway: GatewayProcess) -> list[psutil.Process]:
    assert gateway.process is not None
    return sorted(psutil.Process(gateway.process.pid).children(), key=lambda child: child.pid)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - of other processes, nobody tells
            await asyncio.sleep(0.05)


class Only:
    """While it lasts, one worker alone accepts connections: the others are frozen."""

    def __init__(self, gateway: GatewayProcess, worker: psutil.Process) -> None:
        self._others = [child for child in children(gateway) if child != worker]

    def __enter__(self) -> None:
        for other in self._others:
            other.suspend()

    def __exit__(self, *_: object) -> None:
        for other in self._others:
            other.resume()


async def read(gateway: GatewayProcess, seen: asyncio.Event, turn_id: str | None = None) -> list[ServerSentEvent]:
    """Ask the stalling question, or read its turn, over a connection of its own; `seen` is set at the first token."""
    events: list[ServerSentEvent] = []
    method, path, body = ("POST", "/chat/stream", STALLED) if turn_id is None else ("GET", f"/chat/stream/{turn_id}", None)
    async with (
        open_client(gateway.url, PATIENCE_S) as client,
        aconnect_sse(client, method, path, json=body) as source,
    ):
        async for event in source.aiter_sse():
            if event.data:
                events.append(event)
            if event.event == "token":
                seen.set()
    return events


async def asked_of(gateway: GatewayProcess, worker: psutil.Process) -> tuple[str, asyncio.Task[list[ServerSentEvent]]]:
    """A turn that runs in this worker and stalls."""
    seen = asyncio.Event()
    with Only(gateway, worker):
        reading = asyncio.create_task(read(gateway, seen))
        await seen.wait()
        async with open_client(gateway.url) as client:
            [turn_id] = (await client.get("/conversations/conv-1")).json()["active_turns"]
    return turn_id, reading


async def test_a_killed_worker_leaves_no_reader_hanging(workers: Workers) -> None:
    gateway = await workers()
    one, two = children(gateway)
    turn_id, reading = await asked_of(gateway, one)
    seen = asyncio.Event()
    with Only(gateway, two):
        there = asyncio.create_task(read(gateway, seen, turn_id))
        await asyncio.sleep(0.3)
    await seen.wait()
    one.kill()
    with pytest.raises(httpx.RemoteProtocolError):
        await reading
    async with asyncio.timeout(PATIENCE_S):
        told = Told(await there)
    check_stream(told)
    assert (told.names[-1], told.last["code"], told.last["retryable"]) == ("failed", "interrupted", True)
    await until(lambda: len(children(gateway)) == 2 and one not in children(gateway))
    [row] = await gateway.rows("SELECT content, status FROM messages WHERE turn_id = $1 AND role = 'assistant'", turn_id)
    assert row["status"] == "interrupted"
    assert told.text().startswith(row["content"])
    again = Told(await read(gateway, seen, turn_id))
    assert again.last["code"] == "interrupted"

    # Without their parent nobody would start another in the place of one that ends, nor tell them to end.
    both = children(gateway)
    gateway.signal(signal.SIGKILL)
    await gateway.ended()
    await until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in both))
    with pytest.raises(httpx.ConnectError):
        await gateway.client.get("/health")


async def test_a_worker_that_cannot_be_started_is_tried_again(workers: Workers) -> None:
    """The parent has no file descriptor to spare for a while."""
    gateway = await workers()
    assert gateway.process is not None
    parent = psutil.Process(gateway.process.pid)
    bounds = parent.rlimit(psutil.RLIMIT_NOFILE)
    parent.rlimit(psutil.RLIMIT_NOFILE, (1, bounds[1]))
    children(gateway)[0].kill()
    await until(lambda: any("could not be started; it is tried again" in line for line in gateway.said))
    parent.rlimit(psutil.RLIMIT_NOFILE, bounds)
    await until(lambda: len(children(gateway)) == 2)


def refuses(gateway: GatewayProcess) -> bool:
    """Whether connecting to it is refused."""
    with socket.socket() as client:
        return client.connect_ex((gateway.client.base_url.host, gateway.client.base_url.port or 80)) == errno.ECONNREFUSED


async def test_workers_are_replaced_without_a_failed_request(workers: Workers) -> None:
    gateway = await workers()
    before = children(gateway)
    turn_id, reading = await asked_of(gateway, before[0])
    done = asyncio.Event()

    async def keep_asking(number: int) -> int:
        """New connections and kept ones, in turns."""
        count = 0
        async with open_client(gateway.url, PATIENCE_S) as client:
            while not done.is_set():
                count += 1
                body = {"message": f"سلام {number} {count}"}
                answer = await client.post("/chat", json=body, headers={"Connection": "close"} if count % 3 == 0 else {})
                assert answer.status_code == 200, answer.text
                await asyncio.sleep(0.02)
        return count

    asking = [asyncio.create_task(keep_asking(number)) for number in range(4)]
    gateway.signal(signal.SIGHUP)
    await until(lambda: len(children(gateway)) == 3)
    # The old worker waits for the turn that it runs.
    gateway.simulator.release()
    told = Told(await reading)
    check_stream(told)
    assert told.last["status"] == "completed"
    await until(lambda: len(now := children(gateway)) == 2 and not set(before) & set(now))
    done.set()
    counts = await asyncio.gather(*asking)
    assert min(counts) > 0
    [count] = await gateway.rows("SELECT count(*) AS turns FROM messages WHERE role = 'assistant' AND status = 'completed'")
    assert count["turns"] == sum(counts) + 1
    assert Told(await read(gateway, asyncio.Event(), turn_id)).last == told.last

    # The new ones drain when they are told to.
    reading = asyncio.create_task(read(gateway, seen := asyncio.Event()))
    await seen.wait()
    gateway.signal(signal.SIGTERM)
    await until(lambda: sum("draining" in line for line in gateway.said) == 4)
    # Nobody waits at a door that nobody will open: also the parent does not listen any more.
    await until(lambda: refuses(gateway))
    gateway.simulator.release()
    assert Told(await reading).last["status"] == "completed"
    assert await gateway.ended() == 0


async def test_a_turn_that_is_being_opened_when_its_client_and_its_server_go_is_begun(
    launch: Launch, redis_server: RedisServer
) -> None:
    """The client is asking for it elsewhere by now."""
    gateway = await launch(REDIS_URL=redis_server.url)
    await gateway.rows("BEGIN")
    await gateway.rows("LOCK TABLE conversations")
    asking = asyncio.create_task(gateway.client.post("/chat", json=ASKED, headers={"Idempotency-Key": "k-1"}))
    while not await gateway.rows("SELECT FROM idempotency_keys"):  # noqa: ASYNC110 - of its claim, nobody tells
        await asyncio.sleep(0.02)
    asking.cancel()
    await asyncio.wait((asking,))
    gateway.signal(signal.SIGTERM)
    await until(lambda: refuses(gateway))
    await gateway.rows("COMMIT")
    assert await gateway.ended() == 0
    [row] = await gateway.rows("SELECT status, idempotency_key FROM messages WHERE role = 'assistant'")
    assert row == {"status": "completed", "idempotency_key": "k-1"}
    assert len(gateway.simulator.calls) == 1


async def test_told_to_end_twice(workers: Workers, launch: Launch, tmp_path: Path) -> None:
    """Once is asking to drain; twice ends it at once, and what was running is found in the journal."""
    gateway = await workers(DATA_DIR=str(tmp_path / "data"))
    asking = asyncio.create_task(gateway.client.post("/chat/stream", json=STALLED))
    await gateway.simulator.until(lambda simulator: bool(simulator.calls) and simulator.calls[-1].stalled)
    for _ in range(2):
        gateway.signal(signal.SIGINT)
        await asyncio.sleep(0.2)
    await gateway.ended()
    with pytest.raises(httpx.RemoteProtocolError):
        await asking
    gateway = await launch(DATA_DIR=str(tmp_path / "data"))
    while (await gateway.client.get("/health")).json()["spooled_turns"]:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    found = (await gateway.client.get("/conversations/conv-1")).json()
    assert [message["status"] for message in found["messages"]] == ["interrupted", "interrupted"]
