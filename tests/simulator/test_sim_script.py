"""Scripts: how they are written, which one a call gets, and that every key does what it says."""

import json
from typing import Any, get_args

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import Chunks, Fault, Script, Simulator, parse, parse_text
from simulator.recorded import SHIPPED
from simulator.script import KEYS, FaultKind, Moment, directive, without_directive
from tests.simulator.asking import PROVIDERS, Asked, Line, asked, chunks_of, post, text_of


def test_reads_every_key() -> None:
    script = parse_text(
        'reply="سلام \\"عليكم\\"\\n" reasoning=فكر fixture=a/b chunks=bytes=7 tokens=5 tools=2 sources=1 finish=stop '
        "gap_ms=1.5 ttft_ms=2 drip_ms=3 status=429 body=html code=c message=م retry_after=7 "
        "headers=x-one:1;x-two:2 fault=reset@before-end times=2 provider=gemini key=k1"
    )
    assert script == Script(
        reply='سلام "عليكم"\n',
        reasoning="فكر",
        fixture="a/b",
        chunks=Chunks("bytes", 7),
        tokens=5,
        tools=2,
        sources=1,
        finish="stop",
        gap_ms=1.5,
        ttft_ms=2,
        drip_ms=3,
        status=429,
        body="html",
        code="c",
        message="م",
        retry_after=7,
        headers={"x-one": "1", "x-two": "2"},
        fault=Fault("reset", "before-end"),
        times=2,
        provider="google",
        key="k1",
    )
    assert all(getattr(script, name) is not None for name in KEYS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gap=5", "unknown key 'gap'"),
        ("just words", "expected key=value at 'just words'"),
        ("status=ok", "status='ok'"),
        ("status=99", "between 200 and 599"),
        ("tokens=100001", "between 1 and 100000"),
        ("fault=explode", "must be one of reset"),
        ("fault=reset@noon", "the moment must be one of before-head"),
        ("chunks=bytes:0", "must be frames, whole"),
        ("headers=x y:1", "expected key=value"),
        ('headers="x y:1"', "must be name:value"),
        ('headers="x:a\\r\\nb"', "must be name:value"),
        ("provider=mistral", "must be one of openai"),
    ],
)
def test_says_what_is_wrong_with_a_script(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        parse_text(text)


def test_reads_json_values_too() -> None:
    values: dict[str, object] = {"status": 503, "headers": {"Retry-After": "3"}, "fault": "stall", "gap_ms": 0}
    assert parse(values) == Script(status=503, headers={"Retry-After": "3"}, fault=Fault("stall", "mid"), gap_ms=0)
    with pytest.raises(ValueError, match="must be a number"):
        parse({"status": True})
    with pytest.raises(ValueError, match="must be text"):
        parse({"reply": 5})


@given(st.text())
def test_any_text_is_a_script_or_a_plain_complaint(text: str) -> None:
    try:
        script = parse_text(text)
    except ValueError:
        return
    assert set(text.split("=")[0].split()) <= set(KEYS)
    assert isinstance(script, Script)


def test_finds_directives_in_a_message() -> None:
    text = "ما معنى [[sim: status=429]] كلمة سلام؟ [[ sim:times=1 ]]"
    assert directive(text) == " status=429 times=1 "
    assert without_directive(text) == "ما معنى  كلمة سلام؟"
    assert directive("[[سلام]]") is None


async def test_later_scripts_lie_over_earlier_ones(sim: Simulator, http: aiohttp.ClientSession) -> None:
    sim.script(parse_text("reply=قائم headers=x-from:standing"), calls=None)
    sim.script(parse_text("reply=مرة"), calls=1)
    got = [await post(http, sim, asked("openai")) for _ in range(2)]
    own = await post(http, sim, asked("openai", "[[sim: reply=رسالة]]"))
    assert [text_of("openai", reply.body, stream=False) for reply in (*got, own)] == ["مرة", "قائم", "رسالة"]
    assert {reply.headers["x-from"] for reply in (*got, own)} == {"standing"}
    sim.reset()
    assert text_of("openai", (await post(http, sim, asked("openai"))).body, stream=False).startswith("[محاكاة]")


async def test_a_script_waits_for_the_calls_it_is_for(sim: Simulator, http: aiohttp.ClientSession) -> None:
    sim.script(parse_text("status=429 provider=anthropic"), calls=1)
    sim.script(parse_text("status=401 key=sk-2"), calls=2)
    calls = [
        ("openai", "sk-1"),
        ("anthropic", "sk-1"),
        ("anthropic", "sk-1"),
        ("groq", "sk-2"),
        ("openai", "sk-2"),
        ("openai", "sk-2"),
    ]
    statuses = [(await post(http, sim, asked(provider, key=key))).status for provider, key in calls]
    assert statuses == [200, 429, 200, 401, 401, 200]


async def test_times_counts_each_provider_and_key(sim: Simulator, http: aiohttp.ClientSession) -> None:
    text = "[[sim: status=500 times=2]] سلام"
    statuses = {
        (provider, key): [(await post(http, sim, asked(provider, text, key=key))).status for _ in range(3)]
        for provider, key in (("openai", "sk-1"), ("openai", "sk-2"), ("google", "sk-1"))
    }
    assert set(map(tuple, statuses.values())) == {(500, 500, 200)}
    sim.script(parse_text("status=503 times=1"), calls=None)
    again = [(await post(http, sim, asked("groq", key=key))).status for key in ("sk-1", "sk-2", "sk-1", "sk-2")]
    assert again == [503, 503, 200, 200]


async def test_a_bad_directive_is_told_in_the_reply(sim: Simulator, http: aiohttp.ClientSession) -> None:
    for provider in PROVIDERS:
        got = await post(http, sim, asked(provider, "[[sim: speed=5]]"))
        assert got.status == 400
        assert "unknown key 'speed'" in got.json()["error"]["message"]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_says_exactly_what_it_is_told(sim: Simulator, http: aiohttp.ClientSession, provider: str, stream: bool) -> None:
    reply = 'سلامٌ <عليكم> & "مرحبًا"\n\n  👨‍👩‍👧 ﷺ '
    sim.script(Script(reply=reply))
    got = await post(http, sim, asked(provider, stream=stream))
    assert text_of(provider, got.body, stream=stream) == reply
    sim.script(Script(tokens=100))
    got = await post(http, sim, asked(provider, stream=stream))
    assert text_of(provider, got.body, stream=stream) == "[محاكاة]" + " سلام" * 99
    if not stream or provider != "openai":  # OpenAI counts in a stream only when asked to
        assert b":100" in got.body


async def test_makes_as_many_calls_and_sources_as_it_is_told(sim: Simulator, http: aiohttp.ClientSession) -> None:
    tool = {"type": "function", "function": {"name": "get_word", "parameters": {"type": "object"}}}
    request = asked("openai", "[[sim: tools=3 sources=4 reasoning=أفكّر]] سلام")
    got = (await post(http, sim, Asked(request.path, request.headers, {**request.body, "tools": [tool]}))).json()
    assert len(got["choices"][0]["message"]["tool_calls"]) == 3
    assert len(got["choices"][0]["message"]["annotations"]) == 4
    request = asked("openai", "[[sim: tools=0]] سلام")
    got = (await post(http, sim, Asked(request.path, request.headers, {**request.body, "tools": [tool]}))).json()
    assert "tool_calls" not in got["choices"][0]["message"]


@pytest.mark.parametrize(
    ("provider", "finish", "told"),
    [
        ("openai", "refusal", b'"finish_reason":"stop"'),
        ("openai", "blocked", b'"finish_reason":"content_filter"'),
        ("groq", "length", b'"finish_reason":"length"'),
        ("anthropic", "pause_turn", b'"stop_reason":"pause_turn"'),
        ("anthropic", "blocked", b'"stop_reason":"refusal"'),
        ("google", "MALFORMED_FUNCTION_CALL", b'"finishReason":"MALFORMED_FUNCTION_CALL"'),
        ("google", "blocked", b'"blockReason":"PROHIBITED_CONTENT"'),
    ],
)
async def test_ends_for_the_reason_it_is_told(
    sim: Simulator, http: aiohttp.ClientSession, provider: str, finish: str, told: bytes
) -> None:
    sim.script(Script(finish=finish), calls=2)
    assert told in (await post(http, sim, asked(provider))).body
    assert told in (await post(http, sim, asked(provider, stream=True))).body


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_ends_without_a_reason_when_told_to(sim: Simulator, http: aiohttp.ClientSession, provider: str) -> None:
    sim.script(Script(finish="none"))
    body = (await post(http, sim, asked(provider, stream=True))).body
    assert text_of(provider, body, stream=True).endswith("كاملًا.")
    assert b'"finish_reason":"' not in body
    assert b'"stop_reason":"' not in body
    assert b"finishReason" not in body


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 502, 503, 504, 529])
async def test_fails_with_any_status(sim: Simulator, http: aiohttp.ClientSession, provider: str, status: int) -> None:
    sim.script(parse_text(f"status={status} retry_after=1.5"))
    got = await post(http, sim, asked(provider, stream=True))
    assert got.status == status
    error = got.json()["error"]
    assert error["message"]
    if provider == "google":
        assert (error["code"], error["details"][-1]["retryDelay"]) == (status, "1.5s")
        assert "Retry-After" not in got.headers
    else:
        assert error["type"]
        assert got.headers["Retry-After"] == "2"


