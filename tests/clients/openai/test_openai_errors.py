"""OpenAI's client for Python: what it raises, and what its own retries cost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from gateway.core.jsontext import loads
from simulator import parse_text
from tests.clients.openai.asked import SEARCH, last_logged, logged, said
from tests.clients.openai.conftest import MODELS, Client
from tests.lazily import Lazily
from tests.running import Gateway, Start
from tests.web.callers import API_KEY, closed, user_token

if TYPE_CHECKING:
    import openai
else:
    openai = Lazily("openai")

HEARD: dict[str, Any] = {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}
OTHER: dict[str, Any] = {"type": "function", "function": {"name": "other"}}


async def ask(client: openai.AsyncOpenAI, **asked: Any) -> Any:
    return await client.chat.completions.create(**{"model": "gpt-6-luna", "messages": said("ما معنى «كتاب»؟")} | asked)


REFUSED: list[tuple[dict[str, Any], str, str, str | None]] = [
    ({"model": "no-such-model"}, "NotFoundError", "model_not_found", "model"),
    ({"model": "anthropic/gpt-6-luna"}, "NotFoundError", "model_not_found", "model"),
    ({"messages": []}, "BadRequestError", "invalid_request", "messages"),
    ({"messages": said("سؤال", "جواب")}, "BadRequestError", "invalid_request", "messages"),
    ({"messages": [HEARD]}, "BadRequestError", "invalid_request", "messages.0.content"),
    ({"temperature": 3}, "BadRequestError", "invalid_request", "temperature"),
    ({"n": 2}, "BadRequestError", "invalid_request", "n"),
    ({"logprobs": True}, "BadRequestError", "invalid_request", "logprobs"),
    ({"modalities": ["text", "audio"]}, "BadRequestError", "invalid_request", "modalities"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "BadRequestError", "invalid_request", "tools.0"),
    ({"tools": [SEARCH], "tool_choice": OTHER}, "BadRequestError", "invalid_request", None),
]


async def test_requests_that_are_refused(gateway: Gateway, client: openai.AsyncOpenAI, subtests: pytest.Subtests) -> None:
    for asked, raised, code, param in REFUSED:
        with subtests.test(asked=asked):
            with pytest.raises(getattr(openai, raised)) as caught:
                await ask(client, **asked)
            error = caught.value
            assert (error.code, error.param, error.type) == (code, param, "invalid_request_error")
            assert isinstance(error.body, dict)
            assert error.body.keys() == {"message", "type", "param", "code"}
            assert error.request_id == error.response.headers["X-Request-Id"]
    assert gateway.simulator.calls == []


async def test_parameters_that_change_nothing_are_no_reason_to_refuse(client: openai.AsyncOpenAI) -> None:
    neutral = {"n": 1, "logprobs": False, "top_logprobs": 0, "logit_bias": {}, "modalities": ["text"]}
    assert (await ask(client, **neutral)).choices[0].message.content


async def test_who_asks(start_gateway: Start, client_of: Client) -> None:
    world = await closed(start_gateway)
    for key, raised in (("wrong", openai.AuthenticationError), (API_KEY, None), (user_token(await world.user()), None)):
        client = client_of(world.gateway, api_key=key)
        if raised is None:
            assert (await ask(client)).choices
            assert (await client.models.list()).data
            continue
        for refused in (ask(client), client.models.list()):
            with pytest.raises(raised) as caught:
                await refused
            assert (caught.value.code, caught.value.type) == ("invalid_api_key", "authentication_error")


async def test_another_callers_conversation(start_gateway: Start, client_of: Client) -> None:
    world = await closed(start_gateway)
    mine, other = [client_of(world.gateway, api_key=user_token(await world.user())) for _ in range(2)]
    reply = await ask(mine, metadata={"conversation_id": "conv-1"})
    for refused in (ask(other, metadata={"conversation_id": "conv-1"}), other.chat.completions.retrieve(reply.id)):
        with pytest.raises(openai.NotFoundError) as caught:
            await refused
        assert caught.value.code == "not_found"
    # Two clients may have the same name for somebody.
    named = await ask(other, user="conv-1")
    assert (named.model_extra or {})["conversation_id"] != "conv-1"
    [row] = await world.gateway.rows("SELECT count(*) AS turns FROM messages WHERE conversation_id = 'conv-1' AND role = 'user'")
    assert row["turns"] == 1


async def test_the_callers_own_limits_alone_are_429(start_gateway: Start, client_of: Client) -> None:
    """The client would try again at once; it is told whether that is of use."""
    world = await closed(start_gateway, DAILY_REQUEST_LIMIT="1", API_KEY_RATE_LIMIT="1/day", MAX_RETRIES="0")
    user, program = user_token(await world.user()), API_KEY
    for key, code, retry in ((user, "insufficient_quota", "false"), (program, "rate_limit_exceeded", "true")):
        client = client_of(world.gateway, api_key=key, max_retries=2)
        await ask(client)
        calls = len(world.gateway.simulator.calls)
        with pytest.raises(openai.RateLimitError) as caught:
            await ask(client)
        assert (caught.value.code, caught.value.type) == (code, "rate_limit_error")
        headers = caught.value.response.headers
        assert (headers["x-should-retry"], headers["RateLimit-Remaining"]) == (retry, "0")
        assert int(headers["Retry-After"]) > 0
        assert len(world.gateway.simulator.calls) == calls


async def test_a_provider_that_is_overloaded_is_no_limit_of_the_callers(start_gateway: Start, client_of: Client) -> None:
    client = client_of(await start_gateway(MAX_RETRIES="0"))
    for model in MODELS:
        with pytest.raises(openai.InternalServerError) as caught:
            await ask(client, model=model, messages=said("[[sim: status=429 retry_after=60]] سؤال"))
        assert (caught.value.status_code, caught.value.code, caught.value.type) == (503, "provider_overloaded", "server_error")
        assert caught.value.response.headers["Retry-After"] == "60"


async def test_a_stream_that_breaks_off_is_raised(start_gateway: Start, client_of: Client) -> None:
    gateway = await start_gateway(MAX_RETRIES="0")
    client = client_of(gateway)
    for model in MODELS:
        chunks = []
        stream = await ask(client, model=model, stream=True, messages=said("[[sim: tokens=40 fault=close@mid]] أطِل"))
        with pytest.raises(openai.APIError) as caught:  # noqa: PT012
            async for chunk in stream:
                chunks.append(chunk)  # noqa: PERF401 - what came before the error counts
        assert not isinstance(caught.value, openai.APIConnectionError)
        assert caught.value.code == "provider_error"
        stored = await last_logged(gateway, chunks[0].id)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == stored["content"]
        assert (stored["status"], bool(stored["content"])) == ("failed", True)
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.retrieve(chunks[0].id)


async def test_another_provider_answers_for_a_model_without_its_providers_name(start_gateway: Start, client_of: Client) -> None:
    gateway = await start_gateway(MAX_RETRIES="0", FALLBACK_PROVIDERS="anthropic")
    client = client_of(gateway)
    gateway.simulator.script(parse_text("status=500 provider=openai"), calls=None)
    assert (await ask(client)).model == "anthropic/claude-haiku-5-5"
    *_, last = [chunk async for chunk in await ask(client, stream=True)]
    assert last.model == "anthropic/claude-haiku-5-5"
    with pytest.raises(openai.InternalServerError):
        await ask(client, model="openai/gpt-6-luna")


class Impatient(httpx2.AsyncBaseTransport):
    """A client's way to the gateway on which it gives up its first request once the provider has been asked."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._way = httpx2.AsyncHTTPTransport()
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if len(self.requests) > 1:
            # What was asked before is answered only now that the client has asked again.
            self._gateway.simulator.release()
            return await self._way.handle_async_request(request)
        asking = asyncio.create_task(self._way.handle_async_request(request))
        await self._gateway.simulator.until(lambda simulator: simulator.stalled == 1)
        asking.cancel()
        await asyncio.wait({asking})
        raise httpx2.ReadTimeout("no answer in time", request=request)

    async def aclose(self) -> None:
        await self._way.aclose()


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
async def test_the_clients_own_retry_is_paid_once(start_gateway: Start, client_of: Client, streamed: bool) -> None:
    """Without any key: the retry says that it is one, and the turn that its client hung up on is the one it gets."""
    gateway = await start_gateway()
    way = Impatient(gateway)
    client = client_of(gateway, max_retries=2, http_client=openai.DefaultAsyncHttpxClient(transport=way))
    gateway.simulator.script(parse_text("fault=stall@before-head"))
    reply = await ask(client, stream=streamed)
    if streamed:
        chunks = [chunk async for chunk in reply]
        text, identity = "".join(chunk.choices[0].delta.content or "" for chunk in chunks), chunks[0].id
    else:
        text, identity = reply.choices[0].message.content, reply.id
    assert [request.headers["x-stainless-retry-count"] for request in way.requests] == ["0", "1"]
    assert len(gateway.simulator.calls) == 1
    assert text == (await last_logged(gateway, identity))["content"]
    # A second question of the same words is a question.
    await ask(client, stream=False)
    assert len(gateway.simulator.calls) == 2


