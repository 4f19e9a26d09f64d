"""One turn a key: at once, after a restart, after a kill between two writes, while the log is away."""

import asyncio
import json
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from gateway.core.ids import new_turn_id
from simulator import Simulator
from tests.running import Gateway, Start, Told, run_gateway
from tests.web.shapes import check_problem

ASKED: dict[str, Any] = {"message": "فكّر ما معنى «كتاب»؟", "provider": "google", "conversation_id": "conv-1"}
STALLED: dict[str, Any] = ASKED | {"message": ASKED["message"] + " [[sim: fault=stall@mid times=1]]"}
KEY = {"Idempotency-Key": "k-1"}
NOWHERE = "postgresql://postgres@127.0.0.1:1/nothing"


async def stalled(gateway: Gateway) -> None:
    await gateway.simulator.until(lambda simulator: bool(simulator.calls) and simulator.calls[-1].stalled)


async def claim(gateway: Gateway, turn_id: str) -> None:
    """What a process leaves that dies between claiming a key and accepting its turn."""
    await gateway.rows(
        "INSERT INTO idempotency_keys (caller, key, turn_id, request_hash) VALUES ('', 'k-1', $1, 'hash')", turn_id
    )


def turn_id_of(age_s: float) -> str:
    made = int((time.time() - age_s) * 1000)
    return str(uuid.UUID(int=uuid.UUID(new_turn_id()).int & ((1 << 80) - 1) | made << 80))


async def test_a_hundred_at_once(gateway: Gateway) -> None:
    """Half of them streams; all get the same reply, of one call."""
    asked = [asyncio.create_task(gateway.client.post(path, json=STALLED, headers=KEY)) for path in ("/chat", "/chat/stream") * 50]
    await stalled(gateway)
    gateway.simulator.release()
    answers = await asyncio.gather(*asked)
    assert Counter(answer.status_code for answer in answers) == {200: 100}
    replies = [
        json.loads(answer.text.rpartition("data: ")[2]) if "event-stream" in answer.headers["Content-Type"] else answer.json()
        for answer in answers
    ]
    assert all(reply == replies[0] for reply in replies)
    assert len(gateway.simulator.calls) == 1
    [count] = await gateway.rows("SELECT count(*) AS turns FROM messages WHERE role = 'assistant'")
    assert count["turns"] == 1


async def test_an_interrupted_turn_frees_its_key(start_gateway: Start) -> None:
    gateway = await start_gateway()
    reading = asyncio.create_task(gateway.events(STALLED, idempotency_key="k-1"))
    await stalled(gateway)
    await gateway.drain()
    told = Told(await reading)
    assert (told.names[-1], told.last["code"], told.last["retryable"]) == ("failed", "interrupted", True)
    await gateway.close()
    gateway = await start_gateway()
    again = await gateway.ask(STALLED, idempotency_key="k-1")
    assert (again["status"], len(gateway.simulator.calls)) == ("completed", 2)
    assert again["turn_id"] != told.last["turn_id"]
    # The first one is still there to be read, and the key stands for the second.
    assert Told(await gateway.events(turn_id=told.last["turn_id"])).last["code"] == "interrupted"
    assert await gateway.ask(STALLED, idempotency_key="k-1") == again


async def test_an_abandoned_turn_frees_its_key(start_gateway: Start) -> None:
    gateway = await start_gateway(ABANDON_S="0")
    async with gateway.streaming(STALLED, idempotency_key="k-1") as source:
        await stalled(gateway)
        first = source.response.headers["X-Turn-Id"]
    await gateway.simulator.until(lambda simulator: simulator.calls[-1].aborted)
    assert Told(await gateway.events(turn_id=first)).last["status"] == "stopped"
    again = await gateway.ask(STALLED, idempotency_key="k-1")
    assert (again["status"], len(gateway.simulator.calls)) == ("completed", 2)
    assert again["turn_id"] != first


