"""What the provider is asked: the log's history, the client's, or both, as the request leaves it."""

from typing import Any

from simulator import parse_text
from tests.running import Gateway, Start
from tests.web.shapes import check_problem

FIRST, SECOND, THIRD = "ما معنى «كتاب»؟", "وما جمعُهُ؟", "وما مفردُهُ؟"


def asked(gateway: Gateway) -> list[tuple[str, Any]]:
    """The messages of the newest upstream call (OpenAI's format)."""
    return [(entry["role"], entry.get("content")) for entry in gateway.simulator.calls[-1].body["messages"]]


async def test_without_messages_the_log_is_the_history(gateway: Gateway) -> None:
    first = await gateway.ask({"message": FIRST, "conversation_id": "conv-1"})
    second = await gateway.ask({"message": SECOND, "conversation_id": "conv-1"})
    await gateway.ask({"message": THIRD, "conversation_id": "conv-1"})
    assert asked(gateway) == [
        ("user", FIRST),
        ("assistant", first["content"]),
        ("user", SECOND),
        ("assistant", second["content"]),
        ("user", THIRD),
    ]


async def test_a_conversation_goes_on_with_another_provider(gateway: Gateway) -> None:
    first = await gateway.ask({"message": FIRST, "conversation_id": "conv-1", "provider": "google"})
    await gateway.ask({"message": SECOND, "conversation_id": "conv-1", "provider": "openai"})
    assert asked(gateway) == [("user", FIRST), ("assistant", first["content"]), ("user", SECOND)]
    shown = (await gateway.client.get("/conversations/conv-1")).json()
    assert [message["provider"] for message in shown["messages"]] == [None, "google", None, "openai"]
    assert shown["provider"] == "google"


async def test_a_new_conversation_has_no_history(gateway: Gateway) -> None:
    await gateway.ask({"message": FIRST, "conversation_id": "conv-1"})
    for body in (
        {"message": SECOND},
        {"message": SECOND, "conversation_id": None},
        {"message": SECOND, "conversation_id": "conv-2"},
    ):
        await gateway.ask(body)
        assert asked(gateway) == [("user", SECOND)]


async def test_the_clients_history_wins(gateway: Gateway) -> None:
    await gateway.ask({"message": FIRST, "conversation_id": "conv-1"})
    history = [
        {"role": "user", "content": SECOND},
        {"role": "assistant", "content": "الكُتُب"},
        {"role": "user", "content": THIRD},
    ]
    await gateway.ask({"messages": history, "conversation_id": "conv-1"})
    assert asked(gateway) == [("user", SECOND), ("assistant", "الكُتُب"), ("user", THIRD)]
    rows = await gateway.rows("SELECT content FROM messages WHERE conversation_id = 'conv-1' AND role = 'user' ORDER BY id")
    assert [row["content"] for row in rows] == [FIRST, THIRD]


async def test_message_and_messages_together(gateway: Gateway) -> None:
    said = [{"role": "user", "content": FIRST}, {"role": "assistant", "content": "جواب"}]
    await gateway.ask({"messages": said, "message": SECOND})
    assert asked(gateway) == [("user", FIRST), ("assistant", "جواب"), ("user", SECOND)]
    await gateway.ask({"messages": [*said, {"role": "user", "content": THIRD}], "message": SECOND})
    assert asked(gateway) == [("user", FIRST), ("assistant", "جواب"), ("user", THIRD)]
    check_problem(await gateway.client.post("/chat", json={"messages": said}), "invalid_request")
    check_problem(await gateway.client.post("/chat", json={"messages": said, "message": " "}), "invalid_request")


async def test_a_message_that_is_ignored_may_be_anything(gateway: Gateway) -> None:
    for ignored in ("", " ", None, 5):
        await gateway.ask({"messages": [{"role": "user", "content": THIRD}], "message": ignored})
        assert asked(gateway) == [("user", THIRD)]


async def test_an_empty_history_is_the_clients_own(gateway: Gateway) -> None:
    await gateway.ask({"message": FIRST, "conversation_id": "conv-1"})
    await gateway.ask({"messages": [], "message": SECOND, "conversation_id": "conv-1"})
    assert asked(gateway) == [("user", SECOND)]


async def test_only_system_entries_beside_a_message(gateway: Gateway) -> None:
    body = {"messages": [{"role": "system", "content": "قواعد"}], "message": FIRST, "system_prompt": "أنت معجم"}
    await gateway.ask(body)
    assert asked(gateway)[-1] == ("user", FIRST)
    [system] = [content for role, content in asked(gateway) if role in ("system", "developer")]
    assert system.index("أنت معجم") < system.index("قواعد")
    check_problem(
        await gateway.client.post("/chat", json={"messages": [{"role": "system", "content": "قواعد"}]}), "invalid_request"
    )


