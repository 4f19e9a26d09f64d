"""What belongs to another caller looks exactly like what does not exist; of two who begin one conversation, one owns it."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from simulator import parse_text
from tests.running import Start, Told
from tests.web.callers import ADMIN, API_KEY, Headers, World, bearer, closed
from tests.web.shapes import check_problem
from tests.web.test_resume import old_turn_id

STALL = parse_text("fault=stall@mid gap_ms=0")
UNKNOWN = "conv-that-nobody-began"


@pytest.fixture
async def world(start_gateway: Start) -> World:
    return await closed(start_gateway)


def without_id(answer: httpx.Response) -> tuple[int, bytes, str]:
    """An answer but for its request id."""
    return answer.status_code, answer.content.replace(answer.json()["request_id"].encode(), b""), answer.headers["Content-Type"]


async def same(world: World, headers: Headers, method: str, foreign: str, unknown: str, **more: Any) -> None:
    """What is another's answers byte for byte like what is nobody's."""
    there, nowhere = [await world.send(method, place, headers, **more) for place in (foreign, unknown)]
    check_problem(there, "not_found")
    assert without_id(there) == without_id(nowhere)


async def test_ended_turns_and_conversations_of_others(world: World, subtests: pytest.Subtests) -> None:
    told = await world.ask((await world.signed_in()) | {"Idempotency-Key": "k-1"}, conversation_id="conv-a")
    old = await old_turn(world, told["turn_id"])
    for name, headers in {"user": await world.signed_in(), "key": bearer(API_KEY)}.items():
        with subtests.test(caller=name):
            await same(world, headers, "GET", "/conversations/conv-a", f"/conversations/{UNKNOWN}")
            await same(world, headers, "DELETE", "/conversations/conv-a", f"/conversations/{UNKNOWN}")
            await same(world, headers, "GET", f"/chat/stream/{old}", f"/chat/stream/{old_turn_id()}")
            await same(world, headers, "DELETE", f"/chat/stream/{old}", f"/chat/stream/{old_turn_id()}")
            listed = (await world.send("GET", "/conversations", headers)).json()
            assert listed["conversations"] == []
            searched = (await world.send("GET", "/conversations?q=كتاب&user=user:1", headers)).json()
            assert searched["conversations"] == []
    assert (await world.send("GET", "/conversations/conv-a", bearer(ADMIN))).status_code == 200


async def old_turn(world: World, turn_id: str) -> str:
    """Let a turn have been long ago: a young id that nobody knows might be running elsewhere, and says so."""
    old = old_turn_id()
    await world.gateway.rows("UPDATE messages SET turn_id = $1 WHERE turn_id = $2", old, turn_id)
    return old


async def test_a_key_names_the_turn_of_its_own_caller_alone(world: World) -> None:
    key = {"Idempotency-Key": "the-same-key"}
    mine, other = await world.signed_in(), await world.signed_in()
    first = await world.ask(mine | key)
    check_problem(await world.send("DELETE", "/chat/stream", other | key), "not_found")
    second = await world.ask(other | key)
    assert second["turn_id"] != first["turn_id"]
    assert (await world.ask(mine | key))["turn_id"] == first["turn_id"]
    assert len(world.gateway.simulator.calls) == 2


async def test_a_running_turn_of_another_can_be_neither_read_nor_stopped(world: World) -> None:
    mine, other = await world.signed_in(), await world.signed_in()
    world.gateway.simulator.script(STALL)
    body = {"message": "سرّ", "conversation_id": "conv-a"}
    async with world.gateway.streaming(body, **(mine | {"Idempotency-Key": "k-1"})) as source:
        events = source.aiter_sse()
        start = json.loads((await anext(events)).data)
        turn = f"/chat/stream/{start['turn_id']}"
        for method in ("GET", "DELETE"):
            check_problem(await world.send(method, turn, other), "not_found")
            check_problem(await world.send(method, turn, bearer(API_KEY)), "not_found")
        check_problem(await world.send("DELETE", "/chat/stream", other | {"Idempotency-Key": "k-1"}), "not_found")
        resumed = other | {"Last-Event-ID": f"{start['turn_id']}.0"}
        check_problem(await world.send("POST", "/chat/stream", resumed, json=body), "not_found")
        check_problem(await world.send("GET", "/conversations/conv-a", other), "not_found")
        check_problem(await world.send("DELETE", "/conversations/conv-a", other), "not_found")
        check_problem(await world.send("POST", "/chat", other, json=body), "not_found")
        assert (await world.send("GET", "/conversations/conv-a", mine)).json()["active_turns"] == [start["turn_id"]]
        world.gateway.simulator.release()
        rest = Told([event async for event in events if event.data])
    assert rest.last["status"] == "completed"
    assert len(world.gateway.simulator.calls) == 1


@pytest.mark.parametrize("path", ["/chat", "/chat/stream"])
async def test_two_begin_one_conversation_at_once(world: World, path: str) -> None:
    """One of them owns it; nothing of what the other said can be read by anybody else."""
    callers = [await world.signed_in() for _ in range(2)]
    for number in range(10):
        conversation = f"conv-{number}"
        answers = await asyncio.gather(
            *(
                world.send("POST", path, headers, json={"message": f"سرّ {name}", "conversation_id": conversation})
                for name, headers in zip("اب", callers, strict=True)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, 404]
        [loser] = [place for place, answer in enumerate(answers) if answer.status_code == 404]
        check_problem(answers[loser], "not_found")
        seen = await asyncio.gather(*(world.send("GET", f"/conversations/{conversation}", headers) for headers in callers))
        assert [answer.status_code for answer in seen][loser] == 404
        messages = seen[1 - loser].json()["messages"]
        assert [message["content"] for message in messages if message["role"] == "user"] == [f"سرّ {'اب'[1 - loser]}"]
    assert len(world.gateway.simulator.calls) == 10


async def test_two_processes_accept_the_same_new_conversation(start_gateway: Start, tmp_path: Any) -> None:
    """Neither knows of the other's turn; the one that is logged later gets a conversation of its own."""
    one = await closed(start_gateway, DATA_DIR=str(tmp_path / "one"))
    two = await closed(start_gateway, DATA_DIR=str(tmp_path / "two"))
    mine, other = await one.signed_in(), await one.signed_in()
    one.gateway.simulator.script(STALL, calls=2)
    bodies = [{"message": f"سرّ {name}", "conversation_id": "conv-x"} for name in "اب"]
    asked = [
        asyncio.create_task(world.send("POST", "/chat/stream", headers, json=body))
        for world, headers, body in ((one, mine, bodies[0]), (two, other, bodies[1]))
    ]
    await one.gateway.simulator.until(lambda simulator: simulator.stalled == 2)
    one.gateway.simulator.release()
    told = [json.loads((await answer).text.rpartition("data: ")[2]) for answer in asked]
    places = [body["conversation_id"] for body in told]
    assert len(set(places)) == 2
    assert "conv-x" in places
    for headers, place, foreign in ((mine, *places), (other, *places[::-1])):
        for world in (one, two):
            assert (await world.send("GET", f"/conversations/{place}", headers)).status_code == 200
            check_problem(await world.send("GET", f"/conversations/{foreign}", headers), "not_found")
            check_problem(await world.send("POST", "/chat", headers, json=bodies[0] | {"conversation_id": foreign}), "not_found")


