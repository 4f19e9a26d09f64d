"""The daily limit over real processes: exact across replicas, and no kill loses what was asked."""

import asyncio
import signal

import httpx

from tests.processes import GatewayProcess, Launch
from tests.web.callers import API_KEY, bearer
from tests.web.shapes import check_problem

NOWHERE = "postgresql://postgres@127.0.0.1:1/nothing"
LIMITED = {"API_KEYS": f"app:{API_KEY}", "API_KEY_DAILY_LIMIT": "30"}
APP = bearer(API_KEY)
GOOD = {"message": "ما معنى «كتاب»؟"}


async def counted(gateway: GatewayProcess) -> int:
    rows = await gateway.rows("SELECT count FROM daily_usage WHERE caller = 'key:app'")
    return rows[0]["count"] if rows else 0


async def test_200_at_once_over_two_processes_and_after_a_kill(launch: Launch) -> None:
    replicas = [await launch(**LIMITED) for _ in range(2)]
    asked = (replica.client.post(path, json=GOOD, headers=APP) for replica in replicas for path in ["/chat", "/chat/stream"] * 50)
    answers = await asyncio.gather(*asked)
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (30, 170)
    assert len(replicas[0].simulator.calls) == 30
    assert await counted(replicas[0]) == 30
    for replica in replicas:
        replica.signal(signal.SIGKILL)
        await replica.ended()
    again = await launch(**LIMITED)
    check_problem(await again.client.post("/chat", json=GOOD, headers=APP), "daily_limit_reached")
    assert len(replicas[0].simulator.calls) == 30


async def test_questions_asked_without_the_database_are_counted_after_a_kill(launch: Launch, tmp_path: str) -> None:
    limited = LIMITED | {"API_KEY_DAILY_LIMIT": "3", "MAX_RETRIES": "0", "DATA_DIR": f"{tmp_path}/kept"}
    away = await launch(**limited, DATABASE_URL=NOWHERE, STORE_WAIT_S="0.05")
    for left in ("2", "1"):
        answer = await away.client.post("/chat", json=GOOD, headers=APP)
        assert (answer.status_code, answer.json()["logged"]) == (200, "spooled")
        assert answer.headers["RateLimit-Remaining"] == left
    failed = await away.client.post("/chat", json={"message": "[[sim: status=500]]"}, headers=APP)
    check_problem(failed, "provider_error")
    away.signal(signal.SIGKILL)
    await away.ended()
    back = await launch(**limited)
    async with asyncio.timeout(20):
        while await counted(back) != 2:  # noqa: ASYNC110 - of other processes, nobody tells
            await asyncio.sleep(0.02)
    answer = await back.client.post("/chat", json=GOOD, headers=APP)
    assert (answer.status_code, answer.headers["RateLimit-Remaining"]) == (200, "0")
    check_problem(await back.client.post("/chat", json=GOOD, headers=APP), "daily_limit_reached")


async def test_a_question_that_was_killed_before_its_first_word_is_given_back(launch: Launch, tmp_path: str) -> None:
    kept = LIMITED | {"DATA_DIR": f"{tmp_path}/kept"}
    killed = await launch(**kept)
    body = {"message": "ما معنى «كتاب»؟ [[sim: fault=stall@before-head]]"}
    asked = asyncio.create_task(killed.client.post("/chat/stream", json=body, headers=APP))
    await killed.simulator.until(lambda simulator: simulator.stalled == 1)
    assert await counted(killed) == 1
    killed.signal(signal.SIGKILL)
    await killed.ended()
    assert isinstance((await asyncio.gather(asked, return_exceptions=True))[0], httpx.TransportError)
    back = await launch(**kept)
    async with asyncio.timeout(20):
        while await counted(back):  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.02)
    [row] = await back.rows("SELECT status, content FROM messages WHERE role = 'assistant'")
    assert (row["status"], row["content"]) == ("interrupted", "")
