"""Stopping at any moment: what is answered to it is what happens, to the client, in the log and at the provider."""

import asyncio
import random
from collections import Counter
from typing import Any

import httpx

from tests.running import Gateway, Told
from tests.web.shapes import check_problem, check_stream

PROVIDERS = ("openai", "anthropic", "groq", "google")
TURNS = 80


def asked(number: int) -> dict[str, Any]:
    words = f"ما معنى «كتاب»؟ [[sim: tokens=12 gap_ms=1 chunks=random:{number}]]"
    return {"message": words, "provider": PROVIDERS[number % 4], "conversation_id": f"conv-{number}"}


async def stopped_somewhere(gateway: Gateway, number: int, chance: random.Random) -> Told:
    """One turn with two readers, stopped twice at once at some moment, and what was told of it."""
    async with gateway.streaming(asked(number)) as source:
        events = source.aiter_sse()
        first = await anext(events)
        turn_id = source.response.headers["X-Turn-Id"]
        other = asyncio.create_task(gateway.events(turn_id=turn_id))
        await asyncio.sleep(chance.random() * 0.03)
        answers = await asyncio.gather(*(gateway.client.delete(f"/chat/stream/{turn_id}") for _ in range(2)))
        told = Told([first, *[event async for event in events if event.data]])
    check_stream(told)
    status = str(told.last["status"])
    check_answers(answers, status)
    assert told.text() == told.last["content"]
    assert (told.last["finish_reason"] is None) == (status == "stopped")
    assert Told(await other).last == told.last
    return told


def check_answers(answers: list[httpx.Response], status: str) -> None:
    """One of two stops a turn at most; who is told that it ended before is told so by its whole reply as well."""
    codes = sorted(answer.status_code for answer in answers)
    assert codes == ([202, 409] if status == "stopped" else [409, 409])
    check_problem(next(answer for answer in answers if answer.status_code == 409), "turn_ended")


async def test_stopping_at_any_moment(gateway: Gateway) -> None:
    chance = random.Random(7)
    tellings: list[Told] = []
    for start in range(0, TURNS, 8):
        tellings += await asyncio.gather(*(stopped_somewhere(gateway, start + one, chance) for one in range(8)))
    rows = await gateway.rows("SELECT turn_id::text, content, status FROM messages WHERE role = 'assistant'")
    assert {(row["turn_id"], row["content"], row["status"]) for row in rows} == {
        (told.last["turn_id"], told.text(), told.last["status"]) for told in tellings
    }
    endings = Counter(told.last["status"] for told in tellings)
    assert endings["stopped"] + endings["completed"] == TURNS
    assert endings["stopped"] > TURNS // 10
    await gateway.simulator.until(lambda simulator: simulator.count("open") == 0)
    assert len(gateway.simulator.calls) == TURNS
    # A call may have been over when its turn was stopped, but not the other way round.
    assert gateway.simulator.count("aborted") <= endings["stopped"]