BODIES: list[tuple[str, Any]] = [("html", b"<!doctype"), ("empty", b""), ("garbage", b"\x00\xff"), ("صفحة", "صفحة".encode())]


@pytest.mark.parametrize(("kind", "start"), BODIES)
@pytest.mark.parametrize("status", [200, 502])
async def test_fails_with_any_body(sim: Simulator, http: aiohttp.ClientSession, kind: str, start: bytes, status: int) -> None:
    sim.script(Script(status=status, body=kind))
    got = await post(http, sim, asked("anthropic"))
    assert got.status == status
    assert got.body.startswith(start)
    assert bool(got.body) is (kind != "empty")


async def test_fails_with_half_an_error(sim: Simulator, http: aiohttp.ClientSession) -> None:
    sim.script(parse_text('status=500 body=json-cut message="انقطع في منتصف الكلام" code=c'))
    body = (await post(http, sim, asked("openai"))).body
    assert body.startswith(b'{"error":')
    with pytest.raises(ValueError, match=r"."):
        json.loads(body)


async def test_tells_a_quota_from_a_rate(sim: Simulator, http: aiohttp.ClientSession) -> None:
    sim.script(parse_text("status=429 code=insufficient_quota headers=x-should-retry:false"))
    got = await post(http, sim, asked("openai"))
    assert got.json()["error"]["type"] == "insufficient_quota"
    assert got.headers["x-should-retry"] == "false"
    sim.script(parse_text("status=400 code=API_KEY_INVALID"))
    assert (await post(http, sim, asked("google"))).json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"


