"""Who may do what: tokens, whose conversation it is, and what open mode is open to."""

import base64
import json
from typing import Any

import pytest

from tests.running import Gateway, Start, Told
from tests.web.shapes import check_problem

ADMIN, APP, WEB = ({"Authorization": f"Bearer {key}"} for key in ("the-admin-token", "key-of-the-app", "key-of-the-web"))
ENVIRON = {"ADMIN_TOKEN": "the-admin-token", "API_KEYS": "app:key-of-the-app,web:key-of-the-web"}
PUBLIC = ("/", "/health", "/health/live", "/health/ready", "/openapi.json", "/docs")
STALLED = {"message": "ما معنى «كتاب»؟ [[sim: fault=stall@mid]]", "conversation_id": "conv-1"}


@pytest.fixture
async def closed(start_gateway: Start) -> Gateway:
    """A gateway that wants a token."""
    return await start_gateway(**ENVIRON)


async def test_without_a_token(closed: Gateway, subtests: pytest.Subtests) -> None:
    for path in PUBLIC:
        assert (await closed.client.get(path)).status_code == 200
    for method, path in (
        ("POST", "/chat"),
        ("POST", "/chat/stream"),
        ("DELETE", "/chat/stream"),
        ("GET", "/chat/stream/x"),
        ("DELETE", "/chat/stream/x"),
        ("GET", "/conversations"),
        ("GET", "/conversations/x"),
        ("DELETE", "/conversations/x"),
        ("GET", "/stats"),
        ("GET", "/metrics"),
        ("GET", "/auth/me"),
    ):
        for token in (None, "Bearer", "Bearer wrong", "Basic !!", "Digest x", "key-of-the-app"):
            with subtests.test(method=method, path=path, token=token):
                answer = await closed.client.request(
                    method, path, content=b"{not json", headers={"Authorization": token} if token else {}
                )
                check_problem(answer, "unauthenticated")
                assert "Bearer" in answer.headers["WWW-Authenticate"]
    assert closed.simulator.calls == []


async def test_strangers_bodies_are_not_read(closed: Gateway) -> None:
    check_problem(await closed.client.post("/chat", content=b"a" * 11 * 1024 * 1024), "unauthenticated")


async def test_a_conversation_is_its_owners(closed: Gateway, subtests: pytest.Subtests) -> None:
    body = {"message": "سلام", "conversation_id": "conv-1"}
    answer = await closed.client.post("/chat", json=body, headers=APP)
    turn_id = answer.json()["turn_id"]
    place = {"Last-Event-ID": f"{turn_id}.0"}
    for name, method, path, more in (
        ("add", "POST", "/chat", {}),
        ("stream", "POST", "/chat/stream", {}),
        ("resume by post", "POST", "/chat/stream", place),
        ("resume", "GET", f"/chat/stream/{turn_id}", {}),
        ("stop", "DELETE", f"/chat/stream/{turn_id}", {}),
        ("read", "GET", "/conversations/conv-1", {}),
        ("delete", "DELETE", "/conversations/conv-1", {}),
    ):
        with subtests.test(name=name):
            content = json.dumps(body) if method == "POST" else None
            check_problem(await closed.client.request(method, path, content=content, headers=WEB | more), "not_found")
    for headers, expected in ((APP, ["conv-1"]), (WEB, []), (ADMIN, ["conv-1"])):
        page = (await closed.client.get("/conversations", headers=headers)).json()
        assert [one["id"] for one in page["conversations"]] == expected
    assert (await closed.client.get("/conversations/conv-1", headers=APP)).json()["user_id"] == "key:app"
    assert (await closed.client.get("/conversations?user=key:web", headers=ADMIN)).json()["conversations"] == []
    assert (await closed.client.delete("/conversations/conv-1", headers=APP)).status_code == 204
    assert len(closed.simulator.calls) == 1


async def test_a_running_turn_is_its_callers(closed: Gateway) -> None:
    async with closed.client.stream("POST", "/chat/stream", json=STALLED, headers=APP) as source:
        turn_id = source.headers["X-Turn-Id"]
        await closed.simulator.until(lambda simulator: simulator.calls[-1].stalled)
        check_problem(await closed.client.get(f"/chat/stream/{turn_id}", headers=WEB), "not_found")
        check_problem(await closed.client.delete(f"/chat/stream/{turn_id}", headers=WEB), "not_found")
        check_problem(await closed.client.post("/chat", json=STALLED, headers=WEB), "not_found")
        check_problem(await closed.client.get("/conversations/conv-1", headers=WEB), "not_found")
        shown = (await closed.client.get("/conversations/conv-1", headers=ADMIN)).json()
        assert shown["active_turns"] == [turn_id]
        assert (await closed.client.delete(f"/chat/stream/{turn_id}", headers=ADMIN)).status_code == 202
        assert '"status":"stopped"' in [line async for line in source.aiter_lines()][-2]


async def test_keys_of_different_callers_are_apart(closed: Gateway) -> None:
    key = {"Idempotency-Key": "k-1"}
    one = await closed.client.post("/chat", json={"message": "سلام"}, headers=APP | key)
    two = await closed.client.post("/chat", json={"message": "كتاب"}, headers=WEB | key)
    assert (one.status_code, two.status_code) == (200, 200)
    assert one.json()["turn_id"] != two.json()["turn_id"]
    check_problem(await closed.client.delete("/chat/stream", headers=ADMIN | key), "not_found")


