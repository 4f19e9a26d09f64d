"""Scripted faults do on the wire what they say, at the moment they say, whole and streamed, for every provider."""

import asyncio
import json

import aiohttp
import pytest
import uvloop

from simulator import Settings, Simulator, parse_text, start_simulator
from simulator.sending import GARBAGE
from tests.simulator.asking import PROVIDERS, Line, asked, dechunked, post, text_of

ENDS = {"openai": b"data: [DONE]", "groq": b"data: [DONE]", "anthropic": b"message_stop", "google": b'"finishReason"'}
LAST = {"openai": b"}}}", "groq": b'"x_groq":{', "anthropic": b"}}", "google": b'"responseId":"'}
IN_STREAM = ("after-head", "first-token", "mid", "before-end", "before-done", "at-end")


async def broken(sim: Simulator, provider: str, script: str, *, stream: bool = True) -> Line:
    """Send a question under a script and read until the connection ends."""
    sim.script(parse_text(script))
    line = await Line.open(sim, asked(provider, stream=stream))
    await line.rest()
    await line.close()
    return line


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_closes_or_resets_before_a_byte(sim: Simulator, provider: str, stream: bool) -> None:
    closed = await broken(sim, provider, "fault=close@before-head", stream=stream)
    assert (closed.got, closed.reset) == (b"", False)
    reset = await broken(sim, provider, "fault=reset@before-head", stream=stream)
    assert (reset.got, reset.reset) == (b"", True)
    assert [call.outcome for call in sim.calls] == ["faulted", "faulted"]