@pytest.mark.parametrize("chunks", ["frames", "whole", "bytes:1", "bytes:7", "random:5"])
async def test_cuts_the_bytes_as_told_and_changes_none(sim: Simulator, chunks: str) -> None:
    sim.script(Script(reply="سلامٌ عليكم ورحمة الله", chunks=parse_text(f"chunks={chunks}").chunks))
    line = await Line.open(sim, asked("google", stream=True))
    await line.until(b"\r\n0\r\n\r\n")
    await line.close()
    cut, ended = chunks_of(line.got)
    assert ended
    assert text_of("google", b"".join(cut), stream=True) == "سلامٌ عليكم ورحمة الله"
    sizes = [len(chunk) for chunk in cut]
    match chunks:
        case "frames":
            assert len(cut) > 1
            assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\r\n\r\n") for chunk in cut)
        case "whole":
            assert len(cut) == 1
        case "random:5":
            assert len(set(sizes)) > 5
            assert max(sizes) <= 23
        case _:
            assert set(sizes[:-1]) == {int(chunks[6:])}


def test_the_readme_names_every_key_fault_and_moment() -> None:
    readme = (SHIPPED.parent / "README.md").read_text()
    for name in (*KEYS, *get_args(FaultKind), *get_args(Moment)):
        assert f"`{name}`" in readme
