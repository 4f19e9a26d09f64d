from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gateway.core import events as ev
from gateway.core.fold import Fold
from gateway.core.turn import Reply
from gateway.store.progress_json import EMPTY, INTERRUPTED, Marks, assemble, encode_chunk, interrupted
from tests.store import strategies
from tests.store.journal_turns import STARTED_MS, begun, reply, rich_reply

some_events = st.lists(
    st.builds(ev.TextDelta, strategies.text)
    | st.builds(ev.ReasoningDelta, strategies.text)
    | st.builds(ev.ToolCalled, st.none(), strategies.text, strategies.json_object)
    | st.builds(ev.SourceFound, strategies.text)
    | st.builds(ev.UsageReported, strategies.count, strategies.count)
    | st.builds(ev.StateKept, strategies.json_object)
    | st.just(ev.Rerouted("retrying", "openai", "gpt-4o")),
    max_size=30,
)


def _chunks(replies: list[Reply]) -> list[bytes]:
    marks, chunks = Marks(), []
    for number, one in enumerate(replies):
        chunk, marks = encode_chunk(marks, one, STARTED_MS + number)
        chunks.append(chunk)
    return chunks


@given(some_events, st.sets(st.integers(0, 30)))
def test_a_reply_written_down_at_any_moments_comes_back_as_it_last_was(events: list[ev.Event], moments: set[int]) -> None:
    fold = Fold(lambda: STARTED_MS / 1000)
    seen: list[Reply] = []
    for number, event in enumerate(events):
        fold.add(event)
        if number in moments:
            seen.append(fold.reply())
    chunks = _chunks(seen)
    for count in range(1, len(chunks) + 1):
        partial = assemble(chunks[:count])
        assert partial is not None
        assert (partial.reply, partial.at_ms) == (seen[count - 1], STARTED_MS + count - 1)


def test_a_long_reply_costs_its_length_and_not_its_square() -> None:
    texts = ["كلمة " * 100 * number for number in range(1, 101)]
    chunks = _chunks([reply(text) for text in texts])
    assert sum(map(len, chunks)) < 2 * len(texts[-1].encode()) + 100 * 400


@given(st.lists(strategies.replies, min_size=1, max_size=3))
def test_replies_that_shrink_or_change_never_break_the_reading(replies: list[Reply]) -> None:
    partial = assemble(_chunks(replies))
    assert partial is not None
    assert len(partial.reply.content) == len(replies[-1].content)


def test_a_missing_or_broken_chunk_ends_the_reading_and_keeps_what_came_before() -> None:
    first, second, third = _chunks([reply("كتاب"), reply("كتاب ومكتبة"), reply("كتاب ومكتبة ومكاتب")])
    for chunks in ([first, third], [first, b"{", third], [first, b"[]"], [first, b'{"base": [0, 0, 0, 0]}']):
        partial = assemble(chunks)
        assert partial is not None
        assert partial.reply.content == "كتاب"
    assert assemble([second]) is None


def test_an_interrupted_turn_keeps_what_had_come() -> None:
    turn = begun()
    ended = interrupted(turn, _chunks([reply("المعنى"), rich_reply()])).ended
    assert (ended.status, ended.error, ended.provider, ended.model) == ("interrupted", INTERRUPTED, turn.provider, turn.model)
    assert ended.reply == rich_reply()
    assert ended.ended_ms == STARTED_MS + 1


def test_a_turn_interrupted_before_its_first_word_is_empty_and_ends_when_it_began() -> None:
    ended = interrupted(begun(), []).ended
    assert (ended.reply, ended.ended_ms) == (EMPTY, STARTED_MS)


def test_state_is_written_again_only_when_it_changed() -> None:
    state = {"signature": "x" * 1000}
    grown = reply("نص", state=state)
    chunks = _chunks([grown, replace(grown, content="نص ونص"), replace(grown, content="نص ونص", state={"signature": "y"})])
    assert [len(chunk) > 1000 for chunk in chunks] == [True, False, False]
    partial = assemble(chunks)
    assert partial is not None
    assert partial.reply.state == {"signature": "y"}
