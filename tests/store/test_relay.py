"""The relay on a real Redis: what it keeps, for how long, and how soon it says that it cannot."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.letters import Follow, Forget, Leave, Letter, Parcel, RelayTurn, StopTurn, TapeGrown, TurnOver, TurnUnknown
from gateway.store.base import RelayUnavailable
from gateway.store.letter_fields import decode_letter, encode_letter
from gateway.store.relay import RedisRelay
from tests.redis_server import RedisServer
from tests.store import strategies as turns
from tests.store.samples import rich_turn, turn

LIFETIME_S = 700
NAMES = turns.text
LETTERS: st.SearchStrategy[Letter] = st.one_of(
    st.builds(Follow, NAMES, st.dictionaries(NAMES, turns.moment, max_size=3), st.booleans()),
    st.builds(Leave, NAMES, st.lists(NAMES, max_size=3).map(tuple)),
    st.builds(StopTurn, NAMES),
    st.builds(Forget, st.none() | NAMES, st.none() | NAMES),
    st.builds(TapeGrown, NAMES, turns.moment, st.binary(max_size=50)),
    st.builds(
        TurnOver,
        NAMES,
        turns.moment,
        record=st.none() | turns.records,
        conversation_id=NAMES,
        message_id=st.none() | st.integers(1, 2**40),
        error=st.none() | turns.errors,
    ),
    st.builds(TurnUnknown, NAMES),
)


@pytest.fixture
async def relay(server: RedisServer) -> AsyncIterator[RedisRelay]:
    server.ask("FLUSHALL")
    opened = RedisRelay(server.url)
    yield opened
    await opened.close()


def running(conversation: str = "conv-1", process: str = "one") -> RelayTurn:
    return RelayTurn(replace(turn(conversation).begun, question=None), process)


@given(LETTERS)
def test_letters_come_as_they_went(letter: Letter) -> None:
    fields = {name: value if isinstance(value, bytes) else str(value).encode() for name, value in encode_letter(letter).items()}
    assert decode_letter(fields) == letter


@given(st.dictionaries(st.sampled_from([b"k", b"h", b"d"]), st.binary(max_size=20) | st.sampled_from([b"over", b"tape", b"[1]"])))
def test_what_is_no_letter_is_refused(fields: dict[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_letter(fields)


async def test_where_a_turn_runs(relay: RedisRelay, server: RedisServer) -> None:
    first, second = sorted((running(), running()), key=lambda known: known.begun.turn_id)
    elsewhere = running("محادثة 2", "two")
    await relay.alive("one", 10)
    await relay.send(Parcel(begun=[first, second, elsewhere]), LIFETIME_S)
    assert await relay.locate(first.begun.turn_id) == first
    assert await relay.locate("unknown") is None
    assert await relay.running("conv-1") == [first, second]
    assert await relay.running("محادثة 2") == [], "nobody has heard of process two"
    await relay.alive("two", 10)
    assert await relay.running("محادثة 2") == [elsewhere]

    await relay.send(Parcel(ended=[first.begun]), LIFETIME_S)
    assert await relay.running("conv-1") == [second]
    assert await relay.locate(first.begun.turn_id) == first, "for a moment more, for those who are on their way"
    keys = server.ask("KEYS", "*")
    assert isinstance(keys, list)
    ages = [server.ask("TTL", key) for key in keys]
    assert all(isinstance(age, int) and 0 < age <= 86_400 for age in ages), "everything expires by itself"


async def test_what_was_asked_stays_here(relay: RedisRelay) -> None:
    begun = rich_turn().begun
    await relay.send(Parcel(begun=[RelayTurn(begun, "one")]), LIFETIME_S)
    brief = replace(begun, question=None, question_parts=None, tool_results=())
    assert brief != begun
    assert await relay.locate(begun.turn_id) == RelayTurn(brief, "one")


async def test_letters_come_in_order_until_they_are_done_with(relay: RedisRelay) -> None:
    letters: list[Letter] = [StopTurn(f"turn-{number}") for number in range(5)]
    await relay.send(Parcel(letters=[("one", letter) for letter in letters[:3]]), LIFETIME_S)
    await relay.send(Parcel(letters=[("one", letters[3]), ("two", letters[4])]), LIFETIME_S)
    received = await relay.receive("one", [], 1)
    assert [letter for _, letter in received] == letters[:4]
    assert await relay.receive("one", [], 1) == received
    rest = await relay.receive("one", [place for place, _ in received[:3]], 1)
    assert rest == received[3:]
    assert await relay.receive("one", [rest[0][0]], 0.01) == []
    assert [letter for _, letter in await relay.receive("two", [], 1)] == [letters[4]]


async def test_a_letter_is_waited_for(relay: RedisRelay) -> None:
    waiting = asyncio.create_task(relay.receive("one", [], 30))
    await asyncio.sleep(0.05)
    await relay.send(Parcel(letters=[("one", StopTurn("turn-1"))]), LIFETIME_S)
    async with asyncio.timeout(10):
        assert [letter for _, letter in await waiting] == [StopTurn("turn-1")]


async def test_letters_of_another_version_are_told_apart(relay: RedisRelay, server: RedisServer) -> None:
    await relay.send(Parcel(letters=[("one", StopTurn("turn-1"))]), LIFETIME_S)
    [inbox] = [key for key in server.ask("KEYS", "*inbox*")]  # type: ignore[attr-defined]  # noqa: C416
    server.ask("XADD", inbox, "*", "k", "telegram", "h", "[]", "d", "")
    assert [letter for _, letter in await relay.receive("one", [], 1)] == [StopTurn("turn-1"), None]


async def test_an_inbox_that_nobody_empties_is_bounded(relay: RedisRelay, server: RedisServer) -> None:
    for _ in range(5):
        await relay.send(Parcel(letters=[("one", StopTurn(f"turn-{number}")) for number in range(1000)]), LIFETIME_S)
    [inbox] = [key for key in server.ask("KEYS", "*inbox*")]  # type: ignore[attr-defined]  # noqa: C416
    length = server.ask("XLEN", inbox)
    assert isinstance(length, int)
    assert length < 3000


async def test_who_is_alive(relay: RedisRelay, server: RedisServer) -> None:
    assert await relay.living() == set()
    assert not await relay.alive("one", 10)
    assert await relay.alive("one", 10)
    assert not await relay.alive("two", 10)
    assert await relay.living() == {"one", "two"}
    server.ask("DEL", "m3ajem:1:process:one")
    assert await relay.living() == {"two"}
    assert not await relay.alive("one", 10), "it has been forgotten, and tells everything again"
    assert await relay.living() == {"one", "two"}
    await relay.send(Parcel(letters=[("one", StopTurn("turn-1"))]), LIFETIME_S)
    await relay.gone("one")
    assert await relay.living() == {"two"}
    assert await relay.receive("one", [], 0.01) == []


async def test_a_redis_that_goes_and_comes(relay: RedisRelay, server: RedisServer) -> None:
    assert not await relay.alive("one", 10)
    server.kill()
    for _ in range(2):
        for ask in (relay.alive("one", 10), relay.living(), relay.locate("x"), relay.running("x"), relay.receive("one", [], 1)):
            with pytest.raises(RelayUnavailable):
                await ask
        with pytest.raises(RelayUnavailable):
            await relay.send(Parcel(begun=[running()]), LIFETIME_S)
    server.start()
    assert not await relay.alive("one", 10)
    assert await relay.receive("one", [], 0.01) == []


async def test_a_frozen_redis_is_not_waited_for(relay: RedisRelay, server: RedisServer) -> None:
    await relay.alive("one", 10)
    server.hang()
    try:
        async with asyncio.timeout(20):
            asked = [
                relay.alive("one", 10),
                relay.locate("x"),
                relay.receive("one", [], 0.1),
                relay.send(Parcel(begun=[running()]), 9),
            ]
            results = await asyncio.gather(*asked, return_exceptions=True)
    finally:
        server.wake()
    assert [type(result) for result in results] == [RelayUnavailable] * 4
    assert await relay.alive("one", 10)


async def test_a_task_that_is_cancelled_as_an_answer_comes_ends(relay: RedisRelay) -> None:

    async def ask_on() -> None:
        for _ in range(1000):
            await relay.alive("me", 10)

    for steps in range(200):
        task = asyncio.create_task(ask_on())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
