from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.jsontext import dumps, loads
from gateway.core.messages import ToolCall
from gateway.core.turn import TurnBegun, TurnRecord
from gateway.store.record_json import decode_begun, decode_record, encode_begun, encode_brief, encode_record, encode_records
from tests.store import strategies
from tests.store.journal_turns import begun, record, reply, rich_reply


@given(strategies.records)
def test_a_turn_comes_back_exactly(turn: TurnRecord) -> None:
    assert decode_record(encode_record(turn)) == turn


@given(strategies.begun_turns)
def test_an_accepted_turn_comes_back_exactly(turn: TurnBegun) -> None:
    assert decode_begun(encode_begun(turn)) == turn
    assert decode_begun(encode_brief(turn)) == replace(turn, question=None, question_parts=None, tool_results=())


def test_containers_keep_their_types() -> None:
    turn = replace(record(), ended=replace(record().ended, reply=rich_reply()))
    back = decode_record(encode_record(turn))
    assert back.ended.reply == rich_reply()
    assert isinstance(back.ended.reply.thoughts[0].tool_calls, tuple)
    assert isinstance(back.begun.tool_results, tuple)


def _nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def _with_arguments(arguments: dict[str, Any]) -> TurnRecord:
    called = reply("نص", tool_calls=(ToolCall("call_1", "find", arguments),))
    return replace(record(), ended=replace(record().ended, reply=called))


def test_arguments_nested_deeper_than_the_fast_encoder_goes_come_back_exactly() -> None:
    turn = _with_arguments(_nested(300))
    assert decode_record(encode_record(turn)) == turn


def test_turns_written_together_are_those_written_alone() -> None:
    usual, deep, odd = record(), _with_arguments(_nested(300)), record(content="قبل\ud800بعد")
    for together in ([usual, usual], [usual, deep, odd]):
        assert loads(encode_records(together)) == [loads(encode_record(turn)) for turn in together]


def test_arguments_nested_too_deeply_for_any_encoder_cost_only_themselves() -> None:
    back = decode_record(encode_record(_with_arguments(_nested(100_000))))
    assert back.ended.reply.content == "نص"
    assert back.ended.reply.tool_calls[0].name == "find"
    assert back.ended.reply.tool_calls[0].arguments == {}


def test_text_that_no_database_can_hold_is_replaced_and_nothing_else() -> None:
    turn = record(content="قبل\ud800بعد")
    back = decode_record(encode_record(turn))
    assert back == replace(turn, ended=replace(turn.ended, reply=replace(turn.ended.reply, content="قبل\ufffdبعد")))


def test_members_of_a_later_version_are_skipped_and_members_with_a_default_may_be_missing() -> None:
    turn = record()
    value = loads(encode_record(turn))
    value["ended"]["reply"]["mood"] = "مرح"
    value["begun"]["later"] = 1
    del value["begun"]["idempotency_key"]
    del value["ended"]["attempts"]
    assert decode_record(dumps(value)) == turn


@given(st.binary(max_size=60) | strategies.json_value.map(dumps))
def test_what_is_no_turn_is_a_value_error(data: bytes) -> None:
    for decode in (decode_record, decode_begun):
        with pytest.raises(ValueError):
            decode(data)


@given(strategies.records, st.data())
def test_a_turn_with_a_member_changed_is_a_turn_or_a_value_error(turn: TurnRecord, data: st.DataObject) -> None:
    value = loads(encode_record(turn))
    place = data.draw(st.sampled_from([value, value["begun"], value["ended"], value["ended"]["reply"]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(strategies.json_value)
    with suppress(ValueError):
        decode_record(dumps(value))


def test_accepted_turns_are_told_apart_from_others() -> None:
    assert decode_begun(encode_begun(begun("conv-١", "ما الجذر؟"))).question == "ما الجذر؟"
