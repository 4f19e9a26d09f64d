"""Frames read without parsing say what the parser would have said."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import events as ev
from gateway.core.errors import GatewayError
from gateway.providers.base import decode
from gateway.providers.repeats import Repeats
from gateway.wire.sse import Frame, SseDecoder
from tests.providers import fixture_cases as fx
from tests.providers.test_fixtures import damaged_streams

FORMATS = ("openai", "groq", "anthropic")


def fed(name: str, body: bytes) -> list[ev.Event]:
    """The events when each frame is parsed."""
    sse, decoder = SseDecoder(), fx.WIRES[name].decoder()
    events: list[ev.Event] = []
    for frame in [*sse.feed(body), *sse.finish()]:
        events += decoder.feed(frame)
        if fx.is_terminal(events):
            return events
    return events + decoder.end(sse.stray)


@pytest.mark.parametrize("name", FORMATS)
def test_recorded_streams(name: str) -> None:
    for case in fx.streams(name):
        assert fx.shape(fx.decode_stream(fx.WIRES[name], case.body)) == fx.shape(fed(name, case.body)), str(case)


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_damaged_streams(name: str, data: st.DataObject) -> None:
    body = data.draw(damaged_streams(name))
    try:
        expected = fx.shape(fed(name, body))
    except GatewayError:
        return
    assert fx.shape(fx.decode_stream(fx.WIRES[name], body)) == expected


TEXTS = st.lists(st.text(st.characters() | st.sampled_from('"\\\n\t{}[]:,/اَلْمُعْجَم😀')), max_size=12)


def openai_frame(text: str, ascii_only: bool) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}, ensure_ascii=ascii_only).encode("utf-8", "replace")


def anthropic_frame(text: str, ascii_only: bool) -> bytes:
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return json.dumps(delta, ensure_ascii=ascii_only).encode("utf-8", "replace")


def opened(name: str) -> tuple[Any, Any]:
    """A decoder whose reply has begun, and what frames its text."""
    decoder = fx.WIRES[name].decoder()
    if name == "anthropic":
        decoder.feed(Frame("", b'{"type":"message_start","message":{"model":"m"}}'))
        decoder.feed(Frame("", b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}'))
        return decoder, anthropic_frame
    decoder.feed(Frame("", b'{"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}'))
    return decoder, openai_frame


@pytest.mark.parametrize("name", ["openai", "anthropic"])
@given(texts=TEXTS, ascii_only=st.booleans(), cut=st.integers(0, 12))
@settings(deadline=None, max_examples=200)
def test_any_text(name: str, texts: list[str], ascii_only: bool, cut: int) -> None:
    decoder, framed = opened(name)
    frames = [Frame("", framed(text, ascii_only)) for text in texts]
    events = decode(decoder, frames[:cut]) + decode(decoder, frames[cut:])
    other, _ = opened(name)
    assert fx.shape(events) == fx.shape([event for frame in frames for event in other.feed(frame)])
    assert fx.shape(decoder.end("")) == fx.shape(other.end(""))


def test_a_run_of_frames_is_one_piece_and_nothing_is_parsed_twice() -> None:
    decoder, framed = opened("openai")
    words = ["ال", "كتاب", "ُ", " ما", "\n", " يُكتَب"]
    assert decode(decoder, [Frame("", framed(word, False)) for word in words]) == [
        ev.TextDelta("ال"),
        ev.TextDelta("".join(words[1:])),
    ]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"delta": "index", "at": "index"}', "index"),
        (b'{"id": "a\\u0062", "delta": "x"}', "x"),
        (b'{"delta": "\\u0061"}', "a"),
    ],
    ids=["twice", "an escape elsewhere", "escaped"],
)
def test_a_text_whose_place_is_in_doubt_is_not_learned(data: bytes, text: str) -> None:
    repeats = Repeats()
    repeats.learn(Frame("", data), text)
    assert repeats.pieces(iter([Frame("", data)])) == ([], Frame("", data))


@pytest.mark.parametrize("inside", ['a"b', "a\\", "\\ud83d", "\\uDE00", ""])
def test_what_only_a_parser_can_tell_is_left_to_it(inside: str) -> None:
    repeats = Repeats()
    repeats.learn(Frame("", b'{"delta": "x"}'), "x")
    usual = [Frame("", b'{"delta": "y"}'), Frame("", b'{"delta": "z"}')]
    for other in (Frame("", f'{{"delta": "{inside}"}}'.encode()), Frame("named", b'{"delta": "y"}')):
        rest = iter([*usual, other, *usual])
        assert repeats.pieces(rest) == ([b"y", b"z"], other)
        assert repeats.pieces(rest) == ([b"y", b"z"], None)


def test_the_same_bytes_in_another_block_are_parsed() -> None:
    """Anthropic's blocks are numbered, but nothing keeps a server from using a number twice."""
    decoder, framed = opened("anthropic")
    thinking = b'{"type":"content_block_start","index":1,"content_block":{"type":"thinking","thinking":"x","signature":"s"}}'
    text = b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}'
    call = b'{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t","name":"n","input":{}}}'
    datas = [framed("أ", False), framed("ب", False), thinking, text, framed("ت", False), framed("ث", False), call]
    events = decode(decoder, [Frame("", data) for data in [*datas, b'{"type":"message_stop"}']])
    (kept,) = [event.data for event in events if isinstance(event, ev.StateKept)]
    assert [block["text"] for block in kept["content"] if block["type"] == "text"] == ["أب", "تث"]