async def test_a_key_is_paid_once(gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    """Whole after streamed, too: what a client needs whose stream broke."""
    keyed = {"extra_headers": {"Idempotency-Key": "question-1"}}
    chunks = [chunk async for chunk in await ask(client, stream=True, **keyed)]
    whole = await ask(client, **keyed)
    assert whole.id == chunks[0].id
    assert whole.choices[0].message.content == "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert len(gateway.simulator.calls) == 1
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        await ask(client, messages=said("سؤال آخر"), **keyed)
    assert caught.value.code == "idempotency_mismatch"
    assert len(await logged(gateway, whole.model_extra["conversation_id"])) == 2


async def test_every_error_has_the_same_shape(gateway: Gateway) -> None:
    for method, path, body, status in (
        ("POST", "/v1/chat/completions", b"{", 400),
        ("POST", "/v1/chat/completions", b"[]", 400),
        ("PUT", "/v1/chat/completions", b"", 405),
        ("GET", "/v1/no/such/place", b"", 404),
        ("GET", "/v1/models/no/such/model", b"", 404),
        ("GET", "/v1/chat/completions/chatcmpl-1", b"", 404),
        ("POST", "/v1/chat/completions", b" " * (11 * 1024 * 1024), 413),
    ):
        answer = await gateway.client.request(method, path, content=body, headers={"Content-Type": "application/json"})
        error = loads(answer.content)["error"]
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/json"
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"
