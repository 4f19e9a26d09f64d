"""The doors beside the providers' own, the records of calls, and the program."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from simulator import Settings, Simulator, parse_text, start_simulator
from simulator.__main__ import address_line
from tests.simulator.asking import PROVIDERS, Asked, Line, asked, post, text_of

ROOT = Path(__file__).parents[2]


async def test_records_each_call_as_it_came(sim: Simulator, http: aiohttp.ClientSession) -> None:
    for provider in PROVIDERS:
        request = asked(provider, stream=True, key="sk-secret-key-0042")
        await post(http, sim, request)
        call = sim.calls[-1]
        assert call.provider == provider
        assert call.path == request.path.partition("?")[0]
        assert json.loads(call.raw) == call.body == request.body
        assert call.key == "sk-secret-key-0042"
        assert call.model == request.body.get("model", "gemini-3.8-flash")
        assert (call.stream, call.status, call.completed, call.aborted) == (True, 200, True, False)
        assert call.ended_at is not None
        assert call.at <= call.ended_at
    assert [call.number for call in sim.calls] == [1, 2, 3, 4]


async def test_shows_calls_over_http_without_their_keys(sim: Simulator, http: aiohttp.ClientSession) -> None:
    request = asked("google", key="sk-secret-key-0042")
    await post(http, sim, Asked(request.path + "?key=sk-secret-key-0042", request.headers, request.body))
    async with http.get(f"{sim.base_url}/_calls") as response:
        text = await response.text()
    assert "sk-secret" not in text
    (call,) = json.loads(text)
    assert (call["key"], call["outcome"], call["body"]) == ("…0042", "completed", request.body)
    async with http.get(f"{sim.base_url}/_counts") as response:
        counts = await response.json()
    assert (counts["calls"], counts["completed"], counts["providers"]) == (1, 1, {"google": 1})
    assert counts["keys"] == {"…0042": 1}
    async with http.delete(f"{sim.base_url}/_calls") as response:
        assert response.status == 204
    assert sim.calls == []
    assert sim.log.counts()["calls"] == 0


async def test_is_scripted_over_http(sim: Simulator, http: aiohttp.ClientSession) -> None:
    scripts = [{"status": 503, "calls": 1}, {"reply": "سلام", "headers": {"x-one": "1"}}]
    async with http.put(f"{sim.base_url}/_script", json=scripts) as response:
        assert response.status == 204
    async with http.get(f"{sim.base_url}/_script") as response:
        shown = await response.json()
    assert shown == [
        {"script": {"status": 503}, "calls": 1},
        {"script": {"reply": "سلام", "headers": {"x-one": "1"}}, "calls": None},
    ]
    got = [await post(http, sim, asked("openai")) for _ in range(2)]
    assert [reply.status for reply in got] == [503, 200]
    assert text_of("openai", got[1].body, stream=False) == "سلام"
    async with http.post(f"{sim.base_url}/_script", json={"fault": "stall@mid", "calls": 1}) as response:
        assert response.status == 204
    line = await Line.open(sim, asked("openai", stream=True))
    await sim.until(lambda sim: sim.stalled == 1)
    async with http.post(f"{sim.base_url}/_release") as response:
        assert response.status == 204
    await line.until(b"[DONE]")
    await line.close()
    async with http.delete(f"{sim.base_url}/_script") as response:
        assert response.status == 204
    assert text_of("openai", (await post(http, sim, asked("openai"))).body, stream=False).startswith("[محاكاة]")
    async with http.post(f"{sim.base_url}/_reset") as response:
        assert response.status == 204
    assert sim.calls == []


@pytest.mark.parametrize("body", [b"no json", b"5", b'{"speed": 1}', b'{"status": "x"}', b'{"status": 500, "calls": 0}'])
async def test_refuses_bad_scripts_over_http(sim: Simulator, http: aiohttp.ClientSession, body: bytes) -> None:
    sim.script(parse_text("reply=قائم"), calls=None)
    async with http.put(f"{sim.base_url}/_script", data=body) as response:
        assert response.status == 400
        assert (await response.json())["error"]
    assert text_of("openai", (await post(http, sim, asked("openai"))).body, stream=False) == "قائم"


async def test_keeps_only_the_latest_calls(http: aiohttp.ClientSession) -> None:
    simulator = await start_simulator(settings=Settings(max_calls=2))
    for _ in range(3):
        await post(http, simulator, asked("openai"))
    assert [call.number for call in simulator.calls] == [2, 3]
    assert simulator.count("completed") == 3
    await simulator.close()


async def test_ignores_directives_when_told_to(http: aiohttp.ClientSession) -> None:
    simulator = await start_simulator(settings=Settings(directives=False))
    got = await post(http, simulator, asked("openai", "[[sim: status=500]] سلام"))
    assert got.status == 200
    await simulator.close()


async def test_takes_the_short_path_and_knows_no_others(sim: Simulator, http: aiohttp.ClientSession) -> None:
    request = asked("openai")
    assert (await post(http, sim, Asked("/chat/completions", request.headers, request.body))).status == 200
    unknown = await post(http, sim, Asked("/v1/embeddings", request.headers, request.body))
    assert (unknown.status, unknown.json()["error"]["message"]) == (404, "Invalid URL (POST /v1/embeddings)")


async def test_streams_gemini_as_an_array_without_sse(sim: Simulator, http: aiohttp.ClientSession) -> None:
    request = asked("google", stream=True)
    got = await post(http, sim, Asked(request.path.partition("?")[0], request.headers, request.body))
    assert got.headers["Content-Type"] == "application/json; charset=UTF-8"
    parts = [chunk["candidates"][0]["content"]["parts"][0] for chunk in got.json()]
    assert "".join(part["text"] for part in parts).startswith("[محاكاة]")
    assert len(parts) > 10
    sim.script(parse_text("finish=blocked"))
    blocked = await post(http, sim, Asked(request.path.partition("?")[0], request.headers, request.body))
    assert [next(iter(chunk)) for chunk in blocked.json()] == ["promptFeedback"]


async def test_closes_while_replies_run(http: aiohttp.ClientSession) -> None:
    simulator = await start_simulator(settings=Settings(script=parse_text("fault=stall@mid")))
    line = await Line.open(simulator, asked("openai", stream=True))
    await simulator.until(lambda sim: sim.stalled == 1)
    await simulator.close()
    await line.rest()
    assert b"[DONE]" not in line.got
    await line.close()
    with pytest.raises(aiohttp.ClientConnectorError):
        await post(http, simulator, asked("openai"))


async def test_says_so_when_the_port_is_taken(sim: Simulator) -> None:
    port = int(sim.base_url.rpartition(":")[2])
    with pytest.raises(OSError, match="address already in use"):
        await start_simulator(port=port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_runs_by_hand_and_stops_on_a_signal(http: aiohttp.ClientSession, number: signal.Signals) -> None:
    arguments = ["-m", "simulator", "--port", "0", "--gap-ms", "0", "--script", "reply=مرحبا"]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    simulator = Simulator(Settings())
    simulator.base_url = line.split()[2]
    assert line.strip() == address_line(simulator)
    assert f"OPENAI_BASE_URL={simulator.base_url}/v1 " in line
    got = await post(http, simulator, asked("openai"))
    assert text_of("openai", got.body, stream=False) == "مرحبا"
    process.send_signal(number)
    assert await process.wait() == 0
    assert await process.stdout.read() == b""


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [(["--script", "speed=5"], 2, b"unknown key 'speed'"), (["--host", "203.0.113.1", "--port", "0"], 1, b"cannot listen")],
)
async def test_says_in_one_line_why_it_cannot_start(arguments: list[str], status: int, message: bytes) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulator", *arguments, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == status
    assert said.startswith(b"simulator: ")
    assert message in said
    assert said.count(b"\n") == 1
