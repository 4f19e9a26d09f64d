"""What clients saw against what the log holds, turn for turn and text for text."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.faults.crowd import Asked, Crowd
from tests.faults.database import rows

PATIENCE_S = 120.0
NOT_ACCEPTED = ("overloaded", "shutting_down", "log_unavailable")
# What comes is kept about once a second; a busy machine may take a little longer.
FRESH_S = 2.0


@dataclass(slots=True)
class Logged:
    """A turn as it lies in the log."""

    turn_id: str
    conversation_id: str
    status: str
    questions: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    error: str | None = None


@dataclass(slots=True)
class Comparison:
    """`wrong` says in words what is lost, doubled or different."""

    ends: Counter[str] = field(default_factory=Counter)
    logged: Counter[str] = field(default_factory=Counter)
    spooled: int = 0
    wrong: list[str] = field(default_factory=list)


async def health(url: str) -> dict[str, Any]:
    """What a gateway says of itself."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/health") as answer:
        body: dict[str, Any] = await answer.json()
        return body


async def reported(url: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait until a gateway says of itself what is waited for; its /health then."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            body = await health(url)
            if condition(body):
                return body
            await asyncio.sleep(0.05)


async def settled(url: str) -> dict[str, Any]:
    """Wait until a gateway has no turn running or waiting for the database; its /health then."""
    return await reported(url, lambda body: body["database"] == "up" and not (body["active_turns"] or body["spooled_turns"]))


async def read_log(database_url: str, prefix: str) -> dict[str, Logged]:
    """Every turn of the conversations whose ids begin so."""
    statement = """
        SELECT turn_id::text, conversation_id, role, content, status, error::text FROM messages
        WHERE starts_with(conversation_id, $1) ORDER BY id
    """
    found = await rows(database_url, statement, prefix)
    turns: dict[str, Logged] = {}
    for row in found:
        turn = turns.setdefault(row["turn_id"], Logged(row["turn_id"], row["conversation_id"], row["status"]))
        (turn.questions if row["role"] == "user" else turn.replies).append(row["content"])
        turn.error = turn.error or row["error"]
    return turns


async def compared(database_url: str, crowd: Crowd) -> Comparison:
    """Compare a settled log with what clients saw."""
    return compare(crowd.asked, await read_log(database_url, crowd.prefix))


def compare(asked: Sequence[Asked], log: dict[str, Logged]) -> Comparison:
    """Every question has its own text, so that a turn that was logged twice shows, under whatever id."""
    by_question: dict[str, list[Logged]] = {}
    for turn in log.values():
        for question in turn.questions:
            by_question.setdefault(question, []).append(turn)
    found = Comparison(Counter(str(one.end) for one in asked), Counter(turn.status for turn in log.values()))
    found.spooled = sum(one.body.get("logged") == "spooled" for one in asked)
    for one in asked:
        found.wrong += [f"{one.conversation_id} ({one.end}): {what}" for what in _wrong(one, by_question.get(one.question, []))]
    known = {one.question for one in asked}
    found.wrong += [f"nobody asked {question}" for question in by_question.keys() - known]
    found.wrong += [f"{turn.turn_id} has no question" for turn in log.values() if not turn.questions]
    return found


def _wrong(asked: Asked, turns: Sequence[Logged]) -> Iterator[str]:
    if len(turns) > 1:
        yield f"doubled, {len(turns)} times in the log"
        return
    if not turns:
        accepted = asked.turn_id is not None and asked.code not in NOT_ACCEPTED
        if accepted or asked.end in ("done", "failed"):
            yield "lost"
        return
    turn = turns[0]
    if (len(turn.questions), len(turn.replies)) != (1, 1):
        yield f"has {len(turn.questions)} questions and {len(turn.replies)} replies"
        return
    yield from _differences(asked, turn, turn.replies[0])


def _differences(asked: Asked, turn: Logged, reply: str) -> Iterator[str]:
    if turn.conversation_id != asked.conversation_id:
        yield f"is in another conversation, {turn.conversation_id}"
    if asked.turn_id not in (None, turn.turn_id):
        yield f"is another turn than {asked.turn_id}"
    if not asked.answer.startswith(reply):
        yield f"the log has something else: {reply!r}"
    if turn.status == "completed" and reply != asked.answer:
        yield "the log has it completed and not whole"
    if turn.status not in ("completed", "stopped", "interrupted", "failed"):
        yield f"has the status {turn.status}"
    if asked.end == "done":
        if (asked.body["content"], asked.body["status"]) != (reply, turn.status):
            yield f"the client saw {asked.body['content']!r}, {asked.body['status']}; the log has {reply!r}, {turn.status}"
        if asked.streamed and asked.text() != asked.body["content"]:
            yield "its pieces are not its text"
    if asked.end == "cut" and turn.status == "interrupted" and len(reply) < len(asked.text(asked.ended - FRESH_S)):
        yield f"the client had {asked.text(asked.ended - FRESH_S)!r} {FRESH_S} s before it was cut off; the log has {reply!r}"
    if asked.end == "failed" and (turn.status not in ("failed", "interrupted") or not reply.startswith(asked.text())):
        yield f"the client was told {asked.code} after {asked.text()!r}; the log has {reply!r}, {turn.status}"


def texts(wrong: Iterable[str], most: int = 10) -> str:
    """The first of what is wrong, for a failure's message."""
    told = list(wrong)
    return "\n".join([f"{len(told)} wrong:", *told[:most]])
