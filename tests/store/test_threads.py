"""Which conversation a history goes on with."""

import pytest

from gateway.core.messages import ToolCall
from gateway.store.base import EarlierReply
from gateway.store.postgres import PostgresStore
from gateway.store.threads import PostgresThreads
from tests.store.samples import turn


@pytest.fixture
def threads(store: PostgresStore) -> PostgresThreads:
    return PostgresThreads(store)


def reply(text: str, question: str | None = None, *call_ids: str) -> EarlierReply:
    return EarlierReply(text, question, call_ids)


async def test_by_the_reply_and_its_question(store: PostgresStore, threads: PostgresThreads) -> None:
    await store.put([turn("conv-1", "هل هو فعل؟", "نعم", caller="user:1")])
    await store.put([turn("conv-2", "هل هو اسم؟", "نعم", caller="user:1")])
    assert await threads.find("user:1", [reply("نعم", "هل هو فعل؟")]) == "conv-1"
    assert await threads.find("user:1", [reply("نعم", "هل هو اسم؟")]) == "conv-2"
    assert await threads.find("user:1", [reply("نعم", "هل هو حرف؟")]) is None
    assert await threads.find("user:1", [reply("لا", "هل هو فعل؟")]) is None
    assert await threads.find("user:1", [reply("لا", "هل هو فعل؟"), reply("نعم", "هل هو اسم؟")]) == "conv-2"
    assert await threads.find("user:1", [reply("", "هل هو فعل؟")]) is None
    assert await threads.find("user:1", []) is None


async def test_the_newest_of_several(store: PostgresStore, threads: PostgresThreads) -> None:
    for conversation in ("conv-1", "conv-2", "conv-3"):
        await store.put([turn(conversation, "س", "ج", caller="user:1")])
    assert await threads.find("user:1", [reply("ج", "س")]) == "conv-3"


async def test_by_calls(store: PostgresStore, threads: PostgresThreads) -> None:
    calls = (ToolCall("call_1", "search", {}), ToolCall("call_2", "search", {}))
    await store.put([turn("conv-1", content="سأبحث", caller="user:1", tool_calls=calls)])
    await store.put([turn("conv-1", None, "وجدته", caller="user:1")])
    assert await threads.find("user:1", [reply("غُيِّر", "غُيِّر", "other", "call_2")]) == "conv-1"
    # An id that nobody here gave leads nowhere, whatever the text.
    assert await threads.find("user:1", [reply("سأبحث", None, "other")]) is None
    # The reply to results follows no question of its own.
    assert await threads.find("user:1", [reply("وجدته", "ما معنى ذلك؟")]) == "conv-1"


@pytest.mark.parametrize("caller", [None, "user:1"])
async def test_nobody_elses(store: PostgresStore, threads: PostgresThreads, caller: str | None) -> None:
    calls = (ToolCall("call_1", "search", {}),)
    await store.put([turn("conv-1", "س", "ج", caller=caller, tool_calls=calls)])
    for asked in (reply("ج", "س"), reply("ج", "س", "call_1")):
        assert await threads.find(caller, [asked]) == "conv-1"
        for other in {None, "user:1", "user:2"} - {caller}:
            assert await threads.find(other, [asked]) is None
