"""Conversations in which something was said, or a tool was called, or that cost so much: newest activity first.

A test that most conversations pass is quickest answered by walking through the newest of them, one that few pass by the index
of words. Which it is, the newest few tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from gateway.core.jsontext import loads
from gateway.store.base import BadQuery, ConversationFilter, Viewer
from gateway.store.filters import Condition, Statement, plain_conditions, terms_of, tool_words
from gateway.store.indexing import take_in
from gateway.store.pool import Connection, transaction
from gateway.store.queries import QUERIES
from gateway.store.rows import Row
from gateway.store.snippets import Term, snippet, terms_in

_PROBED: Final = 200
_OFTEN: Final = 8
"""So many of the probed must pass for a walk to be worth it."""
_LONGEST_WALK: Final = 4_000
_TAKEN_IN_FIRST: Final = 200
_SHARE_OF_TIME: Final = 0.55


@dataclass(frozen=True, slots=True)
class Match:
    """A message that was found: its id, and HTML of the part with the words in it."""

    message_id: str
    snippet: str


@dataclass(frozen=True, slots=True)
class Found:
    """One row more than was asked for where there is another page; `incomplete`: messages are still being taken in."""

    rows: Sequence[Row]
    matches: dict[str, Match]
    incomplete: bool


@dataclass(frozen=True, slots=True)
class Search:
    """A search whose words are known. `tests` are what conversations must pass besides `plain`."""

    viewer: Viewer
    wanted: ConversationFilter
    plain: list[Condition]
    tests: list[Condition]
    words: str | None
    terms: list[Term]


def is_search(wanted: ConversationFilter) -> bool:
    """Whether more is asked for than what indexes of `conversations` and of turns that failed serve."""
    return bool(wanted.q or wanted.tool or wanted.min_cost is not None)


async def search(connection: Connection, viewer: Viewer, wanted: ConversationFilter, timeout_s: float) -> Found:
    """Search. Raises `BadQuery` for one that has too many terms, or takes too long."""
    try:
        return await _search(connection, viewer, wanted, int(timeout_s * _SHARE_OF_TIME * 1000))
    except asyncpg.QueryCanceledError:
        raise BadQuery("The search took too long; narrow it by a rarer word, an owner or a time.") from None


async def prepared(connection: Connection, viewer: Viewer, wanted: ConversationFilter) -> Search | None:
    """The search with its words looked up; None where there is no word in `q`. Raises `BadQuery`."""
    tests: list[Condition] = []
    queries: list[str] = []
    if wanted.q:
        queries = await _queries(connection, terms_of(wanted.q))
        if not queries:
            return None
    words = " & ".join(f"({query})" for query in queries) or None
    if words is not None:
        tests.append(("search.said", words))
    if wanted.tool:
        tests.append(("search.said", tool_words(wanted.tool)))
    if wanted.min_cost is not None:
        tests.append(("search.cost", wanted.min_cost))
    if wanted.status:
        tests.append(("search.status", wanted.status))
    return Search(viewer, wanted, plain_conditions(wanted), tests, words, terms_in(queries))


async def _search(connection: Connection, viewer: Viewer, wanted: ConversationFilter, timeout_ms: int) -> Found:
    incomplete = await _taken_in(connection, timeout_ms // 2)
    async with transaction(connection):
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        await connection.execute(f"SET LOCAL statement_timeout = {timeout_ms}")
        # Words differ too much for one plan.
        await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        asked = await prepared(connection, viewer, wanted)
        ids = await _ids(connection, asked) if asked is not None else []
        if asked is None or not ids:
            return Found((), {}, incomplete)
        rows = await connection.fetch(QUERIES["search.page"], ids, viewer.everything, viewer.caller)
        return Found(rows, await _matches(connection, asked, ids[: wanted.limit]), incomplete)


async def _taken_in(connection: Connection, timeout_ms: int) -> bool:
    """Take in what was just written; whether more is to come, or another process is at it for so long."""
    try:
        async with transaction(connection):
            await connection.execute(f"SET LOCAL statement_timeout = {timeout_ms}")
            return await take_in(connection, _TAKEN_IN_FIRST, wait=True)
    except asyncpg.QueryCanceledError:
        await connection.execute("ROLLBACK")
        return True


async def _queries(connection: Connection, terms: Sequence[str]) -> list[str]:
    rows = await connection.fetch(QUERIES["search.terms"], terms)
    return [row["search_term"] for row in rows if row["search_term"] is not None]


async def _ids(connection: Connection, asked: Search) -> list[str]:
    """Ids of the page, and of one conversation more where there is one."""
    most = asked.wanted.limit + 1
    statement = Statement(asked.viewer, _PROBED)
    conditions = statement.all_of(asked.plain)
    tests = ", ".join(statement.condition(*test) for test in asked.tests)
    text = QUERIES["search.probe"].format(scope=statement.scope, conditions=conditions, tests=tests)
    probed = await connection.fetch(text, *statement.arguments)
    passed = [row["id"] for row in probed if all(row["passed"])]
    if len(passed) >= most or len(probed) < _PROBED:
        return passed[:most]
    if len(passed) >= _OFTEN:
        within = min(_LONGEST_WALK, 2 * _PROBED * most // len(passed))
        walked = await _walk(connection, asked, within)
        if len(walked) == most:
            return walked
    counts = [sum(row["passed"][number] for row in probed) for number in range(len(asked.tests))]
    return await _gather(connection, asked, counts)


async def _walk(connection: Connection, asked: Search, within: int) -> list[str]:
    statement = Statement(asked.viewer, asked.wanted.limit + 1)
    text = QUERIES["search.walk"].format(
        scope=statement.scope, conditions=statement.all_of(asked.plain), tests=statement.all_of(asked.tests), within=within
    )
    return [row["id"] for row in await connection.fetch(text, *statement.arguments)]


async def _gather(connection: Connection, asked: Search, counts: Sequence[int]) -> list[str]:
    by_index = [number for number, test in enumerate(asked.tests) if test[0] != "search.status"]
    rarest = min(by_index, key=lambda number: counts[number])
    name, value = asked.tests[rarest]
    # For whoever sees everything, to be among those found is to have passed.
    tests = [test for number, test in enumerate(asked.tests) if number != rarest or not asked.viewer.everything]
    statement = Statement(asked.viewer, asked.wanted.limit + 1)
    text = QUERIES["search.gather"].format(
        scope=statement.scope,
        conditions=statement.all_of(asked.plain),
        tests=statement.all_of(tests),
        rarest=statement.condition(name.replace("search.", "search.all_"), value),
    )
    return [row["id"] for row in await connection.fetch(text, *statement.arguments)]


async def _matches(connection: Connection, asked: Search, ids: Sequence[str]) -> dict[str, Match]:
    if asked.words is None:
        return {}
    lexemes = sorted({lexeme for term in asked.terms for spelling in term for lexeme in spelling})
    viewer = asked.viewer
    rows = await connection.fetch(QUERIES["search.matches"], ids, viewer.everything, viewer.caller, asked.words, lexemes)
    return {
        row["conversation_id"]: Match(str(row["message_id"]), snippet(row["content"], asked.terms, loads(row["places"])))
        for row in rows
    }