async def test_histories_and_tool_results_of_others_stay_out_of_the_prompt(world: World) -> None:
    mine, other = await world.signed_in(), await world.signed_in()
    await world.ask(mine, message="كلمة سرّي هي «زيتون»", conversation_id="conv-a")
    check_problem(
        await world.send("POST", "/chat", other, json={"message": "ما كلمة سرّي؟", "conversation_id": "conv-a"}), "not_found"
    )
    result = {"messages": [{"role": "tool", "tool_call_id": "call_1", "content": "{}"}], "conversation_id": "conv-a"}
    check_problem(await world.send("POST", "/chat", other, json=result), "not_found")
    assert len(world.gateway.simulator.calls) == 1


async def test_a_conversation_of_nobody_is_added_to_but_not_read(world: World) -> None:
    """One of an older database: each who adds to it sees their own turns, and stops nobody else's."""
    await world.gateway.rows("INSERT INTO conversations (id, provider) VALUES ('conv-old', 'openai')")
    await world.gateway.rows("INSERT INTO messages (conversation_id, role, content) VALUES ('conv-old', 'user', 'قديم')")
    callers = [await world.signed_in() for _ in range(2)]
    for number, headers in enumerate(callers):
        await world.ask(headers, message=f"سؤال {number}", conversation_id="conv-old")
        seen = (await world.send("GET", "/conversations/conv-old", headers)).json()["messages"]
        assert [message["content"] for message in seen if message["role"] == "user"] == [f"سؤال {number}"]
        assert "قديم" not in json.dumps(world.gateway.simulator.calls[-1].body, ensure_ascii=False)
    world.gateway.simulator.script(STALL)
    body = {"message": "طويل", "conversation_id": "conv-old"}
    running = asyncio.create_task(world.send("POST", "/chat/stream", callers[0], json=body))
    await world.gateway.simulator.until(lambda simulator: simulator.stalled == 1)
    await world.ask(callers[1], message="وأنا", conversation_id="conv-old")
    assert (await world.send("DELETE", "/conversations/conv-old", callers[1])).status_code == 204
    check_problem(await world.send("GET", "/conversations/conv-old", callers[1]), "not_found")
    world.gateway.simulator.release()
    assert json.loads((await running).text.rpartition("data: ")[2])["status"] == "completed"
    seen = (await world.send("GET", "/conversations/conv-old", bearer(ADMIN))).json()["messages"]
    assert [message["content"] for message in seen if message["role"] == "user"] == ["قديم", "سؤال 0", "طويل"]
