"""The SSE decoder: the same frames however the bytes are cut, within bounds, in linear time."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import UpstreamError
from gateway.wire.sse import MAX_STRAY_CHARS, Frame, SseDecoder

ENDS = st.sampled_from(["\n", "\r", "\r\n"])
LINES = st.sampled_from(
    [
        "",
        "",
        "data: مرحبا",
        "data:x",
        "data",
        "data:",
        "data:  two spaces",
        "data: a: b",
        "data: \ufeff",
        "event: رد",
        "event",
        "event:",
        "id: 7",
        "retry: 1000",
        ": ping",
        ":",
        '{"error": {"code": 503}}',
        " data: x",
        "datax: y",
        "😀",
    ]
)
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=20).map(lambda lines: "".join(line + end for line, end in lines).encode())
CUTS = st.lists(st.integers(1, 7), min_size=1, max_size=20)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    found: list[bytes] = []
    while data:
        size = cuts[len(found) % len(cuts)]
        found.append(data[:size])
        data = data[size:]
    return found


def decode(chunks: list[bytes], *, end: bool = True) -> tuple[list[Frame], str]:
    decoder = SseDecoder()
    frames = decode_all(decoder, chunks)
    return [*frames, *(decoder.finish() if end else [])], decoder.stray


def decode_all(decoder: SseDecoder, chunks: list[bytes]) -> list[Frame]:
    return [frame for chunk in chunks for frame in decoder.feed(chunk)]


def by_the_book(data: bytes) -> list[Frame]:
    """The standard's own steps, on the whole stream at once (WHATWG HTML, 9.2.6)."""
    frames: list[Frame] = []
    event = ""
    lines: list[str] = []
    for line in re.split("\r\n|\n|\r", data.decode().removeprefix("\ufeff"))[:-1]:
        name, colon, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if lines:
                frames.append(Frame(event, "\n".join(lines).encode()))
            event, lines = "", []
        elif name == "data" and (colon or line == "data"):
            lines.append(value)
        elif name == "event":
            event = value
    return [*frames, Frame(event, "\n".join(lines).encode())] if lines else frames


@given(STREAMS, CUTS, st.booleans())
def test_frames_are_the_standards_however_the_bytes_are_cut(stream: bytes, cuts: list[int], bom: bool) -> None:
    data = b"\xef\xbb\xbf" * bom + stream
    frames, stray = decode([data])
    assert frames == by_the_book(data)
    assert decode(pieces(data, cuts)) == (frames, stray)
    assert decode([data[index : index + 1] for index in range(len(data))]) == (frames, stray)


@given(st.binary(max_size=60), CUTS)
def test_any_bytes_decode_the_same_however_they_are_cut(data: bytes, cuts: list[int]) -> None:
    assert decode(pieces(data, cuts)) == decode([data])


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_a_frame_is_given_out_with_its_last_byte(end: bytes) -> None:
    """A CR that may be half of a CRLF holds nothing back."""
    decoder = SseDecoder()
    data = b"event: a" + end + b"data: x" + end
    assert decode_all(decoder, [bytes([byte]) for byte in data]) == []
    assert decoder.feed(end[:1]) == [Frame("a", b"x")]
    assert decoder.feed(end[1:] + b"data: y" + end + end) == [Frame("", b"y")]


def test_empty_chunks_change_nothing() -> None:
    assert decode([b"", b"\xef", b"", b"\xbb\xbfdata: x\r", b"", b"\ndata: y\n\n", b""])[0] == [Frame("", b"x\ny")]


def test_a_byte_order_mark_counts_at_the_beginning_alone() -> None:
    assert decode([b"\xef\xbb\xbfdata: x\n\n\xef\xbb\xbfdata: y\n\n"])[0] == [Frame("", b"x")]
    assert decode([b"\xef\xbb"])[1] == "\ufffd"


def test_the_last_frame_counts_without_its_blank_line_but_not_without_its_line_break() -> None:
    assert decode([b"data: x\n\ndata: y\n"])[0] == [Frame("", b"x"), Frame("", b"y")]
    assert decode([b"data: x\n\ndata: y"]) == ([Frame("", b"x")], "")
    assert decode([b"data: x\r"])[0] == [Frame("", b"x")]
    assert decode([b"event: error\n"]) == ([], "")


def test_what_belongs_to_no_field_is_kept_for_the_decoder() -> None:
    body = '{\n  "error": {\n    "message": "مشغول"\n  }\n}'
    frames, stray = decode([b"data: x\n\n", body.encode()])
    assert frames == [Frame("", b"x")]
    assert stray == body


def test_stray_text_is_bounded() -> None:
    assert len(decode([b"<p>" + b"x" * 100 + b"\n"] * 2000)[1]) <= MAX_STRAY_CHARS + 2000
    assert len(decode([b"x" * 3 * MAX_STRAY_CHARS + b"\n"])[1]) == MAX_STRAY_CHARS


@pytest.mark.parametrize("unit", [b"x", b"data: x\n", b"data\n"])
def test_an_unfinished_frame_is_bounded(unit: bytes) -> None:
    decoder = SseDecoder(max_bytes=1000)
    with pytest.raises(UpstreamError) as refused:
        decode_all(decoder, [unit] * 1001)
    assert (refused.value.code, refused.value.kind) == ("provider_error", "broken")


def test_frames_up_to_the_bound_pass_again_and_again() -> None:
    decoder = SseDecoder(max_bytes=1000)
    for _ in range(50):
        assert decode_all(decoder, [b"data: xxxx", *[b"xxxxxxxxxx"] * 98]) == []
        assert [len(frame.data) for frame in decoder.feed(b"\n\n")] == [984]


def test_a_long_line_in_small_pieces_costs_what_it_weighs() -> None:
    """Joined anew with each piece, two megabytes would be copied a hundred thousand times over."""
    decoder = SseDecoder()
    decoder.feed(b"data: ")
    for _ in range(200_000):
        decoder.feed(b"0123456789")
    (frame,) = decoder.feed(b"\n\n")
    assert frame.data == b"0123456789" * 200_000