async def test_numbers_are_the_admins(closed: Gateway) -> None:
    for path in ("/stats", "/metrics"):
        assert (await closed.client.get(path, headers=ADMIN)).status_code == 200
        check_problem(await closed.client.get(path, headers=APP), "forbidden")
        basic = base64.b64encode(b"anybody:the-admin-token").decode()
        assert (await closed.client.get(path, headers={"Authorization": f"Basic {basic}"})).status_code == 200
        wrong = base64.b64encode(b"the-admin-token:key-of-the-app").decode()
        check_problem(await closed.client.get(path, headers={"Authorization": f"Basic {wrong}"}), "unauthenticated")
    check_problem(await closed.client.get("/auth/me", headers=APP), "forbidden")


async def test_the_admin_may_chat(closed: Gateway) -> None:
    answer = await closed.client.post("/chat", json={"message": "سلام"}, headers=ADMIN)
    assert answer.status_code == 200


async def test_rate_limits_show_what_is_left(start_gateway: Start) -> None:
    gateway = await start_gateway(**ENVIRON, API_KEY_RATE_LIMIT="2/hour", RESUME_RATE_LIMIT="1/hour")
    left = []
    turn_id = ""
    for _ in range(2):
        answer = await gateway.client.post("/chat", json={"message": "سلام"}, headers=APP)
        assert (answer.status_code, answer.headers["RateLimit-Limit"]) == (200, "2")
        assert 0 < int(answer.headers["RateLimit-Reset"]) <= 3600
        left.append(answer.headers["RateLimit-Remaining"])
        turn_id = answer.json()["turn_id"]
    assert left == ["1", "0"]
    for path in ("/chat", "/chat/stream"):
        answer = await gateway.client.post(path, json={"message": "سلام"}, headers=APP)
        check_problem(answer, "rate_limited")
        assert (answer.headers["RateLimit-Remaining"], int(answer.headers["Retry-After"]) > 0) == ("0", True)
    assert (await gateway.client.get(f"/chat/stream/{turn_id}", headers=APP)).status_code == 200
    check_problem(await gateway.client.get(f"/chat/stream/{turn_id}", headers=APP), "rate_limited")
    assert (await gateway.client.post("/chat", json={"message": "سلام"}, headers=WEB)).status_code == 200
    assert len(gateway.simulator.calls) == 3


async def test_the_daily_limit_counts_questions_alone(start_gateway: Start) -> None:
    gateway = await start_gateway(**ENVIRON, API_KEY_DAILY_LIMIT="2")
    tools = [{"name": "search", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}]
    asked = {"message": "ابحث عن «كتب»", "tools": tools, "conversation_id": "conv-1"}
    first = await gateway.client.post("/chat", json=asked, headers=APP | {"Idempotency-Key": "k-1"})
    [call] = first.json()["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "وجدتُ"}
    follow_up = {"messages": [result], "tools": tools, "conversation_id": "conv-1"}
    assert (await gateway.client.post("/chat", json=follow_up, headers=APP)).status_code == 200
    again = await gateway.client.post("/chat", json=asked, headers=APP | {"Idempotency-Key": "k-1"})
    assert again.json() == first.json()
    check_problem(await gateway.client.post("/chat", json=asked | {"provider": "x"}, headers=APP), "unknown_provider")
    assert (await gateway.client.post("/chat", json={"message": "ثانٍ"}, headers=APP)).status_code == 200
    answer = await gateway.client.post("/chat/stream", json={"message": "ثالث"}, headers=APP)
    check_problem(answer, "daily_limit_reached")
    assert int(answer.headers["Retry-After"]) <= 86_400
    [usage] = await gateway.rows("SELECT caller, count FROM daily_usage")
    assert (usage["caller"], usage["count"]) == ("key:app", 2)


async def test_open_mode_is_for_this_machine(gateway: Gateway, subtests: pytest.Subtests) -> None:
    for headers in (
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"X-Forwarded-For": "10.0.0.1"},
        {"Forwarded": "for=10.0.0.1"},
        {"Via": "1.1 proxy"},
        {"CF-Connecting-IP": "10.0.0.1"},
    ):
        for method, path in (("POST", "/chat"), ("GET", "/conversations")):
            with subtests.test(headers=headers, path=path):
                answer = await gateway.client.request(method, path, content=b'{"message":"a"}', headers=headers)
                check_problem(answer, "forbidden")
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "app.localhost"):
        assert (await gateway.client.get("/conversations", headers={"Host": host})).status_code == 200
    assert gateway.simulator.calls == []


async def test_chat_alone_may_be_open(start_gateway: Start) -> None:
    gateway = await start_gateway(ALLOW_ANONYMOUS="chat")
    told = Told(await gateway.events({"message": "سلام", "conversation_id": "conv-1"}))
    assert told.last["status"] == "completed"
    for path in ("/conversations", "/conversations/conv-1", "/stats", "/metrics"):
        check_problem(await gateway.client.get(path), "forbidden")
    check_problem(await gateway.client.delete("/conversations/conv-1"), "forbidden")


async def test_strangers_who_say_the_same_do_not_meet(start_gateway: Start) -> None:
    """They cannot be told apart, and the id of a conversation is all that it takes to go on with it."""
    gateway = await start_gateway(ALLOW_ANONYMOUS="chat")
    question = {"role": "user", "content": "ما معنى «كتاب»؟"}

    async def said(*history: dict[str, str]) -> dict[str, Any]:
        body = {"model": "openai/gpt-6-luna", "messages": history}
        answer = await gateway.client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()
        return found

    first = await said(question)
    reply = {"role": "assistant", "content": first["choices"][0]["message"]["content"]}
    second = await said(question, reply, {"role": "user", "content": "وما جمعها؟"})
    assert second["conversation_id"] != first["conversation_id"]