async def test_content_in_parts_with_an_image(gateway: Gateway) -> None:
    image = "data:image/png;base64,iVBORw0KGgo="
    parts = [
        {"type": "text", "text": "ما هذا"},
        {"type": "image_url", "image_url": {"url": image}},
        {"type": "text", "text": "؟"},
    ]
    await gateway.ask({"messages": [{"role": "user", "content": parts}], "conversation_id": "conv-1"})
    await gateway.ask({"message": SECOND, "conversation_id": "conv-1"})
    sent = gateway.simulator.calls[-1].body["messages"][0]["content"]
    assert [part["type"] for part in sent] == ["text", "image_url", "text"]
    assert sent[1]["image_url"]["url"] == image
    shown = (await gateway.client.get("/conversations/conv-1")).json()
    assert shown["messages"][0]["content"] == "ما هذا؟"


async def test_the_history_is_bounded_and_starts_at_a_question(start_gateway: Start) -> None:
    gateway = await start_gateway(HISTORY_MESSAGES="3")
    for question in (FIRST, SECOND, THIRD):
        await gateway.ask({"message": question, "conversation_id": "conv-1"})
    await gateway.ask({"message": "رابع", "conversation_id": "conv-1"})
    assert [content for role, content in asked(gateway) if role == "user"] == [THIRD, "رابع"]


async def test_the_history_survives_a_restart(start_gateway: Start) -> None:
    gateway = await start_gateway()
    first = await gateway.ask({"message": FIRST, "conversation_id": "conv-1"})
    await gateway.close()
    gateway = await start_gateway()
    await gateway.ask({"message": SECOND, "conversation_id": "conv-1"})
    assert asked(gateway) == [("user", FIRST), ("assistant", first["content"]), ("user", SECOND)]


async def test_settings_of_the_request_reach_the_provider(gateway: Gateway) -> None:
    body = {"message": FIRST, "provider": "groq", "temperature": 0.25, "max_tokens": 50, "model": None}
    await gateway.ask(body)
    call = gateway.simulator.calls[-1]
    assert (call.provider, call.body["temperature"], call.body["model"]) == ("groq", 0.25, "openai/gpt-oss-120b")
    assert 50 in call.body.values()
    await gateway.ask({"message": FIRST, "provider": "groq", "max_tokens": 10**9})
    assert 8192 in gateway.simulator.calls[-1].body.values()


async def test_models_beside_the_default_are_allowed_by_name(start_gateway: Start) -> None:
    gateway = await start_gateway(OPENAI_MODELS="gpt-6-sol,gpt-4o", DEFAULT_PROVIDER="anthropic")
    assert (await gateway.ask({"message": FIRST}))["provider"] == "anthropic"
    assert (await gateway.ask({"message": FIRST, "provider": "gemini"}))["provider"] == "google"
    chosen = await gateway.ask({"message": FIRST, "provider": "openai", "model": "gpt-4o"})
    assert (chosen["model"], gateway.simulator.calls[-1].model) == ("gpt-4o", "gpt-4o")
    for body in ({"model": "gpt-4o"}, {"provider": "openai", "model": "gpt-3"}, {"provider": "openai", "model": ""}):
        check_problem(await gateway.client.post("/chat", json={"message": FIRST, **body}), "unknown_model")


async def test_a_provider_without_a_key_is_not_configured(start_gateway: Start) -> None:
    gateway = await start_gateway(GROQ_API_KEY="")
    check_problem(await gateway.client.post("/chat", json={"message": FIRST, "provider": "groq"}), "provider_not_configured")
    report = (await gateway.client.get("/health")).json()
    assert report["providers"]["groq"] == "unconfigured"
    assert (await gateway.client.get("/")).json()["providers"]["groq"]["configured"] is False


async def test_replies_of_the_built_in_simulator_say_so(start_gateway: Start) -> None:
    gateway = await start_gateway(OPENAI_API_KEY="", ANTHROPIC_API_KEY="", GROQ_API_KEY="", GOOGLE_API_KEY="")
    body = {"message": f"{FIRST} [[sim: gap_ms=0]]"}
    assert (await gateway.ask(body))["simulated"] is True
    assert '"simulated":true' in (await gateway.events(body))[-1].data
    assert (await gateway.client.get("/")).json()["simulated"] is True
    assert gateway.simulator.calls == []


async def test_finish_reasons(gateway: Gateway) -> None:
    for finish, expected in (("length", "length"), ("refusal", "content_filter")):
        gateway.simulator.script(parse_text(f"finish={finish}"), calls=None)
        for provider in ("openai", "anthropic"):
            reply = await gateway.ask({"message": FIRST, "provider": provider})
            assert (reply["finish_reason"], reply["status"]) == (expected, "completed")
            assert reply["content"]