async def test_a_turn_stopped_by_its_client_keeps_its_key(gateway: Gateway) -> None:
    reading = asyncio.create_task(gateway.events(STALLED, idempotency_key="k-1"))
    await stalled(gateway)
    assert (await gateway.client.delete("/chat/stream", headers=KEY)).status_code == 202
    told = Told(await reading)
    assert await gateway.ask(STALLED, idempotency_key="k-1") == told.last
    assert len(gateway.simulator.calls) == 1


async def test_a_process_that_died_before_it_accepted(start_gateway: Start) -> None:
    """For as long as another process might still run the turn, nobody begins a second one."""
    gateway = await start_gateway(TURN_TIMEOUT_S="60")
    await claim(gateway, turn_id_of(30))
    told = check_problem(await gateway.client.post("/chat", json=ASKED, headers=KEY), "turn_elsewhere")
    assert told["retry_after"]
    check_problem(await gateway.client.delete("/chat/stream", headers=KEY), "turn_elsewhere")
    assert gateway.simulator.calls == []
    await gateway.rows("UPDATE idempotency_keys SET turn_id = $1", turn_id_of(61))
    reply = await gateway.ask(ASKED, idempotency_key="k-1")
    assert await gateway.ask(ASKED, idempotency_key="k-1") == reply
    assert len(gateway.simulator.calls) == 1


async def test_a_key_is_its_callers_own(start_gateway: Start) -> None:
    gateway = await start_gateway(API_KEYS="ali:key-of-ali,omar:key-of-omar")
    replies = [
        (await gateway.client.post("/chat", json={"message": name}, headers=KEY | {"Authorization": f"Bearer key-of-{name}"}))
        for name in ("ali", "omar", "ali")
    ]
    assert [reply.status_code for reply in replies] == [200, 200, 200]
    assert replies[0].json() == replies[2].json() != replies[1].json()
    assert len(gateway.simulator.calls) == 2


async def test_a_key_outlives_what_is_remembered(start_gateway: Start) -> None:
    """After a day it is free, in the log and in this process."""
    gateway = await start_gateway()
    first = await gateway.ask(ASKED, idempotency_key="k-1")
    await gateway.close()
    gateway = await start_gateway()
    assert await gateway.ask(ASKED, idempotency_key="k-1") == first
    await gateway.rows("UPDATE idempotency_keys SET claimed_at = claimed_at - interval '25 hours'")
    assert (await gateway.ask(ASKED, idempotency_key="k-1"))["turn_id"] != first["turn_id"]


async def test_while_the_log_is_away_and_when_it_is_back(start_gateway: Start, simulator: Simulator, tmp_path: Path) -> None:
    asked = {"message": ASKED["message"]}
    gateway = await run_gateway(simulator, NOWHERE, tmp_path / "data", {"STORE_WAIT_S": "0.05"})
    replies = await asyncio.gather(*(gateway.ask(asked, idempotency_key="k-1") for _ in range(20)))
    assert all(reply == replies[0] for reply in replies)
    assert (replies[0]["logged"], len(simulator.calls)) == ("spooled", 1)
    wrong = await gateway.client.post("/chat", json={"message": "سلام"}, headers=KEY)
    check_problem(wrong, "idempotency_mismatch")
    check_problem(await gateway.client.delete("/chat/stream", headers={"Idempotency-Key": "k-2"}), "log_unavailable")
    await gateway.close()

    gateway = await start_gateway()
    async with asyncio.timeout(20):
        while (await gateway.client.get("/health")).json()["spooled_turns"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    stored = await gateway.ask(asked, idempotency_key="k-1")
    assert stored == replies[0] | {"message_id": stored["message_id"], "logged": "stored"}
    wrong = await gateway.client.post("/chat", json={"message": "سلام"}, headers=KEY)
    check_problem(wrong, "idempotency_mismatch")
    assert len(simulator.calls) == 1