@pytest.mark.parametrize("moment", IN_STREAM)
@pytest.mark.parametrize("kind", ["close", "reset"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_breaks_a_stream_off(sim: Simulator, provider: str, kind: str, moment: str) -> None:
    line = await broken(sim, provider, f"fault={kind}@{moment}")
    assert line.reset is (kind == "reset")
    body, ended = dechunked(line.got)
    assert not ended
    assert line.got.startswith(b"HTTP/1.1 200 OK")
    assert (ENDS[provider] in body) is (moment == "at-end")
    said = text_of(provider, body, stream=True)
    assert bool(said) is (moment != "after-head")
    # Gemini's last token comes with the finish reason.
    whole = ("at-end",) if provider == "google" else ("before-end", "before-done", "at-end")
    assert said.endswith("كاملًا.") is (moment in whole)


async def test_moments_follow_one_another(sim: Simulator) -> None:
    lengths = [len(dechunked((await broken(sim, "openai", f"fault=close@{moment}")).got)[0]) for moment in IN_STREAM]
    assert lengths == sorted(set(lengths))
    assert lengths[0] == 0


@pytest.mark.parametrize("moment", ["after-head", "first-token", "mid", "before-end"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_cuts_a_whole_reply_short_of_its_length(sim: Simulator, provider: str, moment: str) -> None:
    line = await broken(sim, provider, f"fault=close@{moment}", stream=False)
    head, _, body = line.got.partition(b"\r\n\r\n")
    (length,) = [int(found[15:]) for found in head.splitlines() if found.lower().startswith(b"content-length:")]
    expected = {"after-head": 0, "first-token": 1, "mid": length // 2, "before-end": length - 1}
    assert len(body) == expected[moment]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_ends_with_garbage(sim: Simulator, http: aiohttp.ClientSession, provider: str) -> None:
    sim.script(parse_text("fault=garbage@mid"))
    got = await post(http, sim, asked(provider, stream=True))
    assert got.body.endswith(GARBAGE)
    assert ENDS[provider] not in got.body
    raw = await broken(sim, provider, "fault=garbage@before-head")
    assert raw.got == GARBAGE


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("moment", ["before-head", "after-head", "mid"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_drips_the_rest_unharmed(
    sim: Simulator, http: aiohttp.ClientSession, provider: str, moment: str, stream: bool
) -> None:
    sim.script(parse_text("reply=سلامٌ"), calls=None)
    plain = await post(http, sim, asked(provider, stream=stream))
    sim.script(parse_text(f"fault=drip@{moment} drip_ms=0"))
    dripped = await post(http, sim, asked(provider, stream=stream))
    assert text_of(provider, dripped.body, stream=stream) == text_of(provider, plain.body, stream=stream)
    assert dripped.headers["Content-Type"] == plain.headers["Content-Type"]
    assert sim.calls[-1].outcome == "completed"


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_ends_with_the_providers_own_error(sim: Simulator, http: aiohttp.ClientSession, provider: str) -> None:
    for moment in IN_STREAM:
        sim.script(parse_text(f"fault=error@{moment} message=انقطع"))
        got = await post(http, sim, asked(provider, stream=True))
        assert got.status == 200
        last = got.body.rstrip().splitlines()[-1]
        assert json.loads(last.removeprefix(b"data: "))["error"]["message"] == "انقطع"
        if provider in ("groq", "anthropic"):
            assert got.body.rstrip().splitlines()[-2] == b"event: error"
    sim.script(parse_text("fault=error@before-head"))
    failed = await post(http, sim, asked(provider, stream=True))
    assert failed.status == {"openai": 500, "groq": 503, "anthropic": 529, "google": 503}[provider]
    assert failed.json()["error"]["message"]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_writes_an_error_outside_any_frame(sim: Simulator, http: aiohttp.ClientSession, provider: str) -> None:
    sim.script(parse_text("fault=bare-error@at-end"))
    got = await post(http, sim, asked(provider, stream=True))
    whole, _, stray = got.body.rpartition(b"\r\n\r\n" if provider == "google" else b"\n\n")
    assert ENDS[provider] in whole
    assert b"data:" not in stray
    assert "error" in json.loads(stray)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("moment", ["before-head", "after-head", "mid", "at-end"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_stalls_until_released(sim: Simulator, provider: str, moment: str, stream: bool) -> None:
    sim.script(parse_text(f"fault=stall@{moment}"))
    line = await Line.open(sim, asked(provider, stream=stream))
    await sim.until(lambda sim: sim.stalled == 1)
    if moment != "before-head":
        await line.until(b"\r\n\r\n")
    assert sim.calls[-1].outcome == "open"
    sim.release()
    await sim.until(lambda sim: sim.count("completed") == 1)
    await line.until((ENDS if stream else LAST)[provider])
    assert line.got.startswith(b"HTTP/1.1 200 OK")
    await line.close()


@pytest.mark.parametrize("moment", ["before-head", "after-head", "mid", "at-end"])
async def test_counts_a_client_that_hangs_up(sim: Simulator, moment: str) -> None:
    sim.script(parse_text(f"fault=stall@{moment}"))
    line = await Line.open(sim, asked("openai", stream=True))
    await sim.until(lambda sim: sim.stalled == 1)
    await line.close()
    await sim.until(lambda sim: sim.count("aborted") == 1)
    counts = sim.log.counts()
    assert (counts["aborted"], counts["open"], counts["stalled"]) == (1, 0, 0)
    assert sim.calls[-1].ended_at is not None


async def test_counts_a_client_that_hangs_up_between_tokens(sim: Simulator) -> None:
    sim.script(parse_text("gap_ms=60000"))
    line = await Line.open(sim, asked("anthropic", stream=True))
    await line.until(b"message_start")
    await line.close()
    await sim.until(lambda sim: sim.count("aborted") == 1)


async def test_counts_a_client_that_hangs_up_before_the_head(sim: Simulator) -> None:
    sim.script(parse_text("ttft_ms=60000"))
    line = await Line.open(sim, asked("google"))
    await sim.until(lambda sim: len(sim.calls) == 1)
    await line.close()
    await sim.until(lambda sim: sim.count("aborted") == 1)


async def test_breaks_off_a_failure_too(sim: Simulator) -> None:
    line = await broken(sim, "openai", "status=500 fault=close@mid", stream=False)
    assert line.got.startswith(b"HTTP/1.1 500")
    assert b"server_error" not in line.got


async def test_breaks_off_a_recording(sim: Simulator) -> None:
    line = await broken(sim, "anthropic", "fixture=stream-thinking-tool fault=close@before-end")
    body, ended = dechunked(line.got)
    assert not ended
    assert b"signature_delta" in body
    assert b"message_stop" not in body


@pytest.mark.parametrize("moment", ["before-head", *IN_STREAM])
@pytest.mark.parametrize("kind", ["close", "reset"])
def test_breaks_off_in_the_same_way_on_uvloop(kind: str, moment: str) -> None:
    async def ask() -> Line:
        sim = await start_simulator(settings=Settings(script=parse_text("gap_ms=0")))
        line = await broken(sim, "openai", f"fault={kind}@{moment}")
        await sim.close()
        return line

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        line = runner.run(ask())
    body, ended = dechunked(line.got)
    assert (line.reset, ended) == (kind == "reset", False)
    assert bool(line.got) is (moment != "before-head")
    assert bool(text_of("openai", body, stream=True)) is (moment not in ("before-head", "after-head"))
