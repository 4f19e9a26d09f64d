"""A session of the app that is in people's hands: its own calls, as it makes them, from signing in to the day's last question."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from gateway.web import schemas
from simulator import parse_text
from tests.access.issuer_server import Issuer
from tests.access.issuing import APPLE_BUNDLE, GOOGLE_CLIENT, apple_claims, claims, public_jwk, signed
from tests.running import Start
from tests.web.callers import World, bearer, closed
from tests.web.shapes import check

CONVERSATION = "conv-1732000000000-k3j9x"
TOOLS = [
    {
        "name": "search_entries",
        "description": "يبحث عن كلمة في المعجم",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    },
    {"name": "get_entry", "description": "مادّة من المعجم", "parameters": {"type": "object", "properties": {}}},
]
FOUND = ("كتب: أصلٌ صحيحٌ واحدٌ يدلّ على جمع شيءٍ إلى شيء", "سلم: معظمُ بابه من الصحّة والعافية")
MOST_ROUNDS = 5


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    made = Issuer()
    made.keys = [public_jwk("k1")]
    async with made.running():
        yield made


@pytest.fixture
async def world(start_gateway: Start, issuer: Issuer) -> World:
    """What the app talks to: accounts at both issuers, and three questions a day."""
    return await closed(
        start_gateway,
        GOOGLE_JWKS_URL=issuer.url,
        APPLE_JWKS_URL=issuer.url,
        GOOGLE_CLIENT_ID=GOOGLE_CLIENT,
        APPLE_BUNDLE_ID=APPLE_BUNDLE,
        DAILY_REQUEST_LIMIT="3",
    )


@dataclass(slots=True)
class Phone:
    """The app: it keeps the history, sends all of it each time, and gives no call an id."""

    client: httpx.AsyncClient
    token: str
    conversation_id: str = CONVERSATION
    history: list[dict[str, Any]] = field(default_factory=list)

    async def post(self, provider: str) -> httpx.Response:
        body = {"conversation_id": self.conversation_id, "messages": self.history, "tools": TOOLS, "provider": provider}
        return await self.client.post("/chat", json=body, headers=bearer(self.token))

    async def ask(self, question: str, provider: str = "openai") -> list[dict[str, Any]]:
        """A question and the rounds of tools that it leads to; all replies, the last one without calls."""
        self.history.append({"role": "user", "content": question})
        replies: list[dict[str, Any]] = []
        while not replies or (replies[-1]["tool_calls"] and len(replies) < MOST_ROUNDS):
            answer = await self.post(provider)
            assert answer.status_code == 200, answer.text
            reply = answer.json()
            check(schemas.ChatReply, reply)
            replies.append(reply)
            self.remember(reply)
        return replies

    def remember(self, reply: dict[str, Any]) -> None:
        calls = [{"id": None, "name": call["name"], "arguments": call["arguments"]} for call in reply["tool_calls"]]
        self.history.append({"role": "assistant", "content": reply["content"], "tool_calls": calls or None})
        for call, result in zip(calls, FOUND, strict=False):
            self.history.append({"role": "tool", "content": result, "tool_call_id": call["id"]})

    async def me(self) -> dict[str, Any]:
        answer = await self.client.get("/auth/me", headers=bearer(self.token))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


async def test_a_session(world: World) -> None:
    client, simulator = world.gateway.client, world.gateway.simulator
    answer = await client.post("/auth/google/mobile", params={"id_token": signed(claims())})
    assert answer.status_code == 200
    user = answer.json()["user"]
    phone = Phone(client, answer.json()["token"])
    me = await phone.me()
    assert me.keys() == {"id", "email", "provider", "daily_requests", "daily_limit", "created_at"}
    assert (me["id"], me["provider"], me["daily_requests"], me["daily_limit"]) == (user["id"], "google", 0, 3)

    simulator.script(parse_text("tools=2"), calls=2)
    replies = await phone.ask("ما الفرق بين «كتب» و«سلم»؟")
    assert [len(reply["tool_calls"]) for reply in replies] == [2, 2, 0]
    last = replies[-1]
    assert (last["status"], last["finish_reason"], last["conversation_id"]) == ("completed", "stop", CONVERSATION)
    # The simulator refuses histories that the provider would, and quotes the results in the order of their calls.
    assert last["content"].index(FOUND[0]) < last["content"].index(FOUND[1])
    assert (await phone.me())["daily_requests"] == 1, "rounds of tools are no questions"

    # Another provider goes on with the same history.
    simulator.script(parse_text("tools=2"), calls=2)
    replies = await phone.ask("وما جذر «استكتب»؟", provider="gemini")
    assert ([len(reply["tool_calls"]) for reply in replies], replies[-1]["provider"]) == ([2, 2, 0], "google")
    replies = await phone.ask("وما معناه؟", provider="anthropic")
    assert [len(reply["tool_calls"]) for reply in replies] == [1, 0]

    phone.history.append({"role": "user", "content": "سؤال رابع"})
    refused = await phone.post("openai")
    assert refused.status_code == 429
    assert isinstance(refused.json()["detail"], str)
    assert "3" in refused.json()["detail"]
    assert (await phone.me())["daily_requests"] == 3
    await check_log(world)


async def check_log(world: World) -> None:
    """What the operator reads of the session afterwards."""
    rows = await world.gateway.rows(
        "SELECT role, content FROM messages WHERE conversation_id = $1 ORDER BY timestamp", CONVERSATION
    )
    questions = [row["content"] for row in rows if row["role"] == "user"]
    assert questions == ["ما الفرق بين «كتب» و«سلم»؟", "وما جذر «استكتب»؟", "وما معناه؟"]
    assert [row["role"] for row in rows] == [*("user", *["assistant"] * 3) * 2, "user", "assistant", "assistant"]
    calls = await world.gateway.rows("SELECT tool_name, result FROM tool_calls ORDER BY id")
    assert [call["result"] for call in calls] == [f'"{result}"' for result in (*FOUND * 4, FOUND[0])]
    [head] = await world.gateway.rows("SELECT id, provider, owner FROM conversations")
    assert (head["id"], head["provider"]) == (CONVERSATION, "openai")


async def test_with_apple(world: World) -> None:
    said = {
        "identity_token": signed(apple_claims()),
        "user_id": str(apple_claims()["sub"]),
        "email": "x7@privaterelay.appleid.com",
    }
    answer = await world.gateway.client.post("/auth/apple/mobile", params=said)
    assert answer.status_code == 200, answer.text
    phone = Phone(world.gateway.client, answer.json()["token"])
    assert (await phone.ask("ما معنى «كتاب»؟"))[-1]["status"] == "completed"
    assert ((await phone.me())["provider"], (await phone.me())["daily_requests"]) == ("apple", 1)
    # Signing in again is the same account, with the same day.
    again = await world.gateway.client.post("/auth/apple/mobile", params=said | {"email": ""})
    assert again.json()["user"]["daily_requests"] == 1


async def test_a_token_that_is_not_good(world: World) -> None:
    phone = Phone(world.gateway.client, "expired.or.forged")
    phone.history.append({"role": "user", "content": "ما معنى «كتاب»؟"})
    for answer in (
        await phone.post("openai"),
        await world.gateway.client.get("/auth/me", headers=bearer(phone.token)),
        await world.gateway.client.post("/auth/google/mobile", params={"id_token": signed(claims(aud="another-app"))}),
    ):
        assert answer.status_code == 401
        assert isinstance(answer.json()["detail"], str)
    assert await world.gateway.rows("SELECT FROM messages") == []
