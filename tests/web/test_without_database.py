"""The database is away: questions are still answered, and what was said is in the log once it is back."""

import asyncio
import json
from pathlib import Path

from gateway.web import schemas, schemas_service
from simulator import Simulator
from tests.running import Gateway, Start, Told, run_gateway
from tests.web.shapes import check, check_problem, check_stream

NOWHERE = "postgresql://postgres@127.0.0.1:1/nothing"
QUESTION = "ما معنى «كتاب»؟"


async def check_answers(gateway: Gateway) -> list[str]:
    """What works and what does not; the turns that were answered."""
    reply = await gateway.ask({"message": QUESTION})
    check(schemas.ChatReply, reply)
    assert (reply["message_id"], reply["logged"], reply["status"]) == (None, "spooled", "completed")
    told = Told(await gateway.events({"messages": [{"role": "user", "content": QUESTION}], "conversation_id": "conv-1"}))
    check_stream(told)
    assert (told.last["message_id"], told.last["logged"]) == (None, "spooled")
    keyed = await gateway.ask({"message": QUESTION}, idempotency_key="k-1")
    assert await gateway.ask({"message": QUESTION}, idempotency_key="k-1") == keyed
    again = Told(await gateway.events(turn_id=told.last["turn_id"]))
    assert again.last == told.last

    from_log = {"message": QUESTION, "conversation_id": "conv-2"}
    for path in ("/chat", "/chat/stream"):
        answer = await gateway.client.post(path, json=from_log)
        check_problem(answer, "log_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    for path in ("/conversations", "/conversations/conv-1", "/stats"):
        check_problem(await gateway.client.get(path), "log_unavailable")
    check_problem(await gateway.client.delete("/conversations/conv-1"), "log_unavailable")

    report = (await gateway.client.get("/health")).json()
    check(schemas_service.HealthReport, report)
    assert (report["status"], report["database"], report["spooled_turns"]) == ("degraded", "down", 3)
    assert (await gateway.client.get("/health/ready")).status_code == 200
    return [reply["turn_id"], told.last["turn_id"], keyed["turn_id"]]


async def test_while_the_database_is_away(simulator: Simulator, start_gateway: Start, tmp_path: Path) -> None:
    gateway = await run_gateway(simulator, NOWHERE, tmp_path / "data", {"STORE_WAIT_S": "0.05"})
    try:
        turns = await check_answers(gateway)
        calls = len(simulator.calls)
    finally:
        await gateway.close()

    gateway = await start_gateway()
    stored: list[str] = []
    async with asyncio.timeout(20):
        while len(stored) < len(turns):
            rows = await gateway.rows("SELECT turn_id FROM messages WHERE role = 'assistant'")
            stored = [str(row["turn_id"]) for row in rows]
    assert sorted(stored) == sorted(turns)
    for turn_id in turns:
        told = Told(await gateway.events(turn_id=turn_id))
        assert (told.last["logged"], told.last["status"]) == ("stored", "completed")
    assert (await gateway.ask({"message": QUESTION}, idempotency_key="k-1"))["turn_id"] == turns[2]
    shown = (await gateway.client.get("/conversations/conv-1")).json()
    assert json.dumps(QUESTION, ensure_ascii=False) in json.dumps(shown, ensure_ascii=False)
    assert (await gateway.client.get("/health")).json()["status"] == "healthy"
    assert len(simulator.calls) == calls
