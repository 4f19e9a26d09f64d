"""What is answered while the database is away: at once, and in plain words; and what becomes of turns it will not have."""

from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.faults.crowd import Crowd, Manner
from tests.faults.database import Database, execute
from tests.faults.durable import Serve
from tests.faults.ledger import compared, health, settled, texts
from tests.faults.outages import TROUBLES
from tests.faults.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")
HANGS_S = 20.0
QUESTION = {"conversation_id": "conv-known", "message": "ما معنى «كتاب»؟"}
WITH_HISTORY = {"conversation_id": "conv-known", "messages": [{"role": "user", "content": "ما معنى «كتاب»؟"}]}
POISON = "سمّ"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(url: str, serve: Serve) -> Server:
    """A gateway with a turn in its log."""
    found = await serve(DATABASE_URL=url, STORE_WAIT_S="0.3")
    assert (await asked(found, "POST", "/chat", json=QUESTION))[0] == 200
    return found


async def asked(server: Server, method: str, path: str, **more: Any) -> tuple[int, dict[str, Any]]:
    """Status and body of an answer, which comes before anybody loses patience."""
    timeout = aiohttp.ClientTimeout(total=HANGS_S)
    async with aiohttp.ClientSession(server.url, timeout=timeout) as session, session.request(method, path, **more) as answer:
        return answer.status, (await answer.json(content_type=None) if answer.status != 204 else {})


@pytest.mark.parametrize("trouble", ["stopped", "frozen", "crowded"])
async def test_every_address_answers(database: Database, url: str, server: Server, trouble: str) -> None:
    key = {"Idempotency-Key": f"key-{trouble}"}
    async with TROUBLES[trouble](database, url):
        status, body = await asked(server, "GET", "/health")
        assert (status, body["status"], body["database"]) == (200, "degraded", "down")
        assert (await asked(server, "GET", "/health/ready"))[0] == 200
        assert (await asked(server, "GET", "/"))[0] == 200
        for method, path in [
            ("GET", "/conversations"),
            ("GET", "/conversations?q=كتاب"),
            ("GET", "/conversations/conv-known"),
            ("DELETE", "/conversations/conv-known"),
            ("GET", "/stats"),
            ("GET", "/chat/stream/01990000-0000-7000-8000-000000000000"),
        ]:
            status, body = await asked(server, method, path)
            assert (status, body["code"]) == (503, "log_unavailable"), (path, body)
            assert body["retry_after"] > 0
        status, body = await asked(server, "POST", "/chat", json=QUESTION)
        assert (status, body["code"]) == (503, "log_unavailable"), "its history cannot be read"
        status, body = await asked(server, "POST", "/chat", json=WITH_HISTORY, headers=key)
        assert (status, body["message_id"], body["logged"]) == (200, None, "spooled")
        assert (await asked(server, "POST", "/chat", json=WITH_HISTORY, headers=key))[1] == body, "one turn a key"
    await settled(server.url)
    status, found = await asked(server, "GET", "/conversations/conv-known")
    assert status == 200
    assert [message["turn_id"] for message in found["messages"]].count(body["turn_id"]) == 2
    assert (await asked(server, "POST", "/chat", json=QUESTION))[0] == 200


async def test_a_database_that_reads_and_does_not_write_is_called_down(database: Database, url: str, server: Server) -> None:
    async with TROUBLES["read-only"](database, url):
        assert (await asked(server, "POST", "/chat", json=WITH_HISTORY))[1]["logged"] == "spooled"
        body = await health(server.url)
        assert (body["status"], body["database"], body["spooled_turns"]) == ("degraded", "down", 1)
    assert (await settled(server.url))["database"] == "up"


async def test_a_turn_that_the_database_refuses_is_kept_apart(url: str, server: Server) -> None:
    async with Crowd(lambda: server.url, Manner(shared=1), seed=7) as crowd:
        await execute(url, f"ALTER TABLE messages ADD CONSTRAINT poison CHECK (content NOT LIKE '%{POISON}%')")
        bad = crowd.question(streamed=True)
        bad.question += POISON
        assert (await crowd.ask(bad)).body["logged"] == "spooled"
        for _ in range(4):
            assert (await crowd.ask()).body["logged"] == "stored", "in the same conversation"
        body = await health(server.url)
        assert (body["status"], body["refused_turns"], body["spooled_turns"]) == ("degraded", 1, 0)
        assert bad.question not in server.text
        await execute(url, "ALTER TABLE messages DROP CONSTRAINT poison")
        assert await server.stop() == 0
        await server.start()
        assert (await settled(server.url))["refused_turns"] == 0
        comparison = await compared(url, crowd)
        assert not comparison.wrong, texts(comparison.wrong)


async def test_a_turn_at_which_the_database_fails_blocks_nobody(database: Database, url: str, server: Server) -> None:
    async with Crowd(lambda: server.url, seed=8) as crowd:
        await execute(url, _FAILING.format(poison=POISON))
        bad = crowd.question(streamed=False)
        bad.question += POISON
        assert (await crowd.ask(bad)).body["logged"] == "spooled"
        while not (body := await health(server.url))["refused_turns"]:
            assert (await crowd.ask()).end == "done"
        await settled(server.url)
        assert body["refused_turns"] == 1
        assert (await crowd.ask()).body["logged"] == "stored"
        await execute(url, "DROP TRIGGER failing ON messages")
        assert await server.stop() == 0
        await server.start()
        await settled(server.url)
        comparison = await compared(url, crowd)
        assert not comparison.wrong, texts(comparison.wrong)


_FAILING = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.content LIKE '%{poison}%' THEN RAISE EXCEPTION 'no'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER failing BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION fail();
"""
