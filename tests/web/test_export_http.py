"""GET /conversations/export: all of the log as lines, whole or visibly cut."""

import gzip
import json
from typing import Any

import httpx
import pytest

from gateway.store.base import StoreUnavailable
from gateway.store.dsn import parse_dsn
from gateway.store.postgres import PostgresStore
from gateway.web import schemas
from tests.running import Gateway, Start
from tests.store.samples import rich_turn, turn
from tests.web.callers import ADMIN, CLOSED, bearer, user_token
from tests.web.shapes import check, check_problem


async def filled(database_url: str, conversations: int) -> None:
    store = PostgresStore(parse_dsn(database_url))
    await store.put([rich_turn(), *(turn(f"c-{number:03}", caller="user:2") for number in range(conversations))])
    await store.close()


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    found = [json.loads(line) for line in answer.text.splitlines()]
    for one in found:
        check(schemas.StoredConversation, one)
    return found


async def read_whole(gateway: Gateway) -> None:
    async with gateway.client.stream("GET", "/conversations/export") as answer:
        assert answer.status_code == 200
        await answer.aread()


async def test_everything_once_as_it_is_shown_one_by_one(gateway: Gateway, database_url: str) -> None:
    await filled(database_url, 450)
    answer = await gateway.client.get("/conversations/export")
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert answer.headers["Content-Disposition"].endswith('.jsonl"')
    found = lines(answer)
    assert [one["id"] for one in found] == sorted(["conv-1", *(f"c-{number:03}" for number in range(450))])
    shown = (await gateway.client.get("/conversations/conv-1")).json()
    assert shown.pop("active_turns") == []
    assert found[-1] == shown


async def test_filters(gateway: Gateway, database_url: str) -> None:
    await filled(database_url, 3)
    for query, expected in {
        "q=الكتاب": 4,
        "q=فيه 📖": 4,
        "tool=get_entry": 1,
        "user=user:2": 3,
        "status=failed": 1,
        "q=؟": 0,
    }.items():
        assert len(lines(await gateway.client.get(f"/conversations/export?{query}"))) == expected, query
    assert lines(await gateway.client.get("/conversations/export?until=2020-01-01")) == []
    check_problem(await gateway.client.get("/conversations/export?status=lost"), "invalid_request")
    check_problem(await gateway.client.get("/conversations/export?q=" + "a " * 17), "invalid_request")


async def test_gzip_for_who_accepts_it(gateway: Gateway, database_url: str) -> None:
    await filled(database_url, 30)
    plain = await gateway.client.get("/conversations/export", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    async with gateway.client.stream("GET", "/conversations/export", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        packed = b"".join([piece async for piece in answer.aiter_raw()])
    assert gzip.decompress(packed) == plain.content


async def test_callers_get_their_own(start_gateway: Start, database_url: str) -> None:
    gateway = await start_gateway(**CLOSED)
    await gateway.rows("INSERT INTO users (id, google_id) SELECT n, n FROM generate_series(1, 9) AS n")
    await filled(database_url, 2)
    for headers, expected in ((bearer(ADMIN), 3), (bearer(user_token(2)), 2), (bearer(user_token(3)), 0)):
        assert len(lines(await gateway.client.get("/conversations/export", headers=headers))) == expected


async def test_an_export_that_breaks_off_has_no_clean_end(
    gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(database_url, 60)
    run, calls = PostgresStore.run, 0

    async def failing(store: PostgresStore, work: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 4:
            raise StoreUnavailable("gone")
        return await run(store, work)

    monkeypatch.setattr(PostgresStore, "run", failing)
    with pytest.raises(httpx.TransportError):
        await read_whole(gateway)
    monkeypatch.undo()
    assert len(lines(await gateway.client.get("/conversations/export"))) == 61
