"""Thousands of turns while one provider fails in every way, each in one call of a hundred."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest

from gateway.engine.policy import MAX_CONTINUATIONS
from gateway.engine.upstream import Timeouts, Upstream
from simulator import Script, parse_text
from simulator.scripts import Scripts
from tests.faults.fault_bench import TEXT, TOKENS, Bench, Log, Seen, Setup, bench, run_all

FAULTS = (
    *(f"status={status} retry_after=0" for status in (408, 409, 429, 500, 502, 503, 504, 529)),
    *(f"status=200 body={body}" for body in ("html", "empty", "garbage", "json-cut")),
    "status=500 body=html",
    *(f"fault={kind}@{moment}" for kind in ("reset", "close", "garbage") for moment in ("before-head", "after-head", "mid")),
    *(f"fault={kind}@{moment}" for kind in ("error", "bare-error") for moment in ("before-head", "first-token", "before-end")),
)
# Only streams have timeouts of their own on silence.
STREAM_FAULTS = (*FAULTS, "fault=stall@before-head", "fault=stall@mid")


class Chaos(Scripts):
    """Gives each call of one provider one of the faults, each as often as the others."""

    def __init__(self, default: Script, provider: str, faults: Sequence[str], share: float) -> None:
        super().__init__(default)
        self.given: Counter[str] = Counter()
        self._provider = provider
        self._faults = [(fault, parse_text(fault)) for fault in faults]
        self._share = share
        self._random = random.Random(20261123)

    def pick(self, provider: str, key: str, directive: str | None) -> Script:
        """The script of one call."""
        place = int(self._random.random() / self._share)
        if provider != self._provider or place >= len(self._faults):
            return self.default
        name, script = self._faults[place]
        self.given[name] += 1
        return script.over(self.default)


@pytest.fixture
async def faults() -> AsyncIterator[Bench]:
    """A bench that checks, at the end, that nothing is left open."""
    async with bench() as running:
        yield running


@pytest.mark.parametrize(("stream", "turns"), [(True, 2500), (False, 1500)], ids=["streamed", "whole"])
async def test_a_provider_that_fails_in_every_way(faults: Bench, stream: bool, turns: int) -> None:
    failures = STREAM_FAULTS if stream else FAULTS
    chaos = Chaos(Script(gap_ms=0, tokens=TOKENS), "openai", failures, 0.01)
    faults.simulator.scripts = chaos
    log = Log()
    faults.hasty = Upstream(faults.session, Timeouts(20.0, 1.5, 1.5), 1 << 20)
    engine = faults.engine(Setup(fallback=("anthropic",), continue_on_break=True), log, hasty=True)
    ended: Counter[str] = Counter()

    async def check() -> str | None:
        seen = await faults.ask(engine, log, "openai", "ما معنى كلمة «كتاب»؟", stream=stream)
        ended[seen.record.ended.status] += 1
        return _wrong(seen)

    await run_all([check] * turns, at_once=48)
    assert ended["completed"] >= 0.999 * turns, ended
    assert len(chaos.given) == len(failures)
    assert len(log.records) == log.told.count("begin") == log.told.count("put") == turns
    await engine.drain(1.0)


def _wrong(seen: Seen) -> str | None:
    """What may not be, whatever failed."""
    record, told = seen.record.ended, seen.told
    good = record.status == "completed"
    if good and (told.text != TEXT or told.names[-1] != "done" or told.status != 200):
        return f"a wrong answer: {told}"
    if not good and (told.names[-1] != "failed" or record.error is None or not TEXT.startswith(told.text)):
        return f"a wrong failure: {told}"
    if {"done", "failed"} & set(told.names[:-1]) or record.reply.content != told.text:
        return f"told twice: {told.names}"
    if len(record.attempts) != len(seen.calls) - good:
        return f"called {seen.calls}, logged {record.attempts}"
    if good and record.provider != seen.calls[-1]:
        return f"{record.provider} is said to have answered, but it was {seen.calls[-1]}"
    if len(seen.calls) > 3 + 3 + MAX_CONTINUATIONS:
        return f"called {seen.calls}"
    return None
