"""Keys that a proxy gives to requests it may send again, and what a server says that takes no more turns."""

import asyncio
from typing import Any

import httpx
import pytest

from simulator import Script
from tests.running import Gateway, Start, Told
from tests.web.shapes import check_problem

ASKED: dict[str, Any] = {"message": "ما معنى «كتاب»؟"}
STALLED: dict[str, Any] = {"message": "ما معنى «كتاب»؟ [[sim: fault=stall@mid times=1]]"}
COMPLETION: dict[str, Any] = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "ما معنى «كتاب»؟"}]}
BY_PROXY = {"Proxy-Idempotency-Key": "7f1e"}


async def post(gateway: Gateway, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    return await gateway.client.post(path, json=body, headers=BY_PROXY | {key.replace("_", "-"): headers[key] for key in headers})


@pytest.mark.parametrize(("path", "body"), [("/chat", ASKED), ("/chat/stream", ASKED), ("/v1/chat/completions", COMPLETION)])
async def test_what_a_proxy_sends_again_is_one_turn(gateway: Gateway, path: str, body: dict[str, Any]) -> None:
    answers = [await post(gateway, path, body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len({answer.headers["X-Turn-Id"] for answer in answers}) == 1
    assert len(gateway.simulator.calls) == 1


async def test_a_failure_sent_again_is_the_same_failure(start_gateway: Start) -> None:
    gateway = await start_gateway(MAX_RETRIES="0")
    gateway.simulator.script(Script(status=429))
    codes = [(await post(gateway, "/chat", ASKED)).json()["code"] for _ in range(2)]
    assert codes == ["provider_overloaded", "provider_overloaded"]
    assert len(gateway.simulator.calls) == 1
    # Another request of the client's is another turn.
    assert (await gateway.ask(ASKED, proxy_idempotency_key="a02c"))["status"] == "completed"


async def test_the_client_s_own_key_and_event_id_come_first(gateway: Gateway) -> None:
    first = await post(gateway, "/chat", ASKED, Idempotency_Key="k-1")
    again = await gateway.client.post("/chat", json=ASKED, headers={"Idempotency-Key": "k-1", "Proxy-Idempotency-Key": "other"})
    assert first.json() == again.json()
    told = Told(await gateway.events(ASKED, proxy_idempotency_key="a"))
    rest = await gateway.events(ASKED, proxy_idempotency_key="b", last_event_id=told.events[0].id)
    assert [event.data for event in rest] == [event.data for event in told.events[1:]]
    check_problem(await gateway.client.delete("/chat/stream", headers=BY_PROXY), "invalid_request")
    wrong = await gateway.client.post("/chat", json=ASKED, headers={"Proxy-Idempotency-Key": "a b"})
    check_problem(wrong, "invalid_request")


async def test_a_client_s_retry_gets_the_turn_it_hung_up_on_behind_a_proxy_too(gateway: Gateway) -> None:
    body = COMPLETION | {"messages": [{"role": "user", "content": STALLED["message"]}]}
    hanging = asyncio.create_task(post(gateway, "/v1/chat/completions", body))
    await gateway.simulator.until(lambda simulator: bool(simulator.calls) and simulator.calls[-1].stalled)
    hanging.cancel()
    await asyncio.wait((hanging,))
    while "gateway_readers 0.0" not in (await gateway.client.get("/metrics")).text:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)
    again = {"Proxy-Idempotency-Key": "another", "X-Stainless-Retry-Count": "1"}
    retry = asyncio.create_task(gateway.client.post("/v1/chat/completions", json=body, headers=again))
    gateway.simulator.release()
    assert (await retry).status_code == 200
    assert len(gateway.simulator.calls) == 1


async def test_a_server_that_ends_begins_nothing_claims_nothing_and_gives_what_it_has(gateway: Gateway) -> None:
    asking = asyncio.create_task(gateway.client.post("/chat", json=STALLED, headers=BY_PROXY))
    await gateway.simulator.until(lambda simulator: bool(simulator.calls) and simulator.calls[-1].stalled)
    draining = asyncio.create_task(gateway.drain(60))
    await asyncio.sleep(0)
    joining = asyncio.create_task(gateway.client.post("/chat", json=STALLED, headers=BY_PROXY))
    for headers in ({}, {"Proxy-Idempotency-Key": "new"}, {"Idempotency-Key": "new"}):
        check_problem(await gateway.client.post("/chat", json=ASKED, headers=headers), "shutting_down")
    gateway.simulator.release()
    answers = [await asking, await joining]
    assert answers[0].json() == answers[1].json()
    await draining
    assert [row["key"] for row in await gateway.rows("SELECT key FROM idempotency_keys")] == ["proxy:7f1e"]
